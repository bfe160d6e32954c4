//! AVX-512 (F, BW, VL): 16 lanes, tails by masked loads. Depends on `generic` for the trait.

use crate::arch::{define_set, exactly, exactly_mut};
use crate::generic::{BUTTERFLIES, InstructionSet, MASK_DIMS};
use crate::{CodeBytes, CodeScores, CodeSums, TablesOfTwo};
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
    fn look_up_sums(self, codes: &[CodeBytes], tables: &[TablesOfTwo], sums: &mut CodeSums) {
        // SAFETY: `self` proves the features.
        unsafe { look_up_sums(codes, tables, sums) }
    }

    #[inline(always)]
    fn butterflies(self, chunk: &mut [f32; BUTTERFLIES]) {
        // SAFETY: the array holds the 16 f32 of one unaligned load and store; `self` proves the features.
        unsafe {
            // Sums, but where the mask has a bit: there the second of a pair is taken off the first.
            let step = |x: __m512, other: __m512, second: __mmask16| {
                _mm512_mask_sub_ps(_mm512_add_ps(other, x), second, other, x)
            };
            let x = _mm512_loadu_ps(chunk.as_ptr());
            let x = step(x, _mm512_permute_ps::<0b10_11_00_01>(x), 0xaaaa);
            let x = step(x, _mm512_permute_ps::<0b01_00_11_10>(x), 0xcccc);
            let x = step(x, _mm512_shuffle_f32x4::<0b10_11_00_01>(x, x), 0xf0f0);
            let x = step(x, _mm512_shuffle_f32x4::<0b01_00_11_10>(x, x), 0xff00);
            _mm512_storeu_ps(chunk.as_mut_ptr(), x);
        }
    }

    #[inline(always)]
    fn at_least(self, scores: &CodeScores, bar: f32) -> u32 {
        let (low, high) = scores.split_at(LANES);
        // SAFETY: each half is the 16 f32 of one unaligned load; `self` proves the features.
        unsafe {
            let bar = _mm512_set1_ps(bar);
            let mask = |half: &[f32]| {
                u32::from(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(_mm512_loadu_ps(half.as_ptr()), bar))
            };
            mask(low) | mask(high) << LANES
        }
    }
}

/// The trait's method of the same name, by the byte shuffle, which looks up 64 numbers of four bits at once: two bytes
/// of each code.
///
/// A function with the features, because closures take on those of the function they are in.
///
/// # Safety
/// The processor has them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c,popcnt")]
unsafe fn look_up_sums(codes: &[CodeBytes], tables: &[TablesOfTwo], sums: &mut CodeSums) {
    // SAFETY: loads and stores are unaligned and of whole arrays: 32 or 64 bytes of codes, 64 of four tables,
    // 64 of sums.
    unsafe {
        let four_bits = _mm512_set1_epi8(15);
        // The upper half of a register has the second byte of the codes, and its tables.
        let looked_up = |bytes: __m512i, tables: &TablesOfTwo| {
            let [low, high] = exactly::<_, 2>(tables.as_chunks::<4>().0);
            let in_low = _mm512_and_si512(bytes, four_bits);
            let in_high = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), four_bits);
            _mm512_add_epi8(
                _mm512_shuffle_epi8(_mm512_loadu_si512(low.as_ptr().cast()), in_low),
                _mm512_shuffle_epi8(_mm512_loadu_si512(high.as_ptr().cast()), in_high),
            )
        };
        // Sums of 16 bits for the odd rows, and for pairs of rows: those of the even ones with 256 times
        // those of the odd, which wraps around. Four numbers fit a byte before.
        let (mut pairs, mut odd) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        let mut take = |counts| {
            pairs = _mm512_add_epi16(pairs, counts);
            odd = _mm512_add_epi16(odd, _mm512_srli_epi16::<8>(counts));
        };
        let (fours, rest) = codes.as_chunks::<4>();
        let (tables_of_fours, tables_rest) = tables.split_at(2 * fours.len());
        for (bytes, [first, second]) in fours.iter().zip(tables_of_fours.as_chunks().0) {
            let start = bytes.as_ptr().cast::<__m512i>();
            take(_mm512_add_epi8(
                looked_up(_mm512_loadu_si512(start), first),
                looked_up(_mm512_loadu_si512(start.add(1)), second),
            ));
        }
        for (bytes, tables) in rest.chunks(2).zip(tables_rest) {
            let bytes = match bytes {
                [first, ..] if bytes.len() == 1 => {
                    // Of the byte that is not there the tables count nothing.
                    _mm512_zextsi256_si512(_mm256_loadu_si256(first.as_ptr().cast()))
                }
                _ => _mm512_loadu_si512(exactly::<_, 2>(bytes).as_ptr().cast()),
            };
            take(looked_up(bytes, tables));
        }
        let even = _mm512_sub_epi16(pairs, _mm512_slli_epi16::<8>(odd));
        let halves_added = |sums| {
            _mm256_add_epi16(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64::<1>(sums))
        };
        let (even, odd) = (halves_added(even), halves_added(odd));
        // Unpacking works within 128-bit halves: rows 0–7 and 16–23, then 8–15 and 24–31.
        let first = _mm256_unpacklo_epi16(even, odd);
        let second = _mm256_unpackhi_epi16(even, odd);
        let out = sums.as_mut_ptr().cast::<__m256i>();
        _mm256_storeu_si256(out, _mm256_permute2x128_si256::<0x20>(first, second));
        _mm256_storeu_si256(out.add(1), _mm256_permute2x128_si256::<0x31>(first, second));
    }
}
