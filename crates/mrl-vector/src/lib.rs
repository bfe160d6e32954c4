//! The half-precision vector as values and as text, without PostgreSQL.
//!
//! What `mrlvec(n)` means is defined here: how its text is read and printed ([`text`]), how its
//! binary form is laid out ([`wire`]), how numbers are rounded into it and vectors shortened
//! ([`convert`]), how two vectors compare ([`distance`], [`order`]), and what sums and averages
//! are ([`sums`]). A vector is a slice of IEEE half-precision numbers, all finite, of 1 to
//! [`MAX_DIMENSIONS`] components.
//!
//! May depend on `mrl-kernels` and on nothing of the server. Functions that make a vector write
//! it into a slice that the caller has allocated, so that the extension can hand in the server's
//! own memory.

#![forbid(unsafe_code)]

pub mod arithmetic;
pub mod convert;
mod decimal;
pub mod distance;
mod error;
pub mod order;
pub mod sums;
pub mod text;
pub mod wire;

pub use error::VectorError;
pub use half::f16;

/// The most components that a vector may have, as pgvector's `halfvec` has it.
pub const MAX_DIMENSIONS: usize = 16_000;

/// Checks that a vector of `dimensions` components may exist.
pub fn check_dimensions(dimensions: usize) -> Result<(), VectorError> {
    match dimensions {
        0 => Err(VectorError::NoDimensions),
        1..=MAX_DIMENSIONS => Ok(()),
        _ => Err(VectorError::TooManyDimensions),
    }
}

/// Checks that two vectors have equally many components.
pub fn check_same_dimensions(left: &[f16], right: &[f16]) -> Result<(), VectorError> {
    if left.len() == right.len() {
        Ok(())
    } else {
        Err(VectorError::DifferentDimensions { left: left.len(), right: right.len() })
    }
}

/// Checks that a vector of `found` components fits where `expected` are declared.
pub fn check_expected_dimensions(expected: usize, found: usize) -> Result<(), VectorError> {
    if expected == found {
        Ok(())
    } else {
        Err(VectorError::UnexpectedDimensions { expected, found })
    }
}
