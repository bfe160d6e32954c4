//! x86-64: AVX2 with F16C and FMA (Intel from 2013, AMD from 2015), and AVX-512.
//! Depends on `dispatch` for the table's type.

pub(super) mod avx2;
pub(super) mod avx512;

use crate::dispatch::Kernels;
use core::arch::x86_64::*;

/// AVX-512 for a processor that computes 512 bits in two halves: the sums of halfs run at 256.
///
/// Zen 4 widens halfs at 512 bits more slowly than twice at 256: dot of 768 dimensions takes
/// 36 ns with AVX2 and 48 ns with AVX-512. What converts the other way, or works on masks, gains from AVX-512.
static KERNELS_ZEN4: Kernels = Kernels {
    name: "avx512+avx2",
    dot: avx2::KERNELS.dot,
    products: avx2::KERNELS.products,
    squared_l2: avx2::KERNELS.squared_l2,
    l1: avx2::KERNELS.l1,
    cosine_terms: avx2::KERNELS.cosine_terms,
    prefix_terms: avx2::KERNELS.prefix_terms,
    squared_norm: avx2::KERNELS.squared_norm,
    dot_signs: avx512::KERNELS.dot_signs,
    sign_bits: avx512::KERNELS.sign_bits,
    sign_hamming: avx512::KERNELS.sign_hamming,
    to_f32: avx512::KERNELS.to_f32,
    from_f32: avx512::KERNELS.from_f32,
    add_to_sums: avx512::KERNELS.add_to_sums,
    all_finite: avx2::KERNELS.all_finite,
    score_codes: avx512::KERNELS.score_codes,
    divide_by_lengths: avx512::KERNELS.divide_by_lengths,
    at_least: avx512::KERNELS.at_least,
    count_at_least: avx512::KERNELS.count_at_least,
    walsh_hadamard: avx512::KERNELS.walsh_hadamard,
};

/// The sets that this processor has, the best first.
pub(super) fn detect() -> [Option<&'static Kernels>; 3] {
    let (avx512, avx2) = (avx512::detect(), avx2::detect());
    let zen4 = (avx512.is_some() && avx2.is_some() && is_zen4()).then_some(&KERNELS_ZEN4);
    [zen4, avx512, avx2]
}

/// Whether this is AMD's family 19h. Only Zen 4 in it has AVX-512, which the caller has found.
fn is_zen4() -> bool {
    let vendor = __cpuid(0);
    let is_amd =
        [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD";
    // The family is a field of four bits, and when those are full, what a second field adds.
    let version = __cpuid(1).eax;
    let (base, extended) = ((version >> 8) & 0xf, (version >> 20) & 0xff);
    is_amd && base == 0xf && base + extended == 0x19
}

/// Asks for the cache line of an address.
#[inline(always)]
pub(super) fn prefetch(address: *const u8) {
    // SAFETY: a hint reads nothing and faults on no address; every x86-64 processor has it.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}
