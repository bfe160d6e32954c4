//! From the states of the tokens to one embedding, and from that to its leading dimensions.
//!
//! Depends on [`crate::description`] and half.

use half::f16;

use crate::description::Pooling;
use crate::error::{EncoderError, Result};
use crate::ops::normalise;

/// The layer normalisation between pooling and truncation, without weights of its own.
const POOLED_EPSILON: f64 = 1e-5;

/// The embedding of one text at the model's full dimension, not yet of length 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    pooled: Vec<f32>,
    full: Vec<f32>,
}

impl Embedding {
    /// Pools states of shape (tokens, `hidden`), row after row. Nothing where a value is not finite.
    pub(crate) fn from_states(
        states: &[f32],
        hidden: usize,
        pooling: Pooling,
        layer_norm: bool,
    ) -> Option<Self> {
        let pooled = match pooling {
            Pooling::Mean => mean(states, hidden),
            Pooling::Cls => states.get(..hidden)?.to_vec(),
        };
        let mut full = pooled.clone();
        if layer_norm {
            normalise(&mut full, POOLED_EPSILON);
        }
        let finite = pooled.iter().chain(&full).all(|value| value.is_finite());
        finite.then_some(Self { pooled, full })
    }

    /// The pooled vector before the model's layer norm: the stage that some publish.
    pub fn pooled(&self) -> &[f32] {
        &self.pooled
    }

    /// The vector that is truncated: after the model's layer norm, where it has one.
    pub fn full(&self) -> &[f32] {
        &self.full
    }

    /// The first `dimension` components, L2-normalised, rounded to the nearest half (ties to even).
    ///
    /// # Errors
    /// [`EncoderError::DimensionOutOfRange`] outside `1..=full().len()`.
    pub fn truncate(&self, dimension: usize) -> Result<Vec<f16>> {
        Ok(self.truncate_f32(dimension)?.into_iter().map(f16::from_f32).collect())
    }

    /// As [`Embedding::truncate`], before the rounding.
    ///
    /// # Errors
    /// [`EncoderError::DimensionOutOfRange`] outside `1..=full().len()`.
    pub fn truncate_f32(&self, dimension: usize) -> Result<Vec<f32>> {
        let kept = match self.full.get(..dimension) {
            Some(kept) if !kept.is_empty() => kept,
            _ => {
                let full = self.full.len();
                return Err(EncoderError::DimensionOutOfRange { dimension, full });
            }
        };
        let norm = kept.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        // A vector of zeros has no direction and stays what it is, as in pgvector's l2_normalize.
        if norm == 0.0 {
            return Ok(kept.to_vec());
        }
        Ok(kept.iter().map(|&value| (f64::from(value) / norm) as f32).collect())
    }
}

fn mean(states: &[f32], hidden: usize) -> Vec<f32> {
    let mut sums = vec![0f64; hidden];
    let rows = states.chunks_exact(hidden);
    let count = rows.len() as f64;
    for row in rows {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += f64::from(value);
        }
    }
    sums.into_iter().map(|sum| (sum / count) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedding(values: &[f32]) -> Embedding {
        Embedding::from_states(values, values.len(), Pooling::Mean, false).unwrap()
    }

    #[test]
    fn truncation_keeps_the_leading_components_at_length_one() {
        let found = embedding(&[3.0, 4.0, 12.0]).truncate_f32(2).unwrap();
        assert_eq!(found, [0.6, 0.8]);
    }

    #[test]
    fn dimensions_outside_the_embedding_are_errors() {
        for dimension in [0, 4, usize::MAX] {
            let error = embedding(&[1.0, 2.0, 3.0]).truncate(dimension).unwrap_err();
            assert!(matches!(error, EncoderError::DimensionOutOfRange { full: 3, .. }));
        }
    }

    #[test]
    fn zeros_stay_zeros_and_extremes_stay_finite() {
        assert_eq!(embedding(&[0.0, 0.0]).truncate_f32(2).unwrap(), [0.0, 0.0]);
        let large = embedding(&[f32::MAX, f32::MAX]).truncate_f32(2).unwrap();
        assert!(large.iter().all(|value| (value - 0.5f32.sqrt()).abs() < 1e-6));
        let small = embedding(&[f32::MIN_POSITIVE, 0.0]).truncate_f32(2).unwrap();
        assert_eq!(small, [1.0, 0.0]);
    }

    #[test]
    fn values_that_are_not_finite_give_no_embedding() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(Embedding::from_states(&[1.0, bad], 2, Pooling::Mean, true).is_none());
        }
    }

    #[test]
    fn mean_is_over_tokens_and_cls_is_the_first() {
        let states = [1.0, 2.0, 3.0, 6.0];
        let mean = Embedding::from_states(&states, 2, Pooling::Mean, false).unwrap();
        assert_eq!(mean.pooled(), [2.0, 4.0]);
        let cls = Embedding::from_states(&states, 2, Pooling::Cls, false).unwrap();
        assert_eq!(cls.pooled(), [1.0, 2.0]);
    }
}
