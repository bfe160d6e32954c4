//! Groups of blocks on their pages (drawn in [`crate::pages::shape`]), and pages of references.
//!
//! ```text
//! summaries         of blocks of 32 rows, on their group's page, side by side (module `records`); a head:
//!                   u32  live: bit r is 1 where row r is there
//!                   u16  spread of the rows about their mean (module `summary`), a bfloat16
//!                   then a record of the mean, whose layer 0 has two bits a dimension where there is room, as a row's
//!                   has, and the others one; the last may lack 64 of its rotated components (module `shape`)
//!
//! REFERENCES page   offset 16  u32  next page of references with room, NONE   (a stack)
//!                   offset 20  u16  references
//!                   offset 24       references, 8 bytes each: TID, u16 row
//! ```
//!
//! A reference is one more TID of a row: another version of the same table row, whose vector has the same
//! code. Its row is numbered group's ordinal · rows of a group + slot. The pages hang on the list's head.

use mrl_kernels::CodeScales;

use crate::codes::bits::Factors;
use crate::codes::block::ROWS;
use crate::codes::records::{LANES, Records, narrow};
use crate::lists::summary::Mean;
use crate::pages::page::{
    self, BODY_BYTES, Body, Damage, Kind, ListId, NONE, PageNumber, Problem, damaged, get_u16,
    get_u32, put,
};
use crate::pages::rows::{get_tid, put_tid};
use crate::pages::shape::{GROUP_FRAMES, Shape, TID_BYTES};

/// A heap tuple's address: the number of its page in the table · 65,536 + its place there.
pub type Tid = u64;

/// A group's page, checked.
#[derive(Clone, Copy)]
pub struct Group<'a> {
    /// How rows lie on the pages of its index.
    pub shape: &'a Shape,
    /// The page itself.
    pub body: &'a Body,
}

impl<'a> Group<'a> {
    /// The group of a list that is on a page.
    ///
    /// # Errors
    /// Damage, where the page is no group of that list, or has more rows than fit.
    pub fn new(
        body: &'a Body,
        page: PageNumber,
        list: ListId,
        shape: &'a Shape,
    ) -> Result<Self, Damage> {
        page::check(body, page, Kind::Group, list)?;
        let group = Self { shape, body };
        if group.rows() > shape.group_rows {
            return Err(damaged(page, "a group has more rows than fit"));
        }
        Ok(group)
    }

    /// Its number in its list, from 0 in the order in which the groups were begun.
    pub fn ordinal(&self) -> usize {
        get_u16(self.body, 16).into()
    }

    /// Slots below this one have been used.
    #[inline]
    pub fn rows(&self) -> usize {
        get_u16(self.body, 18).into()
    }

    /// The next group with a free slot, on the stack of them; [`NONE`] at its end.
    pub fn next_open(&self) -> PageNumber {
        get_u32(self.body, 20)
    }

    /// Of the head: the first group with a free slot.
    pub fn open(&self) -> PageNumber {
        get_u32(self.body, 24)
    }

    /// Of the head: the newest page of references.
    pub fn references(&self) -> PageNumber {
        get_u32(self.body, 28)
    }

    /// Of the head: the first page of references with room.
    pub fn references_open(&self) -> PageNumber {
        get_u32(self.body, 32)
    }

    /// The list whose centre is a frame of the group's rows, by its place; 0 where there is none.
    #[inline]
    pub fn frame(&self, place: usize) -> ListId {
        match place < self.shape.group_frames {
            true => get_u32(self.body, GROUP_FRAMES + 4 * place),
            false => 0,
        }
    }

    /// All places for them.
    pub fn frames(&self) -> impl Iterator<Item = ListId> + use<'a> {
        let group = *self;
        (0..self.shape.group_frames).map(move |place| group.frame(place))
    }

    /// The place of a frame among the group's, or the one that it may take.
    pub fn frame_place(&self, frame: ListId) -> Option<u8> {
        let place = self.frames().position(|of| of == frame || of == 0);
        place.map(|place| place as u8)
    }

    /// One of its row pages, which are numbered from 0.
    pub fn row_page(&self, index: usize) -> PageNumber {
        get_u32(self.body, self.shape.pointers_at() + 4 * index)
    }

    /// One of its copy pages, which are numbered from 0.
    pub fn copy_page(&self, index: usize) -> PageNumber {
        get_u32(self.body, self.shape.pointers_at() + 4 * (self.shape.row_pages + index))
    }

    /// The copy page of a slot's vector; [`NONE`] where the index keeps none.
    pub fn copy_page_of(&self, slot: usize) -> PageNumber {
        match self.shape.keeps_copies() {
            true => self.copy_page(slot / self.shape.copies_on_page),
            false => NONE,
        }
    }

    /// All pages of the group but its own.
    pub fn other_pages(&self) -> impl Iterator<Item = PageNumber> + use<'a> {
        let (body, count) = (self.body, self.shape.row_pages + self.shape.copy_pages);
        let start = self.shape.pointers_at();
        let pages = (0..count).map(move |i| get_u32(body, start + 4 * i));
        pages.filter(|page| *page != NONE)
    }

    /// Blocks that have been used.
    #[inline]
    pub fn blocks(&self) -> usize {
        self.rows().div_ceil(ROWS)
    }

    /// Which rows of a block are there.
    #[inline]
    pub fn live(&self, index: usize) -> u32 {
        get_u32(self.body, summary_field(index, LIVE, 4, self.shape))
    }

    /// How many times summaries lie side by side, of blocks that have been used.
    #[inline]
    pub fn summaries_count(&self) -> usize {
        self.blocks().div_ceil(self.shape.summary_lanes)
    }

    /// What some blocks are about: those from `number · summary_lanes` on.
    #[inline]
    pub fn summaries<'s>(&self, number: usize, room: &'s mut Vec<u8>) -> Summaries<'s>
    where
        'a: 's,
    {
        let (form, lanes) = (&self.shape.summary, self.shape.summary_lanes);
        let bytes = &self.body[summaries_start(number, self.shape)..][..lanes * form.bytes];
        let bytes = match lanes {
            LANES => bytes,
            _ => {
                room.resize(LANES * form.bytes, 0);
                form.widen(bytes, lanes, room);
                room
            }
        };
        Summaries { bytes, records: Records::new(bytes, form) }
    }

    /// The number of a slot in references.
    pub fn reference_number(&self, slot: usize) -> Option<u16> {
        u16::try_from(self.ordinal() * self.shape.group_rows + slot).ok()
    }

    /// How many of its rows are there, of all blocks.
    pub fn live_rows(&self) -> usize {
        (0..self.blocks()).map(|index| self.live(index).count_ones() as usize).sum()
    }
}

/// What a group's page has of blocks side by side.
#[derive(Clone, Copy)]
pub struct Summaries<'a> {
    bytes: &'a [u8],
    /// Their rows' means.
    pub records: Records<'a>,
}

/// Where a summary's marks and spread are in its bytes.
const LIVE: usize = 0;
const SPREAD: usize = 4;

impl<'a> Summaries<'a> {
    /// Which rows of each block are there.
    #[inline]
    pub fn live(&self) -> [u32; LANES] {
        let bytes = &self.bytes[LANES * LIVE..][..4 * LANES];
        let mut words = [0; LANES];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        words
    }

    /// The spreads of the rows, bfloat16s.
    #[inline]
    pub fn spreads(&self) -> &'a CodeScales {
        self.records.pairs(SPREAD)
    }
}

/// The ordinal of a list's group that has so many before it: a list ends where they can't be told apart any more, with
/// 65,536 groups.
///
/// # Errors
/// [`Problem::Full`], where there is no such ordinal.
pub fn ordinal(list: ListId, groups: usize) -> Result<u16, Damage> {
    u16::try_from(groups).map_err(|_| Damage { page: NONE, problem: Problem::Full(list) })
}

/// Makes a page a group without rows.
pub fn format_group(body: &mut Body, list: ListId, ordinal: u16, shape: &Shape) {
    page::format(body, Kind::Group, list);
    put(body, 16, &ordinal.to_le_bytes());
    for offset in [20, 24, 28, 32] {
        put(body, offset, &NONE.to_le_bytes());
    }
    body[shape.pointers_at()..][..4 * (shape.row_pages + shape.copy_pages)].fill(0xff);
}

/// Writes which group comes next on the stack of those with a free slot; [`NONE`] at its end.
pub fn set_next_open(body: &mut Body, page: PageNumber) {
    put(body, 20, &page.to_le_bytes());
}

/// Of the head: writes which group is the first with a free slot; [`NONE`] where none has.
pub fn set_open(body: &mut Body, page: PageNumber) {
    put(body, 24, &page.to_le_bytes());
}

/// Of the head: writes which page of references is the newest, and which the first with room; [`NONE`] for none.
pub fn set_references(body: &mut Body, newest: PageNumber, open: PageNumber) {
    put(body, 28, &newest.to_le_bytes());
    put(body, 32, &open.to_le_bytes());
}

/// Writes which page is one of the group's row pages, which are numbered from 0.
pub fn set_row_page(body: &mut Body, index: usize, page: PageNumber, shape: &Shape) {
    put(body, shape.pointers_at() + 4 * index, &page.to_le_bytes());
}

/// Writes which page is one of the group's copy pages, which are numbered from 0.
pub fn set_copy_page(body: &mut Body, index: usize, page: PageNumber, shape: &Shape) {
    put(body, shape.pointers_at() + 4 * (shape.row_pages + index), &page.to_le_bytes());
}

fn summaries_start(number: usize, shape: &Shape) -> usize {
    shape.first_summary + number * shape.summary_lanes * shape.summary.bytes
}

/// Where a block's field of a summary is that is so wide.
#[inline]
fn summary_field(index: usize, at: usize, width: usize, shape: &Shape) -> usize {
    let lanes = shape.summary_lanes;
    summaries_start(index / lanes, shape) + lanes * at + width * (index % lanes)
}

/// Writes what is known of a block's rows: all of a summary but its marks.
pub fn set_mean(body: &mut Body, index: usize, mean: &Mean, shape: &Shape) {
    put(body, summary_field(index, SPREAD, 2, shape), &narrow(mean.spread));
    let (lanes, start) = (shape.summary_lanes, summaries_start(index / shape.summary_lanes, shape));
    shape.summary.store(&mut body[start..], index % lanes, lanes, &mean.record);
}

/// Writes the list whose centre is a frame of the group's rows, at its place.
pub fn set_frame(body: &mut Body, place: u8, frame: ListId) {
    put(body, GROUP_FRAMES + 4 * usize::from(place), &frame.to_le_bytes());
}

/// Marks a row as there or not.
pub fn set_live(body: &mut Body, slot: usize, live: bool, shape: &Shape) {
    let offset = summary_field(slot / ROWS, LIVE, 4, shape);
    let bit = 1 << (slot % ROWS);
    let word = get_u32(body, offset);
    let word = if live { word | bit } else { word & !bit };
    put(body, offset, &word.to_le_bytes());
}

/// Marks the first rows of a block as there.
pub fn set_first_live(body: &mut Body, index: usize, rows: usize, shape: &Shape) {
    for row in 0..rows {
        set_live(body, index * ROWS + row, true, shape);
    }
    set_used(body, index * ROWS + rows);
}

/// Tells that slots below this one have been used.
pub fn set_used(body: &mut Body, slots: usize) {
    let used = slots.max(get_u16(body, 18).into());
    put(body, 18, &(used as u16).to_le_bytes());
}

/// The estimate's factors that a scale stands for: the error follows from it, because the angle
/// between a rotated vector and its code varies little (0.939 is the cosine for four levels, 0.798 for
/// two: Max, 1960), of a layer of `length` dimensions.
pub fn factors(scale: f32, layer: usize, length: usize) -> Factors {
    let others = (length.max(2) - 1) as f32;
    let error = if layer == 0 { 0.345 * 0.944 } else { 0.603 };
    Factors { scale, error: error * scale.abs() * (length as f32 / others).sqrt() }
}

// References --------------------------------------------------------------------------------

const FIRST_REFERENCE: usize = 24;
const REFERENCE_BYTES: usize = 8;
/// References on a page.
pub const MOST_REFERENCES: usize = (BODY_BYTES - FIRST_REFERENCE) / REFERENCE_BYTES;

/// A page of references, checked.
#[derive(Clone, Copy)]
pub struct References<'a>(&'a Body);

impl<'a> References<'a> {
    /// The references of a list that are on a page.
    ///
    /// # Errors
    /// Damage, where the page has no references of that list, or more than fit.
    pub fn new(body: &'a Body, page: PageNumber, list: ListId) -> Result<Self, Damage> {
        page::check(body, page, Kind::References, list)?;
        let references = Self(body);
        if references.count() > MOST_REFERENCES {
            return Err(damaged(page, "more references than fit"));
        }
        Ok(references)
    }

    /// The next page of references with room, on the stack of them; [`NONE`] at its end.
    pub fn next_open(&self) -> PageNumber {
        get_u32(self.0, 16)
    }

    /// How many references are on the page: [`MOST_REFERENCES`] at most.
    pub fn count(&self) -> usize {
        get_u16(self.0, 20).into()
    }

    /// Each one's row and TID.
    pub fn iter(&self) -> impl Iterator<Item = (u16, Tid)> + use<'a> {
        let bytes = &self.0[FIRST_REFERENCE..][..self.count() * REFERENCE_BYTES];
        bytes.as_chunks::<REFERENCE_BYTES>().0.iter().map(|r| (get_u16(r, 6), get_tid(r)))
    }
}

/// Makes a page one of references that has none yet.
pub fn format_references(body: &mut Body, list: ListId) {
    page::format(body, Kind::References, list);
    set_references_next_open(body, NONE);
}

/// Writes which page of references comes next on the stack of those with room; [`NONE`] at its end.
pub fn set_references_next_open(body: &mut Body, page: PageNumber) {
    put(body, 16, &page.to_le_bytes());
}

/// Puts all of a page's references anew.
pub fn set_all_references(body: &mut Body, references: &[(u16, Tid)]) {
    body[FIRST_REFERENCE..].fill(0);
    put(body, 20, &(references.len() as u16).to_le_bytes());
    for (i, (row, tid)) in references.iter().enumerate() {
        put_reference(body, i, *row, *tid);
    }
}

/// Adds one; there is room.
pub fn add_reference(body: &mut Body, row: u16, tid: Tid) {
    let count = usize::from(get_u16(body, 20));
    put_reference(body, count, row, tid);
    put(body, 20, &(count as u16 + 1).to_le_bytes());
}

fn put_reference(body: &mut Body, index: usize, row: u16, tid: Tid) {
    let offset = FIRST_REFERENCE + index * REFERENCE_BYTES;
    put_tid(body, offset, tid);
    put(body, offset + TID_BYTES, &row.to_le_bytes());
}
