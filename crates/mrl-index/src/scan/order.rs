//! Numbers as integers of the same order: what is sorted or selected by many comparisons is so faster.

use mrl_kernels as kernels;

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

/// A score that more than `most` of some have or surpass, but few more; [`NO_BAR`] where no more than that are there.
///
/// It is that of a sample: how many go on need not be exact.
pub fn bar(scores: &[f32], most: usize) -> f32 {
    bars(scores, [most])[0]
}

/// The same for several numbers, of which none is greater than the one before.
///
/// Found by halving the range in which it lies and counting: many scores are compared at once, and no branch depends on
/// a single one, as it does where they are selected by exchanges.
pub fn bars<const N: usize>(scores: &[f32], most: [usize; N]) -> [f32; N] {
    /// What is counted at once, or else a sample of at least a third as many.
    const COUNTED: usize = 4096;
    // Odd, so that the sample comes from all places of blocks.
    let stride = (scores.len() / (COUNTED / 2)) | 1;
    let mut room;
    let sample = match stride {
        1 => scores,
        _ => {
            room = [0.0; COUNTED];
            let mut count = 0;
            for (place, some) in room.iter_mut().zip(scores.chunks(stride)) {
                *place = some[0];
                count += 1;
            }
            &room[..count]
        }
    };
    let mut least = NO_BAR;
    most.map(|most| {
        least = bar_of_all(sample, most / stride, least);
        least
    })
}

/// A score that more than `most` have or surpass, `least` or a greater one.
fn bar_of_all(scores: &[f32], most: usize, least: f32) -> f32 {
    let count = |bar: f32| kernels::count_at_least(scores, bar) as usize;
    // A sixty-fourth more is as good.
    let fewest = most.saturating_add(1);
    let enough = fewest..=fewest.saturating_add(most / 64);
    if count(least) <= *enough.end() {
        return least;
    }
    // More than enough have or surpass the first, too few the second.
    let (mut below, mut above) = (key(least), key(f32::INFINITY));
    loop {
        let middle = below.midpoint(above);
        // Of two neighbours it is that which lies nearer to 0.
        if middle == below || middle == above {
            return number(below);
        }
        let bar = number(middle);
        match count(bar) {
            reached if enough.contains(&reached) => return bar,
            reached if reached > *enough.end() => below = middle,
            _ => above = middle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn of_as_many_as_there_can_be_all_pass() {
        assert_eq!(bars(&[1.0; 5000], [usize::MAX, 5000]), [NO_BAR; 2]);
        assert_eq!(bar(&[2.0, 1.0], usize::MAX), NO_BAR);
    }

    /// Of more scores than are counted the bar is that of a sample of them.
    #[test]
    fn about_as_many_pass_a_bar_of_many_scores() {
        let mut random = crate::random::Random::new(3);
        let scores: Vec<f32> = (0..100_000).map(|_| -((random.next() >> 40) as f32)).collect();
        for (most, fewest, greatest) in
            [(0, 1, 500), (24, 1, 500), (1000, 500, 2000), (30_000, 28_000, 33_000)]
        {
            let bar = bar(&scores, most);
            let passing = scores.iter().filter(|score| **score >= bar).count();
            assert!((fewest..=greatest).contains(&passing), "{passing} instead of {most}");
        }
    }

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
            for (most, bar) in most.into_iter().zip(bars(&scores, most)) {
                let enough = most + 1 + most / 64;
                prop_assert_eq!(bar == NO_BAR, enough >= scores.len());
                if bar != NO_BAR {
                    prop_assert!(scores.iter().filter(|score| **score > bar).count() <= enough);
                    prop_assert!(scores.iter().filter(|score| **score >= bar).count() > most);
                }
            }
        }
    }
}
