//! `=`, `<` and hashing: a total order by components, then by length, with −0 equal to 0.

use std::cmp::Ordering;

use half::f16;

/// Compares components first, then lengths, as PostgreSQL compares arrays.
///
/// Vectors hold no NaN, so this is a total order; −0 and 0 are equal, as numbers are.
pub fn compare(left: &[f16], right: &[f16]) -> Ordering {
    left.iter()
        .zip(right)
        // Equal bits are the common case and need no conversion.
        .find(|(a, b)| a.to_bits() != b.to_bits() && a != b)
        .map_or_else(
            || left.len().cmp(&right.len()),
            |(a, b)| a.partial_cmp(b).unwrap_or(Ordering::Equal),
        )
}

/// Whether a component is −0, which is equal to 0 but has other bits.
pub fn has_negative_zero(vector: &[f16]) -> bool {
    vector.iter().any(|x| x.to_bits() == f16::NEG_ZERO.to_bits())
}

/// Copies `vector` with 0 for −0, so that equal vectors have equal bits (for hashing).
pub fn canonical(vector: &[f16]) -> Vec<f16> {
    let positive = |x: &f16| if x.to_bits() == f16::NEG_ZERO.to_bits() { f16::ZERO } else { *x };
    vector.iter().map(positive).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn few_values() -> impl Strategy<Value = Vec<f16>> {
        let value = prop_oneof![Just(-1.0), Just(-0.0), Just(0.0), Just(1.0), Just(6e-8)];
        prop::collection::vec(value.prop_map(f16::from_f32), 1..5)
    }

    proptest! {
        #[test]
        fn orders_as_a_slice_of_numbers(left in few_values(), right in few_values()) {
            let numbers = |v: &[f16]| v.iter().map(|x| x.to_f64()).collect::<Vec<_>>();
            prop_assert_eq!(Some(compare(&left, &right)), numbers(&left).partial_cmp(&numbers(&right)));
        }

        #[test]
        fn equal_vectors_have_equal_canonical_bits(left in few_values(), right in few_values()) {
            let bits = |v: &[f16]| canonical(v).iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(compare(&left, &right).is_eq(), bits(&left) == bits(&right));
            prop_assert_eq!(has_negative_zero(&left), bits(&left) != left.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
        }
    }
}
