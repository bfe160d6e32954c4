//! How rows lie on pages: everything that follows from the vectors' dimension.
//!
//! A *group* is a page with layer 0 of its rows, which a scan reads whole, and the pages with the rest of
//! each row, of which a scan reads the lines of the few rows that are still in question:
//!
//! ```text
//! GROUP page    offset 16  u16  ordinal of the group in its list
//!               offset 18  u16  rows: slots below this one have been used
//!               offset 20  u32  next group with a free slot, NONE at the end   (a stack)
//!               offset 24  u32  first group with a free slot                   (the list's head only)
//!               offset 28  u32  newest page of references, NONE                (the head only)
//!               offset 32  u32  first page of references with room, NONE       (the head only)
//!               offset 36  u32  × row pages, then × copy pages: their blocks, NONE where not needed yet
//!               then            blocks of 32 rows, slot i in block i / 32
//! a block       512 bytes       two-bit codes of layer 0, transposed (module `block`)
//!               u16 × 32        scale of layer 0, a bfloat16
//!               u16 × 32        term, a bfloat16: the vector's length; under L2 the square of its length
//!                               less that of its frame's
//!               u8  × 32 × b    of each border between layers: length of the prefix up to there, as a
//!                               share of the vector's in 255ths
//!               u32             list whose centre is the frame of these rows
//!               u32             live: bit r is 1 where row r is there
//!               u32             referenced: bit r is 1 where there may be references to row r
//!
//! ROWS page     slot i of the group is on row page i / rows_on_page, at place i % rows_on_page:
//!               offset 16  TID (u32 block, u16 offset), u16 scale × later layers, codes of layers 1 …
//! COPIES page   in the same way: the vector's halfs
//! ```

use crate::block::{BLOCK_BYTES, ROWS};
use crate::layers::Layers;
use crate::page::{BODY_BYTES, TAG_BYTES};

/// The most dimensions of a vector in an index: pgvector's limit for its half-precision indexes.
pub const MOST_DIMENSIONS: usize = 4000;
/// The most layers that such a vector has.
pub const MOST_LAYERS: usize = 18;
/// Where a group's page has the blocks of its other pages.
pub const GROUP_POINTERS: usize = 36;
/// Bytes of a TID.
pub const TID_BYTES: usize = 6;

/// The places of things on the pages of one index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub dimensions: usize,
    pub layers: Layers,
    /// Bytes of one row on a row page.
    pub entry_bytes: usize,
    pub rows_on_page: usize,
    pub row_pages: usize,
    /// Vectors on a copy page; 0 where the index keeps no copies.
    pub copies_on_page: usize,
    pub copy_pages: usize,
    pub block_bytes: usize,
    /// Where the first block of a group's page begins.
    pub first_block: usize,
    /// Rows of a full group.
    pub group_rows: usize,
}

impl Shape {
    /// # Panics
    /// For a dimension outside 1 … [`MOST_DIMENSIONS`].
    pub fn new(dimensions: usize, copies: bool) -> Self {
        assert!((1..=MOST_DIMENSIONS).contains(&dimensions), "no such index");
        let layers = Layers::of(dimensions);
        let later = 1..layers.count();
        let codes: usize = later.clone().map(|layer| layers.code_bytes(layer)).sum();
        let entry_bytes = TID_BYTES + 2 * later.len() + codes;
        let rows_on_page = (BODY_BYTES - TAG_BYTES) / entry_bytes;
        let copies_on_page = if copies { (BODY_BYTES - TAG_BYTES) / (2 * dimensions) } else { 0 };
        let block_bytes = BLOCK_BYTES + 4 * ROWS + later.len() * ROWS + 12;
        let fits = |rows: usize| {
            let row_pages = rows.div_ceil(rows_on_page);
            let copy_pages = if copies { rows.div_ceil(copies_on_page) } else { 0 };
            let first_block = (GROUP_POINTERS + 4 * (row_pages + copy_pages)).next_multiple_of(8);
            let fits = first_block + rows.div_ceil(ROWS) * block_bytes <= BODY_BYTES;
            fits.then_some((row_pages, copy_pages, first_block))
        };
        // Of all numbers of rows that fit, the one that takes the fewest bytes a row.
        let bytes_a_row =
            |rows: usize| fits(rows).map(|(row_pages, _, _)| (1 + row_pages) as f64 / rows as f64);
        let (mut group_rows, mut fewest) = (1, f64::INFINITY);
        for rows in 1..=11 * ROWS {
            if let Some(bytes) = bytes_a_row(rows)
                && bytes < fewest
            {
                (group_rows, fewest) = (rows, bytes);
            }
        }
        let (row_pages, copy_pages, first_block) = fits(group_rows).unwrap_or_default();
        Self {
            dimensions,
            layers,
            entry_bytes,
            rows_on_page,
            row_pages,
            copies_on_page,
            copy_pages,
            block_bytes,
            first_block,
            group_rows,
        }
    }

    pub fn keeps_copies(&self) -> bool {
        self.copies_on_page > 0
    }

    /// Borders between layers, of which each row has its prefix's length.
    pub fn inner_borders(&self) -> usize {
        self.layers.count() - 1
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
        for (dimensions, rows, pages, most) in [(384, 312, 2, 78.8), (768, 316, 4, 129.7)] {
            let shape = Shape::new(dimensions, false);
            assert_eq!((shape.group_rows, shape.row_pages), (rows, pages));
            let bytes = 8192.0 * (1 + pages) as f64 / rows as f64;
            assert!(bytes <= most, "{dimensions}: {bytes}");
        }
    }

    #[test]
    fn every_dimension_fits() {
        for dimensions in 1..=MOST_DIMENSIONS {
            for copies in [false, true] {
                let shape = Shape::new(dimensions, copies);
                assert!(shape.group_rows >= 5, "{dimensions}");
                assert!(shape.row_pages * shape.rows_on_page >= shape.group_rows);
                assert!(
                    shape.copy_pages * shape.copies_on_page
                        >= if copies { shape.group_rows } else { 0 }
                );
                assert!(shape.layers.count() <= MOST_LAYERS);
                assert!(shape.frames_on_page() > 0);
            }
        }
    }
}
