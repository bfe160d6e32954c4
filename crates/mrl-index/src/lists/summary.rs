//! What the rows of a block have in common: their mean, as a code of one bit a dimension, of two in the leading ones
//! where there is room ([`Shape::new`]), and how far from it they lie. By both a scan chooses the blocks that it looks
//! into; by the mean an insert the block that a row goes to.
//!
//! It is made of the rows' own codes, and always against the frame of the list that the block lies in: rows that a
//! split has moved have another, from which all of them may lie so far that a bit a dimension tells little else. A
//! summary is a hint: rows that have gone may still count in it, the newest may not yet, and nothing but speed and
//! recall depends on it.

use half::f16;
use mrl_kernels::CodeBytes;

use crate::codes::bits::{
    LEVELS, encode_one_bit, encode_two_bits, product_one_bit, product_two_bits,
};
use crate::codes::block::ROWS;
use crate::codes::records::{LANES, narrow, wide};
use crate::lists::encode::{Encoder, widened};
use crate::lists::frame::{Frame, rotated};
use crate::pages::group::Summaries;
use crate::pages::meta::Metric;
use crate::pages::rows::Rows;
use crate::pages::shape::Shape;

/// From the frame of a list to that of some rows in it.
pub struct Offset {
    /// All layers, rotated.
    pub rotated: Vec<f32>,
    /// By what a row's term changes.
    term: f32,
}

impl Offset {
    /// From a list's frame to the one of some of its rows, both whole centres.
    pub fn new(encoder: &Encoder, list_frame: &[f16], rows_frame: &[f16]) -> Self {
        let (from, to) = (widened(list_frame), widened(rows_frame));
        let offset: Vec<f32> = to.iter().zip(&from).map(|(to, from)| to - from).collect();
        let term = match encoder.metric {
            Metric::Euclidean => {
                let squares = from.iter().zip(&to).map(|(from, to)| {
                    let (from, to) = (f64::from(*from), f64::from(*to));
                    (to - from) * (to + from)
                });
                squares.sum::<f64>() as f32
            }
            _ => 0.0,
        };
        Self { rotated: rotated(encoder, &offset), term }
    }
}

/// What a summary has of a block's rows.
pub struct Mean {
    /// Of their mean, in the summary's form.
    pub record: Vec<u8>,
    /// The root of their mean squared distance from it.
    pub spread: f32,
}

/// The mean of a block's rows, of which bit r of `live` tells whether row r counts. `offsets` lead to the frames
/// of the group, by their places; of those that are missing there no row is, or it is the list's own, `frame`.
pub fn mean(
    rows: Rows,
    live: u32,
    offsets: &[Option<&Offset>],
    frame: &Frame,
    shape: &Shape,
) -> Mean {
    let records = rows.records;
    let count = live.count_ones().max(1) as f32;
    let is_live = |row: usize| live >> row & 1 == 1;
    let mean_of = |value: &dyn Fn(usize) -> f32| -> f32 {
        (0..ROWS).filter(|row| is_live(*row)).map(value).sum::<f32>() / count
    };
    let offset_of = |row: usize| offsets.get(usize::from(rows.frames()[row])).copied().flatten();
    // The rows of each frame, all of the list's own together.
    let mut parts: Vec<(Option<&Offset>, [f32; ROWS])> = Vec::new();
    for row in (0..ROWS).filter(|row| is_live(*row)) {
        let offset = offset_of(row);
        let is_same = |other: &Option<&Offset>| match (offset, other) {
            (Some(own), Some(other)) => std::ptr::eq(own, *other),
            (own, other) => own.is_none() && other.is_none(),
        };
        let part = match parts.iter().position(|(other, _)| is_same(other)) {
            Some(part) => part,
            None => {
                parts.push((offset, [0.0; ROWS]));
                parts.len() - 1
            }
        };
        parts[part].1[row] = 1.0 / count;
    }
    let layers = &shape.layers;
    let (mut codes, mut squared) = (Vec::with_capacity(layers.count()), 0.0);
    // The centre's product with what the code stands for, less that with the mean.
    let mut of_centre = 0.0;
    for layer in 0..layers.count() {
        let range = layers.range(layer);
        let scales = records.scales(layer).map(wide);
        let mut mean = vec![0.0; range.len()];
        for (offset, shares) in &parts {
            let weights: [f32; ROWS] = std::array::from_fn(|row| scales[row] * shares[row]);
            let piece = weighted_sum(records.codes(layer), layer, range.len(), &weights);
            let squares: f32 = scales.iter().zip(&weights).map(|(scale, x)| scale * x).sum();
            squared += squared_length(layer, range.len()) * squares;
            mean.iter_mut().zip(&piece).for_each(|(sum, x)| *sum += x);
            if let Some(offset) = offset {
                let (share, offset) = (shares.iter().sum::<f32>(), &offset.rotated[range.clone()]);
                for ((sum, own), x) in mean.iter_mut().zip(&piece).zip(offset) {
                    *sum += share * x;
                    squared += (2.0 * own + share * x) * x;
                }
            }
        }
        squared -= mean.iter().map(|x| x * x).sum::<f32>();
        let coded = &mean[..shape.components_of_means(layer)];
        let mut code = vec![0; (coded.len() * shape.bits_of_means(layer)).div_ceil(8)];
        let scale = match shape.bits_of_means(layer) {
            2 => encode_two_bits(coded, &mut code).scale,
            _ => encode_one_bit(coded, &mut code).scale,
        };
        // As the components are rotated, some of them have their share of the product with a query.
        let scale = wide(narrow(scale * mean.len() as f32 / coded.len() as f32));
        if let Some(centre) = frame.rotated() {
            let centre = &centre[range];
            let product = match shape.bits_of_means(layer) {
                2 => product_two_bits(&centre[..coded.len()], &code),
                _ => product_one_bit(&centre[..coded.len()], &code),
            };
            let exact: f32 = centre.iter().zip(&mean).map(|(x, y)| x * y).sum();
            of_centre += scale * product - exact;
        }
        codes.push((code, if scale.is_finite() { scale } else { 0.0 }));
    }
    let offset_terms = mean_of(&|row| offset_of(row).map_or(0.0, |offset| offset.term));
    // Damaged rows must not make it no number: a scan would always look into the block.
    let of_centre = if of_centre.is_finite() { of_centre } else { 0.0 };
    let term = offset_terms + mean_of(&|row| wide(records.terms()[row])) + 2.0 * of_centre;
    let shares = (0..shape.inner_borders()).map(|border| {
        let shares = records.shares(border);
        let share = mean_of(&|row| f32::from(shares[row]));
        // None is that of zeros alone.
        if share > 0.0 { share.round().max(1.0) as u8 } else { 0 }
    });
    let codes = codes.iter().map(|(code, scale)| (&code[..], *scale));
    let spread = squared.max(0.0).sqrt();
    Mean {
        record: shape.summary.record(codes, term, shares),
        spread: if spread.is_finite() { spread } else { 0.0 },
    }
}

/// In how many dimensions of the later layers a row, encoded against the list's frame, and the means of blocks
/// lie on different sides of it. Layer 0, whose code has another form, is passed over.
pub fn differing(summaries: Summaries, record: &[u8], shape: &Shape) -> [u16; LANES] {
    /// So many bytes differ in fewer bits than a byte can count.
    const BYTES_AT_ONCE: usize = 31;
    let mut counts = [0; LANES];
    for layer in 1..shape.layers.count() {
        let (own, _) = shape.row.code_of(record, layer);
        let all = summaries.records.codes(layer).chunks(BYTES_AT_ONCE);
        for (codes, own) in all.zip(own.chunks(BYTES_AT_ONCE)) {
            let mut bits = [0u8; LANES];
            for (codes, own) in codes.iter().zip(own) {
                for (count, code) in bits.iter_mut().zip(codes) {
                    *count += (code ^ own).count_ones() as u8;
                }
            }
            counts.iter_mut().zip(bits).for_each(|(count, bits)| *count += u16::from(bits));
        }
    }
    counts
}

/// About the squared length of a piece whose code has the scale 1: the square of the scale that a piece of
/// normal components gets is to its squared length as this (Max, 1960; see [`crate::pages::group::factors`]).
fn squared_length(layer: usize, length: usize) -> f32 {
    let a_component = if layer == 0 { 0.785 } else { 0.637 };
    a_component * length as f32
}

/// Σ weight · levels of the codes of some rows, a sum for each component.
fn weighted_sum(
    codes: &[CodeBytes],
    layer: usize,
    length: usize,
    weights: &[f32; ROWS],
) -> Vec<f32> {
    let mut sums = Vec::with_capacity(8 * codes.len());
    for codes in codes {
        match layer {
            0 => sums.extend([0, 2, 4, 6].map(|shift| sum_of_levels(codes, shift, weights))),
            _ => sums.extend([7, 6, 5, 4, 3, 2, 1, 0].map(|bit| sum_of_signs(codes, bit, weights))),
        }
    }
    sums.truncate(length);
    sums
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
    use crate::build::Plan;
    use crate::codes::records::Records;
    use crate::lists::encode::{Encoder, narrowed};
    use crate::pages::rows::store_row;
    use crate::random::Random;

    /// A frame on which nothing depends.
    fn frame_of(dimensions: usize) -> Frame {
        let (build, seed, coarse_dimensions, copies) = (1, 5, dimensions, false);
        let metric = Metric::InnerProduct;
        let plan = Plan { build, seed, dimensions, coarse_dimensions, metric, copies };
        Frame::new(&Encoder::new(&plan.meta()), vec![f16::ZERO; dimensions])
    }

    /// Rows of codes that are drawn, and what they stand for, rotated.
    fn drawn(shape: &Shape, seed: u64) -> (Vec<u8>, Vec<Vec<f32>>) {
        let mut random = Random::new(seed);
        let mut bytes = vec![0; shape.block_bytes];
        let mut stand_for = Vec::new();
        for row in 0..ROWS {
            let codes: Vec<Vec<u8>> = (0..shape.layers.count())
                .map(|layer| {
                    (0..shape.row.code_bytes(layer)).map(|_| random.next() as u8).collect()
                })
                .collect();
            let scaled = codes.iter().map(|code| (&code[..], 1.0 + row as f32));
            let shares = (0..shape.inner_borders()).map(|border| border as u8);
            let record = shape.row.record(scaled, 2.0, shares);
            store_row(&mut bytes, row, 1, u8::from(row % 3 == 0), &record, shape);
            let mut vector = Vec::new();
            Encoder::decode_rotated(shape, &record, |_, piece| vector.extend_from_slice(piece));
            stand_for.push(vector);
        }
        (bytes, stand_for)
    }

    /// The mean's code is that of the mean of what the rows' codes stand for, their frames' offsets added.
    #[test]
    fn the_mean_is_that_of_the_live_rows() {
        for (dimensions, has_offset) in
            [(5, false), (64, true), (100, false), (384, false), (384, true), (768, false)]
        {
            let shape = Shape::new(dimensions, false);
            let (bytes, mut vectors) = drawn(&shape, 7);
            let live: u32 = 0b1011_0110_1111_0000_0101_1010_0011_1101;
            let offset = Offset { rotated: vec![3.0; dimensions], term: 1.0 };
            let offsets = [None, has_offset.then_some(&offset)];
            for vector in vectors.iter_mut().step_by(3).filter(|_| has_offset) {
                vector.iter_mut().for_each(|x| *x += 3.0);
            }
            let frame = frame_of(dimensions);
            let mean = mean(Rows::new(&bytes, &shape), live, &offsets, &frame, &shape);
            let rows = (0..ROWS).filter(|row| live >> row & 1 == 1);
            let shifted = rows.clone().filter(|row| has_offset && row % 3 == 0).count() as f32;
            let count = live.count_ones() as f32;
            let mut lanes = vec![0; LANES * shape.summary.bytes];
            shape.summary.store(&mut lanes, 0, LANES, &mean.record);
            let records = Records::new(&lanes, &shape.summary);
            assert!((wide(records.terms()[0]) - (2.0 + shifted / count)).abs() < 0.01);
            let expected: Vec<f32> = (0..dimensions)
                .map(|i| rows.clone().map(|row| vectors[row][i]).sum::<f32>() / count)
                .collect();
            for layer in 0..shape.layers.count() {
                let all = &expected[shape.layers.range(layer)];
                let expected = &all[..shape.components_of_means(layer)];
                let (code, scale) = shape.summary.code_of(&mean.record, layer);
                let bits = shape.bits_of_means(layer);
                for (i, x) in expected.iter().enumerate() {
                    let is_positive = match bits {
                        2 => code[i / 4] >> (2 * (i % 4)) & 2 != 0,
                        _ => code[i / 8] & 0x80 >> (i % 8) != 0,
                    };
                    assert!(
                        is_positive == (*x > 0.0) || x.abs() < 1e-3,
                        "{dimensions}: {layer}, {i}"
                    );
                }
                // The code's levels times the scale have the mean's own product with it; where they stand for some
                // of its components, so many times that.
                let product = match bits {
                    2 => product_two_bits(expected, code),
                    _ => product_one_bit(expected, code),
                };
                let squared = expected.iter().map(|x| x * x).sum::<f32>();
                let squared = squared * all.len() as f32 / expected.len() as f32;
                assert!(
                    (scale * product - squared).abs() <= 0.02 * squared,
                    "{scale} {product} {squared}"
                );
            }
        }
    }

    /// Whatever their frames are, rows lie as far from each other as their vectors do.
    #[test]
    fn the_spread_is_that_of_the_vectors() {
        let dimensions = 384;
        let plan = Plan {
            build: 1,
            seed: 5,
            dimensions,
            coarse_dimensions: dimensions,
            metric: Metric::InnerProduct,
            copies: false,
        };
        let encoder = Encoder::new(&plan.meta());
        let mut random = Random::new(3);
        let mut draw = |spread: f32| -> Vec<f32> {
            let uniform =
                (0..dimensions).map(|_| (random.next() >> 40) as f32 / (1u64 << 24) as f32);
            uniform.map(|x| spread * (x - 0.5)).collect()
        };
        let frames = [draw(1.0), draw(1.0)];
        let frames = frames.map(|centre| Frame::new(&encoder, narrowed(&centre)));
        let offset = Offset::new(&encoder, &frames[0].centre, &frames[1].centre);
        let centre = draw(2.0);
        let mut bytes = vec![0; encoder.shape.block_bytes];
        let mut squared = 0.0;
        for row in 0..ROWS {
            let off = draw(1.0);
            squared += off.iter().map(|x| x * x).sum::<f32>() / ROWS as f32;
            let vector: Vec<f32> = centre.iter().zip(&off).map(|(a, b)| a + b).collect();
            let place = row % 2;
            let record = encoder.row(&narrowed(&vector), &frames[place]).record;
            store_row(&mut bytes, row, 1, place as u8, &record, &encoder.shape);
        }
        let rows = Rows::new(&bytes, &encoder.shape);
        let offsets = [None, Some(&offset)];
        let spread = mean(rows, u32::MAX, &offsets, &frames[0], &encoder.shape).spread;
        let ratio = spread / squared.sqrt();
        assert!((0.85..1.15).contains(&ratio), "{ratio}");
    }
}
