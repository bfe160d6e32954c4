//! Which instruction set runs: a table of functions for each, detected once.
//! Depends on `scalar` and `arch`; the public functions in `lib.rs` depend on this.

use crate::{CodeLayer, CodeScales, CodeScores, CosineTerms, PrefixTerms, arch, scalar};
use half::f16;
use std::sync::LazyLock;

/// One instruction set's kernels.
///
/// The methods are the crate's functions of the same names, run with this set. Programs call
/// those functions; tests and benchmarks take every set of the machine from [`available`].
pub struct Kernels {
    pub(crate) name: &'static str,
    pub(crate) dot: fn(&[f16], &[f16]) -> f32,
    pub(crate) products: fn(usize, &[f16], &[f16], &mut [f32]),
    pub(crate) squared_l2: fn(&[f16], &[f16]) -> f32,
    pub(crate) l1: fn(&[f16], &[f16]) -> f32,
    pub(crate) cosine_terms: fn(&[f16], &[f16]) -> CosineTerms,
    pub(crate) prefix_terms: fn(&[f16], &[f16]) -> PrefixTerms,
    pub(crate) squared_norm: fn(&[f16]) -> f32,
    pub(crate) dot_signs: fn(&[f16], &[u8]) -> f32,
    pub(crate) sign_bits: fn(&[f16], &mut [u8]),
    pub(crate) sign_hamming: fn(&[f16], &[f16]) -> u32,
    pub(crate) to_f32: fn(&[f16], &mut [f32]),
    pub(crate) from_f32: fn(&[f32], &mut [f16]),
    pub(crate) add_to_sums: fn(&[f16], &mut [f64]),
    pub(crate) all_finite: fn(&[f16]) -> bool,
    pub(crate) score_codes: fn(&[u8], &[CodeLayer], &mut CodeScores, &mut CodeScores),
    pub(crate) divide_by_lengths: fn(&[u8; 32], &CodeScales, f32, &mut CodeScores, &mut CodeScores),
    pub(crate) at_least: fn(&CodeScores, f32) -> u32,
    pub(crate) count_at_least: fn(&[f32], f32) -> u32,
    pub(crate) walsh_hadamard: fn(&mut [f32]),
}

/// Every set that this machine has, the best first; the scalar one is last and always there.
pub fn available() -> Vec<&'static Kernels> {
    arch::detect().into_iter().chain([&scalar::KERNELS]).collect()
}

/// The set that the crate's functions run: the best available, the same for the process's life.
#[inline]
pub fn chosen() -> &'static Kernels {
    static CHOSEN: LazyLock<&'static Kernels> = LazyLock::new(|| available()[0]);
    &CHOSEN
}

/// Name of the set that the crate's functions run: `avx512`, `avx512+avx2` (Zen 4: each where it is
/// the faster), `avx2`, `neon` or `scalar`.
pub fn instruction_set() -> &'static str {
    chosen().name()
}

/// Panics unless two vectors have the same number of dimensions.
#[inline(always)]
#[track_caller]
fn check_dims(a: usize, b: usize) {
    assert_eq!(a, b, "vectors of different length");
}

/// Panics unless `bytes` is the size of a bit string of `dims` bits.
#[inline(always)]
#[track_caller]
fn check_bits(dims: usize, bytes: usize) {
    assert_eq!(dims.div_ceil(8), bytes, "bit string of the wrong size for {dims} dimensions");
}

/// Lengths are checked here and nowhere else.
impl Kernels {
    /// The set's name, as [`instruction_set`] gives it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// [`crate::dot`] with this set.
    #[inline]
    pub fn dot(&self, a: &[f16], b: &[f16]) -> f32 {
        check_dims(a.len(), b.len());
        (self.dot)(a, b)
    }

    /// [`crate::products`] with this set.
    #[inline]
    pub fn products(&self, length: usize, vectors: &[f16], rows: &[f16], products: &mut [f32]) {
        let count = |halfs: &[f16]| halfs.len().checked_div(length).unwrap_or(0);
        check_dims(count(vectors) * length, vectors.len());
        check_dims(count(rows) * length, rows.len());
        assert_eq!(count(vectors) * count(rows), products.len(), "room for other products");
        (self.products)(length, vectors, rows, products);
    }

    /// [`crate::squared_l2`] with this set.
    #[inline]
    pub fn squared_l2(&self, a: &[f16], b: &[f16]) -> f32 {
        check_dims(a.len(), b.len());
        (self.squared_l2)(a, b)
    }

    /// [`crate::l1`] with this set.
    #[inline]
    pub fn l1(&self, a: &[f16], b: &[f16]) -> f32 {
        check_dims(a.len(), b.len());
        (self.l1)(a, b)
    }

    /// [`crate::cosine_terms`] with this set.
    #[inline]
    pub fn cosine_terms(&self, a: &[f16], b: &[f16]) -> CosineTerms {
        check_dims(a.len(), b.len());
        (self.cosine_terms)(a, b)
    }

    /// [`crate::prefix_terms`] with this set.
    #[inline]
    pub fn prefix_terms(&self, a: &[f16], b: &[f16]) -> PrefixTerms {
        check_dims(a.len(), b.len());
        (self.prefix_terms)(a, b)
    }

    /// [`crate::squared_norm`] with this set.
    #[inline]
    pub fn squared_norm(&self, a: &[f16]) -> f32 {
        (self.squared_norm)(a)
    }

    /// [`crate::dot_signs`] with this set.
    #[inline]
    pub fn dot_signs(&self, a: &[f16], bits: &[u8]) -> f32 {
        check_bits(a.len(), bits.len());
        (self.dot_signs)(a, bits)
    }

    /// [`crate::sign_bits`] with this set.
    #[inline]
    pub fn sign_bits(&self, src: &[f16], dst: &mut [u8]) {
        check_bits(src.len(), dst.len());
        (self.sign_bits)(src, dst);
    }

    /// [`crate::sign_hamming`] with this set.
    #[inline]
    pub fn sign_hamming(&self, a: &[f16], b: &[f16]) -> u32 {
        check_dims(a.len(), b.len());
        (self.sign_hamming)(a, b)
    }

    /// [`crate::to_f32`] with this set.
    #[inline]
    pub fn to_f32(&self, src: &[f16], dst: &mut [f32]) {
        check_dims(src.len(), dst.len());
        (self.to_f32)(src, dst);
    }

    /// [`crate::from_f32`] with this set.
    #[inline]
    pub fn from_f32(&self, src: &[f32], dst: &mut [f16]) {
        check_dims(src.len(), dst.len());
        (self.from_f32)(src, dst);
    }

    /// [`crate::add_to_sums`] with this set.
    #[inline]
    pub fn add_to_sums(&self, src: &[f16], sums: &mut [f64]) {
        check_dims(src.len(), sums.len());
        (self.add_to_sums)(src, sums);
    }

    /// [`crate::all_finite`] with this set.
    #[inline]
    pub fn all_finite(&self, src: &[f16]) -> bool {
        (self.all_finite)(src)
    }

    /// [`crate::score_codes`] with this set.
    #[inline]
    pub fn score_codes(
        &self,
        bytes: &[u8],
        layers: &[CodeLayer],
        scores: &mut CodeScores,
        squared_errors: &mut CodeScores,
    ) {
        (self.score_codes)(bytes, layers, scores, squared_errors);
    }

    /// [`crate::divide_by_lengths`] with this set.
    #[inline]
    pub fn divide_by_lengths(
        &self,
        shares: &[u8; 32],
        terms: &CodeScales,
        of_zeros: f32,
        scores: &mut CodeScores,
        squared_errors: &mut CodeScores,
    ) {
        (self.divide_by_lengths)(shares, terms, of_zeros, scores, squared_errors);
    }

    /// [`crate::at_least`] with this set.
    #[inline]
    pub fn at_least(&self, scores: &CodeScores, bar: f32) -> u32 {
        (self.at_least)(scores, bar)
    }

    /// [`crate::count_at_least`] with this set.
    #[inline]
    pub fn count_at_least(&self, scores: &[f32], bar: f32) -> u32 {
        (self.count_at_least)(scores, bar)
    }

    /// [`crate::walsh_hadamard`] with this set.
    #[inline]
    pub fn walsh_hadamard(&self, vector: &mut [f32]) {
        assert!(vector.len().is_power_of_two(), "a transform of a length that is no power of two");
        (self.walsh_hadamard)(vector);
    }
}
