//! Singles as integers of the same order: what is sorted or selected by many comparisons is so faster.

use mrl_memory::OutOfMemory;

/// The bar that everything passes.
pub const NO_BAR: f32 = f32::MIN;

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

/// A score that about `most` of some have or surpass; [`NO_BAR`] where there are no more.
///
/// It is that of a sample: how many go on need not be exact.
pub fn bar(scores: &[f32], most: usize, keys: &mut Vec<i32>) -> Result<f32, OutOfMemory> {
    const SAMPLE: usize = 2048;
    // Odd, so that the sample comes from all places of blocks.
    let stride = (scores.len() / SAMPLE) | 1;
    let rank = most / stride;
    keys.clear();
    mrl_memory::reserve(keys, scores.len().div_ceil(stride))?;
    match stride {
        1 => keys.extend(scores.iter().copied().map(key)),
        _ => keys.extend(scores.iter().step_by(stride).copied().map(key)),
    }
    if rank >= keys.len() {
        return Ok(NO_BAR);
    }
    let from_below = keys.len() - 1 - rank;
    let (_, bar, _) = keys.select_nth_unstable(from_below);
    let bar = number(*bar);
    // Less than all of them may be there.
    Ok(if bar.is_finite() { bar } else { NO_BAR })
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
