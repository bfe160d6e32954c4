//! What has one right answer, bit for bit: conversions, signs, finiteness; and the choice of a set.

mod common;

use common::{any_half, length, pair, value};
use half::f16;
use mrl_kernels::{
    CodeLayer, CodeUnit, Kernels, MOST_COUNTED, MOST_TABLE_PAIRS, available, chosen,
    instruction_set,
};
use proptest::prelude::*;

/// All 65,536 halfs.
fn all_halfs() -> Vec<f16> {
    (0..=u16::MAX).map(f16::from_bits).collect()
}

/// Converts all at once and each value alone, so that it passes through the blocks and the tail of
/// every set.
fn convert(set: &Kernels, src: &[f32]) -> Vec<f16> {
    let mut dst = vec![f16::ZERO; src.len()];
    set.from_f32(src, &mut dst);
    for (i, x) in src.iter().enumerate() {
        let mut alone = [f16::ZERO];
        set.from_f32(&[*x], &mut alone);
        let (got, block) = (alone[0].to_bits(), dst[i].to_bits());
        assert_eq!(got, block, "{} rounds {x:e} otherwise in a tail", set.name());
    }
    dst
}

/// The crate's `from_f32` against `half`'s software rounding, to the bit; a NaN as a NaN.
fn check_rounding(set: &Kernels, src: &[f32]) {
    for (x, got) in src.iter().zip(convert(set, src)) {
        let expected = f16::from_f32_const(*x);
        if x.is_nan() {
            assert!(got.is_nan(), "{} makes {got} of a NaN", set.name());
        } else {
            assert_eq!(got.to_bits(), expected.to_bits(), "{} from_f32({x:e})", set.name());
            assert_eq!(
                got.to_bits(),
                f16::from_f32(*x).to_bits(),
                "{} from_f32({x:e})",
                set.name()
            );
        }
    }
}

#[test]
fn every_half_widens_exactly() {
    let halfs = all_halfs();
    for set in available() {
        let mut wide = vec![0.0; halfs.len()];
        set.to_f32(&halfs, &mut wide);
        for (half, got) in halfs.iter().zip(&wide) {
            let mut alone = [0.0];
            set.to_f32(&[*half], &mut alone);
            let expected = value(*half);
            if expected.is_nan() {
                assert!(got.is_nan() && alone[0].is_nan(), "{} {half:?}", set.name());
                continue;
            }
            // An f64 that came from a half is an f32 exactly, the sign of a zero included.
            let expected = (expected as f32).to_bits();
            assert_eq!(got.to_bits(), expected, "{} {half:?}", set.name());
            assert_eq!(alone[0].to_bits(), expected, "{} {half:?} alone", set.name());
        }
    }
}

/// For each finite half: itself, the halfway point to the next, and the f32 on both sides of that.
#[test]
fn halfway_points_round_to_even() {
    for set in available() {
        let mut exact = Vec::new();
        let mut around = Vec::new();
        for bits in 0..0x7c00_u16 {
            let low = value(f16::from_bits(bits));
            // What follows the largest half, for rounding, is 65536: the halfway point is 65520.
            let next = value(f16::from_bits(bits + 1));
            let high = if bits + 1 == 0x7c00 { 65536.0 } else { next };
            let half_way = ((low + high) / 2.0) as f32;
            assert_eq!(f64::from(half_way), (low + high) / 2.0);
            let even = if bits.is_multiple_of(2) { bits } else { bits + 1 };
            for (x, expected) in [
                (low as f32, bits),
                (half_way.next_down(), bits),
                (half_way, even),
                (half_way.next_up(), bits + 1),
            ] {
                exact.extend([(x, expected), (-x, expected | 0x8000)]);
                around.extend([x, -x]);
            }
        }
        let got = convert(set, &around);
        for ((x, expected), got) in exact.iter().zip(got) {
            assert_eq!(got.to_bits(), *expected, "{} from_f32({x:e})", set.name());
        }
        check_rounding(set, &around);
    }
}

#[test]
fn extreme_floats_round_as_documented() {
    let cases = [
        (65519.0, 0x7bff),
        (65520.0, 0x7c00),
        (1e30, 0x7c00),
        (f32::MAX, 0x7c00),
        (f32::INFINITY, 0x7c00),
        (f32::NEG_INFINITY, 0xfc00),
        (-65520.0, 0xfc00),
        (0.0, 0),
        (-0.0, 0x8000),
        (1e-8, 0),
        (-1e-8, 0x8000),
        (f32::from_bits(1), 0),
        (f32::MIN_POSITIVE, 0),
        (2.9802322e-8, 0),
        (2.9802326e-8, 1),
    ];
    for set in available() {
        let got = convert(set, &cases.map(|(x, _)| x));
        assert_eq!(got.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), cases.map(|(_, y)| y));
        check_rounding(set, &[f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)]);
    }
}

/// Bits, from the definition: 1 where the value is > 0.
fn expected_bits(src: &[f16]) -> Vec<u8> {
    let mut bits = vec![0; src.len().div_ceil(8)];
    for (i, x) in src.iter().enumerate() {
        if value(*x) > 0.0 {
            bits[i / 8] |= 1 << (7 - i % 8);
        }
    }
    bits
}

fn check_signs(set: &Kernels, a: &[f16], b: &[f16]) {
    // What was there before must go.
    let mut bits = vec![0xff; a.len().div_ceil(8)];
    set.sign_bits(a, &mut bits);
    assert_eq!(bits, expected_bits(a), "{} sign_bits of {} halfs", set.name(), a.len());
    let different: u32 =
        expected_bits(a).iter().zip(expected_bits(b)).map(|(x, y)| (x ^ y).count_ones()).sum();
    assert_eq!(set.sign_hamming(a, b), different, "{} sign_hamming", set.name());
}

#[test]
fn every_half_has_its_sign() {
    let halfs = all_halfs();
    let turned: Vec<f16> = halfs.iter().copied().cycle().skip(12_345).take(65_536).collect();
    for set in available() {
        check_signs(set, &halfs, &turned);
        for half in &halfs {
            check_signs(set, &[*half], &[f16::ONE]);
            assert_eq!(set.all_finite(&[*half]), value(*half).is_finite(), "{half:?}");
        }
    }
}

/// One value that is not finite, at each place of each length.
#[test]
fn all_finite_sees_every_place() {
    let odd = [f16::INFINITY, f16::NEG_INFINITY, f16::NAN, f16::from_bits(0xfc01)];
    for set in available() {
        for len in 0..=150 {
            let mut halfs = vec![f16::MAX; len];
            assert!(set.all_finite(&halfs), "{} at {len}", set.name());
            for i in 0..len {
                halfs[i] = odd[i % odd.len()];
                assert!(!set.all_finite(&halfs), "{} misses {i} of {len}", set.name());
                halfs[i] = f16::MIN;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn signs_agree(pair in pair(any_half().boxed())) {
        for set in available() {
            check_signs(set, pair.a(), pair.b());
            let finite = pair.a().iter().all(|x| value(*x).is_finite());
            prop_assert_eq!(set.all_finite(pair.a()), finite);
        }
    }

    #[test]
    fn random_floats_round(
        src in length().prop_flat_map(|n| prop::collection::vec(any::<u32>(), n)),
        start in 0_usize..20,
    ) {
        let src: Vec<f32> = src.into_iter().map(f32::from_bits).collect();
        for set in available() {
            check_rounding(set, &src[start.min(src.len())..]);
        }
    }

    /// Random bits are rarely within a half's range; these mostly are.
    #[test]
    fn floats_in_range_round(src in prop::collection::vec((any::<u32>(), 95_u32..145), 0..300)) {
        let src: Vec<f32> =
            src.into_iter().map(|(bits, e)| f32::from_bits(bits & 0x807f_ffff | e << 23)).collect();
        for set in available() {
            check_rounding(set, &src);
        }
    }

    /// Widening writes what it should and nothing around it.
    #[test]
    fn widening_fills_its_slice(pair in pair(any_half().boxed())) {
        for set in available() {
            let mut dst = vec![7.0_f32; pair.a().len() + 40];
            let len = pair.a().len();
            set.to_f32(pair.a(), &mut dst[3..len + 3]);
            for (got, half) in dst[3..len + 3].iter().zip(pair.a()) {
                let expected = value(*half);
                prop_assert!(f64::from(*got) == expected || got.is_nan() && expected.is_nan());
            }
            prop_assert!(dst[..3].iter().chain(&dst[len + 3..]).all(|x| *x == 7.0));
        }
    }
}

#[test]
fn the_best_set_is_chosen_and_the_scalar_one_is_there() {
    let names: Vec<_> = available().iter().map(|set| set.name()).collect();
    assert_eq!(names.first(), Some(&instruction_set()));
    assert_eq!(names.last(), Some(&"scalar"));
    assert_eq!(names.iter().filter(|name| **name == "scalar").count(), 1);
    assert_eq!(chosen().name(), instruction_set());
}

/// The public functions run the chosen set: same result to the bit.
#[test]
fn public_functions_run_the_chosen_set() {
    let a: Vec<f16> = (0..77).map(|i| f16::from_f32((i as f32).sin())).collect();
    let b: Vec<f16> = (0..77).map(|i| f16::from_f32((i as f32).cos())).collect();
    let set = chosen();
    assert_eq!(mrl_kernels::dot(&a, &b), set.dot(&a, &b));
    assert_eq!(mrl_kernels::squared_l2(&a, &b), set.squared_l2(&a, &b));
    assert_eq!(mrl_kernels::l1(&a, &b), set.l1(&a, &b));
    assert_eq!(mrl_kernels::cosine_terms(&a, &b), set.cosine_terms(&a, &b));
    assert_eq!(mrl_kernels::prefix_terms(&a, &b), set.prefix_terms(&a, &b));
    assert_eq!(mrl_kernels::squared_norm(&a), set.squared_norm(&a));
    assert_eq!(mrl_kernels::sign_hamming(&a, &b), set.sign_hamming(&a, &b));
    let mut bits = [0; 10];
    mrl_kernels::sign_bits(&b, &mut bits);
    assert_eq!(bits.to_vec(), expected_bits(&b));
    assert_eq!(mrl_kernels::dot_signs(&a, &bits), set.dot_signs(&a, &bits));
}

/// Each function of two slices refuses lengths that do not match.
#[test]
fn different_lengths_panic() {
    let (a, b) = ([f16::ONE; 9], [f16::ONE; 8]);
    let calls: [&dyn Fn(&Kernels); 11] = [
        &|set| _ = set.dot(&a, &b),
        &|set| _ = set.squared_l2(&a, &b),
        &|set| _ = set.l1(&a, &b),
        &|set| _ = set.cosine_terms(&a, &b),
        &|set| _ = set.prefix_terms(&a, &b),
        &|set| _ = set.sign_hamming(&a, &b),
        &|set| _ = set.dot_signs(&a, &[0; 1]),
        &|set| set.sign_bits(&a, &mut [0; 3]),
        &|set| set.to_f32(&a, &mut [0.0; 8]),
        &|set| set.from_f32(&[0.0; 9], &mut [f16::ZERO; 10]),
        &|set| set.add_to_sums(&a, &mut [0.0; 10]),
    ];
    for set in available() {
        for (i, call) in calls.iter().enumerate() {
            let run = std::panic::AssertUnwindSafe(|| call(set));
            assert!(std::panic::catch_unwind(run).is_err(), "{} call {i}", set.name());
        }
    }
}

/// A bfloat16's number, and the nearest one below in size.
fn wide(bytes: [u8; 2]) -> f64 {
    f64::from(f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16))
}

fn narrow(number: f32) -> [u8; 2] {
    ((number.to_bits() >> 16) as u16).to_le_bytes()
}

/// Scores of looked-up bytes, by the definition.
fn scored(
    codes: &[[u8; 32]],
    tables: &[[[u8; 16]; 2]],
    scales: &[[u8; 2]; 32],
    unit: CodeUnit,
) -> [f64; 32] {
    std::array::from_fn(|row| {
        let counted = codes.iter().zip(tables).map(|(bytes, [low, high])| {
            let byte = usize::from(bytes[row]);
            f64::from(low[byte % 16]) + f64::from(high[byte / 16])
        });
        let sum: f64 = counted.sum();
        wide(scales[row]) * (f64::from(unit.offset) + f64::from(unit.step) * sum)
    })
}

fn table_pairs() -> impl Strategy<Value = [[u8; 16]; 2]> {
    prop::array::uniform2(prop::array::uniform16(0..=MOST_COUNTED))
}

proptest! {
    #[test]
    fn scores_are_those_of_looked_up_bytes(
        layers in prop::collection::vec((
            prop::collection::vec((any::<[u8; 32]>(), table_pairs()), 0..=67),
            prop::collection::vec(-2f32..2.0, 32),
            (0usize..3, -2f32..2.0, 0f32..0.1, 0f32..2.0),
        ), 0..4),
        before in -2f32..2.0,
    ) {
        let (mut bytes, mut given) = (Vec::new(), Vec::new());
        let (mut expected, mut expected_errors) = ([f64::from(before); 32], [0.5; 32]);
        for (codes, scales, (gap, offset, step, squared_error)) in layers {
            let (codes, tables): (Vec<_>, Vec<_>) = codes.into_iter().unzip();
            let scales: [[u8; 2]; 32] = std::array::from_fn(|row| narrow(scales[row]));
            let unit = CodeUnit { offset, step, squared_error };
            for (sum, scale) in expected_errors.iter_mut().zip(&scales) {
                *sum += wide(*scale).powi(2) * f64::from(squared_error);
            }
            let scored = scored(&codes, &tables, &scales, unit);
            expected.iter_mut().zip(scored).for_each(|(sum, score)| *sum += score);
            bytes.resize(bytes.len() + gap, 0xaa);
            let scales_at = bytes.len();
            bytes.extend(scales.as_flattened());
            given.push(CodeLayer::new(bytes.len(), scales_at, &tables, unit));
            bytes.extend(codes.as_flattened());
        }
        for set in available() {
            let (mut scores, mut squared_errors) = ([before; 32], [0.5; 32]);
            set.score_codes(&bytes, &given, &mut scores, &mut squared_errors);
            let all = scores.into_iter().chain(squared_errors);
            for (found, expected) in all.zip(expected.into_iter().chain(expected_errors)) {
                prop_assert!((f64::from(found) - expected).abs() < 1e-3, "{}: {found} {expected}", set.name());
            }
        }
    }

    #[test]
    fn scores_are_divided_by_lengths(
        shares in prop::array::uniform32(any::<u8>()),
        lengths in prop::array::uniform32(prop_oneof![-2f32..2.0, Just(0.0), Just(f32::NAN)]),
        before in prop::array::uniform32(-2f32..2.0),
    ) {
        const UNKNOWN: f32 = 1e9;
        let terms = lengths.map(narrow);
        for set in available() {
            let (mut scores, mut squared_errors) = (before, [7.0; 32]);
            set.divide_by_lengths(&shares, &terms, UNKNOWN, &mut scores, &mut squared_errors);
            for row in 0..32 {
                let length = f64::from(shares[row]) / 255.0 * wide(terms[row]).abs();
                let (squared, score) = match length > 0.0 {
                    true => (7.0 / (length * length), f64::from(before[row]) / length),
                    false => (0.0, f64::from(UNKNOWN)),
                };
                let is_near = |found: f32, expected: f64| {
                    (f64::from(found) - expected).abs() <= 1e-6 * expected.abs()
                };
                prop_assert!(is_near(squared_errors[row], squared), "{}, row {row}", set.name());
                prop_assert!(is_near(scores[row], score), "{}, row {row}", set.name());
            }
        }
    }

    #[test]
    fn a_mask_tells_who_is_at_least_the_bar(
        scores in prop::array::uniform32(-3i8..3), bar in -4i8..4, odd in 0usize..64,
    ) {
        let mut scores = scores.map(f32::from);
        if let Some(score) = scores.get_mut(odd) {
            *score = f32::NAN;
        }
        let bar = f32::from(bar);
        let expected: u32 = (0..32).map(|i| u32::from(scores[i] >= bar) << i).sum();
        for set in available() {
            prop_assert_eq!(set.at_least(&scores, bar), expected, "{}", set.name());
        }
    }

    #[test]
    fn who_is_at_least_the_bar_is_counted(
        mut scores in prop::collection::vec((-3i8..3).prop_map(f32::from), 0..200), bar in -4i8..4, odd in 0usize..400,
    ) {
        if let Some(score) = scores.get_mut(odd) {
            *score = f32::NAN;
        }
        let bar = f32::from(bar);
        let expected = scores.iter().filter(|score| **score >= bar).count() as u32;
        for set in available() {
            prop_assert_eq!(set.count_at_least(&scores, bar), expected, "{}", set.name());
        }
    }

    /// Its definition: component j of the result is Σ of ± components i, minus where i and j share an odd number of
    /// bits, over the root of their number. Small whole numbers are added without rounding.
    #[test]
    fn the_transform_is_hadamards(
        (power, numbers) in (0u32..10).prop_flat_map(|power| {
            (Just(power), prop::collection::vec(-100i16..100, 1 << power))
        })
    ) {
        let scale = 1.0 / (f32::from(1u16 << power)).sqrt();
        let sum = |j: usize| -> f32 {
            let signed = numbers.iter().enumerate().map(|(i, x)| {
                let x = i32::from(*x);
                if (i & j).count_ones().is_multiple_of(2) { x } else { -x }
            });
            signed.sum::<i32>() as f32 * scale
        };
        let expected: Vec<f32> = (0..numbers.len()).map(sum).collect();
        for set in available() {
            let mut vector: Vec<f32> = numbers.iter().map(|x| f32::from(*x)).collect();
            set.walsh_hadamard(&mut vector);
            prop_assert_eq!(&vector, &expected, "{}", set.name());
        }
    }

    /// Every set rounds alike: what is stored must not depend on the machine.
    #[test]
    fn the_transform_agrees_bit_for_bit(
        numbers in prop::collection::vec(-1f32..1.0, 512), power in 0u32..10
    ) {
        let transformed = |set: &Kernels| -> Vec<u32> {
            let mut vector = numbers[..1 << power].to_vec();
            set.walsh_hadamard(&mut vector);
            vector.iter().map(|x| x.to_bits()).collect()
        };
        let sets = available();
        let scalar = transformed(sets[sets.len() - 1]);
        for set in sets {
            prop_assert_eq!(transformed(set), scalar.clone(), "{}", set.name());
        }
    }
}

#[test]
fn the_largest_sums_fit() {
    for set in available() {
        let (mut scores, mut squared_errors) = ([0.0; 32], [0.0; 32]);
        let unit = CodeUnit { offset: 0.0, step: 1.0, squared_error: 0.0 };
        let tables = vec![[[MOST_COUNTED; 16]; 2]; MOST_TABLE_PAIRS];
        let scales_at = 32 * MOST_TABLE_PAIRS;
        let mut bytes = vec![0xff; scales_at];
        bytes.extend([narrow(1.0); 32].as_flattened());
        let layer = CodeLayer::new(0, scales_at, &tables, unit);
        set.score_codes(&bytes, &[layer], &mut scores, &mut squared_errors);
        assert_eq!(scores, [64_512.0; 32], "{}", set.name());
    }
}
