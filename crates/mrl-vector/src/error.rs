//! What can be wrong with a vector. One enum for the crate; the extension maps each variant to an
//! SQLSTATE in one place.

use thiserror::Error;

use crate::MAX_DIMENSIONS;

/// What is wrong with a vector, or with what was to become one.
///
/// Messages are those of pgvector's `halfvec` with this type's name, so that what a client or a
/// test looks for is found; [`VectorError::detail`] adds which value, and where it stands.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum VectorError {
    #[error("different mrlvec dimensions {left} and {right}")]
    DifferentDimensions { left: usize, right: usize },
    #[error("expected {expected} dimensions, not {found}")]
    UnexpectedDimensions { expected: usize, found: usize },
    #[error("mrlvec must have at least 1 dimension")]
    NoDimensions,
    #[error("mrlvec cannot have more than {MAX_DIMENSIONS} dimensions")]
    TooManyDimensions,
    /// `position` counts from 1.
    #[error("NaN not allowed in mrlvec")]
    NotANumber { position: usize, value: String },
    #[error("infinite value not allowed in mrlvec")]
    Infinite { position: usize, value: String },
    #[error("\"{value}\" is out of range for type mrlvec")]
    OutOfRange { position: usize, value: String },
    #[error("invalid input syntax for type mrlvec: \"{text}\"")]
    Syntax { text: String, detail: Option<&'static str> },
    #[error("expected unused to be 0, not {0}")]
    UnusedNotZero(u16),
    /// The result of arithmetic does not fit a half.
    #[error("value out of range: overflow")]
    Overflow,
    /// A product of two numbers that are not zero became zero.
    #[error("value out of range: underflow")]
    Underflow,
}

impl VectorError {
    /// The sentence that names the value at fault and its position, where there is one.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::NotANumber { position, value }
            | Self::Infinite { position, value }
            | Self::OutOfRange { position, value } => {
                Some(format!("Element {position} is \"{value}\"."))
            }
            Self::Syntax { detail, .. } => detail.map(str::to_owned),
            _ => None,
        }
    }
}
