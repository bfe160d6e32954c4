//! AVX2 with F16C (conversion of halfs) and FMA: 8 lanes. Depends on `generic` for the trait.

use crate::arch::{define_set, exactly, exactly_mut};
use crate::generic::{BUTTERFLIES, InstructionSet, MASK_DIMS};
use crate::{CodeBytes, CodeSums, TablesOfTwo};
use core::arch::x86_64::*;
use half::f16;

/// Proof that the processor has AVX2, FMA, F16C and POPCNT: made in the entry points alone.
#[derive(Clone, Copy)]
struct Avx2(());

define_set!(
    Avx2,
    "avx2",
    "avx2,fma,f16c,popcnt",
    (is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("popcnt"))
);

const LANES: usize = 8;

/// The bits of four halfs, the first lowest.
#[inline(always)]
fn four(halfs: &[f16; 4]) -> u64 {
    let [a, b, c, d] = halfs.map(|x| u64::from(x.to_bits()));
    a | b << 16 | c << 32 | d << 48
}

impl Avx2 {
    /// The bits of [`MASK_DIMS`] halfs, in two registers.
    #[inline(always)]
    fn load_bits(self, src: &[f16]) -> (__m256i, __m256i) {
        let src: &[f16; MASK_DIMS] = exactly(src);
        let start = src.as_ptr().cast::<__m256i>();
        // SAFETY: the array holds 32 halfs, two unaligned loads of 16; `self` proves the features.
        unsafe { (_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))) }
    }
}

impl InstructionSet for Avx2 {
    type Lanes = __m256;
    const LANES: usize = LANES;

    #[inline(always)]
    fn zero(self) -> __m256 {
        // SAFETY: `self` proves the features.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    fn load(self, src: &[f16]) -> __m256 {
        let src: &[f16; LANES] = exactly(src);
        // SAFETY: the array holds the 8 halfs of one unaligned load; `self` proves the features.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(src.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_partial(self, src: &[f16]) -> __m256 {
        // Put together in registers: a copy to the stack would have to be stored before it could be
        // loaded at another width, which costs some 15 ns.
        assert!(src.len() <= LANES);
        let (low, high) = match (src.first_chunk::<4>(), src.last_chunk::<4>(), src) {
            // The last four overlap the first four by what is missing to eight: shift that out.
            (Some(first), Some(last), _) => {
                let missing = (LANES - src.len()) as u32;
                (four(first), four(last).checked_shr(16 * missing).unwrap_or(0))
            }
            (.., [a, b, c]) => (four(&[*a, *b, *c, f16::ZERO]), 0),
            (.., [a, b]) => (four(&[*a, *b, f16::ZERO, f16::ZERO]), 0),
            (.., [a]) => (u64::from(a.to_bits()), 0),
            _ => (0, 0),
        };
        // SAFETY: registers only; `self` proves the features.
        unsafe { _mm256_cvtph_ps(_mm_set_epi64x(high.cast_signed(), low.cast_signed())) }
    }

    #[inline(always)]
    fn load_signs(self, bits: &[u8]) -> __m256 {
        let [byte] = *exactly::<u8, 1>(bits);
        // SAFETY: registers only; `self` proves the features.
        unsafe {
            let lane_bit = _mm256_setr_epi32(0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02, 0x01);
            let own_bit = _mm256_and_si256(_mm256_set1_epi32(i32::from(byte)), lane_bit);
            let is_set = _mm256_cmpeq_epi32(own_bit, lane_bit);
            let (minus, plus) = (_mm256_set1_ps(-1.0), _mm256_set1_ps(1.0));
            _mm256_blendv_ps(minus, plus, _mm256_castsi256_ps(is_set))
        }
    }

    #[inline(always)]
    fn store(self, lanes: __m256, dst: &mut [f32]) {
        let dst: &mut [f32; LANES] = exactly_mut(dst);
        // SAFETY: the array holds the 8 f32 of one unaligned store; `self` proves the features.
        unsafe { _mm256_storeu_ps(dst.as_mut_ptr(), lanes) }
    }

    #[inline(always)]
    fn add_to_sums(self, lanes: __m256, sums: &mut [f64]) {
        let start = exactly_mut::<f64, LANES>(sums).as_mut_ptr();
        // SAFETY: the array holds 8 f64, two unaligned vectors of 4; `self` proves the features.
        unsafe {
            let low = _mm256_cvtps_pd(_mm256_castps256_ps128(lanes));
            let high = _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(lanes));
            _mm256_storeu_pd(start, _mm256_add_pd(_mm256_loadu_pd(start), low));
            let start = start.add(4);
            _mm256_storeu_pd(start, _mm256_add_pd(_mm256_loadu_pd(start), high));
        }
    }

    #[inline(always)]
    fn narrow(self, src: &[f32], dst: &mut [f16]) {
        let src: &[f32; LANES] = exactly(src);
        let dst: &mut [f16; LANES] = exactly_mut(dst);
        // SAFETY: one unaligned load and store of 8 elements, which the arrays hold; `self`
        // proves the features.
        unsafe {
            let halfs = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_loadu_ps(src.as_ptr()));
            _mm_storeu_si128(dst.as_mut_ptr().cast(), halfs);
        }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves the features.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves the features.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn abs(self, a: __m256) -> __m256 {
        // SAFETY: `self` proves the features.
        unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), a) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: `self` proves the features.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn sum(self, lanes: __m256) -> f32 {
        // SAFETY: registers only; `self` proves the features.
        unsafe {
            let (low, high) = (_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
            let four = _mm_add_ps(low, high);
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn positive(self, src: &[f16]) -> u32 {
        let (low, high) = self.load_bits(src);
        // A half is > 0 when its bits are 0x0001 (the smallest) to 0x7c00 (infinity). Minus one,
        // that is an unsigned comparison, which AVX2 has as: the minimum with the bound is itself.
        // SAFETY: registers only; `self` proves the features.
        unsafe {
            let (one, bound) = (_mm256_set1_epi16(1), _mm256_set1_epi16(0x7bff));
            let (low, high) = (_mm256_sub_epi16(low, one), _mm256_sub_epi16(high, one));
            let low = _mm256_cmpeq_epi16(_mm256_min_epu16(low, bound), low);
            let high = _mm256_cmpeq_epi16(_mm256_min_epu16(high, bound), high);
            // Packing works within 128-bit halves: put the four quarters back in their order.
            let bytes = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi16(low, high));
            _mm256_movemask_epi8(bytes).cast_unsigned()
        }
    }

    #[inline(always)]
    fn finite(self, src: &[f16]) -> bool {
        let (low, high) = self.load_bits(src);
        // Infinity and NaN have all bits of the exponent.
        // SAFETY: registers only; `self` proves the features.
        unsafe {
            let exponent = _mm256_set1_epi16(0x7c00);
            let low = _mm256_cmpeq_epi16(_mm256_and_si256(low, exponent), exponent);
            let high = _mm256_cmpeq_epi16(_mm256_and_si256(high, exponent), exponent);
            let either = _mm256_or_si256(low, high);
            _mm256_testz_si256(either, either) == 1
        }
    }

    #[inline(always)]
    fn butterflies(self, chunk: &mut [f32; BUTTERFLIES]) {
        // SAFETY: the array holds the 16 f32 of two unaligned loads and stores; `self` proves the features.
        unsafe {
            let within = |x: __m256| {
                let other = _mm256_permute_ps::<0b10_11_00_01>(x);
                let x = _mm256_blend_ps::<0xaa>(_mm256_add_ps(other, x), _mm256_sub_ps(other, x));
                let other = _mm256_permute_ps::<0b01_00_11_10>(x);
                let x = _mm256_blend_ps::<0xcc>(_mm256_add_ps(other, x), _mm256_sub_ps(other, x));
                let other = _mm256_permute2f128_ps::<1>(x, x);
                _mm256_blend_ps::<0xf0>(_mm256_add_ps(other, x), _mm256_sub_ps(other, x))
            };
            let start = chunk.as_mut_ptr();
            let first = within(_mm256_loadu_ps(start));
            let second = within(_mm256_loadu_ps(start.add(LANES)));
            _mm256_storeu_ps(start, _mm256_add_ps(first, second));
            _mm256_storeu_ps(start.add(LANES), _mm256_sub_ps(first, second));
        }
    }

    #[inline(always)]
    fn look_up_sums(self, codes: &[CodeBytes], tables: &[TablesOfTwo], sums: &mut CodeSums) {
        // SAFETY: `self` proves the features.
        unsafe { look_up_sums(codes, tables, sums) }
    }
}

/// The tables of two bytes, each twice: of the low four bits of the first and the second, then of the high ones.
#[inline(always)]
fn tables_of_two(tables: &TablesOfTwo) -> [[&[[u8; 16]; 2]; 2]; 2] {
    let [a, b, c, d] = exactly(tables.as_chunks::<2>().0);
    [[a, b], [c, d]]
}

/// The trait's method of the same name, by the byte shuffle, which looks up 32 numbers of four bits at once.
///
/// A function with the features, because closures take on those of the function they are in.
///
/// # Safety
/// The processor has them.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,popcnt")]
unsafe fn look_up_sums(codes: &[CodeBytes], tables: &[TablesOfTwo], sums: &mut CodeSums) {
    // SAFETY: loads and stores are unaligned and of whole arrays: 32 or 64 bytes of codes, 16 of a
    // table, 64 of sums.
    unsafe {
        let (four_bits, low_byte) = (_mm256_set1_epi8(15), _mm256_set1_epi16(0xff));
        // A table, and the same once more.
        let table = |both: &[[u8; 16]; 2]| _mm256_loadu_si256(both.as_ptr().cast());
        let looked_up = |bytes: &CodeBytes, [low, high]: [&[[u8; 16]; 2]; 2]| {
            let bytes = _mm256_loadu_si256(bytes.as_ptr().cast());
            let in_low = _mm256_and_si256(bytes, four_bits);
            let in_high = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), four_bits);
            _mm256_add_epi8(
                _mm256_shuffle_epi8(table(low), in_low),
                _mm256_shuffle_epi8(table(high), in_high),
            )
        };
        // Sums of 16 bits for the even rows and for the odd ones; four numbers fit a byte before.
        let (mut even, mut odd) = (_mm256_setzero_si256(), _mm256_setzero_si256());
        let mut take = |counts| {
            even = _mm256_add_epi16(even, _mm256_and_si256(counts, low_byte));
            odd = _mm256_add_epi16(odd, _mm256_srli_epi16::<8>(counts));
        };
        for (bytes, tables) in codes.chunks(2).zip(tables) {
            let [[low, next_low], [high, next_high]] = tables_of_two(tables);
            let first = looked_up(&bytes[0], [low, high]);
            take(match bytes.get(1) {
                Some(next) => _mm256_add_epi8(first, looked_up(next, [next_low, next_high])),
                None => first,
            });
        }
        // Unpacking works within 128-bit halves: rows 0–7 and 16–23, then 8–15 and 24–31.
        let first = _mm256_unpacklo_epi16(even, odd);
        let second = _mm256_unpackhi_epi16(even, odd);
        let out = sums.as_mut_ptr().cast::<__m256i>();
        _mm256_storeu_si256(out, _mm256_permute2x128_si256::<0x20>(first, second));
        _mm256_storeu_si256(out.add(1), _mm256_permute2x128_si256::<0x31>(first, second));
    }
}
