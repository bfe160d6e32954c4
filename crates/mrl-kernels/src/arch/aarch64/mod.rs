//! 64-bit ARM, little-endian.

pub(super) mod neon;

/// Asks for the cache line of an address.
#[inline(always)]
pub(super) fn prefetch(address: *const u8) {
    // SAFETY: a hint reads nothing and faults on no address.
    unsafe {
        core::arch::asm!(
            "prfm pldl1keep, [{0}]",
            in(reg) address,
            options(nostack, preserves_flags, readonly)
        );
    }
}
