//! The codes of 32 rows, transposed: the scan looks up four bits of all 32 rows at once.
//!
//! ```text
//! byte 32 j + r    r = 0 … 31: byte j of row r's code of a layer (module `bits`): four dimensions of two
//!                  bits, the first lowest, or eight of one bit, the first highest
//! ```
//!
//! A query has, for each half of such a byte, a table of the products that its sixteen values give,
//! as bytes: adding one looked-up byte for each of the tables gives a row's product
//! (André, Kermarrec and Le Scouarnec, "Quick ADC", ICMR 2017).

use mrl_kernels::{CodeLayer, CodeUnit, MOST_COUNTED, TablePair};

use crate::codes::bits::LEVELS;
use crate::codes::layers::LEADING;
use crate::codes::records::LayerPlaces;

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
        // What each of sixteen values stands for, in the first dimension and in the second.
        const FACTORS: [[f32; 16]; 2] = {
            let (mut factors, mut bits) = ([[0.0; 16]; 2], 0);
            while bits < 16 {
                (factors[0][bits], factors[1][bits]) = (LEVELS[bits & 3], LEVELS[bits >> 2]);
                bits += 1;
            }
            factors
        };
        Self::new(query.as_chunks::<2>().0, &FACTORS)
    }

    /// The tables of a rotated query piece of any length for codes of one bit.
    pub fn one_bit(query: &[f32]) -> Self {
        const FACTORS: [[f32; 16]; 4] = {
            let (mut factors, mut bits) = ([[-1.0; 16]; 4], 0);
            while bits < 16 {
                let mut place = 0;
                while place < 4 {
                    if bits & 8 >> place != 0 {
                        factors[place][bits] = 1.0;
                    }
                    place += 1;
                }
                bits += 1;
            }
            factors
        };
        // The first of eight dimensions is the highest bit of the byte: the lower half comes last.
        let mut halves = vec![[0.0; 4]; query.len().div_ceil(8) * 2];
        for (i, four) in query.chunks(4).enumerate() {
            halves[i ^ 1][..four.len()].copy_from_slice(four);
        }
        Self::new(&halves, &FACTORS)
    }

    /// Tables of some parts of a query, by the factors that sixteen values stand for in each of a part's
    /// components; scaled so that the one with the widest range uses all that a kernel's byte may count. The error
    /// of that rounding is a tenth of the code's own, or less.
    fn new<const N: usize>(parts: &[[f32; N]], factors: &[[f32; 16]; N]) -> Self {
        let products = |part: &[f32; N]| -> [f32; 16] {
            let mut products = [0.0; 16];
            for (x, factors) in part.iter().zip(factors) {
                products.iter_mut().zip(factors).for_each(|(sum, factor)| *sum += x * factor);
            }
            products
        };
        // As the factors of a component are symmetric, so are the products.
        let greatest = factors.each_ref().map(|all| all.iter().copied().fold(0.0, f32::max));
        let most = |part: &[f32; N]| -> f32 {
            part.iter().zip(greatest).map(|(x, greatest)| x.abs() * greatest).sum()
        };
        let widest = 2.0 * parts.iter().map(most).fold(0.0, f32::max);
        let step = if widest > 0.0 { widest / f32::from(MOST_COUNTED) } else { 1.0 };
        let per_step = 1.0 / step;
        let bytes = |part: &[f32; N]| -> [u8; 16] {
            let least = -most(part);
            // To the nearest: added to a number whose last bit is one, the sum's last bits are the integer.
            const ONES: f32 = 8_388_608.0;
            products(part).map(|product| ((product - least) * per_step + ONES).to_bits() as u8)
        };
        let pairs = parts.as_chunks::<2>().0;
        Self {
            bytes: pairs.iter().map(|[low, high]| [bytes(low), bytes(high)]).collect(),
            step,
            offset: -parts.iter().map(most).sum::<f32>(),
        }
    }

    /// The layer of codes that lies at these places among a block's bytes; `squared_error` is the squared deviation of
    /// the error of a row whose scale is 1.
    ///
    /// Each table's term of a product is rounded to a byte's unit, so a product is off by
    /// [`Tables::rounding`] at most.
    pub fn layer(&self, places: LayerPlaces, squared_error: f32) -> CodeLayer {
        let unit = CodeUnit { offset: self.offset, step: self.step, squared_error };
        CodeLayer::new(places.codes, places.scales, &self.bytes, unit)
    }

    /// The most by which the bytes' rounding can move a product.
    pub fn rounding(&self) -> f32 {
        self.bytes.len() as f32 * self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::bits::{product_one_bit, product_two_bits};
    use proptest::prelude::*;

    /// Products: scores with scales of 1.
    fn scan(tables: &Tables, codes: &[Vec<u8>]) -> [f32; ROWS] {
        let bytes = (0..codes[0].len()).flat_map(|j| codes.iter().map(move |code| code[j]));
        let mut bytes: Vec<u8> = bytes.collect();
        let places = LayerPlaces { codes: 0, scales: bytes.len() };
        bytes.extend([[0x80, 0x3f]; ROWS].as_flattened());
        let (mut scores, mut squared_errors) = ([0.0; ROWS], [0.0; ROWS]);
        let layers = [tables.layer(places, 0.0)];
        mrl_kernels::score_codes(&bytes, &layers, &mut scores, &mut squared_errors);
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
