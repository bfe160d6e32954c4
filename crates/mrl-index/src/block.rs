//! Layer 0 of 32 rows, transposed: the scan looks up four bits of all 32 rows at once.
//!
//! ```text
//! byte 32 j + r    j = 0 … 15, r = 0 … 31: byte j of row r's two-bit code of 64 dimensions,
//!                  dimensions 4 j … 4 j + 3 of the rotated piece, two bits each, the first lowest
//! ```
//!
//! A query has, for each half of such a byte, a table of the products that its sixteen values give,
//! as bytes: adding one looked-up byte for each of the 32 tables gives a row's product
//! (André, Kermarrec and Le Scouarnec, "Quick ADC", ICMR 2017).

use mrl_kernels::{CodeBytes, CodeUnit, MOST_COUNTED, TablePair, score_codes};

use crate::codes::LEVELS;
use crate::layers::LEADING;

/// Rows of a block.
pub const ROWS: usize = 32;
/// Bytes of one row's code.
pub const CODE_BYTES: usize = LEADING / 4;
/// Bytes of a block.
pub const BLOCK_BYTES: usize = ROWS * CODE_BYTES;
/// Tables of a query: one for two dimensions.
const TABLES: usize = LEADING / 2;

/// 32 rows' codes.
pub type Block = [u8; BLOCK_BYTES];

/// Puts a row's code into a block.
pub fn store(block: &mut Block, row: usize, code: &[u8; CODE_BYTES]) {
    for (j, byte) in code.iter().enumerate() {
        block[ROWS * j + row] = *byte;
    }
}

/// A row's code, out of a block.
pub fn load(block: &Block, row: usize) -> [u8; CODE_BYTES] {
    std::array::from_fn(|j| block[ROWS * j + row])
}

/// What a query gives for every four bits of a code, in bytes.
#[derive(Debug, Clone)]
pub struct Tables {
    bytes: [TablePair; CODE_BYTES],
    /// What a byte's unit stands for.
    step: f32,
    /// What is added to a sum of bytes.
    offset: f32,
}

impl Tables {
    /// The tables of a rotated query piece of 64 components, scaled so that the table with the
    /// widest range uses all that a kernel's byte may count. The error of that rounding is a tenth of the
    /// code's own, or less.
    pub fn new(query: &[f32; LEADING]) -> Self {
        let products: [[f32; 16]; TABLES] = std::array::from_fn(|table| {
            let (first, second) = (query[2 * table], query[2 * table + 1]);
            std::array::from_fn(|bits| first * LEVELS[bits & 3] + second * LEVELS[bits >> 2])
        });
        let least = products.map(|table| table.into_iter().fold(f32::INFINITY, f32::min));
        let most = products.map(|table| table.into_iter().fold(f32::NEG_INFINITY, f32::max));
        let widest = most.iter().zip(&least).map(|(most, least)| most - least).fold(0.0, f32::max);
        let step = if widest > 0.0 { widest / f32::from(MOST_COUNTED) } else { 1.0 };
        let bytes = |table: usize| {
            products[table].map(|product| ((product - least[table]) / step).round() as u8)
        };
        let bytes = std::array::from_fn(|byte| [bytes(2 * byte), bytes(2 * byte + 1)]);
        Self { bytes, step, offset: least.iter().sum() }
    }

    /// The scores of a block's rows: `base`, and of each row its scale (a bfloat16) times the product of
    /// the query with the levels of its code.
    ///
    /// Each of the 32 terms of a product is rounded to a byte's unit, so it is off by
    /// [`Tables::rounding`] at most.
    #[inline]
    pub fn score(
        &self,
        block: &Block,
        scales: &[[u8; 2]; ROWS],
        base: f32,
        scores: &mut [f32; ROWS],
    ) {
        let (codes, _): (&[CodeBytes], _) = block.as_chunks::<ROWS>();
        let unit = CodeUnit { base, offset: self.offset, step: self.step };
        score_codes(codes, &self.bytes, scales, &unit, scores);
    }

    /// The most by which the bytes' rounding can move a product.
    pub fn rounding(&self) -> f32 {
        TABLES as f32 / 2.0 * self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::product_two_bits;
    use proptest::prelude::*;

    /// Products: scores with scales of 1.
    fn scan(tables: &Tables, block: &Block) -> [f32; ROWS] {
        let mut scores = [0.0; ROWS];
        tables.score(block, &[[0x80, 0x3f]; ROWS], 0.0, &mut scores);
        scores
    }

    fn codes() -> impl Strategy<Value = Vec<[u8; CODE_BYTES]>> {
        prop::collection::vec(any::<[u8; CODE_BYTES]>(), ROWS)
    }

    proptest! {
        #[test]
        fn what_is_stored_is_loaded(codes in codes()) {
            let mut block = [0; BLOCK_BYTES];
            codes.iter().enumerate().for_each(|(row, code)| store(&mut block, row, code));
            for (row, code) in codes.iter().enumerate() {
                prop_assert_eq!(&load(&block, row), code);
            }
        }

        #[test]
        fn a_scan_gives_the_products_of_the_codes(
            codes in codes(), query in prop::collection::vec(-3f32..3.0, LEADING),
        ) {
            let mut block = [0; BLOCK_BYTES];
            codes.iter().enumerate().for_each(|(row, code)| store(&mut block, row, code));
            let query: [f32; LEADING] = query.try_into().unwrap();
            let tables = Tables::new(&query);
            let found = scan(&tables, &block);
            for (code, found) in codes.iter().zip(found) {
                let expected = product_two_bits(&query, code);
                prop_assert!((found - expected).abs() <= tables.rounding() + 1e-3);
            }
        }
    }

    #[test]
    fn a_query_of_zeros_and_one_of_extremes() {
        let block = [0b11_10_01_00; BLOCK_BYTES];
        assert_eq!(scan(&Tables::new(&[0.0; LEADING]), &block), [0.0; ROWS]);
        let full = [0xff; BLOCK_BYTES];
        let found = scan(&Tables::new(&[2.0; LEADING]), &full);
        assert!(found.iter().all(|product| (product - 192.0).abs() < 0.1), "{found:?}");
    }
}
