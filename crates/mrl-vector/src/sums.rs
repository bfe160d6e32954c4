//! What the aggregates `sum` and `avg` keep and give: sums in `f64`, one a dimension.
//!
//! The state is `[count, sum of component 1, …, sum of component n]`, and `[0]` before the first
//! vector: an ordinary array of double precision, so that parallel workers can hand it over.

use half::f16;

use crate::convert::half_from_f64;
use crate::{VectorError, check_dimensions, check_expected_dimensions};

/// Adds `vector` to `state`, which is not the empty state.
pub fn accumulate(state: &mut [f64], vector: &[f16]) -> Result<(), VectorError> {
    let Some((count, sums)) = state.split_first_mut() else {
        return Err(VectorError::NoDimensions);
    };
    check_expected_dimensions(sums.len(), vector.len())?;
    mrl_kernels::add_to_sums(vector, sums);
    *count += 1.0;
    Ok(())
}

/// Adds the state `other` to `state`, neither of them empty.
pub fn combine(state: &mut [f64], other: &[f64]) -> Result<(), VectorError> {
    check_expected_dimensions(state.len().saturating_sub(1), other.len().saturating_sub(1))?;
    for (sum, addend) in state.iter_mut().zip(other) {
        *sum += addend;
    }
    Ok(())
}

/// The sum of what was accumulated, rounded once.
pub fn sum(state: &[f64], out: &mut [f16]) -> Result<(), VectorError> {
    finish(state, out, 1.0)
}

/// The average of what was accumulated, rounded once.
pub fn average(state: &[f64], out: &mut [f16]) -> Result<(), VectorError> {
    finish(state, out, state.first().copied().unwrap_or(1.0))
}

fn finish(state: &[f64], out: &mut [f16], divisor: f64) -> Result<(), VectorError> {
    let sums = state.get(1..).unwrap_or_default();
    check_dimensions(sums.len())?;
    check_expected_dimensions(sums.len(), out.len())?;
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = half_from_f64(sum / divisor);
    }
    if mrl_kernels::all_finite(out) { Ok(()) } else { Err(VectorError::Overflow) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_kept_wider_than_a_half() {
        // In halfs, 2048 + 1 is 2048: five thousand ones would never pass it.
        let mut state = vec![0.0; 2];
        for _ in 0..5000 {
            accumulate(&mut state, &[f16::ONE]).unwrap();
        }
        let mut out = [f16::ZERO];
        sum(&state, &mut out).unwrap();
        assert_eq!(out[0].to_f32(), 5000.0);
        average(&state, &mut out).unwrap();
        assert_eq!(out[0], f16::ONE);
    }

    #[test]
    fn parts_combine_and_lengths_must_agree() {
        let (mut left, right) = (vec![1.0, 1.0, 2.0], vec![3.0, 5.0, 6.0]);
        combine(&mut left, &right).unwrap();
        assert_eq!(left, [4.0, 6.0, 8.0]);
        let mut out = [f16::ZERO; 2];
        average(&left, &mut out).unwrap();
        assert_eq!(out.map(f16::to_f32), [1.5, 2.0]);
        assert!(combine(&mut left, &[1.0, 1.0]).is_err());
        let error = accumulate(&mut left, &[f16::ONE]).unwrap_err();
        assert_eq!(error.to_string(), "expected 2 dimensions, not 1");
    }

    #[test]
    fn a_sum_beyond_a_half_is_an_overflow() {
        let mut out = [f16::ZERO];
        assert_eq!(sum(&[2.0, 131_008.0], &mut out), Err(VectorError::Overflow));
        assert_eq!(average(&[2.0, 131_008.0], &mut out), Ok(()));
    }
}
