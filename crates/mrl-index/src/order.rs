//! Singles as integers of the same order: what is sorted or selected by many comparisons is so faster.

/// A number's place in the order of [`f32::total_cmp`].
#[inline]
pub fn key(number: f32) -> i32 {
    let bits = number.to_bits() as i32;
    // Of negative numbers the greater magnitude is the lesser one.
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

/// The number of a key.
#[inline]
pub fn number(key: i32) -> f32 {
    f32::from_bits((key ^ ((key >> 31) as u32 >> 1) as i32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_are_in_the_order_of_the_numbers(a in any::<u32>(), b in any::<u32>()) {
            let (a, b) = (f32::from_bits(a), f32::from_bits(b));
            prop_assert_eq!(key(a).cmp(&key(b)), a.total_cmp(&b));
            prop_assert_eq!(number(key(a)).to_bits(), a.to_bits());
        }
    }
}
