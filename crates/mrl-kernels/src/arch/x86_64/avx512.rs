//! AVX-512 (F, BW, VL): 16 lanes, tails by masked loads. Depends on `generic` for the trait.

use crate::arch::{define_set, exactly, exactly_mut};
use crate::generic::{InstructionSet, MASK_DIMS};
use crate::{CodeBytes, CodeSums, TablePair};
use core::arch::x86_64::*;
use half::f16;

/// Proof that the processor has AVX-512 F, BW and VL, AVX2, FMA, F16C and POPCNT: made in the entry
/// points alone.
#[derive(Clone, Copy)]
struct Avx512(());

define_set!(
    Avx512,
    "avx512",
    "avx512f,avx512bw,avx512vl,avx2,fma,f16c,popcnt",
    (is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("popcnt"))
);

const LANES: usize = 16;

impl Avx512 {
    /// The bits of [`MASK_DIMS`] halfs.
    #[inline(always)]
    fn load_bits(self, src: &[f16]) -> __m512i {
        let src: &[f16; MASK_DIMS] = exactly(src);
        // SAFETY: the array holds the 32 halfs of one unaligned load; `self` proves the features.
        unsafe { _mm512_loadu_si512(src.as_ptr().cast()) }
    }
}

impl InstructionSet for Avx512 {
    type Lanes = __m512;
    const LANES: usize = LANES;

    #[inline(always)]
    fn zero(self) -> __m512 {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    fn load(self, src: &[f16]) -> __m512 {
        let src: &[f16; LANES] = exactly(src);
        // SAFETY: the array holds the 16 halfs of one unaligned load; `self` proves the features.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(src.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_partial(self, src: &[f16]) -> __m512 {
        assert!(src.len() <= LANES);
        let wanted = ((1_u32 << src.len()) - 1) as __mmask16;
        // SAFETY: a masked load touches only the lanes of the mask, one for each half of `src`;
        // `self` proves the features.
        unsafe { _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(wanted, src.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_signs(self, bits: &[u8]) -> __m512 {
        let word = u16::from_le_bytes(*exactly(bits));
        // SAFETY: registers only; `self` proves the features.
        unsafe {
            let lane_bit = _mm512_setr_epi32(
                0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02, 0x01, // byte 0
                0x8000, 0x4000, 0x2000, 0x1000, 0x0800, 0x0400, 0x0200, 0x0100, // byte 1
            );
            let is_set = _mm512_test_epi32_mask(_mm512_set1_epi32(i32::from(word)), lane_bit);
            _mm512_mask_blend_ps(is_set, _mm512_set1_ps(-1.0), _mm512_set1_ps(1.0))
        }
    }

    #[inline(always)]
    fn store(self, lanes: __m512, dst: &mut [f32]) {
        let dst: &mut [f32; LANES] = exactly_mut(dst);
        // SAFETY: the array holds the 16 f32 of one unaligned store; `self` proves the features.
        unsafe { _mm512_storeu_ps(dst.as_mut_ptr(), lanes) }
    }

    #[inline(always)]
    fn add_to_sums(self, lanes: __m512, sums: &mut [f64]) {
        let start = exactly_mut::<f64, LANES>(sums).as_mut_ptr();
        // SAFETY: the array holds 16 f64, two unaligned vectors of 8; `self` proves the features.
        unsafe {
            let low = _mm512_cvtps_pd(_mm512_castps512_ps256(lanes));
            let high = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(lanes));
            let high = _mm512_cvtps_pd(_mm256_castpd_ps(high));
            _mm512_storeu_pd(start, _mm512_add_pd(_mm512_loadu_pd(start), low));
            let start = start.add(8);
            _mm512_storeu_pd(start, _mm512_add_pd(_mm512_loadu_pd(start), high));
        }
    }

    #[inline(always)]
    fn narrow(self, src: &[f32], dst: &mut [f16]) {
        let src: &[f32; LANES] = exactly(src);
        let dst: &mut [f16; LANES] = exactly_mut(dst);
        // SAFETY: one unaligned load and store of 16 elements, which the arrays hold; `self`
        // proves the features.
        unsafe {
            let halfs = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm512_loadu_ps(src.as_ptr()));
            _mm256_storeu_si256(dst.as_mut_ptr().cast(), halfs);
        }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_abs_ps(a) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn sum(self, lanes: __m512) -> f32 {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_reduce_add_ps(lanes) }
    }

    #[inline(always)]
    fn positive(self, src: &[f16]) -> u32 {
        let bits = self.load_bits(src);
        // A half is > 0 when its bits are 0x0001 (the smallest) to 0x7c00 (infinity): minus one,
        // that is one unsigned comparison.
        // SAFETY: registers only; `self` proves the features.
        unsafe {
            let below = _mm512_sub_epi16(bits, _mm512_set1_epi16(1));
            _mm512_cmplt_epu16_mask(below, _mm512_set1_epi16(0x7c00))
        }
    }

    #[inline(always)]
    fn finite(self, src: &[f16]) -> bool {
        let bits = self.load_bits(src);
        // Infinity and NaN have all bits of the exponent.
        // SAFETY: registers only; `self` proves the features.
        unsafe {
            let exponent = _mm512_set1_epi16(0x7c00);
            _mm512_cmpeq_epi16_mask(_mm512_and_si512(bits, exponent), exponent) == 0
        }
    }

    #[inline(always)]
    fn look_up_sums(self, codes: &[CodeBytes], tables: &[TablePair], sums: &mut CodeSums) {
        // SAFETY: `self` proves AVX2.
        unsafe { super::look_up_sums(codes, tables, sums) }
    }
}
