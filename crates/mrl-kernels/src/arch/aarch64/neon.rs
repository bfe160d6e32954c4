//! NEON, which every 64-bit ARM has, conversion of halfs included: two registers make 8 lanes.
//! Depends on `generic` for the trait.

use crate::arch::{define_set, exactly, exactly_mut};
use crate::generic::{InstructionSet, MASK_DIMS, padded};
use crate::{CodeBytes, CodeSums, TablesOfTwo, tables_of};
use core::arch::aarch64::*;
use half::f16;

/// Proof that the processor has NEON: made in the entry points alone.
#[derive(Clone, Copy)]
struct Neon(());

define_set!(Neon, "neon", "neon", std::arch::is_aarch64_feature_detected!("neon"));

const LANES: usize = 8;

/// Halfs in a register.
const HALFS: usize = 8;

impl Neon {
    /// The bits of 8 halfs.
    #[inline(always)]
    fn load_bits(self, src: &[f16]) -> uint16x8_t {
        let src: &[f16; HALFS] = exactly(src);
        // SAFETY: the array holds the 8 halfs of one load, which needs no more than their
        // alignment; `self` proves the feature.
        unsafe { vld1q_u16(src.as_ptr().cast()) }
    }
}

impl InstructionSet for Neon {
    /// Lanes 0 to 3, and 4 to 7.
    type Lanes = (float32x4_t, float32x4_t);
    const LANES: usize = LANES;

    #[inline(always)]
    fn zero(self) -> Self::Lanes {
        // SAFETY: `self` proves the feature.
        unsafe { (vdupq_n_f32(0.0), vdupq_n_f32(0.0)) }
    }

    #[inline(always)]
    fn load(self, src: &[f16]) -> Self::Lanes {
        let bits = self.load_bits(src);
        // SAFETY: registers only; `self` proves the feature.
        unsafe {
            let low = vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(bits)));
            (low, vcvt_f32_f16(vreinterpret_f16_u16(vget_high_u16(bits))))
        }
    }

    #[inline(always)]
    fn load_partial(self, src: &[f16]) -> Self::Lanes {
        self.load(&padded::<f16, LANES>(src))
    }

    #[inline(always)]
    fn load_signs(self, bits: &[u8]) -> Self::Lanes {
        const LANE_BITS: [u32; LANES] = [0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02, 0x01];
        let [byte] = *exactly::<u8, 1>(bits);
        // SAFETY: two loads of 4 from the constant's 8; `self` proves the feature.
        unsafe {
            let byte = vdupq_n_u32(u32::from(byte));
            let (plus, minus) = (vdupq_n_f32(1.0), vdupq_n_f32(-1.0));
            let low = vtstq_u32(byte, vld1q_u32(LANE_BITS.as_ptr()));
            let high = vtstq_u32(byte, vld1q_u32(LANE_BITS.as_ptr().add(4)));
            (vbslq_f32(low, plus, minus), vbslq_f32(high, plus, minus))
        }
    }

    #[inline(always)]
    fn store(self, lanes: Self::Lanes, dst: &mut [f32]) {
        let start = exactly_mut::<f32, LANES>(dst).as_mut_ptr();
        // SAFETY: the array holds 8 f32, two stores of 4; `self` proves the feature.
        unsafe {
            vst1q_f32(start, lanes.0);
            vst1q_f32(start.add(4), lanes.1);
        }
    }

    #[inline(always)]
    fn add_to_sums(self, lanes: Self::Lanes, sums: &mut [f64]) {
        let sums: &mut [f64; LANES] = exactly_mut(sums);
        // SAFETY: each part of two f64 is loaded from and stored to its own; `self` proves the
        // feature.
        unsafe {
            let widened = [
                vcvt_f64_f32(vget_low_f32(lanes.0)),
                vcvt_high_f64_f32(lanes.0),
                vcvt_f64_f32(vget_low_f32(lanes.1)),
                vcvt_high_f64_f32(lanes.1),
            ];
            for (two, added) in sums.as_chunks_mut::<2>().0.iter_mut().zip(widened) {
                vst1q_f64(two.as_mut_ptr(), vaddq_f64(vld1q_f64(two.as_ptr()), added));
            }
        }
    }

    #[inline(always)]
    fn narrow(self, src: &[f32], dst: &mut [f16]) {
        let src: &[f32; LANES] = exactly(src);
        let dst: &mut [f16; LANES] = exactly_mut(dst);
        // Rounds as FPCR says, which Rust requires to be to nearest, ties to even.
        // SAFETY: two loads of 4 f32 and one store of 8 halfs, which the arrays hold; `self`
        // proves the feature.
        unsafe {
            let low = vcvt_f16_f32(vld1q_f32(src.as_ptr()));
            let high = vcvt_f16_f32(vld1q_f32(src.as_ptr().add(4)));
            let halfs = vcombine_u16(vreinterpret_u16_f16(low), vreinterpret_u16_f16(high));
            vst1q_u16(dst.as_mut_ptr().cast(), halfs);
        }
    }

    #[inline(always)]
    fn add(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves the feature.
        unsafe { (vaddq_f32(a.0, b.0), vaddq_f32(a.1, b.1)) }
    }

    #[inline(always)]
    fn sub(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves the feature.
        unsafe { (vsubq_f32(a.0, b.0), vsubq_f32(a.1, b.1)) }
    }

    #[inline(always)]
    fn abs(self, a: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves the feature.
        unsafe { (vabsq_f32(a.0), vabsq_f32(a.1)) }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves the feature.
        unsafe { (vfmaq_f32(c.0, a.0, b.0), vfmaq_f32(c.1, a.1, b.1)) }
    }

    #[inline(always)]
    fn sum(self, lanes: Self::Lanes) -> f32 {
        // SAFETY: `self` proves the feature.
        unsafe { vaddvq_f32(vaddq_f32(lanes.0, lanes.1)) }
    }

    #[inline(always)]
    fn positive(self, src: &[f16]) -> u32 {
        const LANE_BITS: [u16; HALFS] = [1, 2, 4, 8, 16, 32, 64, 128];
        let src: &[f16; MASK_DIMS] = exactly(src);
        let mut mask = [0_u8; MASK_DIMS / HALFS];
        for (byte, halfs) in mask.iter_mut().zip(src.as_chunks::<HALFS>().0) {
            let bits = self.load_bits(halfs);
            // A half is > 0 when its bits are 0x0001 (the smallest) to 0x7c00 (infinity): minus
            // one, that is one unsigned comparison. The lanes' bits are distinct: a sum is an or.
            // SAFETY: one load of 8 from the constant's 8; `self` proves the feature.
            *byte = unsafe {
                let below = vsubq_u16(bits, vdupq_n_u16(1));
                let positive = vcltq_u16(below, vdupq_n_u16(0x7c00));
                vaddvq_u16(vandq_u16(positive, vld1q_u16(LANE_BITS.as_ptr()))) as u8
            };
        }
        u32::from_le_bytes(mask)
    }

    #[inline(always)]
    fn finite(self, src: &[f16]) -> bool {
        let src: &[f16; MASK_DIMS] = exactly(src);
        // SAFETY: registers only; `self` proves the feature.
        unsafe {
            // The largest exponent; infinity and NaN have all its bits.
            let mut largest = vdupq_n_u16(0);
            for halfs in src.as_chunks::<HALFS>().0 {
                let exponent = vandq_u16(self.load_bits(halfs), vdupq_n_u16(0x7c00));
                largest = vmaxq_u16(largest, exponent);
            }
            vmaxvq_u16(largest) < 0x7c00
        }
    }

    #[inline(always)]
    fn look_up_sums(self, codes: &[CodeBytes], tables: &[TablesOfTwo], sums: &mut CodeSums) {
        // SAFETY: `self` proves the feature. Loads and stores are of whole arrays or halves of
        // them: 16 of 32 bytes of codes, 16 of a table, 8 of 32 sums.
        unsafe {
            // Sums of rows 0 to 7, 8 to 15 and so on.
            let mut added = [vdupq_n_u16(0); 4];
            for (i, bytes) in codes.iter().enumerate() {
                let [low, high] = tables_of(&tables[i / 2], i % 2);
                let (low, high) = (vld1q_u8(low.as_ptr()), vld1q_u8(high.as_ptr()));
                for (bytes, added) in
                    bytes.as_chunks::<16>().0.iter().zip(added.as_chunks_mut::<2>().0)
                {
                    let bytes = vld1q_u8(bytes.as_ptr());
                    let in_low = vandq_u8(bytes, vdupq_n_u8(15));
                    let in_high = vshrq_n_u8::<4>(bytes);
                    // Two numbers fit a byte.
                    let counts = vaddq_u8(vqtbl1q_u8(low, in_low), vqtbl1q_u8(high, in_high));
                    added[0] = vaddw_u8(added[0], vget_low_u8(counts));
                    added[1] = vaddw_high_u8(added[1], counts);
                }
            }
            for (sums, added) in sums.as_chunks_mut::<8>().0.iter_mut().zip(added) {
                vst1q_u16(sums.as_mut_ptr(), added);
            }
        }
    }
}
