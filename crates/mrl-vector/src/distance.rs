//! Distances as the operators give them: `<#>`, `<=>`, `<->`, `<+>`.
//!
//! `<#>` and `<=>` compare vectors of different length at the shared k-prefix: the longer side is
//! truncated to the shorter, that is cut and scaled to length 1. The scaling is applied to the
//! inner product instead of to each component, so nothing is rounded to a half on the way.
//! `<->` and `<+>` want equal lengths: a one-sided scaling would make them meaningless.

use half::f16;
use mrl_kernels as kernels;

use crate::{VectorError, check_same_dimensions};

/// `<#>`: minus the inner product, at the shared k-prefix. In `f64`, summed in `f32`.
#[inline]
pub fn negative_inner_product(left: &[f16], right: &[f16]) -> f64 {
    -inner_product(left, right)
}

/// The inner product at the shared k-prefix.
#[inline]
pub fn inner_product(left: &[f16], right: &[f16]) -> f64 {
    if left.len() == right.len() {
        return f64::from(kernels::dot(left, right));
    }
    let (longer, shorter) = if left.len() > right.len() { (left, right) } else { (right, left) };
    let terms = kernels::prefix_terms(&longer[..shorter.len()], shorter);
    over_norm(f64::from(terms.dot), f64::from(terms.a_squared))
}

/// `<=>`: 1 minus the cosine of the angle between the shared k-prefixes; NaN where one is zero.
#[inline]
pub fn cosine_distance(left: &[f16], right: &[f16]) -> f64 {
    let shared = left.len().min(right.len());
    let terms = kernels::cosine_terms(&left[..shared], &right[..shared]);
    let norms = (f64::from(terms.a_squared) * f64::from(terms.b_squared)).sqrt();
    1.0 - (f64::from(terms.dot) / norms).clamp(-1.0, 1.0)
}

/// `<->`: the Euclidean distance of two vectors of equal length.
pub fn l2_distance(left: &[f16], right: &[f16]) -> Result<f64, VectorError> {
    check_same_dimensions(left, right)?;
    Ok(f64::from(kernels::squared_l2(left, right)).sqrt())
}

/// `<+>`: the taxicab distance of two vectors of equal length.
pub fn l1_distance(left: &[f16], right: &[f16]) -> Result<f64, VectorError> {
    check_same_dimensions(left, right)?;
    Ok(f64::from(kernels::l1(left, right)))
}

/// `vector <#> bit`: minus the inner product of a full-precision vector with stored signs.
///
/// A bit is read as +1/√k (1) or −1/√k (0), so that k bits are a vector of length 1 and the
/// result lies where `<#>` of the vectors themselves would. `bits` holds `bit_count` bits, most
/// significant first. Of different lengths, the shorter decides, as for two vectors.
pub fn negative_inner_product_with_signs(vector: &[f16], bits: &[u8], bit_count: usize) -> f64 {
    let shared = vector.len().min(bit_count);
    if shared == 0 {
        return 0.0;
    }
    let prefix = &vector[..shared];
    let sum = f64::from(kernels::dot_signs(prefix, &bits[..shared.div_ceil(8)]));
    let product = sum / (shared as f64).sqrt();
    if vector.len() > bit_count {
        return -over_norm(product, f64::from(kernels::squared_norm(prefix)));
    }
    -product
}

/// How many of the first components that both have differ in sign (greater than 0, or not).
pub fn sign_hamming_distance(left: &[f16], right: &[f16]) -> f64 {
    let shared = left.len().min(right.len());
    f64::from(kernels::sign_hamming(&left[..shared], &right[..shared]))
}

/// The Euclidean length.
pub fn l2_norm(vector: &[f16]) -> f64 {
    f64::from(kernels::squared_norm(vector)).sqrt()
}

/// `product` over the norm whose square is given; 0 for the zero vector, which has no direction.
fn over_norm(product: f64, squared_norm: f64) -> f64 {
    if squared_norm > 0.0 { product / squared_norm.sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn halfs(
        dimensions: impl Into<prop::collection::SizeRange>,
    ) -> impl Strategy<Value = Vec<f16>> {
        prop::collection::vec(
            prop_oneof![
                8 => (-1.0..1.0_f32).prop_map(f16::from_f32),
                1 => (0..0x03ff_u16).prop_map(f16::from_bits),
                1 => prop_oneof![Just(f16::ZERO), Just(f16::NEG_ZERO)],
            ],
            dimensions,
        )
    }

    fn exact(vector: &[f16]) -> Vec<f64> {
        vector.iter().map(|x| x.to_f64()).collect()
    }

    fn dot(left: &[f64], right: &[f64]) -> f64 {
        left.iter().zip(right).map(|(a, b)| a * b).sum()
    }

    /// What summing in `f32` may cost: its epsilon times the sum of magnitudes, times a little.
    fn close(found: f64, expected: f64, magnitude: f64) -> bool {
        (found - expected).abs() <= 1e-5 * magnitude + 1e-12
    }

    /// The definition of a mixed comparison: truncate the longer side, in f64.
    fn truncated(vector: &[f16], kept: usize) -> Vec<f64> {
        let prefix = exact(&vector[..kept]);
        let norm = dot(&prefix, &prefix).sqrt();
        if kept == vector.len() || norm == 0.0 {
            return if kept == vector.len() { prefix } else { vec![0.0; kept] };
        }
        prefix.iter().map(|x| x / norm).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn inner_products_at_the_shared_prefix(left in halfs(1..1500), right in halfs(1..1500)) {
            let shared = left.len().min(right.len());
            let (a, b) = (truncated(&left, shared), truncated(&right, shared));
            let magnitude = a.iter().zip(&b).map(|(x, y)| (x * y).abs()).sum();
            prop_assert!(close(negative_inner_product(&left, &right), -dot(&a, &b), magnitude));
            prop_assert_eq!(
                negative_inner_product(&left, &right), negative_inner_product(&right, &left)
            );
        }

        #[test]
        fn cosine_distances_at_the_shared_prefix(left in halfs(1..900), right in halfs(1..900)) {
            let shared = left.len().min(right.len());
            let (a, b) = (exact(&left[..shared]), exact(&right[..shared]));
            let norms = (dot(&a, &a) * dot(&b, &b)).sqrt();
            let found = cosine_distance(&left, &right);
            if norms == 0.0 {
                prop_assert!(found.is_nan());
            } else if norms > 1e-9 {
                prop_assert!(close(found, 1.0 - dot(&a, &b) / norms, 2.0));
            }
        }

        #[test]
        fn l2_and_l1(pairs in prop::collection::vec((-100.0..100.0_f32, -100.0..100.0_f32), 1..2000)) {
            let left: Vec<f16> = pairs.iter().map(|p| f16::from_f32(p.0)).collect();
            let right: Vec<f16> = pairs.iter().map(|p| f16::from_f32(p.1)).collect();
            let differences: Vec<f64> =
                exact(&left).iter().zip(exact(&right)).map(|(a, b)| a - b).collect();
            let l2 = dot(&differences, &differences).sqrt();
            let l1: f64 = differences.iter().map(|d| d.abs()).sum();
            prop_assert!(close(l2_distance(&left, &right).unwrap(), l2, l2));
            prop_assert!(close(l1_distance(&left, &right).unwrap(), l1, l1));
        }

        #[test]
        fn signs_stand_for_a_unit_vector(
            left in halfs(1..700), bits in prop::collection::vec(any::<bool>(), 1..700),
        ) {
            let mut packed = vec![0u8; bits.len().div_ceil(8)];
            for (i, _) in bits.iter().enumerate().filter(|(_, set)| **set) {
                packed[i / 8] |= 0x80 >> (i % 8);
            }
            let shared = left.len().min(bits.len());
            let a = truncated(&left, shared);
            let b: Vec<f64> = bits[..shared]
                .iter()
                .map(|set| if *set { 1.0 } else { -1.0 } / (shared as f64).sqrt())
                .collect();
            let magnitude = a.iter().zip(&b).map(|(x, y)| (x * y).abs()).sum();
            let found = negative_inner_product_with_signs(&left, &packed, bits.len());
            prop_assert!(close(found, -dot(&a, &b), magnitude), "{} {}", found, dot(&a, &b));
        }
    }

    #[test]
    fn different_lengths_are_refused_where_they_mean_nothing() {
        let (two, three) = ([f16::ONE; 2], [f16::ONE; 3]);
        let message = "different mrlvec dimensions 2 and 3";
        assert_eq!(l2_distance(&two, &three).unwrap_err().to_string(), message);
        assert_eq!(l1_distance(&two, &three).unwrap_err().to_string(), message);
    }
}
