//! What the kernels are compared with, and what they are fed. Nothing here comes from the crate:
//! a half is decoded from its bits by the definition of IEEE 754, in f64.

#![allow(dead_code, reason = "each test program uses a part")]

use half::f16;
use proptest::prelude::*;

/// A half's value, by the definition of binary16.
pub fn value(half: f16) -> f64 {
    let bits = half.to_bits();
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f64::from(bits & 0x3ff);
    match exponent {
        0 => sign * fraction * 2.0_f64.powi(-24),
        31 if fraction == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        _ => sign * (1024.0 + fraction) * 2.0_f64.powi(exponent - 25),
    }
}

/// Checks one result against the crate's documented bound: (n/32 + 12) · 2⁻²⁴ · Σ|term|.
#[track_caller]
pub fn assert_sum(what: &str, got: f32, terms: impl Iterator<Item = f64>) {
    let (mut sum, mut magnitude, mut n) = (0.0, 0.0, 0);
    for term in terms {
        sum += term;
        magnitude += term.abs();
        n += 1;
    }
    let bound = (f64::from(n) / 32.0 + 12.0) * 2.0_f64.powi(-24) * magnitude;
    let error = (f64::from(got) - sum).abs();
    assert!(error <= bound, "{what}, n = {n}: {got}, not {sum}; error {error:e} > {bound:e}");
}

/// Finite halfs of all kinds: around one, any bits, denormal, zeros, the largest.
pub fn finite_half() -> impl Strategy<Value = f16> {
    prop_oneof![
        6 => (-1.0_f32..1.0).prop_map(f16::from_f32),
        3 => any::<u16>().prop_map(|bits| {
            let half = f16::from_bits(bits);
            if half.is_finite() { half } else { f16::from_bits(bits & 0x83ff) }
        }),
        1 => (0_u16..0x400, any::<bool>()).prop_map(|(bits, negative)| {
            f16::from_bits(bits | u16::from(negative) << 15)
        }),
        1 => prop_oneof![
            Just(f16::ZERO), Just(f16::NEG_ZERO), Just(f16::MAX), Just(f16::MIN),
            Just(f16::MIN_POSITIVE), Just(f16::MIN_POSITIVE_SUBNORMAL),
            Just(f16::MAX_SUBNORMAL), Just(f16::ONE), Just(f16::NEG_ONE),
        ],
    ]
}

/// Any bits: infinities and NaNs of both signs too.
pub fn any_half() -> impl Strategy<Value = f16> {
    prop_oneof![
        3 => any::<u16>().prop_map(f16::from_bits),
        1 => prop_oneof![
            Just(f16::ZERO), Just(f16::NEG_ZERO), Just(f16::INFINITY), Just(f16::NEG_INFINITY),
            Just(f16::from_bits(0x7c01)), Just(f16::from_bits(0xfc01)), Just(f16::NAN),
            Just(f16::from_bits(0x0001)), Just(f16::from_bits(0x8001)), Just(f16::from_bits(0x7fff)),
        ],
    ]
}

/// Lengths around the blocks of every set, and up to the type's limit.
pub fn length() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0_usize..300, 2 => 300_usize..2_000, 1 => 2_000_usize..=16_000]
}

/// Two vectors of one length, each to be read from its own start: slices that begin at any
/// multiple of two bytes.
#[derive(Debug)]
pub struct Pair {
    a: Vec<f16>,
    b: Vec<f16>,
    starts: (usize, usize),
    len: usize,
}

impl Pair {
    pub fn a(&self) -> &[f16] {
        &self.a[self.starts.0..][..self.len]
    }

    pub fn b(&self) -> &[f16] {
        &self.b[self.starts.1..][..self.len]
    }
}

/// Two vectors with components from `half`; the places around the slices hold NaN, so that a
/// kernel that reads past an end gives itself away.
pub fn pair<S: Strategy<Value = f16> + Clone>(half: S) -> impl Strategy<Value = Pair> {
    let around = |core: Vec<f16>, start: usize| {
        let mut all = vec![f16::NAN; start];
        all.extend(core);
        all.extend([f16::NAN; 40]);
        all
    };
    (length(), 0_usize..40, 0_usize..40).prop_flat_map(move |(len, start_a, start_b)| {
        let vector = || prop::collection::vec(half.clone(), len);
        (vector(), vector()).prop_map(move |(a, b)| Pair {
            a: around(a, start_a),
            b: around(b, start_b),
            starts: (start_a, start_b),
            len,
        })
    })
}
