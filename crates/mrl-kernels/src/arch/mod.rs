//! The instruction sets, and the only `unsafe` of the crate. Depends on `generic` (whose trait it
//! implements) and `dispatch` (whose tables it fills).
//!
//! How safety is kept: the type of a set has a private field, so that only its own file can make
//! a value; the file makes one in its entry points alone, which have the set's features enabled;
//! and those are reached only through the set's table, which the `detect` functions below give to
//! a processor that has the features.
//! So wherever a value of the type exists, its intrinsics may run.

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use crate::dispatch::Kernels;

/// The vector sets that this processor has, the best first.
pub(crate) fn detect() -> Vec<&'static Kernels> {
    #[cfg(target_arch = "x86_64")]
    let sets = x86_64::detect();
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    let sets = [aarch64::neon::detect()];
    #[cfg(not(any(
        target_arch = "x86_64",
        all(target_arch = "aarch64", target_endian = "little")
    )))]
    let sets: [Option<&'static Kernels>; 0] = [];
    sets.into_iter().flatten().collect()
}

/// Asks for the cache line of an address; of none where the processor's hint is not known here.
#[inline(always)]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    x86_64::prefetch(address);
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    aarch64::prefetch(address);
    #[cfg(not(any(
        target_arch = "x86_64",
        all(target_arch = "aarch64", target_endian = "little")
    )))]
    let _ = address;
}

/// A slice that the trait says has `N` elements, as an array.
#[allow(dead_code, reason = "a processor without vector sets")]
#[inline(always)]
fn exactly<T, const N: usize>(src: &[T]) -> &[T; N] {
    src.try_into().expect("a slice of the length named by the trait")
}

/// As [`exactly`], to write to.
#[allow(dead_code, reason = "a processor without vector sets")]
#[inline(always)]
fn exactly_mut<T, const N: usize>(dst: &mut [T]) -> &mut [T; N] {
    dst.try_into().expect("a slice of the length named by the trait")
}

/// Defines a set's table and its `detect`, from the set's type, its name, the features to enable,
/// and an expression that tells whether the processor has them.
#[allow(unused_macros, reason = "a processor without vector sets")]
macro_rules! define_set {
    ($set:ident, $name:literal, $features:literal, $detected:expr) => {
        /// The table of this set, if the processor has it.
        pub(crate) fn detect() -> Option<&'static crate::dispatch::Kernels> {
            $detected.then_some(&KERNELS)
        }

        pub(super) static KERNELS: crate::dispatch::Kernels = {
            use crate::arch::entry;
            use crate::{CodeLayer, CodeScales, CodeScores, CosineTerms, PrefixTerms, generic};
            crate::dispatch::Kernels {
                name: $name,
        dot: entry!($set, $features, dot(a: &[f16], b: &[f16]) -> f32),
                products: entry!(
                    $set, $features,
                    products(
                        length: usize, vectors: &[f16], rows: &[f16], products: &mut [f32]
                    ) -> ()
                ),
        squared_l2: entry!($set, $features, squared_l2(a: &[f16], b: &[f16]) -> f32),
        l1: entry!($set, $features, l1(a: &[f16], b: &[f16]) -> f32),
                cosine_terms: entry!(
                    $set, $features, cosine_terms(a: &[f16], b: &[f16]) -> CosineTerms
                ),
                prefix_terms: entry!(
                    $set, $features, prefix_terms(a: &[f16], b: &[f16]) -> PrefixTerms
                ),
        squared_norm: entry!($set, $features, squared_norm(a: &[f16]) -> f32),
        dot_signs: entry!($set, $features, dot_signs(a: &[f16], bits: &[u8]) -> f32),
        sign_bits: entry!($set, $features, sign_bits(src: &[f16], dst: &mut [u8]) -> ()),
        sign_hamming: entry!($set, $features, sign_hamming(a: &[f16], b: &[f16]) -> u32),
        to_f32: entry!($set, $features, to_f32(src: &[f16], dst: &mut [f32]) -> ()),
        from_f32: entry!($set, $features, from_f32(src: &[f32], dst: &mut [f16]) -> ()),
                add_to_sums: entry!(
                    $set, $features, add_to_sums(src: &[f16], sums: &mut [f64]) -> ()
                ),
        all_finite: entry!($set, $features, all_finite(src: &[f16]) -> bool),
                score_codes: entry!(
                    $set, $features,
                    score_codes(
                        bytes: &[u8], layers: &[CodeLayer],
                        scores: &mut CodeScores, squared_errors: &mut CodeScores
                    ) -> ()
                ),
                divide_by_lengths: entry!(
                    $set, $features,
                    divide_by_lengths(
                        shares: &[u8; 32], terms: &CodeScales, unknown: f32,
                        scores: &mut CodeScores, squared_errors: &mut CodeScores
                    ) -> ()
                ),
                at_least: entry!(
                    $set, $features, at_least(scores: &CodeScores, bar: f32) -> u32
                ),
                count_at_least: entry!(
                    $set, $features, count_at_least(scores: &[f32], bar: f32) -> u32
                ),
        walsh_hadamard: entry!($set, $features, walsh_hadamard(vector: &mut [f32]) -> ()),
            }
        };
    };
}

/// A function of `generic`, compiled with a set's features, as a pointer that the table can hold.
#[allow(unused_macros, reason = "a processor without vector sets")]
macro_rules! entry {
    ($set:ident, $features:literal, $function:ident($($arg:ident: $type:ty),+) -> $result:ty) => {{
        #[target_feature(enable = $features)]
        fn featured($($arg: $type),+) -> $result {
            generic::$function($set(()), $($arg),+)
        }
        // A pointer to a function with features is unsafe to call, one to this function is not.
        fn entry($($arg: $type),+) -> $result {
            // SAFETY: the table is given out only by `detect`, which found the features.
            unsafe { featured($($arg),+) }
        }
        entry
    }};
}

#[allow(unused_imports, reason = "a processor without vector sets")]
use {define_set, entry};
