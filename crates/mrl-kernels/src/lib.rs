//! Numeric kernels over half-precision vectors: products, distances, signs, conversions.
//!
//! Pure Rust without PostgreSQL; depends on `half` and the standard library only.
//!
//! `scalar` defines what each kernel computes. Every other instruction set is a translation of
//! it, tested against an independent reference; the best one this processor has is chosen once,
//! at the first call.
//!
//! | module | what it holds |
//! |---|---|
//! | `scalar` | the definition, in plain Rust |
//! | `generic`, `products` | each algorithm once, over the trait `InstructionSet` |
//! | `arch` | that trait for AVX2, AVX-512 and NEON; the only place with `unsafe` |
//! | `dispatch` | detection, and the table of functions that a set provides |
//!
//! # Precision
//!
//! The vector sets accumulate in f32, in at least 32 separate sums that are added at the end ([`products`]: in 8, and n
//! / 8 is in the bound below); the scalar set accumulates in f64. With `n` dimensions the absolute error of a result is
//! at most `(n / 32 + 12) · 2⁻²⁴ · Σ|term|`, where the terms are what the kernel sums (`a·b`, `(a − b)²`, `|a − b|`,
//! …). Products of two halfs are exact in f32, and no finite input up to 16,000 dimensions overflows. Results of
//! different sets may differ within that bound; conversions, signs and [`add_to_sums`] agree bit for bit (for NaN: in
//! being NaN).
//!
//! # Lengths
//!
//! Functions of two slices require matching lengths and panic otherwise. The caller has checked
//! the lengths before and reported a mismatch in its own words; the check here is a last defence.
//! Any length, including 0, and any alignment will do.

mod arch;
mod dispatch;
mod generic;
mod products;
mod scalar;

pub use dispatch::{Kernels, available, chosen, instruction_set};
use half::f16;

/// The three sums of a cosine: cos = dot / √(a_squared · b_squared).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CosineTerms {
    /// Σ a·b
    pub dot: f32,
    /// Σ a²
    pub a_squared: f32,
    /// Σ b²
    pub b_squared: f32,
}

/// The two sums that compare a prefix of a stored vector with a query whose norm is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PrefixTerms {
    /// Σ a·b
    pub dot: f32,
    /// Σ a²
    pub a_squared: f32,
}

/// One byte of the codes of 32 rows: two numbers of four bits a row.
pub type CodeBytes = [u8; 32];
/// What the sixteen values of the low four bits of a byte count, then those of the high four: at most
/// [`MOST_COUNTED`] each, so that four of them fit a byte.
pub type TablePair = [[u8; 16]; 2];
/// The most that a table counts.
pub const MOST_COUNTED: u8 = 63;
/// A scale for each of 32 rows: a bfloat16, as it lies in memory.
pub type CodeScales = [[u8; 2]; 32];
/// A score for each of 32 rows, or the squared deviation of its error.
pub type CodeScores = [f32; 32];
/// A sum for each of 32 rows.
pub(crate) type CodeSums = [u16; 32];
/// The tables of two bytes of a code, in the order in which the widest registers take them: those of the low four bits
/// of the first byte, twice, and of the second, twice; then those of the high four bits so.
pub(crate) type TablesOfTwo = [[u8; 16]; 8];

/// The two tables of the first or the second byte of two.
#[inline(always)]
pub(crate) fn tables_of(both: &TablesOfTwo, byte: usize) -> [&[u8; 16]; 2] {
    [&both[2 * byte], &both[4 + 2 * byte]]
}

/// What a sum of looked-up bytes stands for: `scale · (offset + step · sum)`, the scale being the row's own, with an
/// error of the squared deviation `scale² · squared_error`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CodeUnit {
    pub offset: f32,
    pub step: f32,
    pub squared_error: f32,
}

/// With more pairs of tables a sum could pass 65,535.
pub const MOST_TABLE_PAIRS: usize = 512;

/// What a query gives for one layer of the codes of 32 rows, and where those lie among the rows' bytes.
#[derive(Clone, Debug)]
pub struct CodeLayer {
    codes_at: usize,
    scales_at: usize,
    /// Bytes of a row's code.
    bytes: usize,
    tables: Vec<TablesOfTwo>,
    unit: CodeUnit,
}

impl CodeLayer {
    /// Byte j of row r's code lies `codes_at + 32 j + r` bytes from the start, the rows' scales ([`CodeScales`]) from
    /// `scales_at` on; `tables[j]` are those of byte j, and a sum of what they count stands for `unit`.
    ///
    /// # Panics
    /// For more than [`MOST_TABLE_PAIRS`].
    pub fn new(codes_at: usize, scales_at: usize, tables: &[TablePair], unit: CodeUnit) -> Self {
        assert!(tables.len() <= MOST_TABLE_PAIRS, "sums of so many bytes would overflow");
        let of_two = |two: &[TablePair]| -> TablesOfTwo {
            let [first_low, first_high] = two[0];
            let [second_low, second_high] = two.get(1).copied().unwrap_or_default();
            let low = [first_low, first_low, second_low, second_low];
            let high = [first_high, first_high, second_high, second_high];
            std::array::from_fn(|i| if i < 4 { low[i] } else { high[i - 4] })
        };
        let bytes = tables.len();
        Self { codes_at, scales_at, bytes, tables: tables.chunks(2).map(of_two).collect(), unit }
    }

    /// Its codes among the rows' bytes, and their scales.
    #[inline(always)]
    pub(crate) fn of<'a>(&self, bytes: &'a [u8]) -> (&'a [CodeBytes], &'a CodeScales) {
        let codes = &bytes[self.codes_at..][..size_of::<CodeBytes>() * self.bytes];
        let scales = &bytes[self.scales_at..][..size_of::<CodeScales>()];
        let scales = scales.as_chunks().0.first_chunk().expect("as many as there are rows");
        (codes.as_chunks().0, scales)
    }
}

/// Inner product Σ a·b.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn dot(a: &[f16], b: &[f16]) -> f32 {
    chosen().dot(a, b)
}

/// The inner products of each of some vectors with each of some rows, `length` dimensions all of them and one after
/// another: that of vector v with row r at `v · rows + r`. [`dot`] for each, but faster, and in 8 separate sums.
///
/// # Panics
/// If they are not whole vectors, or there is not as much room as there are products.
#[inline]
pub fn products(length: usize, vectors: &[f16], rows: &[f16], products: &mut [f32]) {
    chosen().products(length, vectors, rows, products);
}

/// Squared Euclidean distance Σ (a − b)².
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn squared_l2(a: &[f16], b: &[f16]) -> f32 {
    chosen().squared_l2(a, b)
}

/// Taxicab distance Σ |a − b|.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn l1(a: &[f16], b: &[f16]) -> f32 {
    chosen().l1(a, b)
}

/// Inner product and both squared norms, in one pass.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn cosine_terms(a: &[f16], b: &[f16]) -> CosineTerms {
    chosen().cosine_terms(a, b)
}

/// Inner product and the squared norm of `a`, in one pass.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn prefix_terms(a: &[f16], b: &[f16]) -> PrefixTerms {
    chosen().prefix_terms(a, b)
}

/// Squared Euclidean norm Σ a².
#[inline]
pub fn squared_norm(a: &[f16]) -> f32 {
    chosen().squared_norm(a)
}

/// Inner product of `a` with a vector of signs: Σ of `+a[i]` where bit i is 1, `−a[i]` where it is 0.
///
/// `bits` is laid out as PostgreSQL's `bit` type: dimension i is in byte `i / 8`, most significant
/// bit first, `a.len().div_ceil(8)` bytes. Unused low bits of the last byte are ignored.
///
/// # Panics
/// If `bits` has another number of bytes.
#[inline]
pub fn dot_signs(a: &[f16], bits: &[u8]) -> f32 {
    chosen().dot_signs(a, bits)
}

/// Writes the sign of each dimension as a bit: 1 where `src[i] > 0`, else 0 (zeros and NaN too).
///
/// `dst` has the layout described at [`dot_signs`]; unused low bits of its last byte become 0.
///
/// # Panics
/// If `dst` does not have `src.len().div_ceil(8)` bytes.
#[inline]
pub fn sign_bits(src: &[f16], dst: &mut [u8]) {
    chosen().sign_bits(src, dst);
}

/// Number of dimensions in which [`sign_bits`] of `a` and of `b` differ.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn sign_hamming(a: &[f16], b: &[f16]) -> u32 {
    chosen().sign_hamming(a, b)
}

/// Widens halfs to f32, exactly. A NaN stays a NaN.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn to_f32(src: &[f16], dst: &mut [f32]) {
    chosen().to_f32(src, dst);
}

/// Rounds f32 to halfs: to nearest, ties to even; what is too large becomes infinity, a NaN stays one.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn from_f32(src: &[f32], dst: &mut [f16]) {
    chosen().from_f32(src, dst);
}

/// Adds each dimension to its running sum: `sums[i] += src[i]`, in f64.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn add_to_sums(src: &[f16], sums: &mut [f64]) {
    chosen().add_to_sums(src, sums);
}

/// Whether no dimension is an infinity or a NaN. True for an empty slice.
#[inline]
pub fn all_finite(src: &[f16]) -> bool {
    chosen().all_finite(src)
}

/// Scores 32 rows by their codes: what they stand for, layer after layer, is added to the rows' scores, and the squared
/// deviations of its errors to theirs.
///
/// # Panics
/// Where a layer does not lie within the bytes.
#[inline]
pub fn score_codes(
    bytes: &[u8],
    layers: &[CodeLayer],
    scores: &mut CodeScores,
    squared_errors: &mut CodeScores,
) {
    chosen().score_codes(bytes, layers, scores, squared_errors);
}

/// Divides the scores of 32 rows by lengths: of row r `shares[r]` / 255 times the magnitude of its term, a bfloat16.
/// The squared deviations of their errors are divided by the lengths' squares. Where the length is not positive the
/// score is `of_zeros`, and the deviation 0.
#[inline]
pub fn divide_by_lengths(
    shares: &[u8; 32],
    terms: &CodeScales,
    of_zeros: f32,
    scores: &mut CodeScores,
    squared_errors: &mut CodeScores,
) {
    chosen().divide_by_lengths(shares, terms, of_zeros, scores, squared_errors);
}

/// Bit i tells whether score i is at least `bar`; a NaN is not.
#[inline]
pub fn at_least(scores: &CodeScores, bar: f32) -> u32 {
    chosen().at_least(scores, bar)
}

/// How many of at most 2³² − 1 scores are at least `bar`; a NaN is not.
#[inline]
pub fn count_at_least(scores: &[f32], bar: f32) -> u32 {
    chosen().count_at_least(scores, bar)
}

/// The Walsh-Hadamard transform in place, components in Hadamard's order, scaled so that lengths stay: it is its own
/// inverse.
///
/// # Panics
/// For a length that is no power of two.
#[inline]
pub fn walsh_hadamard(vector: &mut [f32]) {
    chosen().walsh_hadamard(vector);
}

/// Tells the processor that `bytes` bytes from `start` on will be read soon. A hint: any address
/// will do, nothing is read, and no result changes.
#[inline]
pub fn prefetch(start: *const u8, bytes: usize) {
    const CACHE_LINE: usize = 64;
    for offset in (0..bytes).step_by(CACHE_LINE) {
        arch::prefetch(start.wrapping_add(offset));
    }
}
