//! Sums: every kernel of every set of this machine against f64, within the documented bound.

mod common;

use common::{Pair, assert_sum, finite_half, pair, value};
use half::f16;
use mrl_kernels::{Kernels, available};
use proptest::prelude::*;

/// All kernels that sum, on one pair, with one set.
fn check_sums(set: &Kernels, a: &[f16], b: &[f16]) {
    let name = set.name();
    let xs = || a.iter().map(|x| value(*x));
    let ys = || b.iter().map(|y| value(*y));
    let products = || xs().zip(ys()).map(|(x, y)| x * y);
    let differences = || xs().zip(ys()).map(|(x, y)| x - y);

    assert_sum(&format!("{name} dot"), set.dot(a, b), products());
    assert_sum(&format!("{name} squared_l2"), set.squared_l2(a, b), differences().map(|d| d * d));
    assert_sum(&format!("{name} l1"), set.l1(a, b), differences().map(f64::abs));
    assert_sum(&format!("{name} squared_norm"), set.squared_norm(a), xs().map(|x| x * x));

    let cosine = set.cosine_terms(a, b);
    assert_sum(&format!("{name} cosine dot"), cosine.dot, products());
    assert_sum(&format!("{name} cosine a²"), cosine.a_squared, xs().map(|x| x * x));
    assert_sum(&format!("{name} cosine b²"), cosine.b_squared, ys().map(|y| y * y));

    let prefix = set.prefix_terms(a, b);
    assert_sum(&format!("{name} prefix dot"), prefix.dot, products());
    assert_sum(&format!("{name} prefix a²"), prefix.a_squared, xs().map(|x| x * x));
}

/// `dot_signs` with bits drawn from the second vector's bit patterns, unused bits included.
fn check_signs(set: &Kernels, a: &[f16], b: &[f16]) {
    let bits: Vec<u8> = b.chunks(8).map(|x| x[0].to_bits().wrapping_mul(0x9e37) as u8).collect();
    let signed = a.iter().enumerate().map(|(i, x)| {
        let is_set = (bits[i / 8] >> (7 - i % 8)) & 1 == 1;
        value(*x) * if is_set { 1.0 } else { -1.0 }
    });
    assert_sum(&format!("{} dot_signs", set.name()), set.dot_signs(a, &bits), signed);
}

/// `add_to_sums` is exact but for f64's rounding, which has one order.
fn check_running_sums(set: &Kernels, a: &[f16], b: &[f16]) {
    let before: Vec<f64> = b.iter().map(|y| value(*y) * 1e9 + 0.1).collect();
    let mut sums = before.clone();
    set.add_to_sums(a, &mut sums);
    for (i, sum) in sums.iter().enumerate() {
        assert_eq!(*sum, before[i] + value(a[i]), "{} add_to_sums, dimension {i}", set.name());
    }
}

fn check(pair: &Pair) {
    for set in available() {
        check_sums(set, pair.a(), pair.b());
        check_signs(set, pair.a(), pair.b());
        check_running_sums(set, pair.a(), pair.b());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn sums_are_within_the_bound(pair in pair(finite_half().boxed())) {
        check(&pair);
    }

    #[test]
    fn sums_of_denormals_are_within_the_bound(
        pair in pair((0_u16..0x400).prop_map(f16::from_bits).boxed())
    ) {
        check(&pair);
    }

    #[test]
    fn sums_of_the_largest_are_within_the_bound(
        pair in pair(prop_oneof![Just(f16::MAX), Just(f16::MIN)].boxed())
    ) {
        check(&pair);
    }
}

proptest! {
    #[test]
    fn products_are_those_of_each_vector_with_each_row(
        (length, vectors, halfs) in (1usize..100, 0usize..7, 0usize..7).prop_flat_map(|(length, vectors, rows)| {
            let halfs = prop::collection::vec(finite_half(), length * (vectors + rows));
            (Just(length), Just(vectors), halfs)
        }),
    ) {
        let (vectors, rows) = halfs.split_at(length * vectors);
        let pairs = || vectors.chunks(length).flat_map(|v| rows.chunks(length).map(move |r| (v, r)));
        for set in available() {
            let mut products = vec![f32::NAN; pairs().count()];
            set.products(length, vectors, rows, &mut products);
            for (i, (product, (vector, row))) in products.iter().zip(pairs()).enumerate() {
                let terms = || vector.iter().zip(row).map(|(x, y)| value(*x) * value(*y));
                let magnitude: f64 = terms().map(f64::abs).sum();
                let bound = (length as f64 / 8.0 + 12.0) * 2.0_f64.powi(-24) * magnitude;
                let error = (f64::from(*product) - terms().sum::<f64>()).abs();
                prop_assert!(error <= bound, "{}, {length}, product {i}: {error:e}", set.name());
            }
        }
    }
}

/// Each dimension has a weight of its own, so that one lost, doubled or swapped shows exactly.
#[test]
fn every_length_to_300_counts_each_dimension_once() {
    let a: Vec<f16> = (0..300).map(|i| f16::from_f32((i + 1) as f32)).collect();
    let b: Vec<f16> = (0..300).map(|i| f16::from_f32((i % 7) as f32 - 3.0)).collect();
    for set in available() {
        for len in 0..=300 {
            let name = format!("{} at {len}", set.name());
            let (a, b) = (&a[..len], &b[..len]);
            let pairs = || a.iter().zip(b).map(|(x, y)| (value(*x), value(*y)));
            // Sums of integers below 2²⁴: f32 has them exactly, in any order.
            let dot: f64 = pairs().map(|(x, y)| x * y).sum();
            let l1: f64 = pairs().map(|(x, y)| (x - y).abs()).sum();
            let l2: f64 = pairs().map(|(x, y)| (x - y) * (x - y)).sum();
            let a_squared: f64 = pairs().map(|(x, _)| x * x).sum();
            let b_squared: f64 = pairs().map(|(_, y)| y * y).sum();
            assert_eq!(f64::from(set.dot(a, b)), dot, "dot {name}");
            let mut products = vec![f32::NAN; if len > 0 { 25 } else { 0 }];
            set.products(len, &a.repeat(5), &b.repeat(5), &mut products);
            assert!(products.iter().all(|product| f64::from(*product) == dot), "products {name}");
            assert_eq!(f64::from(set.l1(a, b)), l1, "l1 {name}");
            assert_eq!(f64::from(set.squared_l2(a, b)), l2, "squared_l2 {name}");
            assert_eq!(f64::from(set.squared_norm(a)), a_squared, "squared_norm {name}");
            let cosine = set.cosine_terms(a, b);
            let got = [cosine.dot, cosine.a_squared, cosine.b_squared].map(f64::from);
            assert_eq!(got, [dot, a_squared, b_squared], "cosine_terms {name}");
            let prefix = set.prefix_terms(a, b);
            let got = [prefix.dot, prefix.a_squared].map(f64::from);
            assert_eq!(got, [dot, a_squared], "prefix_terms {name}");

            let bits: Vec<u8> = (0..len.div_ceil(8)).map(|i| (i * 37 + 11) as u8).collect();
            let signed: i64 = (0..len)
                .map(|i| if (bits[i / 8] << (i % 8)) & 0x80 != 0 { 1 } else { -1 } * (i as i64 + 1))
                .sum();
            assert_eq!(f64::from(set.dot_signs(a, &bits)), signed as f64, "dot_signs {name}");
        }
    }
}

/// Bits past the last dimension belong to nobody.
#[test]
fn dot_signs_ignores_unused_bits() {
    for set in available() {
        for len in 1..70_usize {
            let a = vec![f16::from_f32(1.5); len];
            let mut bits = vec![0xff_u8; len.div_ceil(8)];
            assert_eq!(set.dot_signs(&a, &bits), 1.5 * len as f32, "{}", set.name());
            if !len.is_multiple_of(8) {
                *bits.last_mut().unwrap() &= !(0xff >> (len % 8));
                assert_eq!(set.dot_signs(&a, &bits), 1.5 * len as f32, "{}", set.name());
            }
        }
    }
}

#[test]
fn sums_of_nothing_are_zero() {
    for set in available() {
        assert_eq!(set.dot(&[], &[]), 0.0);
        assert_eq!(set.squared_l2(&[], &[]), 0.0);
        assert_eq!(set.l1(&[], &[]), 0.0);
        assert_eq!(set.squared_norm(&[]), 0.0);
        assert_eq!(set.dot_signs(&[], &[]), 0.0);
        assert_eq!(set.cosine_terms(&[], &[]), mrl_kernels::CosineTerms::default());
    }
}

/// The largest vectors of the largest length stay finite, as the crate promises.
#[test]
fn no_finite_input_overflows() {
    let (max, min) = (vec![f16::MAX; 16_000], vec![f16::MIN; 16_000]);
    for set in available() {
        assert!(set.dot(&max, &min).is_finite());
        assert!(set.squared_l2(&max, &min).is_finite());
        assert!(set.l1(&max, &min).is_finite());
    }
}
