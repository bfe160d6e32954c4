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
//!               offset 36  u32  × 32: lists whose centres are the frames of rows, 0 where not used yet
//!               offset 164 u32  × row pages, then × copy pages: their blocks, NONE where not needed yet
//!               then            summaries of blocks (module `group`)
//!
//! ROWS page     offset 16       8,128 bytes of the group's blocks, one block after another
//! a block       6 bytes  × 32   TIDs (u32 block, u16 offset)
//!               u8       × 32   frames: places among the group's
//!               16 bytes × 32   two-bit codes of layer 0, transposed (module `block`)
//!               u16      × 32   scale of layer 0, a bfloat16
//!               u16      × 32   term, a bfloat16: the vector's length; under L2 the square of its length
//!                               less that of its frame's
//!               u8       × 32   of each border between layers: length of the prefix up to there, as a
//!                               share of the vector's in 255ths
//!               of each later layer:
//!               n bytes  × 32   one-bit codes, transposed
//!               u16      × 32   scale of the layer, a bfloat16
//!
//! COPIES page   offset 16       the vectors' halfs, slot i at place i % copies on a page
//! ```
//!
//! A block may begin on one row page and end on another, but its TIDs are on one, and it takes no more
//! pages than it must, of two or more: a change of a row has to fit one record of the log.

use crate::block::{CODE_BYTES, ROWS};
use crate::layers::Layers;
use crate::page::{BODY_BYTES, TAG_BYTES};
use crate::store::MOST_PAGES;

/// The most dimensions of a vector in an index: pgvector's limit for its half-precision indexes.
pub const MOST_DIMENSIONS: usize = 4000;
/// The most layers that such a vector has.
pub const MOST_LAYERS: usize = 18;
/// Where a group's page has the lists whose centres are frames of its rows.
pub const GROUP_FRAMES: usize = 36;
/// The most frames of a group's rows: a block's may all differ.
pub const MOST_FRAMES: usize = ROWS;
/// Where a group's page has the blocks of its other pages.
pub const GROUP_POINTERS: usize = GROUP_FRAMES + 4 * MOST_FRAMES;
/// Bytes of a TID.
pub const TID_BYTES: usize = 6;
/// Bytes of a row before its record: its TID, and its frame's place.
pub const HEAD_BYTES: usize = TID_BYTES + 1;
/// Bytes of blocks on a row page: whole codes of 32 rows' bytes.
pub const ROW_PAGE_BYTES: usize = (BODY_BYTES - TAG_BYTES) / ROWS * ROWS;
/// The most blocks of a group, however small they are.
const MOST_BLOCKS: usize = 128;
/// Bytes of a summary that do not depend on the dimension: two words of marks, term.
const SUMMARY_BYTES: usize = 10;

/// The places of things on the pages of one index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub dimensions: usize,
    pub layers: Layers,
    /// Bytes of a row in its block, without its TID and its frame's place.
    pub record_bytes: usize,
    pub block_bytes: usize,
    pub summary_bytes: usize,
    /// Where the first summary of a group's page begins.
    pub first_summary: usize,
    /// Blocks and rows of a full group.
    pub group_blocks: usize,
    pub group_rows: usize,
    pub row_pages: usize,
    /// Vectors on a copy page; 0 where the index keeps no copies.
    pub copies_on_page: usize,
    pub copy_pages: usize,
    /// The most row pages that a block lies on.
    pub block_pages: usize,
    /// Of each layer: where its codes begin in a row's bytes, head included, and where they end.
    codes: Vec<(usize, usize)>,
    /// Of each block: where it begins among the bytes of all row pages.
    starts: Vec<usize>,
}

impl Shape {
    /// # Panics
    /// For a dimension outside 1 … [`MOST_DIMENSIONS`].
    pub fn new(dimensions: usize, copies: bool) -> Self {
        assert!((1..=MOST_DIMENSIONS).contains(&dimensions), "no such index");
        let layers = Layers::of(dimensions);
        let inner_borders = layers.count() - 1;
        let later_codes: usize = (1..layers.count()).map(|layer| layers.code_bytes(layer)).sum();
        let record_bytes = CODE_BYTES + later_codes + 2 * layers.count() + 2 + inner_borders;
        let block_bytes = (HEAD_BYTES + record_bytes) * ROWS;
        let centre_codes: usize =
            (0..layers.count()).map(|layer| layers.range(layer).len().div_ceil(8)).sum();
        let summary_bytes = SUMMARY_BYTES + inner_borders + 2 * layers.count() + centre_codes;
        let copies_on_page = if copies { (BODY_BYTES - TAG_BYTES) / (2 * dimensions) } else { 0 };
        let block_pages = block_bytes.div_ceil(ROW_PAGE_BYTES).max(2);
        let mut shape = Self {
            dimensions,
            layers,
            record_bytes,
            block_bytes,
            summary_bytes,
            first_summary: 0,
            group_blocks: 0,
            group_rows: 0,
            row_pages: 0,
            copies_on_page,
            copy_pages: 0,
            block_pages,
            codes: vec![(HEAD_BYTES, HEAD_BYTES + CODE_BYTES)],
            starts: Vec::new(),
        };
        let mut next = shape.term_at() + 2 + inner_borders;
        for layer in 1..shape.layers.count() {
            let end = next + shape.layers.code_bytes(layer);
            shape.codes.push((next, end));
            next = end + 2;
        }
        while shape.starts.len() < MOST_BLOCKS {
            let start = shape.next_start();
            let row_pages = (start + block_bytes).div_ceil(ROW_PAGE_BYTES);
            let blocks = shape.starts.len() + 1;
            let copy_pages = if copies { (blocks * ROWS).div_ceil(copies_on_page) } else { 0 };
            let first_summary = GROUP_POINTERS + 4 * (row_pages + copy_pages);
            if first_summary + blocks * summary_bytes > BODY_BYTES {
                break;
            }
            shape.starts.push(start);
            (shape.row_pages, shape.copy_pages) = (row_pages, copy_pages);
            (shape.first_summary, shape.group_blocks) = (first_summary, blocks);
            shape.group_rows = blocks * ROWS;
        }
        shape
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

    pub fn keeps_copies(&self) -> bool {
        self.copies_on_page > 0
    }

    /// Whether a row's pages can be written by one change: its group's, its block's, its copy's.
    pub fn row_fits_a_change(&self) -> bool {
        1 + self.block_pages + usize::from(self.keeps_copies()) <= MOST_PAGES
    }

    /// Borders between layers, of which each row has its prefix's length.
    pub fn inner_borders(&self) -> usize {
        self.layers.count() - 1
    }

    /// Where a layer's codes begin in a row's bytes, head included; its scale follows them.
    #[inline]
    pub fn codes_at(&self, layer: usize) -> usize {
        self.codes[layer].0
    }

    /// Bytes of a row's code of a layer, as it lies in a block.
    #[inline]
    pub fn code_bytes(&self, layer: usize) -> usize {
        let (start, end) = self.codes[layer];
        end - start
    }

    /// Where a row's term is in its bytes, head included; the shares follow it.
    #[inline]
    pub fn term_at(&self) -> usize {
        HEAD_BYTES + CODE_BYTES + 2
    }

    /// The bytes of a block that a query of layer 0 reads, from which on and how many.
    pub fn leading_bytes(&self) -> (usize, usize) {
        let end = self.term_at() + 2 + self.inner_borders();
        (ROWS * HEAD_BYTES, ROWS * (end - HEAD_BYTES))
    }

    /// Frames on a page of them.
    pub fn frames_on_page(&self) -> usize {
        (BODY_BYTES - TAG_BYTES) / (2 * self.dimensions)
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
                let last = shape.layers.count() - 1;
                let record = match last {
                    0 => shape.term_at() + 2,
                    _ => shape.codes_at(last) + shape.code_bytes(last) + 2,
                };
                assert_eq!(record, HEAD_BYTES + shape.record_bytes);
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
