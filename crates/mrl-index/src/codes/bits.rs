//! A layer's code: each rotated component as one of two or four levels, and the factors that turn a
//! product with the levels into an estimate of the inner product.
//!
//! For a rotated piece `o` of a vector and the levels `u` of its code, `⟨o, q⟩` is estimated by
//! `scale · ⟨u, q⟩` with `scale = |o|² / ⟨u, o⟩`: over random rotations that is unbiased, and its error
//! is normal with the standard deviation `error · |q|`,
//! `error = |o| · √((1 − ρ²) / (ρ² (n − 1)))`, where ρ is the cosine of the angle between `u` and `o`
//! (RaBitQ: Gao and Long, SIGMOD 2024, section 3; several bits: Gao et al., SIGMOD 2025).
//!
//! Dimension i of a one-bit code is bit 7 − i % 8 of byte i / 8, as in PostgreSQL's `bit`; of a two-bit
//! code, the two bits from 2 · (i % 4) on of byte i / 4.

/// What stands beside a code.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Factors {
    /// By what a product with the code's levels is multiplied.
    pub scale: f32,
    /// The standard deviation of the estimate's error, for a query piece of length 1.
    pub error: f32,
}

/// The level that a two-bit code stands for.
pub const LEVELS: [f32; 4] = [-1.5, -0.5, 0.5, 1.5];

/// Between the levels, in standard deviations of the components: 0.9957 loses the least of normal
/// ones (Max, 1960); the others are tried because a piece's own components are not that many.
const STEPS: [f32; 7] = [0.7, 0.8, 0.9, 0.9957, 1.1, 1.2, 1.35];

/// Writes the one-bit code of a rotated piece, `piece.len() / 8` bytes rounded up.
pub fn encode_one_bit(piece: &[f32], code: &mut [u8]) -> Factors {
    debug_assert_eq!(code.len(), piece.len().div_ceil(8));
    // Eight sums side by side, which the compiler can make vectors of.
    let mut sums = [0f64; 8];
    let (eights, rest) = piece.as_chunks::<8>();
    for (eight, byte) in eights.iter().zip(&mut *code) {
        let mut bits = 0;
        for i in 0..8 {
            bits |= u8::from(eight[i] > 0.0) << (7 - i);
            sums[i] += f64::from(eight[i].abs());
        }
        *byte = bits;
    }
    if let Some(byte) = code.get_mut(eights.len()) {
        *byte = 0;
        for (i, component) in rest.iter().enumerate() {
            *byte |= u8::from(*component > 0.0) << (7 - i);
            sums[i] += f64::from(component.abs());
        }
    }
    let sum = sums.iter().sum();
    // The levels are ±1, so their length is √n.
    factors(squared_length(piece), piece.len(), sum, piece.len() as f64)
}

/// Writes the two-bit code of a rotated piece, `piece.len() / 4` bytes rounded up.
pub fn encode_two_bits(piece: &[f32], code: &mut [u8]) -> Factors {
    debug_assert_eq!(code.len(), piece.len().div_ceil(4));
    code.fill(0);
    let squared = squared_length(piece);
    let deviation = (squared / piece.len() as f64).sqrt() as f32;
    if deviation == 0.0 {
        return Factors::default();
    }
    // The inner levels are 1/2, the outer ones 3/2, and each has its component's sign. Eight sums side by side, which
    // the compiler can make vectors of.
    let (eights, rest) = piece.as_chunks::<8>();
    let mut last = [0f32; 8];
    last[..rest.len()].copy_from_slice(rest);
    let sum_of = |eight: [f32; 8]| f64::from(eight.iter().sum::<f32>());
    let mut sizes = last.map(f32::abs);
    for eight in eights {
        sizes.iter_mut().zip(eight).for_each(|(sum, x)| *sum += x.abs());
    }
    let size = sum_of(sizes);
    let sums = |step: f32| {
        let (mut outer, mut count) = ([0f32; 8], [0u32; 8]);
        let mut take = |eight: &[f32; 8]| {
            for i in 0..8 {
                let (size, is_outer) = (size_bits(eight[i]), is_outer(eight[i], step));
                outer[i] += f32::from_bits(size & is_outer.wrapping_neg());
                count[i] += is_outer;
            }
        };
        eights.iter().for_each(&mut take);
        take(&last);
        let count: u32 = count.iter().sum();
        (size / 2.0 + sum_of(outer), piece.len() as f64 / 4.0 + 2.0 * f64::from(count))
    };
    // The step whose levels point the most into the piece's direction.
    let (mut best, mut greatest) = (None, f64::NEG_INFINITY);
    for step in STEPS.map(|step| step * deviation) {
        let (product, levels_squared) = sums(step);
        let cosine = product / levels_squared.sqrt();
        if cosine >= greatest {
            (best, greatest) = (Some((step, product, levels_squared)), cosine);
        }
    }
    let Some((step, product, levels_squared)) = best else { return Factors::default() };
    for (byte, components) in code.iter_mut().zip(piece.chunks(4)) {
        for (i, component) in components.iter().enumerate() {
            *byte |= nearest(*component, step) << (2 * i);
        }
    }
    factors(squared, piece.len(), product, levels_squared)
}

/// The best guess at the piece that a one-bit code stands for, of so many components.
pub fn decode_one_bit(code: &[u8], scale: f32, length: usize, piece: &mut Vec<f32>) {
    /// What makes a number one of the signs that a byte has.
    const SIGNS: [[u32; 8]; 256] = {
        let (mut signs, mut byte) = ([[0; 8]; 256], 0);
        while byte < 256 {
            let mut i = 0;
            while i < 8 {
                signs[byte][i] = if byte & 0x80 >> i == 0 { 1 << 31 } else { 0 };
                i += 1;
            }
            byte += 1;
        }
        signs
    };
    piece.clear();
    for byte in code {
        piece.extend(SIGNS[usize::from(*byte)].map(|sign| f32::from_bits(scale.to_bits() ^ sign)));
    }
    piece.truncate(length);
}

/// The same of a two-bit code.
pub fn decode_two_bits(code: &[u8], scale: f32, length: usize, piece: &mut Vec<f32>) {
    piece.clear();
    for byte in code {
        piece.extend([0, 2, 4, 6].map(|shift| scale * LEVELS[usize::from(byte >> shift & 3)]));
    }
    piece.truncate(length);
}

/// Which of the four levels, `step` apart, is the nearest to a component.
#[inline]
fn nearest(component: f32, step: f32) -> u8 {
    let (is_negative, is_outer) = (component.to_bits() >> 31, is_outer(component, step));
    ((is_negative ^ 1) << 1 | (is_outer ^ is_negative)) as u8
}

/// The bits of a number's size, which as integers are in the order of the sizes.
#[inline]
fn size_bits(number: f32) -> u32 {
    number.to_bits() & (u32::MAX >> 1)
}

/// 1 where a component is nearer to an outer level than to an inner one. Written without a branch, which the processor
/// would guess wrong half the time.
#[inline]
fn is_outer(component: f32, step: f32) -> u32 {
    u32::from(size_bits(component) as i32 >= size_bits(step) as i32)
}

fn squared_length(piece: &[f32]) -> f64 {
    let mut sums = [0f64; 8];
    let (eights, rest) = piece.as_chunks::<8>();
    for eight in eights {
        (0..8).for_each(|i| sums[i] += f64::from(eight[i]) * f64::from(eight[i]));
    }
    for (component, sum) in rest.iter().zip(&mut sums) {
        *sum += f64::from(*component) * f64::from(*component);
    }
    sums.iter().sum()
}

/// From `|o|²`, how many components it has, `⟨u, o⟩` and `|u|²`. A piece of zeros has no direction: its factors are
/// 0, and so is its estimate, exactly.
fn factors(squared: f64, components: usize, product: f64, levels_squared: f64) -> Factors {
    if squared == 0.0 || product <= 0.0 {
        return Factors::default();
    }
    // Of one component the code says all but the length, which the scale has.
    let others = (components.max(2) - 1) as f64;
    let cosine_squared = (product * product / (squared * levels_squared)).min(1.0);
    let error = (squared * (1.0 - cosine_squared) / (cosine_squared * others)).sqrt();
    Factors { scale: (squared / product) as f32, error: error as f32 }
}

/// The product of a query piece with the levels of a one-bit code.
pub fn product_one_bit(query: &[f32], code: &[u8]) -> f32 {
    let signed = query
        .iter()
        .enumerate()
        .map(|(i, x)| if code[i / 8] & 0x80 >> (i % 8) != 0 { *x } else { -x });
    signed.sum()
}

/// The product of a query piece with the levels of a two-bit code.
pub fn product_two_bits(query: &[f32], code: &[u8]) -> f32 {
    let at_level =
        |(i, x): (usize, &f32)| x * LEVELS[usize::from(code[i / 4] >> (2 * (i % 4)) & 3)];
    query.iter().enumerate().map(at_level).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::rotation::Rotation;
    use crate::random::Random;
    use proptest::prelude::*;

    type Encode = fn(&[f32], &mut [u8]) -> Factors;
    type Product = fn(&[f32], &[u8]) -> f32;
    const KINDS: [(usize, Encode, Product); 2] =
        [(8, encode_one_bit, product_one_bit), (4, encode_two_bits, product_two_bits)];

    fn vector(length: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed);
        (0..length).map(|_| (random.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    }

    /// Over many rotations the estimates of one product have the right mean, and their errors the
    /// deviation that the factors promise.
    #[test]
    fn estimates_are_unbiased_and_their_errors_are_as_promised() {
        for length in [64, 128, 256] {
            for (per_byte, encode, product) in KINDS {
                let (vector, query) = (vector(length, 1), vector(length, 2));
                let (exact, query_length) = (dot(&vector, &query), dot(&query, &query).sqrt());
                let (rounds, mut sum, mut squares) = (2000, 0.0, 0.0);
                for seed in 0..rounds {
                    let rotation = Rotation::new(length, seed);
                    let (mut piece, mut asked) = (vector.clone(), query.clone());
                    rotation.apply(&mut piece);
                    rotation.apply(&mut asked);
                    let mut code = vec![0; length.div_ceil(per_byte)];
                    let factors = encode(&piece, &mut code);
                    let estimate = f64::from(factors.scale * product(&asked, &code));
                    // In units of the promised deviation.
                    let error = (estimate - exact) / (f64::from(factors.error) * query_length);
                    sum += error;
                    squares += error * error;
                }
                let mean = sum / f64::from(rounds as u32);
                let variance = squares / f64::from(rounds as u32);
                // Three standard errors of a mean of 2,000, and of a variance.
                assert!(mean.abs() < 0.07, "{length}, {per_byte} a byte: mean {mean}");
                assert!(
                    (0.85..1.15).contains(&variance),
                    "{length}, {per_byte} a byte: {variance}"
                );
            }
        }
    }

    /// The cosine between a normal piece and its code: √(2/π) = 0.798 for one bit, and √0.8825 = 0.939
    /// for four levels (Max, 1960, table I).
    #[test]
    fn codes_keep_the_share_of_a_direction_that_theory_gives() {
        let expected = [0.798, 0.939];
        for ((per_byte, encode, _), expected) in KINDS.into_iter().zip(expected) {
            let mut cosines = 0.0;
            for seed in 0..200 {
                let mut piece = vector(256, seed);
                Rotation::new(256, seed).apply(&mut piece);
                let factors = encode(&piece, &mut vec![0; 256_usize.div_ceil(per_byte)]);
                let squared_error = f64::from(factors.error).powi(2) * 255.0 / dot(&piece, &piece);
                cosines += (1.0 / (1.0 + squared_error)).sqrt();
            }
            assert!((cosines / 200.0 - expected).abs() < 0.01, "{per_byte}: {}", cosines / 200.0);
        }
    }

    proptest! {
        /// A query in the piece's own direction is estimated exactly: that is what the scale is for.
        #[test]
        fn the_piece_itself_is_estimated_exactly(piece in prop::collection::vec(-10f32..10.0, 1..300)) {
            for (per_byte, encode, product) in KINDS {
                let mut code = vec![0; piece.len().div_ceil(per_byte)];
                let factors = encode(&piece, &mut code);
                prop_assert!(factors.scale.is_finite() && factors.error.is_finite());
                let (estimate, exact) = (f64::from(factors.scale * product(&piece, &code)), dot(&piece, &piece));
                prop_assert!((estimate - exact).abs() <= 1e-4 * exact + 1e-30, "{estimate} {exact}");
            }
        }
    }

    #[test]
    fn zeros_are_estimated_as_zero() {
        for (per_byte, encode, product) in KINDS {
            let mut code = vec![0xff; 64 / per_byte];
            let factors = encode(&[0.0; 64], &mut code);
            assert_eq!(factors, Factors::default());
            assert_eq!(factors.scale * product(&vector(64, 3), &code), 0.0);
        }
    }
}
