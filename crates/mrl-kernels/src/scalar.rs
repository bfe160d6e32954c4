//! The definition of every kernel, in plain Rust: what the vector sets are translations of, and
//! what runs on a processor without any of them. Depends on `half` only.
//!
//! Written to be read, not to be fast. Sums are f64, rounded once. Conversions are `half`'s
//! software ones, so that the result owes nothing to the processor. The functions take what
//! [`crate::Kernels`] has checked: lengths that match.

use crate::dispatch::Kernels;
use crate::{
    CodeBytes, CodeLayer, CodeScales, CodeScores, CodeSums, CodeUnit, CosineTerms, PrefixTerms,
    TablesOfTwo, tables_of,
};
use half::f16;

/// The scalar set, which every machine has.
pub(crate) static KERNELS: Kernels = Kernels {
    name: "scalar",
    dot,
    products,
    squared_l2,
    l1,
    cosine_terms,
    prefix_terms,
    squared_norm,
    dot_signs,
    sign_bits,
    sign_hamming,
    to_f32,
    from_f32,
    add_to_sums,
    all_finite,
    score_codes,
    divide_by_lengths,
    at_least,
    count_at_least,
    walsh_hadamard,
};

/// Both slices' dimensions as f64, which holds them, their differences and their products exactly.
fn pairs(a: &[f16], b: &[f16]) -> impl Iterator<Item = (f64, f64)> {
    a.iter().zip(b).map(|(x, y)| (x.to_f64_const(), y.to_f64_const()))
}

/// Whether dimension `i` has a 1 in PostgreSQL's bit order.
fn bit(bits: &[u8], i: usize) -> bool {
    bits[i / 8] & (0x80 >> (i % 8)) != 0
}

fn dot(a: &[f16], b: &[f16]) -> f32 {
    pairs(a, b).map(|(x, y)| x * y).sum::<f64>() as f32
}

fn products(length: usize, vectors: &[f16], rows: &[f16], products: &mut [f32]) {
    let pairs = vectors
        .chunks_exact(length.max(1))
        .flat_map(|vector| rows.chunks_exact(length).map(move |row| (vector, row)));
    for (product, (vector, row)) in products.iter_mut().zip(pairs) {
        *product = dot(vector, row);
    }
}

fn squared_l2(a: &[f16], b: &[f16]) -> f32 {
    pairs(a, b).map(|(x, y)| (x - y) * (x - y)).sum::<f64>() as f32
}

fn l1(a: &[f16], b: &[f16]) -> f32 {
    pairs(a, b).map(|(x, y)| (x - y).abs()).sum::<f64>() as f32
}

fn cosine_terms(a: &[f16], b: &[f16]) -> CosineTerms {
    CosineTerms { dot: dot(a, b), a_squared: squared_norm(a), b_squared: squared_norm(b) }
}

fn prefix_terms(a: &[f16], b: &[f16]) -> PrefixTerms {
    PrefixTerms { dot: dot(a, b), a_squared: squared_norm(a) }
}

fn squared_norm(a: &[f16]) -> f32 {
    dot(a, a)
}

fn dot_signs(a: &[f16], bits: &[u8]) -> f32 {
    let signed = a.iter().enumerate().map(|(i, x)| {
        let x = x.to_f64_const();
        if bit(bits, i) { x } else { -x }
    });
    signed.sum::<f64>() as f32
}

fn sign_bits(src: &[f16], dst: &mut [u8]) {
    dst.fill(0);
    for (i, x) in src.iter().enumerate() {
        if *x > f16::ZERO {
            dst[i / 8] |= 0x80 >> (i % 8);
        }
    }
}

fn sign_hamming(a: &[f16], b: &[f16]) -> u32 {
    a.iter().zip(b).map(|(x, y)| u32::from((*x > f16::ZERO) != (*y > f16::ZERO))).sum()
}

fn to_f32(src: &[f16], dst: &mut [f32]) {
    for (x, out) in src.iter().zip(dst) {
        *out = x.to_f32_const();
    }
}

fn from_f32(src: &[f32], dst: &mut [f16]) {
    for (x, out) in src.iter().zip(dst) {
        *out = f16::from_f32_const(*x);
    }
}

fn add_to_sums(src: &[f16], sums: &mut [f64]) {
    for (x, sum) in src.iter().zip(sums) {
        *sum += x.to_f64_const();
    }
}

fn all_finite(src: &[f16]) -> bool {
    src.iter().all(|x| x.is_finite())
}

pub(crate) fn look_up_sums(codes: &[CodeBytes], tables: &[TablesOfTwo], sums: &mut CodeSums) {
    sums.fill(0);
    for (i, bytes) in codes.iter().enumerate() {
        let [low, high] = tables_of(&tables[i / 2], i % 2);
        for (sum, byte) in sums.iter_mut().zip(bytes) {
            *sum +=
                u16::from(low[usize::from(byte & 15)]) + u16::from(high[usize::from(byte >> 4)]);
        }
    }
}

/// Adds what the sums of a block's rows stand for.
#[inline(always)]
pub(crate) fn scale_sums(
    sums: &CodeSums,
    scales: &CodeScales,
    unit: &CodeUnit,
    scores: &mut CodeScores,
    squared_errors: &mut CodeScores,
) {
    let rows = scores.iter_mut().zip(squared_errors).zip(sums).zip(scales);
    for (((score, squared), sum), scale) in rows {
        let scale = wide(*scale);
        *score += scale * (unit.offset + unit.step * f32::from(*sum));
        *squared += unit.squared_error * scale * scale;
    }
}

fn score_codes(
    bytes: &[u8],
    layers: &[CodeLayer],
    scores: &mut CodeScores,
    squared_errors: &mut CodeScores,
) {
    for layer in layers {
        let (codes, scales) = layer.of(bytes);
        let mut sums = [0; 32];
        look_up_sums(codes, &layer.tables, &mut sums);
        scale_sums(&sums, scales, &layer.unit, scores, squared_errors);
    }
}

#[inline(always)]
pub(crate) fn divide_by_lengths(
    shares: &[u8; 32],
    terms: &CodeScales,
    of_zeros: f32,
    scores: &mut CodeScores,
    squared_errors: &mut CodeScores,
) {
    let rows = scores.iter_mut().zip(squared_errors).zip(shares).zip(terms);
    for (((score, squared), share), term) in rows {
        let length = f32::from(*share) / 255.0 * wide(*term).abs();
        let is_positive = length > 0.0;
        let inverse = if is_positive { 1.0 / length } else { 0.0 };
        *score = if is_positive { *score * inverse } else { of_zeros };
        *squared *= inverse * inverse;
    }
}

#[inline(always)]
pub(crate) fn at_least(scores: &CodeScores, bar: f32) -> u32 {
    let mut mask = 0;
    for (i, score) in scores.iter().enumerate() {
        mask |= u32::from(*score >= bar) << i;
    }
    mask
}

#[inline(always)]
pub(crate) fn count_at_least(scores: &[f32], bar: f32) -> u32 {
    scores.iter().map(|score| u32::from(*score >= bar)).sum()
}

fn walsh_hadamard(vector: &mut [f32]) {
    let mut half = 1;
    while half < vector.len() {
        butterflies(vector, half);
        half *= 2;
    }
    let scale = 1.0 / (vector.len() as f32).sqrt();
    vector.iter_mut().for_each(|component| *component *= scale);
}

/// Sums and differences of the components that lie `half` apart.
#[inline(always)]
pub(crate) fn butterflies(vector: &mut [f32], half: usize) {
    for pair in vector.chunks_exact_mut(2 * half) {
        let (left, right) = pair.split_at_mut(half);
        for (a, b) in left.iter_mut().zip(right) {
            (*a, *b) = (*a + *b, *a - *b);
        }
    }
}

/// A bfloat16 as it lies in memory: the upper half of a single.
#[inline(always)]
fn wide(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}
