//! What the rows of a block have in common: their mean, as a code of one bit a dimension, by which a scan
//! chooses the blocks that it looks into, and an insert the block that a row goes to.
//!
//! It is made of the rows' own codes, and always against the frame of the list that the block lies in: rows that
//! a split has moved have another, from which all of them may lie so far that a bit a dimension tells little else. A
//! summary is a hint: rows that have gone may still count in it, and nothing but speed and recall depends on it.

use half::f16;
use mrl_kernels as kernels;

use crate::block::ROWS;
use crate::codes::{LEVELS, encode_one_bit};
use crate::encode::{Encoder, widened};
use crate::group::{Summary, narrow, wide};
use crate::meta::Metric;
use crate::rows::Rows;
use crate::shape::{HEAD_BYTES, Shape};

/// From the frame of a list to that of some rows in it.
pub struct Offset {
    /// All layers, rotated.
    pub rotated: Vec<f32>,
    /// By what a row's term changes.
    term: f32,
}

impl Offset {
    pub fn new(encoder: &Encoder, list_frame: &[f16], rows_frame: &[f16]) -> Self {
        let (from, to) = (widened(list_frame), widened(rows_frame));
        let offset: Vec<f32> = to.iter().zip(from).map(|(to, from)| to - from).collect();
        let query = encoder.codec.query(&offset);
        let layers = 0..query.layers();
        let term = match encoder.metric {
            Metric::Euclidean => {
                kernels::squared_norm(rows_frame) - kernels::squared_norm(list_frame)
            }
            _ => 0.0,
        };
        Self { rotated: layers.flat_map(|layer| query.piece(layer).0.to_vec()).collect(), term }
    }
}

/// The mean of a block's rows, of which bit r of `live` tells whether row r counts: what a summary has
/// behind its marks. `offsets` lead to the frames of the group, by their places; of those that are missing
/// there no row is, or it is the list's own.
pub fn mean(rows: Rows, live: u32, offsets: &[Option<&Offset>], shape: &Shape) -> Vec<u8> {
    let count = live.count_ones().max(1) as f32;
    let weights: [f32; ROWS] =
        std::array::from_fn(|row| if live >> row & 1 == 1 { 1.0 } else { 0.0 });
    let mean_of = |value: &dyn Fn(usize) -> f32| -> f32 {
        (0..ROWS).filter(|row| live >> row & 1 == 1).map(value).sum::<f32>() / count
    };
    let layers = &shape.layers;
    let mut bytes = Vec::with_capacity(shape.summary_bytes);
    // Each offset, and the share of the rows that have it.
    let offsets = offsets.iter().enumerate().filter_map(|(place, offset)| {
        let offset = (*offset)?;
        let has = |row: &usize| live >> row & 1 == 1 && usize::from(rows.frames()[*row]) == place;
        let share = (0..ROWS).filter(has).count() as f32 / count;
        (share > 0.0).then_some((offset, share))
    });
    let offsets: Vec<(&Offset, f32)> = offsets.collect();
    let term = offsets.iter().map(|(offset, share)| offset.term * share).sum::<f32>();
    bytes.extend(narrow(term + mean_of(&|row| wide(rows.terms()[row]))));
    for border in 0..shape.inner_borders() {
        let shares = rows.shares(border);
        bytes.push(mean_of(&|row| f32::from(shares[row])).round() as u8);
    }
    let (mut scales, mut codes) = (Vec::new(), Vec::new());
    for layer in 0..layers.count() {
        let scale = |row: usize| wide(rows.scales(layer)[row]) * weights[row] / count;
        let weighted: [f32; ROWS] = std::array::from_fn(scale);
        let mut piece = Vec::with_capacity(8 * shape.code_bytes(layer));
        for codes in rows.codes(layer) {
            match layer {
                0 => piece.extend([0, 2, 4, 6].map(|shift| sum_of_levels(codes, shift, &weighted))),
                _ => piece.extend(
                    [7, 6, 5, 4, 3, 2, 1, 0].map(|bit| sum_of_signs(codes, bit, &weighted)),
                ),
            }
        }
        piece.truncate(layers.range(layer).len());
        for (offset, share) in &offsets {
            let offset = &offset.rotated[layers.range(layer)];
            piece.iter_mut().zip(offset).for_each(|(x, more)| *x += more * share);
        }
        let mut code = vec![0; piece.len().div_ceil(8)];
        let factors = encode_one_bit(&piece, &mut code);
        let scale = if factors.scale.is_finite() { factors.scale } else { 0.0 };
        scales.extend(narrow(scale));
        codes.extend(code);
    }
    bytes.extend(scales);
    bytes.extend(codes);
    bytes
}

/// In how many dimensions of the later layers a row, encoded against the list's frame, and a block's mean lie on
/// different sides of it. Layer 0, whose code has another form, is passed over.
pub fn differing(summary: Summary, record: &[u8], shape: &Shape) -> u32 {
    let (_, code) = summary.code();
    let mut code = &code[shape.layers.range(0).len().div_ceil(8)..];
    let mut count = 0;
    for layer in 1..shape.layers.count() {
        let (of_layer, rest) = code.split_at(shape.code_bytes(layer));
        let own = &record[shape.codes_at(layer) - HEAD_BYTES..];
        count += of_layer.iter().zip(own).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
        code = rest;
    }
    count
}

/// Σ weight where the bit is 1, −weight where it is 0.
#[inline]
fn sum_of_signs(codes: &[u8; ROWS], bit: u32, weights: &[f32; ROWS]) -> f32 {
    let mut terms = [0.0; ROWS];
    for ((term, code), weight) in terms.iter_mut().zip(codes).zip(weights) {
        // The sign of a float is its highest bit.
        let negative = u32::from(!code >> bit & 1) << 31;
        *term = f32::from_bits(weight.to_bits() ^ negative);
    }
    sum(terms)
}

/// Σ weight · level.
#[inline]
fn sum_of_levels(codes: &[u8; ROWS], shift: u32, weights: &[f32; ROWS]) -> f32 {
    let mut terms = [0.0; ROWS];
    for ((term, code), weight) in terms.iter_mut().zip(codes).zip(weights) {
        // The levels are evenly spaced.
        let level = f32::from(*code >> shift & 3) * (LEVELS[1] - LEVELS[0]) + LEVELS[0];
        *term = level * weight;
    }
    sum(terms)
}

/// In an order that vectors can follow.
#[inline]
fn sum(mut terms: [f32; ROWS]) -> f32 {
    for half in [16, 8, 4, 2, 1] {
        let (into, from) = terms.split_at_mut(half);
        into.iter_mut().zip(from).for_each(|(a, b)| *a += *b);
    }
    terms[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Encoder;
    use crate::random::Random;
    use crate::rows::store_row;

    /// The mean's code is that of the mean of what the rows' codes stand for.
    #[test]
    fn the_mean_is_that_of_the_live_rows() {
        for dimensions in [5, 64, 100, 384] {
            let shape = Shape::new(dimensions, false);
            let mut random = Random::new(7);
            let mut bytes = vec![0; shape.block_bytes];
            let live = 0b1011_0110_1111_0000_0101_1010_0011_1101;
            let mut sums = vec![0f64; dimensions];
            for row in 0..ROWS {
                let mut record: Vec<u8> =
                    (0..shape.record_bytes).map(|_| random.next() as u8).collect();
                for layer in 0..shape.layers.count() {
                    let at = shape.codes_at(layer) + shape.code_bytes(layer) - HEAD_BYTES;
                    record[at..at + 2].copy_from_slice(&narrow(1.0 + row as f32));
                }
                let at = shape.term_at() - HEAD_BYTES;
                record[at..at + 2].copy_from_slice(&narrow(2.0));
                store_row(&mut bytes, row, (1, 0), &record, &shape);
                if live >> row & 1 == 1 {
                    Encoder::decode_rotated(&shape, &record, |layer, piece| {
                        let sums = &mut sums[shape.layers.range(layer)];
                        sums.iter_mut().zip(piece).for_each(|(sum, x)| *sum += f64::from(x));
                    });
                }
            }
            let mean = mean(Rows::new(&bytes, &shape), live, &[], &shape);
            assert_eq!(mean.len(), shape.summary_bytes - 8);
            assert_eq!(mean[..2], narrow(2.0));
            let layers = shape.layers.count();
            let mut code = &mean[2 + shape.inner_borders() + 2 * layers..];
            for layer in 0..layers {
                let sums = &sums[shape.layers.range(layer)];
                for (i, sum) in sums.iter().enumerate() {
                    let is_set = code[i / 8] & 0x80 >> (i % 8) != 0;
                    assert!(
                        is_set == (*sum > 0.0) || sum.abs() < 1e-3,
                        "{dimensions}: {layer}, {i}"
                    );
                }
                let scale = wide([
                    mean[2 + shape.inner_borders() + 2 * layer],
                    mean[3 + shape.inner_borders() + 2 * layer],
                ]);
                let mean = |f: &dyn Fn(f64) -> f64| {
                    sums.iter().map(|x| f(x / f64::from(live.count_ones()))).sum::<f64>()
                };
                let expected = mean(&|x| x * x) / mean(&|x| x.abs());
                assert!(
                    (f64::from(scale) - expected).abs() <= 0.01 * expected,
                    "{scale} {expected}"
                );
                code = &code[sums.len().div_ceil(8)..];
            }
        }
    }
}
