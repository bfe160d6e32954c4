//! Numbers into halfs, and vectors into shorter vectors, unit vectors and signs.

use half::f16;

use crate::{VectorError, check_dimensions, check_expected_dimensions};

/// Rounds to the nearest half, ties to even; what is too large becomes infinity.
///
/// Rounding to `f32` on the way would round twice (1 + 2⁻¹¹ + 2⁻⁴⁰ would become 1). So the step
/// to `f32` rounds to odd, which keeps every bit that the second rounding can ask about (Boldo
/// and Melquiond, "Emulation of a FMA and correctly rounded sums", 2008, section 3).
pub fn half_from_f64(value: f64) -> f16 {
    let nearest = value as f32;
    let exact = nearest.is_infinite() || nearest.is_nan() || f64::from(nearest) == value;
    if exact || nearest.to_bits() & 1 == 1 {
        return f16::from_f32(nearest);
    }
    let bits = nearest.to_bits();
    let odd_neighbour = if f64::from(nearest).abs() > value.abs() { bits - 1 } else { bits + 1 };
    f16::from_f32(f32::from_bits(odd_neighbour))
}

/// Rounds a component that comes from outside; `position` counts from 1 and is for the error.
pub fn component_from_f64(value: f64, position: usize) -> Result<f16, VectorError> {
    let half = half_from_f64(value);
    if half.is_finite() {
        return Ok(half);
    }
    let value = value.to_string();
    Err(match value.as_str() {
        "NaN" => VectorError::NotANumber { position, value },
        "inf" | "-inf" => {
            VectorError::Infinite { position, value: value.replace("inf", "Infinity") }
        }
        _ => VectorError::OutOfRange { position, value },
    })
}

/// Keeps the first `out.len()` components of `vector` and scales them to length 1.
///
/// A vector of that length already is copied as it is: a cast to the length that a vector has
/// changes nothing. A prefix of zeros stays zero. More components than there are is an error.
pub fn truncate(vector: &[f16], out: &mut [f16]) -> Result<(), VectorError> {
    if out.len() == vector.len() {
        out.copy_from_slice(vector);
        return Ok(());
    }
    check_dimensions(out.len())?;
    let prefix = vector
        .get(..out.len())
        .ok_or(VectorError::UnexpectedDimensions { expected: out.len(), found: vector.len() })?;
    normalise(prefix, out)
}

/// Scales `vector` to length 1 into `out`, which has equally many components. Zero stays zero.
pub fn normalise(vector: &[f16], out: &mut [f16]) -> Result<(), VectorError> {
    check_expected_dimensions(vector.len(), out.len())?;
    let norm = norm(vector);
    let scale = if norm > 0.0 { 1.0 / norm } else { 0.0 };
    for (out, component) in out.iter_mut().zip(vector) {
        *out = half_from_f64(f64::from(component.to_f32()) * scale);
    }
    Ok(())
}

/// The Euclidean length of `vector`, summed in `f64`.
pub fn norm(vector: &[f16]) -> f64 {
    vector.iter().map(|x| f64::from(x.to_f32())).map(|x| x * x).sum::<f64>().sqrt()
}

/// The signs of the first `dimensions` components as PostgreSQL's bit strings hold them: most
/// significant bit first, 1 where the component is greater than 0, unused last bits 0.
///
/// `out` has `dimensions.div_ceil(8)` bytes. More components than there are is an error.
pub fn signs(vector: &[f16], dimensions: usize, out: &mut [u8]) -> Result<(), VectorError> {
    let prefix = vector
        .get(..dimensions)
        .ok_or(VectorError::UnexpectedDimensions { expected: dimensions, found: vector.len() })?;
    mrl_kernels::sign_bits(prefix, out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, independent of `f32`: of the halfs around `value`, the nearest one, and of
    /// two equally near the one with the even last bit.
    fn nearest_half(value: f64) -> f16 {
        let candidates = (0..=0x7bff_u16).map(f16::from_bits);
        let magnitude = value.abs();
        if magnitude >= 65_520.0 {
            return f16::INFINITY.copysign(f16::from_f32(value.signum() as f32));
        }
        let below = candidates.take_while(|h| h.to_f64() <= magnitude).last().unwrap();
        let above = f16::from_bits(below.to_bits() + 1);
        let above_value = if above.is_infinite() { 65_536.0 } else { above.to_f64() };
        let (down, up) = (magnitude - below.to_f64(), above_value - magnitude);
        let even_is_below = below.to_bits() & 1 == 0;
        let chosen = if down < up || (down == up && even_is_below) { below } else { above };
        chosen.copysign(f16::from_f32(if value.is_sign_negative() { -1.0 } else { 1.0 }))
    }

    #[test]
    fn rounds_once() {
        let just_above_halfway = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        assert_eq!(half_from_f64(just_above_halfway), f16::from_bits(0x3c01));
        assert_eq!(half_from_f64(1.0 + 2f64.powi(-11)), f16::ONE);
        assert_eq!(half_from_f64(65_519.999), f16::MAX);
        assert_eq!(half_from_f64(65_520.0), f16::INFINITY);
        assert_eq!(half_from_f64(-0.0).to_bits(), 0x8000);
        assert_eq!(half_from_f64(2f64.powi(-25)).to_bits(), 0);
        assert_eq!(half_from_f64(2f64.powi(-25) * 1.000_000_001).to_bits(), 1);
    }

    #[test]
    fn rounds_halfway_points_and_their_neighbours_to_the_nearest_half() {
        for bits in (0..0x7bff_u16).step_by(7) {
            let (low, high) = (f16::from_bits(bits).to_f64(), f16::from_bits(bits + 1).to_f64());
            let halfway = (low + high) / 2.0;
            for value in [halfway, halfway * (1.0 + f64::EPSILON), halfway * (1.0 - f64::EPSILON)] {
                assert_eq!(
                    half_from_f64(value).to_bits(),
                    nearest_half(value).to_bits(),
                    "{value:e}"
                );
                assert_eq!(half_from_f64(-value).to_bits(), nearest_half(-value).to_bits());
            }
        }
    }

    proptest! {
        #[test]
        fn rounds_any_number_to_the_nearest_half(value in -70_000.0..70_000.0_f64) {
            prop_assert_eq!(half_from_f64(value).to_bits(), nearest_half(value).to_bits());
        }

        #[test]
        fn truncation_is_the_normalised_prefix(
            values in prop::collection::vec(-1000.0..1000.0_f32, 1..2000), share in 0.0..1.0_f64,
        ) {
            let vector: Vec<f16> = values.iter().map(|v| f16::from_f32(*v)).collect();
            let kept = ((vector.len() as f64 * share) as usize).max(1);
            let mut out = vec![f16::ZERO; kept];
            truncate(&vector, &mut out).unwrap();
            if kept == vector.len() {
                prop_assert_eq!(out, vector);
            } else {
                let exact: Vec<f64> = vector[..kept].iter().map(|h| h.to_f64()).collect();
                let norm = exact.iter().map(|x| x * x).sum::<f64>().sqrt();
                for (out, exact) in out.iter().zip(exact) {
                    let expected = if norm > 0.0 { exact / norm } else { 0.0 };
                    // One unit in the last place of a half around 1, and of its denormals.
                    let unit = (expected.abs() * 2f64.powi(-11)).max(2f64.powi(-25));
                    prop_assert!((out.to_f64() - expected).abs() <= unit * 1.0001);
                }
            }
        }
    }

    #[test]
    fn zero_prefixes_stay_zero_and_longer_is_refused() {
        let vector = [f16::ZERO, f16::ZERO, f16::ONE];
        let mut out = [f16::ONE; 2];
        truncate(&vector, &mut out).unwrap();
        assert_eq!(out, [f16::ZERO; 2]);
        let error = truncate(&vector, &mut [f16::ZERO; 4]).unwrap_err();
        assert_eq!(error.to_string(), "expected 4 dimensions, not 3");
    }

    #[test]
    fn what_is_not_finite_is_named() {
        let message = |value| {
            let error = component_from_f64(value, 3).unwrap_err();
            (error.to_string(), error.detail().unwrap())
        };
        assert_eq!(
            message(f64::NAN),
            ("NaN not allowed in mrlvec".into(), "Element 3 is \"NaN\".".into())
        );
        assert_eq!(
            message(f64::NEG_INFINITY),
            ("infinite value not allowed in mrlvec".into(), "Element 3 is \"-Infinity\".".into())
        );
        assert_eq!(
            message(65_520.0),
            ("\"65520\" is out of range for type mrlvec".into(), "Element 3 is \"65520\".".into())
        );
    }

    #[test]
    fn signs_are_those_above_zero() {
        let vector = [1.0, -1.0, 0.0, -0.0, 6e-8, 2.0, -3.0, 4.0, 5.0].map(f16::from_f32);
        let mut bits = [0xff; 2];
        signs(&vector, 9, &mut bits).unwrap();
        assert_eq!(bits, [0b1000_1101, 0b1000_0000]);
        assert!(signs(&vector, 10, &mut bits).is_err());
    }
}
