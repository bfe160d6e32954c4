//! How rows lie on pages: everything that follows from the vectors' dimension.
//!
//! 32 rows that belong together are a *block*. A *group* is a page with what all its blocks are about, which
//! a scan reads whole, and the pages with the blocks themselves, of which a scan reads the few that lie near:
//!
//! ```text
//! GROUP page    offset 16  u16  ordinal of the group in its list
//!               offset 18  u16  rows: slots below this one have been used; slot i is in block i / 32
//!               offset 20  u32  next group with a free slot, NONE at the end   (a stack)
//!               offset 24  u32  first group with a free slot                   (the list's head only)
//!               offset 28  u32  newest page of references, NONE                (the head only)
//!               offset 32  u32  first page of references with room, NONE       (the head only)
//!               offset 36  u32  × frames: lists whose centres are the frames of rows, 0 where not used yet
//!               then       u32  × row pages, then × copy pages: their numbers, NONE where not needed yet
//!               then            summaries of blocks, 32 side by side (modules `group` and `records`); where
//!                               fewer fit the page, as many as do
//!
//! ROWS page     offset 40       8,128 bytes of the group's blocks, one block after another
//! a block       32 rows side by side (module `records`); a row's head:
//!               6 bytes         TID (u32 page of the table, u16 offset)
//!               u8              place of its frame among the group's
//!               the code of layer 0 has two bits a dimension
//!
//! COPIES page   offset 16       the vectors' halfs, slot i at place i % copies on a page
//! ```
//!
//! A block may begin on one row page and end on another, but its TIDs are on one, and it takes no more
//! pages than it must, of two or more: a change of a row has to fit one record of the log.

use crate::codes::block::{CODE_BYTES, ROWS};
use crate::codes::layers::{LEADING, Layers};
use crate::codes::records::{Form, LANES};
use crate::pages::page::{BODY_BYTES, TAG_BYTES};
use crate::pages::store::MOST_PAGES;

/// The most dimensions of a vector in an index: pgvector's limit for its half-precision indexes.
pub const MOST_DIMENSIONS: usize = 4000;
/// The most layers that such a vector has.
pub const MOST_LAYERS: usize = 18;
/// Where a group's page has the lists whose centres are frames of its rows.
pub const GROUP_FRAMES: usize = 36;
/// How many frames a group's rows have at most, where there is room: so many that lists of rows whose vectors are not
/// in memory, which keep the frames that they had, fit a group.
const MOST_FRAMES: usize = 128;
/// And where there is little: those of a block may all differ.
const LEAST_FRAMES: usize = ROWS;
/// Bytes of a TID.
pub const TID_BYTES: usize = 6;
/// Bytes of blocks on a row page: whole lines of the processor's caches.
pub const ROW_PAGE_BYTES: usize = (BODY_BYTES - TAG_BYTES) / CACHE_LINE * CACHE_LINE;
/// Where they begin in its body.
pub const ROW_PAGE_START: usize = BODY_BYTES - ROW_PAGE_BYTES;
const CACHE_LINE: usize = 64;
const PAGE_BYTES: usize = 8192;
/// The most blocks of a group, however small they are.
const MOST_BLOCKS: usize = 128;
/// A row's head: its TID, its frame's place.
const ROW_HEAD: &[usize] = &[TID_BYTES, 1];
/// A summary's head: which rows are there, their spread.
const SUMMARY_HEAD: &[usize] = &[4, 2];

/// What the codes of means have; each dimension of a row's means one bit, where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MeanCodes {
    /// Bits of each leading dimension: one or two.
    leading_bits: usize,
    /// Rotated components that the code of the last layer leaves out.
    left_out: usize,
}

/// The places of things on the pages of one index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Of the vectors: 1 to [`MOST_DIMENSIONS`].
    pub dimensions: usize,
    /// The layers that the vectors are cut into.
    pub layers: Layers,
    /// How rows lie in their block.
    pub row: Form,
    /// How summaries lie beside each other, and what their codes have.
    pub summary: Form,
    means: MeanCodes,
    /// Bytes of a block, with its rows' heads.
    pub block_bytes: usize,
    /// The most frames of a group's rows.
    pub group_frames: usize,
    /// Where the first summary of a group's page begins.
    pub first_summary: usize,
    /// How many lie side by side.
    pub summary_lanes: usize,
    /// Blocks of a full group: fewer than 32, or a multiple of that, 128 at most.
    pub group_blocks: usize,
    /// Slots of a full group, 32 a block.
    pub group_rows: usize,
    /// Row pages of a full group.
    pub row_pages: usize,
    /// Vectors on a copy page; 0 where the index keeps no copies.
    pub copies_on_page: usize,
    /// Copy pages of a full group; 0 where the index keeps no copies.
    pub copy_pages: usize,
    /// The most row pages that a block lies on.
    pub block_pages: usize,
    /// Of each block: where it begins among the bytes of all row pages.
    starts: Vec<usize>,
}

impl Shape {
    /// That of an index of vectors of so many dimensions, which keeps copies of them or not.
    ///
    /// # Panics
    /// For a dimension outside 1 … [`MOST_DIMENSIONS`].
    pub fn new(dimensions: usize, copies: bool) -> Self {
        assert!((1..=MOST_DIMENSIONS).contains(&dimensions), "no such index");
        // Means have two bits a leading dimension too where that takes no room from blocks; if need be in the place of
        // a quarter of the last layer.
        let of = |leading_bits, left_out| {
            Self::of(dimensions, copies, MeanCodes { leading_bits, left_out })
        };
        let plain = of(1, 0);
        let last = plain.layers.range(plain.layers.count() - 1).len();
        let left_out: &[usize] = if last >= 4 * LEADING { &[0, LEADING] } else { &[0] };
        let two_bits = left_out.iter().map(|left_out| of(2, *left_out));
        two_bits.into_iter().find(|two| two.group_blocks >= plain.group_blocks).unwrap_or(plain)
    }

    fn of(dimensions: usize, copies: bool, means: MeanCodes) -> Self {
        let layers = Layers::of(dimensions);
        let later = |layer| layers.code_bytes(layer);
        let rows = [CODE_BYTES].into_iter().chain((1..layers.count()).map(later));
        let row = Form::new(ROW_HEAD, rows);
        let leading = LEADING * means.leading_bits / 8;
        let later = |layer| means.components(&layers, layer).div_ceil(8);
        let codes = [leading].into_iter().chain((1..layers.count()).map(later));
        let summary = Form::new(SUMMARY_HEAD, codes);
        let block_bytes = ROWS * row.bytes;
        let copies_on_page = if copies { (BODY_BYTES - TAG_BYTES) / (2 * dimensions) } else { 0 };
        let mut shape = Self {
            dimensions,
            layers,
            row,
            summary,
            means,
            block_bytes,
            group_frames: LEAST_FRAMES,
            first_summary: 0,
            summary_lanes: 0,
            group_blocks: 0,
            group_rows: 0,
            row_pages: 0,
            copies_on_page,
            copy_pages: 0,
            block_pages: block_bytes.div_ceil(ROW_PAGE_BYTES).max(2),
            starts: Vec::new(),
        };
        while shape.starts.len() < MOST_BLOCKS {
            let start = shape.next_start();
            shape.starts.push(start);
            if shape.summaries_end(shape.starts.len()) > BODY_BYTES {
                shape.starts.pop();
                break;
            }
        }
        let most = shape.starts.len();
        shape.group_blocks = if most < LANES { most } else { most / LANES * LANES };
        shape.starts.truncate(shape.group_blocks);
        shape.summary_lanes = shape.group_blocks.min(LANES);
        shape.group_rows = shape.group_blocks * ROWS;
        (shape.row_pages, shape.copy_pages) = shape.other_pages(shape.group_blocks);
        for frames in LEAST_FRAMES..=MOST_FRAMES {
            let with = Self { group_frames: frames, ..shape.clone() };
            if with.summaries_end(shape.group_blocks) <= BODY_BYTES {
                shape.group_frames = frames;
            }
        }
        shape.first_summary = shape.first_summary_of(shape.group_blocks);
        shape
    }

    /// Where a group's page has the numbers of its other pages.
    #[inline]
    pub fn pointers_at(&self) -> usize {
        GROUP_FRAMES + 4 * self.group_frames
    }

    /// The row pages and copy pages of the first so many blocks.
    fn other_pages(&self, blocks: usize) -> (usize, usize) {
        let end = self.starts[blocks - 1] + self.block_bytes;
        let copies = match self.keeps_copies() {
            true => (blocks * ROWS).div_ceil(self.copies_on_page),
            false => 0,
        };
        (end.div_ceil(ROW_PAGE_BYTES), copies)
    }

    fn first_summary_of(&self, blocks: usize) -> usize {
        let (rows, copies) = self.other_pages(blocks);
        // Behind the server's header of a page whole lines.
        let header = PAGE_BYTES - BODY_BYTES;
        (header + self.pointers_at() + 4 * (rows + copies)).next_multiple_of(CACHE_LINE) - header
    }

    /// Where the summaries of so many blocks end.
    fn summaries_end(&self, blocks: usize) -> usize {
        self.first_summary_of(blocks) + blocks * self.summary.bytes
    }

    /// Where the block after the last one begins.
    fn next_start(&self) -> usize {
        let Some(last) = self.starts.last() else { return 0 };
        let start = last + self.block_bytes;
        let in_page = start % ROW_PAGE_BYTES;
        let tids_are_cut = in_page + TID_BYTES * ROWS > ROW_PAGE_BYTES;
        let pages = (in_page + self.block_bytes).div_ceil(ROW_PAGE_BYTES);
        match tids_are_cut || pages > self.block_pages {
            true => start.next_multiple_of(ROW_PAGE_BYTES),
            false => start,
        }
    }

    /// Where a block begins among the bytes of all row pages.
    #[inline]
    pub fn start(&self, block: usize) -> usize {
        self.starts[block]
    }

    /// The row page, of its group's, on which a block begins, where in its body, and how many of the block's bytes are
    /// there.
    #[inline]
    pub fn place(&self, block: usize) -> (usize, usize, usize) {
        let (page, offset) =
            (self.starts[block] / ROW_PAGE_BYTES, self.starts[block] % ROW_PAGE_BYTES);
        (page, ROW_PAGE_START + offset, self.block_bytes.min(ROW_PAGE_BYTES - offset))
    }

    /// Bits a dimension of a summary's code of a layer.
    pub fn bits_of_means(&self, layer: usize) -> usize {
        if layer == 0 { self.means.leading_bits } else { 1 }
    }

    /// How many of a layer's rotated components a summary's code has, the first ones.
    pub fn components_of_means(&self, layer: usize) -> usize {
        self.means.components(&self.layers, layer)
    }

    /// Whether the index keeps the vectors' halfs beside their codes, for exact distances.
    pub fn keeps_copies(&self) -> bool {
        self.copies_on_page > 0
    }

    /// Whether a row's pages can be written by one change: its group's, its block's, its copy's.
    pub fn row_fits_a_change(&self) -> bool {
        1 + self.block_pages + usize::from(self.keeps_copies()) <= MOST_PAGES
    }

    /// Borders between layers, of which each row has its prefix's length.
    pub fn inner_borders(&self) -> usize {
        self.row.inner_borders()
    }

    /// Frames on a page of them.
    pub fn frames_on_page(&self) -> usize {
        (BODY_BYTES - TAG_BYTES) / (2 * self.dimensions)
    }
}

impl MeanCodes {
    fn components(&self, layers: &Layers, layer: usize) -> usize {
        let all = layers.range(layer).len();
        if layer + 1 == layers.count() { all - self.left_out } else { all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_a_row_of_common_dimensions() {
        for (dimensions, most) in [(384, 82.0), (768, 134.0)] {
            let shape = Shape::new(dimensions, false);
            // A list of 1,600 rows.
            let pages = 1 + (shape.start(49) + shape.block_bytes).div_ceil(ROW_PAGE_BYTES);
            let bytes = 8192.0 * pages as f64 / 1600.0;
            assert!(bytes <= most, "{dimensions}: {bytes}");
        }
    }

    /// Two bits a leading dimension of a block's mean where they take no room from blocks.
    #[test]
    fn means_have_two_bits_where_there_is_room() {
        let expected = [(384, 2, 128, 96), (768, 2, 192, 64), (800, 2, 32, 32), (1024, 2, 256, 32)];
        for (dimensions, bits, last, blocks) in expected {
            let shape = Shape::new(dimensions, false);
            let of_last = shape.components_of_means(shape.layers.count() - 1);
            assert_eq!(
                (shape.bits_of_means(0), of_last, shape.group_blocks),
                (bits, last, blocks),
                "{dimensions}"
            );
            assert_eq!(shape.bits_of_means(1), 1);
        }
    }

    #[test]
    fn every_dimension_fits() {
        for dimensions in 1..=MOST_DIMENSIONS {
            for copies in [false, true] {
                let shape = Shape::new(dimensions, copies);
                assert!(shape.group_blocks > 0, "{dimensions}");
                assert!(shape.layers.count() <= MOST_LAYERS);
                assert!(shape.frames_on_page() > 0);
                // With its group's page in one change; its copy may need another.
                assert!(shape.block_pages < MOST_PAGES, "{dimensions}");
                let end = shape.first_summary + shape.group_blocks * shape.summary.bytes;
                assert!(
                    end <= BODY_BYTES && shape.group_blocks.is_multiple_of(shape.summary_lanes)
                );
                assert!(
                    shape.first_summary
                        >= shape.pointers_at() + 4 * (shape.row_pages + shape.copy_pages)
                );
                assert!(
                    shape.copy_pages * shape.copies_on_page
                        >= if copies { shape.group_rows } else { 0 }
                );
                for block in 0..shape.group_blocks {
                    let (start, end) = (shape.start(block), shape.start(block) + shape.block_bytes);
                    let pages = (end - 1) / ROW_PAGE_BYTES - start / ROW_PAGE_BYTES + 1;
                    assert!(pages <= shape.block_pages && end <= shape.row_pages * ROW_PAGE_BYTES);
                    let tids_end = start + TID_BYTES * ROWS - 1;
                    assert_eq!(start / ROW_PAGE_BYTES, tids_end / ROW_PAGE_BYTES);
                    assert!(block == 0 || start >= shape.start(block - 1) + shape.block_bytes);
                }
            }
        }
    }
}
