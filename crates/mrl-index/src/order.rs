//! Numbers as integers of the same order: what is sorted or selected by many comparisons is so faster.

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

/// A double's place in the order of [`f64::total_cmp`].
#[inline]
pub fn wide_key(number: f64) -> i64 {
    let bits = number.to_bits() as i64;
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

/// The double of a key.
#[inline]
pub fn wide_number(key: i64) -> f64 {
    f64::from_bits((key ^ ((key >> 63) as u64 >> 1) as i64) as u64)
}

/// A score that about `most` of some have or surpass; [`NO_BAR`] where there are no more.
///
/// It is that of a sample: how many go on need not be exact.
pub fn bar(scores: &[f32], most: usize, keys: &mut Vec<i32>) -> Result<f32, OutOfMemory> {
    Ok(bars(scores, [most], keys)?[0])
}

/// The same for several numbers, of which none is greater than the one before.
pub fn bars<const N: usize>(
    scores: &[f32],
    most: [usize; N],
    keys: &mut Vec<i32>,
) -> Result<[f32; N], OutOfMemory> {
    const SAMPLE: usize = 2048;
    // Odd, so that the sample comes from all places of blocks.
    let stride = (scores.len() / SAMPLE) | 1;
    keys.clear();
    mrl_memory::reserve(keys, scores.len().div_ceil(stride))?;
    match stride {
        1 => keys.extend(scores.iter().copied().map(key)),
        _ => keys.extend(scores.chunks(stride).map(|some| key(some[0]))),
    }
    // The greatest of them, as many as are left.
    let mut greatest = &mut keys[..];
    Ok(most.map(|most| {
        let rank = most / stride;
        if rank >= greatest.len() {
            return NO_BAR;
        }
        let from_below = greatest.len() - 1 - rank;
        let all = std::mem::take(&mut greatest);
        let bar = number(*all.select_nth_unstable(from_below).1);
        greatest = &mut all[from_below..];
        // Less than all of them may be there.
        if bar.is_finite() { bar } else { NO_BAR }
    }))
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

        #[test]
        fn keys_of_doubles_too(a in any::<u64>(), b in any::<u64>()) {
            let (a, b) = (f64::from_bits(a), f64::from_bits(b));
            prop_assert_eq!(wide_key(a).cmp(&wide_key(b)), a.total_cmp(&b));
            prop_assert_eq!(wide_number(wide_key(a)).to_bits(), a.to_bits());
        }

        #[test]
        fn as_many_pass_a_bar_as_should(
            scores in prop::collection::vec(-1000i16..1000, 0..500), most in prop::array::uniform3(0usize..600),
        ) {
            let mut most = most;
            most.sort_unstable_by(|a, b| b.cmp(a));
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let bars = bars(&scores, most, &mut Vec::new()).unwrap();
            for (most, bar) in most.into_iter().zip(bars) {
                prop_assert_eq!(bar == NO_BAR, most >= scores.len());
                if bar != NO_BAR {
                    prop_assert!(scores.iter().filter(|score| **score > bar).count() <= most);
                    prop_assert!(scores.iter().filter(|score| **score >= bar).count() > most);
                }
            }
        }
    }
}
