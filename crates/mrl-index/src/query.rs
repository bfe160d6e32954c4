//! A query made ready: what it gives for a block of rows, and for one row's later layers.
//!
//! Everything is compared by *scores*, the greater the nearer, of one unit for estimates and exact
//! values: the inner product with the row (or with its prefix, scaled to length 1); under L2 the
//! inner product less half the row's squared length.

use half::f16;
use mrl_kernels::{self as kernels, BitSums, Planes};

use crate::block::{ROWS, Tables};
use crate::encode::{Encoder, widened};
use crate::group::{RowBlock, RowEntry, factors, wide};
use crate::layers::LEADING;
use crate::meta::Metric;

/// How a row's score is made from its inner product.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scale {
    /// It is the product.
    None,
    /// It is divided by the row's length.
    Whole,
    /// By the length of the prefix up to an inner border.
    Border(usize),
    /// By that of a prefix that ends within a layer: its square lies between those of the borders before
    /// (none for the first layer) and after (none for the last), by how much of the layer is in it.
    Between(Option<usize>, Option<usize>, f32),
}

/// The score of a row whose prefix is all but zero: nothing is known of it, so it is looked at.
const UNKNOWN: f32 = f32::MAX;

/// One of the layers after the first that a query reads: the rotated piece, each component rounded to one
/// of sixteen levels. The error of that is small beside a one-bit code's: a tenth of it.
#[derive(Debug, Clone)]
struct Later {
    /// Words of the code.
    words: usize,
    /// What the levels stand for: `lowest + step · number`.
    lowest: f32,
    step: f32,
    /// The sum of all components, as rounded.
    sum: f32,
    /// By what a scale is multiplied for the deviation of the estimate's error.
    error: f32,
}

impl Later {
    /// Of a layer whose code has so many bytes; its planes are put behind the others'.
    fn new(
        layer: usize,
        piece: &[f32],
        length: f32,
        bytes: usize,
        planes: &mut Vec<Planes>,
    ) -> Self {
        const LEVELS: f32 = 15.0;
        let lowest = piece.iter().copied().fold(f32::INFINITY, f32::min);
        let highest = piece.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let step = if highest > lowest { (highest - lowest) / LEVELS } else { 1.0 };
        let first = planes.len();
        planes.resize(first + bytes.div_ceil(8), Planes::default());
        let mut sum = 0.0;
        for (i, x) in piece.iter().enumerate() {
            let number = ((x - lowest) / step).round() as u64;
            sum += lowest + step * number as f32;
            // Component i is the highest but i % 8 of byte i / 8.
            let bit = i / 8 % 8 * 8 + 7 - i % 8;
            for (weight, plane) in planes[first + i / 64].iter_mut().enumerate() {
                *plane |= (number >> weight & 1) << bit;
            }
        }
        let error = factors(1.0, layer, piece.len()).error * length;
        Self { words: bytes.div_ceil(8), lowest, step, sum, error }
    }
}

/// A query against one index.
#[derive(Debug, Clone)]
pub struct Query {
    pub vector: Vec<f16>,
    metric: Metric,
    tables: Tables,
    /// By what a scale of layer 0 is multiplied for the deviation of its error.
    leading_error: f32,
    leading_share: f32,
    later: Vec<Later>,
    /// Of all later layers, one after another: every layer but the last fills whole words.
    planes: Vec<Planes>,
    later_bytes: usize,
    layers: usize,
    scale: Scale,
    length: f32,
}

impl Query {
    /// A query of 1 to as many dimensions as the index has; under L2 of all.
    pub fn new(encoder: &Encoder, vector: &[f16]) -> Self {
        let dimensions = encoder.shape.dimensions;
        let layers = &encoder.shape.layers;
        let rotated = encoder.codec.query(&widened(vector));
        let mut leading = [0.0; LEADING];
        let (piece, leading_length) = rotated.piece(0);
        leading[..piece.len()].copy_from_slice(piece);
        let mut planes = Vec::new();
        let later = (1..rotated.layers()).map(|layer| {
            let (piece, length) = rotated.piece(layer);
            Later::new(layer, piece, length, layers.code_bytes(layer), &mut planes)
        });
        let later: Vec<Later> = later.collect();
        let later_bytes = (1..rotated.layers()).map(|layer| layers.code_bytes(layer)).sum();
        let last = rotated.layers() - 1;
        let range = layers.range(last);
        let scale = match encoder.metric {
            Metric::Euclidean => Scale::None,
            Metric::InnerProduct if vector.len() == dimensions => Scale::None,
            _ if vector.len() == dimensions => Scale::Whole,
            _ if vector.len() == range.end => Scale::Border(last),
            _ => Scale::Between(
                last.checked_sub(1),
                (last < encoder.shape.inner_borders()).then_some(last),
                (vector.len() - range.start) as f32 / range.len() as f32,
            ),
        };
        Self {
            metric: encoder.metric,
            tables: Tables::new(&leading),
            leading_share: (leading_length
                / kernels::squared_norm(vector).sqrt().max(f32::MIN_POSITIVE))
            .powi(2)
            .min(1.0),
            leading_error: factors(1.0, 0, layers.range(0).len()).error * leading_length,
            later,
            planes,
            later_bytes,
            layers: layers.count(),
            scale,
            length: kernels::squared_norm(vector).sqrt(),
            vector: vector.to_vec(),
        }
    }

    /// A frame's share of the scores of its rows.
    pub fn base(&self, frame: &[f16]) -> f32 {
        let product = kernels::dot(&frame[..self.vector.len()], &self.vector);
        match self.metric {
            Metric::Euclidean => product - kernels::squared_norm(frame) / 2.0,
            _ => product,
        }
    }

    /// The scores of a block's rows by layer 0 alone.
    #[inline]
    pub fn score_block(&self, block: RowBlock, base: f32) -> [f32; ROWS] {
        let products = self.tables.scan(block.codes());
        let scales = block.scales();
        let mut scores = [base; ROWS];
        for ((score, scale), product) in scores.iter_mut().zip(scales).zip(&products) {
            *score += wide(*scale) * product;
        }
        match self.scale {
            Scale::None if self.metric == Metric::Euclidean => {
                let terms = block.terms();
                for (score, term) in scores.iter_mut().zip(terms) {
                    *score -= wide(*term) / 2.0;
                }
            }
            Scale::None => {}
            _ => {
                for (row, score) in scores.iter_mut().enumerate() {
                    let inverse = self.inverse_length(block, row);
                    *score = if inverse == 0.0 { UNKNOWN } else { *score * inverse };
                }
            }
        }
        scores
    }

    /// By what a row's inner product is multiplied; 0 where its prefix is all but zero.
    #[inline]
    pub fn inverse_length(&self, block: RowBlock, row: usize) -> f32 {
        let share = |border: usize| f32::from(block.shares(border)[row]) / 255.0;
        let share = match self.scale {
            Scale::None => return 1.0,
            Scale::Whole => 1.0,
            Scale::Border(border) => share(border),
            Scale::Between(before, after, part) => {
                let (before, after) = (before.map_or(0.0, share), after.map_or(1.0, share));
                (before * before + (after * after - before * before).max(0.0) * part).sqrt()
            }
        };
        let length = share * wide(block.terms()[row]).abs();
        if length > 0.0 { 1.0 / length } else { 0.0 }
    }

    /// The squared error of layer 0's estimate of a row with this scale.
    #[inline]
    pub fn leading_error_squared(&self, scale: f32) -> f32 {
        let error = scale * self.leading_error;
        error * error
    }

    /// The share of the query's squared length that layer 0 has.
    pub fn leading_share(&self) -> f32 {
        self.leading_share
    }

    /// Memory for [`Query::later`].
    pub fn room(&self) -> Vec<BitSums> {
        vec![BitSums::default(); self.planes.len()]
    }

    /// What the later layers add to an inner product, and their squared error.
    /// `sums` is memory that is used again from row to row: [`Query::room`].
    #[inline]
    pub fn later(&self, entry: RowEntry, sums: &mut [BitSums]) -> (f32, f32) {
        let code = &entry.code()[2 * (self.layers - 1)..][..self.later_bytes];
        let mut sums = sums;
        kernels::weighted_bits(code, &self.planes, sums);
        let (mut sum, mut squared) = (0.0, 0.0);
        for (i, later) in self.later.iter().enumerate() {
            let own;
            (own, sums) = sums.split_at_mut(later.words);
            let (mut bits, mut weighted) = (0, 0);
            for sum in own {
                bits += sum.bits;
                weighted += sum.weighted;
            }
            // Twice the product with the positive signs, less that with all.
            let positive = later.lowest * bits as f32 + later.step * weighted as f32;
            let scale = entry.scale(i + 1);
            sum += scale * (2.0 * positive - later.sum);
            squared += (scale * later.error) * (scale * later.error);
        }
        (sum, squared)
    }

    /// The score that a distance stands for; that of no number is the least.
    pub fn score_of(&self, distance: f64) -> f32 {
        let length = f64::from(self.length);
        let score = match self.metric {
            Metric::InnerProduct => -distance,
            Metric::Cosine => (1.0 - distance) * length,
            Metric::Euclidean => (length * length - distance * distance) / 2.0,
        };
        if score.is_nan() { f32::NEG_INFINITY } else { score as f32 }
    }
}
