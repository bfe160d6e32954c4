//! The index's own description and the directory of its lists.
//!
//! ```text
//! META, page 0    offset 16  u64  build: a random number that names this storage
//!                 offset 24  u64  epoch: goes up whenever a list comes or goes
//!                 offset 32  u64  seed of the rotations
//!                 offset 40  u32  next list's id
//!                 offset 44  u16  dimensions
//!                 offset 46  u16  coarse dimensions
//!                 offset 48  u8   metric
//!                 offset 49  u8   1 where the index keeps copies of the vectors
//!                 offset 52  u32  FRAMES page with room, NONE
//!                 offset 56  u32  frames on it
//!                 offset 60  u32  directory pages
//!                 offset 64  u32  × directory pages: their numbers
//! DIRECTORY page  offset 16       entries of lists n · 339 …, 24 bytes each:
//!                 u32 head, u32 frame's page, u16 frame's place, u8 state, u8 patience, u32 0,
//!                 u64 stamp of its retirement
//! FRAMES page     offset 16       centres, as many halfs as there are dimensions
//! ```
//!
//! Lists [`NULLS`] and [`ZEROS`] have no vectors, only references.

use half::f16;

use crate::pages::page::{
    self, BODY_BYTES, Body, Damage, Kind, ListId, NONE, PageNumber, TAG_BYTES, damaged, get_u16,
    get_u32, get_u64, put,
};
use crate::pages::shape::{MOST_DIMENSIONS, Shape};

/// The list of rows whose vector is NULL.
pub const NULLS: ListId = 0;
/// The list of rows whose vector is zero, where the metric has no distance for it.
pub const ZEROS: ListId = 1;
/// The first list of vectors.
pub const FIRST_LIST: ListId = 2;
/// The page that leads to all others.
pub const META_PAGE: PageNumber = 0;

const ENTRY_BYTES: usize = 24;
/// Entries of a directory page.
pub const ENTRIES_ON_PAGE: usize = (BODY_BYTES - TAG_BYTES) / ENTRY_BYTES;
const POINTERS: usize = 64;
const MOST_DIRECTORY_PAGES: usize = (BODY_BYTES - POINTERS) / 4;
/// Lists that an index can have had: a list's number is never given to another.
pub const MOST_LIST_NUMBERS: usize = MOST_DIRECTORY_PAGES * ENTRIES_ON_PAGE;

/// By what the rows are compared with a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Metric {
    /// The negative inner product; with a query of fewer dimensions that with the row's prefix, scaled to length 1.
    InnerProduct = 0,
    /// The cosine distance; a vector of zeros has none.
    Cosine = 1,
    /// The Euclidean distance, L2; a query has all dimensions.
    Euclidean = 2,
}

/// The meta page's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// A random number that names this storage: an index that is built again has another.
    pub build: u64,
    /// Goes up whenever entries change: a copy of the directory that has a lower one is out of date.
    pub epoch: u64,
    /// What the rotations are drawn from.
    pub seed: u64,
    /// The number of the next list that is made. Those below have an entry each.
    pub next_list: ListId,
    /// Of the vectors: 1 to [`MOST_DIMENSIONS`].
    pub dimensions: usize,
    /// How many leading dimensions lists are chosen by: 1 to all.
    pub coarse_dimensions: usize,
    /// By what the rows are compared with a query.
    pub metric: Metric,
    /// Whether the index keeps copies of the vectors.
    pub copies: bool,
    /// The newest page of frames, which may have room; [`NONE`] where there is none.
    pub frames_page: PageNumber,
    /// How many frames it has.
    pub frames_used: usize,
    /// The directory pages: the first has the entries of the first [`ENTRIES_ON_PAGE`] lists, and so on.
    pub directory: Vec<PageNumber>,
}

impl Meta {
    /// Reads the meta page, whose numbers are then in their ranges; where they lead is checked by who goes there.
    ///
    /// # Errors
    /// Damage, where it is no meta page, or a number on it is out of its range.
    pub fn read(body: &Body) -> Result<Self, Damage> {
        page::check(body, META_PAGE, Kind::Meta, 0)?;
        let damage = |what| damaged(META_PAGE, what);
        let pages = get_u32(body, 60) as usize;
        let metrics = [Metric::InnerProduct, Metric::Cosine, Metric::Euclidean];
        let meta = Self {
            build: get_u64(body, 16),
            epoch: get_u64(body, 24),
            seed: get_u64(body, 32),
            next_list: get_u32(body, 40),
            dimensions: get_u16(body, 44).into(),
            coarse_dimensions: get_u16(body, 46).into(),
            metric: *metrics.get(usize::from(body[48])).ok_or(damage("unknown metric"))?,
            copies: body[49] != 0,
            frames_page: get_u32(body, 52),
            frames_used: get_u32(body, 56) as usize,
            directory: (0..pages.min(MOST_DIRECTORY_PAGES))
                .map(|i| get_u32(body, POINTERS + 4 * i))
                .collect(),
        };
        if !(1..=MOST_DIMENSIONS).contains(&meta.dimensions) {
            return Err(damage("dimensions out of range"));
        }
        if !(1..=meta.dimensions).contains(&meta.coarse_dimensions) {
            return Err(damage("coarse dimensions out of range"));
        }
        if pages > MOST_DIRECTORY_PAGES
            || meta.next_list < FIRST_LIST
            || meta.next_list as usize > pages * ENTRIES_ON_PAGE
        {
            return Err(damage("directory out of range"));
        }
        Ok(meta)
    }

    /// Writes the meta page anew, with what every page begins with.
    pub fn write(&self, body: &mut Body) {
        page::format(body, Kind::Meta, 0);
        put(body, 16, &self.build.to_le_bytes());
        put(body, 24, &self.epoch.to_le_bytes());
        put(body, 32, &self.seed.to_le_bytes());
        put(body, 40, &self.next_list.to_le_bytes());
        put(body, 44, &(self.dimensions as u16).to_le_bytes());
        put(body, 46, &(self.coarse_dimensions as u16).to_le_bytes());
        body[48] = self.metric as u8;
        body[49] = self.copies.into();
        put(body, 52, &self.frames_page.to_le_bytes());
        put(body, 56, &(self.frames_used as u32).to_le_bytes());
        put(body, 60, &(self.directory.len() as u32).to_le_bytes());
        for (i, page) in self.directory.iter().enumerate() {
            put(body, POINTERS + 4 * i, &page.to_le_bytes());
        }
    }

    /// How rows lie on the pages of this index; worked out anew with each call.
    pub fn shape(&self) -> Shape {
        Shape::new(self.dimensions, self.copies)
    }

    /// The directory page that has a list's entry.
    pub fn directory_page(&self, list: ListId) -> Option<PageNumber> {
        self.directory.get(list as usize / ENTRIES_ON_PAGE).copied()
    }

    /// How many lists can still be made.
    pub fn lists_left(&self) -> usize {
        MOST_LIST_NUMBERS.saturating_sub(self.next_list as usize)
    }

    /// Whether the directory can still grow by a page.
    pub fn has_room_for_a_directory_page(&self) -> bool {
        self.directory.len() < MOST_DIRECTORY_PAGES
    }
}

/// Whether a list is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Its pages are not in use, or it never was.
    Gone = 0,
    /// It is: rows come into it, and scans read it.
    Live = 1,
    /// Others have its rows; scans that began before may still read it.
    Retired = 2,
}

/// A list's entry in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The page of its first group.
    pub head: PageNumber,
    /// The page of frames that has its centre; [`NONE`] of a list of references only.
    pub frame_page: PageNumber,
    /// The centre's place there, from 0.
    pub frame_place: u16,
    /// Whether it is in use.
    pub state: State,
    /// How many times a split of the list was of no use: it waits for 2^patience times the rows.
    pub patience: u8,
    /// The storage's stamp of when it was retired; 0 where it never was.
    pub retired: u64,
}

impl Entry {
    /// Reads a list's entry from the directory page that has it ([`Meta::directory_page`]).
    ///
    /// # Errors
    /// Damage, where it is no directory page, or the entry has a state that there is not.
    pub fn read(body: &Body, page: PageNumber, list: ListId) -> Result<Self, Damage> {
        page::check(body, page, Kind::Directory, 0)?;
        let offset = Self::offset(list);
        let states = [State::Gone, State::Live, State::Retired];
        let state = states.get(usize::from(body[offset + 10]));
        Ok(Self {
            head: get_u32(body, offset),
            frame_page: get_u32(body, offset + 4),
            frame_place: get_u16(body, offset + 8),
            state: *state.ok_or(damaged(page, "unknown state of a list"))?,
            patience: body[offset + 11],
            retired: get_u64(body, offset + 16),
        })
    }

    /// Writes it as a list's entry on the directory page that has it.
    pub fn write(&self, body: &mut Body, list: ListId) {
        let offset = Self::offset(list);
        put(body, offset, &self.head.to_le_bytes());
        put(body, offset + 4, &self.frame_page.to_le_bytes());
        put(body, offset + 8, &self.frame_place.to_le_bytes());
        body[offset + 10] = self.state as u8;
        body[offset + 11] = self.patience;
        put(body, offset + 16, &self.retired.to_le_bytes());
    }

    fn offset(list: ListId) -> usize {
        TAG_BYTES + list as usize % ENTRIES_ON_PAGE * ENTRY_BYTES
    }

    /// The entry of a list of references only.
    pub fn without_frame(head: PageNumber) -> Self {
        Self { head, frame_page: NONE, frame_place: 0, state: State::Live, patience: 0, retired: 0 }
    }
}

/// Where a frame begins on its page.
pub fn frame_offset(place: usize, dimensions: usize) -> usize {
    TAG_BYTES + place * 2 * dimensions
}

/// Reads the frame at a place on a page of frames: so many halfs, those that are not finite as zeros.
///
/// # Errors
/// Damage, where it is no page of frames, or the place lies beyond its end.
pub fn read_frame(
    body: &Body,
    page: PageNumber,
    place: usize,
    dimensions: usize,
) -> Result<Vec<f16>, Damage> {
    page::check(body, page, Kind::Frames, 0)?;
    let offset = frame_offset(place, dimensions);
    let bytes = body
        .get(offset..offset + 2 * dimensions)
        .ok_or(damaged(page, "a frame lies beyond the page"))?;
    Ok(halfs(bytes))
}

/// Writes a frame to a place on a page of frames, where there is room for it.
pub fn write_frame(body: &mut Body, place: usize, frame: &[f16]) {
    let offset = frame_offset(place, frame.len());
    for (bytes, half) in body[offset..].chunks_exact_mut(2).zip(frame) {
        bytes.copy_from_slice(&half.to_le_bytes());
    }
}

/// Halfs from bytes; what is not a number counts as zero.
pub fn halfs(bytes: &[u8]) -> Vec<f16> {
    let (pairs, _) = bytes.as_chunks::<2>();
    let mut halfs: Vec<f16> = pairs.iter().map(|pair| f16::from_le_bytes(*pair)).collect();
    if !mrl_kernels::all_finite(&halfs) {
        halfs.iter_mut().filter(|half| !half.is_finite()).for_each(|half| *half = f16::ZERO);
    }
    halfs
}
