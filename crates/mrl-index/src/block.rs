//! The codes of 32 rows, transposed: the scan looks up four bits of all 32 rows at once.
//!
//! ```text
//! byte 32 j + r    r = 0 … 31: byte j of row r's code of a layer (module `codes`): four dimensions of two
//!                  bits, the first lowest, or eight of one bit, the first highest
//! ```
//!
//! A query has, for each half of such a byte, a table of the products that its sixteen values give,
//! as bytes: adding one looked-up byte for each of the tables gives a row's product
//! (André, Kermarrec and Le Scouarnec, "Quick ADC", ICMR 2017).

use mrl_kernels::{CodeBytes, CodeScales, CodeUnit, MOST_COUNTED, TablePair, score_codes};

use crate::codes::LEVELS;
use crate::layers::LEADING;

/// Rows of a block.
pub const ROWS: usize = 32;
/// Bytes of one row's code of layer 0.
pub const CODE_BYTES: usize = LEADING / 4;

/// What a query gives for every four bits of a layer's code, in bytes.
#[derive(Debug, Clone)]
pub struct Tables {
    bytes: Vec<TablePair>,
    /// What a byte's unit stands for.
    step: f32,
    /// What is added to a sum of bytes.
    offset: f32,
}

impl Tables {
    /// The tables of a rotated query piece for codes of two bits.
    pub fn two_bits(query: &[f32; LEADING]) -> Self {
        Self::new(query.as_chunks::<2>().0, |[first, second], bits| {
            first * LEVELS[bits & 3] + second * LEVELS[bits >> 2]
        })
    }

    /// The tables of a rotated query piece of any length for codes of one bit.
    pub fn one_bit(query: &[f32]) -> Self {
        // The first of eight dimensions is the highest bit of the byte: the lower half comes last.
        let halves = query.chunks(8).flat_map(|eight| {
            let mut all = [0.0; 8];
            all[..eight.len()].copy_from_slice(eight);
            let [a, b, c, d, e, f, g, h] = all;
            [[e, f, g, h], [a, b, c, d]]
        });
        Self::new(&halves.collect::<Vec<_>>(), |four, bits| {
            let signed =
                four.iter().enumerate().map(|(i, x)| if bits & 8 >> i != 0 { *x } else { -x });
            signed.sum()
        })
    }

    /// Tables scaled so that the one with the widest range uses all that a kernel's byte may count. The error of
    /// that rounding is a tenth of the code's own, or less.
    fn new<P: Copy>(parts: &[P], product: impl Fn(P, usize) -> f32) -> Self {
        let products: Vec<[f32; 16]> =
            parts.iter().map(|part| std::array::from_fn(|bits| product(*part, bits))).collect();
        let least = |table: &[f32; 16]| table.iter().copied().fold(f32::INFINITY, f32::min);
        let most = |table: &[f32; 16]| table.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let widest = products.iter().map(|table| most(table) - least(table)).fold(0.0, f32::max);
        let step = if widest > 0.0 { widest / f32::from(MOST_COUNTED) } else { 1.0 };
        let per_step = 1.0 / step;
        let bytes = |table: &[f32; 16]| {
            let least = least(table);
            // To the nearest, as all are positive.
            table.map(|product| ((product - least) * per_step + 0.5) as u8)
        };
        let pairs = products.as_chunks::<2>().0;
        Self {
            bytes: pairs.iter().map(|[low, high]| [bytes(low), bytes(high)]).collect(),
            step,
            offset: products.iter().map(least).sum(),
        }
    }

    /// Adds to the score of each row of a block its scale times the product of the query with the levels of
    /// its code.
    ///
    /// Each table's term of a product is rounded to a byte's unit, so it is off by [`Tables::rounding`] at most.
    #[inline]
    pub fn score(&self, codes: &[CodeBytes], scales: &CodeScales, scores: &mut [f32; ROWS]) {
        let unit = CodeUnit { offset: self.offset, step: self.step };
        score_codes(&codes[..self.bytes.len()], &self.bytes, scales, &unit, scores);
    }

    /// The most by which the bytes' rounding can move a product.
    pub fn rounding(&self) -> f32 {
        self.bytes.len() as f32 * self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::{product_one_bit, product_two_bits};
    use proptest::prelude::*;

    /// Products: scores with scales of 1.
    fn scan(tables: &Tables, codes: &[Vec<u8>]) -> [f32; ROWS] {
        let transposed: Vec<CodeBytes> =
            (0..codes[0].len()).map(|j| std::array::from_fn(|row| codes[row][j])).collect();
        let mut scores = [0.0; ROWS];
        tables.score(&transposed, &[[0x80, 0x3f]; ROWS], &mut scores);
        scores
    }

    fn codes(bytes: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), bytes), ROWS)
    }

    proptest! {
        #[test]
        fn a_scan_gives_the_products_of_codes_of_two_bits(
            codes in codes(CODE_BYTES), query in prop::collection::vec(-3f32..3.0, LEADING),
        ) {
            let query: [f32; LEADING] = query.try_into().unwrap();
            let tables = Tables::two_bits(&query);
            for (code, found) in codes.iter().zip(scan(&tables, &codes)) {
                let expected = product_two_bits(&query, code);
                prop_assert!((found - expected).abs() <= tables.rounding() + 1e-3);
            }
        }

        #[test]
        fn a_scan_gives_the_products_of_codes_of_one_bit(
            (query, codes) in (1usize..200).prop_flat_map(|length| (
                prop::collection::vec(-3f32..3.0, length), codes(length.div_ceil(8)),
            )),
        ) {
            let tables = Tables::one_bit(&query);
            for (code, found) in codes.iter().zip(scan(&tables, &codes)) {
                let expected = product_one_bit(&query, code);
                prop_assert!((found - expected).abs() <= tables.rounding() + 1e-3);
            }
        }
    }

    #[test]
    fn a_query_of_zeros_and_one_of_extremes() {
        let tables = Tables::two_bits(&[0.0; LEADING]);
        assert_eq!(scan(&tables, &vec![vec![0b11_10_01_00; CODE_BYTES]; ROWS]), [0.0; ROWS]);
        let tables = Tables::two_bits(&[2.0; LEADING]);
        let found = scan(&tables, &vec![vec![0xff; CODE_BYTES]; ROWS]);
        assert!(found.iter().all(|product| (product - 192.0).abs() < 0.1), "{found:?}");
    }
}
