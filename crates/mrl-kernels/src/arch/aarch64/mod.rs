//! 64-bit ARM, little-endian.

pub(super) mod neon;
