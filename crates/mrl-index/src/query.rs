//! A query made ready: what it gives for a block of rows, and for one row's later layers.
//!
//! Everything is compared by *scores*, the greater the nearer, of one unit for estimates and exact
//! values: the inner product with the row (or with its prefix, scaled to length 1); under L2 the
//! inner product less half the row's squared length.

use half::f16;
use mrl_kernels::{self as kernels, CodeScales};

use crate::block::Tables;
use crate::encode::{Encoder, widened};
use crate::group::{Summaries, factors};
use crate::layers::LEADING;
use crate::meta::Metric;
use crate::records::{LANES, Records, wide};
use crate::shape::Shape;

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
pub const UNKNOWN: f32 = f32::MAX;

/// A query against one index.
#[derive(Debug, Clone)]
pub struct Query {
    pub vector: Vec<f16>,
    metric: Metric,
    /// For codes of two bits of layer 0: rows', and means' where they have two.
    leading: Tables,
    means_have_two_bits: bool,
    /// For codes of one bit of each layer that the query reads.
    tables: Vec<Tables>,
    /// Of each: by what a row's squared scale is multiplied for the squared deviation of its error.
    squared_errors: Vec<f32>,
    scale: Scale,
    length: f32,
    leading_share: f32,
}

impl Query {
    /// A query of 1 to as many dimensions as the index has; under L2 of all.
    pub fn new(encoder: &Encoder, vector: &[f16]) -> Self {
        let rotated = encoder.codec.query(&widened(vector));
        let dimensions = encoder.shape.dimensions;
        let layers = &encoder.shape.layers;
        let squared_error = |layer: usize| {
            let (piece, length) = rotated.piece(layer);
            (factors(1.0, layer, piece.len()).error * length).powi(2)
        };
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
        let mut leading = [0.0; LEADING];
        let (piece, leading_length) = rotated.piece(0);
        leading[..piece.len()].copy_from_slice(piece);
        let squared = kernels::squared_norm(vector);
        let one_bit = |layer: usize| match layer {
            0 => Tables::one_bit(&leading),
            _ => Tables::one_bit(rotated.piece(layer).0),
        };
        Self {
            metric: encoder.metric,
            tables: (0..=last).map(one_bit).collect(),
            squared_errors: (0..=last).map(squared_error).collect(),
            leading: Tables::two_bits(&leading),
            means_have_two_bits: encoder.shape.bits_of_means(0) == 2,
            scale,
            length: squared.sqrt(),
            leading_share: (leading_length.powi(2) / squared.max(f32::MIN_POSITIVE)).min(1.0),
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

    /// About the score of the best row of each of some blocks, and by how much it is thought to lie above that of their
    /// mean; `base` is the share of their list's own frame.
    #[inline]
    pub fn score_summaries(
        &self,
        summaries: Summaries,
        base: f32,
        scores: &mut [f32; LANES],
        reaches: &mut [f32; LANES],
    ) {
        /// How far the best row lies from the mean in the query's direction, in spreads: of rows that differ in many
        /// dimensions those that are searched for do so in the query's more than in others.
        const REACH: f32 = 0.4;
        self.score_means(summaries.records, base, scores);
        let (spreads, squared) = (summaries.spreads(), self.length * self.length);
        let terms = summaries.records.terms();
        for (((score, reach), spread), term) in
            scores.iter_mut().zip(reaches).zip(spreads).zip(terms)
        {
            let direction = match self.metric {
                // The way from the mean to the query is what counts.
                Metric::Euclidean => (squared - 2.0 * *score).max(0.0).sqrt(),
                // Of the spread a prefix has the share that it has of the length, by which its score is divided.
                _ if self.divides() => {
                    let length = wide(*term).abs();
                    if length > 0.0 { self.length / length } else { 0.0 }
                }
                _ => self.length,
            };
            *reach = REACH * wide(*spread) * direction;
            *score += *reach;
        }
    }

    /// About the mean score of the rows of each of some blocks.
    #[inline]
    pub fn score_means(&self, means: Records, base: f32, scores: &mut [f32; LANES]) {
        *scores = [base; LANES];
        let leading = if self.means_have_two_bits { &self.leading } else { &self.tables[0] };
        leading.score(means.codes(0), means.scales(0), scores);
        for (layer, tables) in self.tables.iter().enumerate().skip(1) {
            tables.score(means.codes(layer), means.scales(layer), scores);
        }
        self.to_scores(means, &self.inverse_lengths(means), scores);
    }

    /// The scores of a block's rows by at most so many layers; `bases` are their frames' shares, `inverse_lengths`
    /// those of the rows where the query [`divides`](Query::divides).
    #[inline]
    pub fn score_rows(
        &self,
        rows: Records,
        bases: &[f32; LANES],
        inverse_lengths: &[f32; LANES],
        layers: usize,
        scores: &mut [f32; LANES],
    ) {
        *scores = *bases;
        self.leading.score(rows.codes(0), rows.scales(0), scores);
        for (layer, tables) in self.tables.iter().enumerate().take(layers).skip(1) {
            tables.score(rows.codes(layer), rows.scales(layer), scores);
        }
        self.to_scores(rows, inverse_lengths, scores);
    }

    /// From inner products to scores.
    #[inline]
    fn to_scores(
        &self,
        records: Records,
        inverse_lengths: &[f32; LANES],
        scores: &mut [f32; LANES],
    ) {
        if self.divides() {
            for (score, inverse) in scores.iter_mut().zip(inverse_lengths) {
                *score = if *inverse == 0.0 { UNKNOWN } else { *score * inverse };
            }
        } else if self.metric == Metric::Euclidean {
            for (score, term) in scores.iter_mut().zip(records.terms()) {
                *score -= wide(*term) / 2.0;
            }
        }
    }

    /// The squared deviation of the error of a row's score, before it is divided by the row's length, by the scales
    /// of the row's block, layer after layer.
    #[inline]
    pub fn squared_error(&self, scales: &[CodeScales], row: usize) -> f32 {
        let of_layer = |(squared, scales): (&f32, &CodeScales)| {
            let scale = wide(scales[row]);
            squared * scale * scale
        };
        self.squared_errors.iter().zip(scales).map(of_layer).sum()
    }

    /// How many layers the query reads.
    pub fn layers(&self) -> usize {
        self.tables.len()
    }

    /// The share of the query's squared length that layer 0 has.
    pub fn leading_share(&self) -> f32 {
        self.leading_share
    }

    /// Whether the query has layer 0 alone.
    pub fn is_leading(&self) -> bool {
        self.tables.len() == 1
    }

    /// The part of a row's codes that the query reads.
    pub fn part_of_codes(&self, shape: &Shape) -> f64 {
        let bytes =
            |layers: usize| (0..layers).map(|layer| shape.row.code_bytes(layer)).sum::<usize>();
        bytes(self.tables.len()) as f64 / bytes(shape.layers.count()) as f64
    }

    /// Whether scores are divided by the length of the row's prefix.
    pub fn divides(&self) -> bool {
        self.scale != Scale::None
    }

    /// By what the rows' inner products are multiplied; 0 where a row's prefix is all but zero.
    ///
    /// Written so that the compiler makes vectors of it: it is done for every row that is scored.
    #[inline]
    pub fn inverse_lengths(&self, records: Records) -> [f32; LANES] {
        const WHOLE: [u8; LANES] = [u8::MAX; LANES];
        let mut lengths = [0.0; LANES];
        let shares = |border: Option<usize>, none: &[u8; LANES]| match border {
            None => *none,
            Some(border) => *records.shares(border),
        };
        match self.scale {
            Scale::None => return [1.0; LANES],
            Scale::Whole => lengths = [1.0; LANES],
            Scale::Border(border) => {
                for (length, share) in lengths.iter_mut().zip(shares(Some(border), &WHOLE)) {
                    *length = f32::from(share) / 255.0;
                }
            }
            Scale::Between(before, after, part) => {
                let (before, after) = (shares(before, &[0; LANES]), shares(after, &WHOLE));
                for ((length, before), after) in lengths.iter_mut().zip(before).zip(after) {
                    let squared = |share: u8| f32::from(share) * f32::from(share) / (255.0 * 255.0);
                    let (before, after) = (squared(before), squared(after));
                    *length = (before + (after - before).max(0.0) * part).sqrt();
                }
            }
        }
        for (length, term) in lengths.iter_mut().zip(records.terms()) {
            let product = *length * wide(*term).abs();
            *length = if product > 0.0 { 1.0 / product } else { 0.0 };
        }
        lengths
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
