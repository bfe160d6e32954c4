//! `+`, `-`, `*`, `||` and subvectors.

use std::ops::Range;

use half::f16;

use crate::{VectorError, check_dimensions, check_expected_dimensions, check_same_dimensions};

/// Component-wise sum into `out`. The sum of two halfs is exact in `f32`: it is rounded once.
pub fn add(left: &[f16], right: &[f16], out: &mut [f16]) -> Result<(), VectorError> {
    combine(left, right, out, |a, b| a + b)
}

/// Component-wise difference into `out`.
pub fn subtract(left: &[f16], right: &[f16], out: &mut [f16]) -> Result<(), VectorError> {
    combine(left, right, out, |a, b| a - b)
}

/// Component-wise product into `out`; a product that vanishes is an underflow.
pub fn multiply(left: &[f16], right: &[f16], out: &mut [f16]) -> Result<(), VectorError> {
    combine(left, right, out, |a, b| a * b)?;
    let zero = |x: f16| x == f16::ZERO;
    let vanished =
        |((a, b), product): ((&f16, &f16), &f16)| zero(*product) && !zero(*a) && !zero(*b);
    if left.iter().zip(right).zip(out.iter()).any(vanished) {
        return Err(VectorError::Underflow);
    }
    Ok(())
}

fn combine(
    left: &[f16],
    right: &[f16],
    out: &mut [f16],
    operation: impl Fn(f32, f32) -> f32,
) -> Result<(), VectorError> {
    check_same_dimensions(left, right)?;
    check_expected_dimensions(left.len(), out.len())?;
    for ((out, a), b) in out.iter_mut().zip(left).zip(right) {
        *out = f16::from_f32(operation(a.to_f32(), b.to_f32()));
    }
    if mrl_kernels::all_finite(out) { Ok(()) } else { Err(VectorError::Overflow) }
}

/// How long `left || right` is, if such a vector may exist.
pub fn concatenated_dimensions(left: &[f16], right: &[f16]) -> Result<usize, VectorError> {
    let dimensions = left.len() + right.len();
    check_dimensions(dimensions)?;
    Ok(dimensions)
}

/// Which components `subvector(vector, start, count)` holds; `start` counts from 1.
///
/// As with `substring`, what lies outside the vector is left out; nothing left is an error.
pub fn subvector_range(
    dimensions: usize,
    start: i32,
    count: i32,
) -> Result<Range<usize>, VectorError> {
    if count < 1 {
        return Err(VectorError::NoDimensions);
    }
    // In 64 bits neither sum can overflow.
    let (start, end) = (i64::from(start), i64::from(start) + i64::from(count));
    let first = start.max(1) - 1;
    let last = (end - 1).min(dimensions as i64);
    if first >= last {
        return Err(VectorError::NoDimensions);
    }
    Ok(first as usize..last as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halfs(values: &[f32]) -> Vec<f16> {
        values.iter().map(|v| f16::from_f32(*v)).collect()
    }

    #[test]
    fn component_wise() {
        let (a, b) = (halfs(&[1.0, 2.0, -3.0]), halfs(&[4.0, 0.5, 2.0]));
        let mut out = vec![f16::ZERO; 3];
        add(&a, &b, &mut out).unwrap();
        assert_eq!(out, halfs(&[5.0, 2.5, -1.0]));
        subtract(&a, &b, &mut out).unwrap();
        assert_eq!(out, halfs(&[-3.0, 1.5, -5.0]));
        multiply(&a, &b, &mut out).unwrap();
        assert_eq!(out, halfs(&[4.0, 1.0, -6.0]));
        assert!(add(&a, &b[..2], &mut out).is_err());
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let mut out = vec![f16::ZERO];
        let (large, small) = (halfs(&[65_504.0]), halfs(&[6e-8]));
        assert_eq!(add(&large, &large, &mut out), Err(VectorError::Overflow));
        assert_eq!(multiply(&large, &large, &mut out), Err(VectorError::Overflow));
        assert_eq!(multiply(&small, &small, &mut out), Err(VectorError::Underflow));
        assert_eq!(multiply(&small, &halfs(&[0.0]), &mut out), Ok(()));
    }

    #[test]
    fn subvectors_clip_as_substrings_do() {
        assert_eq!(subvector_range(5, 2, 2), Ok(1..3));
        assert_eq!(subvector_range(5, 4, 10), Ok(3..5));
        assert_eq!(subvector_range(5, -1, 4), Ok(0..2));
        assert_eq!(subvector_range(5, i32::MAX, i32::MAX), Err(VectorError::NoDimensions));
        assert_eq!(subvector_range(5, i32::MIN, i32::MAX), Err(VectorError::NoDimensions));
        assert_eq!(subvector_range(5, 1, 0), Err(VectorError::NoDimensions));
        assert_eq!(subvector_range(5, 6, 1), Err(VectorError::NoDimensions));
        assert_eq!(subvector_range(5, 1, i32::MAX), Ok(0..5));
    }
}
