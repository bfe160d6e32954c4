//! A query made ready: what it gives for a block of rows, and for one row's later layers.
//!
//! Everything is compared by *scores*, the greater the nearer, of one unit for estimates and exact
//! values: the inner product with the row (or with its prefix, scaled to length 1); under L2 the
//! inner product less half the row's squared length.

use half::f16;
use mrl_kernels::{self as kernels, Sections};

use crate::block::{ROWS, Tables};
use crate::codec;
use crate::encode::{Encoder, widened};
use crate::group::{Summary, factors, wide};
use crate::layers::LEADING;
use crate::meta::Metric;
use crate::rows::Rows;
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
    /// Of each layer that the query reads; none of a query of summaries.
    tables: Vec<Tables>,
    /// Of each: by what a row's squared scale is multiplied for the squared deviation of its error.
    squared_errors: Vec<f32>,
    /// The same layers for a summary's code of one bit, each component rounded to one of sixteen numbers; the error
    /// of that is a tenth of a one-bit code's own.
    sections: Sections,
    scale: Scale,
    length: f32,
    leading_share: f32,
}

impl Query {
    /// A query of 1 to as many dimensions as the index has; under L2 of all.
    pub fn new(encoder: &Encoder, vector: &[f16]) -> Self {
        let rotated = encoder.codec.query(&widened(vector));
        let mut query = Self::of_rotated(encoder, vector, &rotated);
        let mut leading = [0.0; LEADING];
        let (piece, _) = rotated.piece(0);
        leading[..piece.len()].copy_from_slice(piece);
        query.tables.push(Tables::two_bits(&leading));
        query
            .tables
            .extend((1..rotated.layers()).map(|layer| Tables::one_bit(rotated.piece(layer).0)));
        query
    }

    /// One that scores summaries alone: to find where a vector belongs.
    pub fn of_summaries(encoder: &Encoder, vector: &[f16]) -> Self {
        Self::of_rotated(encoder, vector, &encoder.codec.query(&widened(vector)))
    }

    fn of_rotated(encoder: &Encoder, vector: &[f16], rotated: &codec::Query) -> Self {
        let dimensions = encoder.shape.dimensions;
        let layers = &encoder.shape.layers;
        let mut sections = Sections::default();
        let mut squared_errors = Vec::new();
        for layer in 0..rotated.layers() {
            let (piece, length) = rotated.piece(layer);
            squared_errors.push((factors(1.0, layer, piece.len()).error * length).powi(2));
            // What a summary's code is off by is not asked for: it tells where to look, no more.
            sections.push(piece, 0.0);
        }
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
            tables: Vec::new(),
            squared_errors,
            sections,
            scale,
            length: kernels::squared_norm(vector).sqrt(),
            leading_share: (rotated.piece(0).1.powi(2)
                / kernels::squared_norm(vector).max(f32::MIN_POSITIVE))
            .min(1.0),
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

    /// About the mean score of a block's rows; `base` is the share of their list's own frame.
    #[inline]
    pub fn score_summary(&self, summary: Summary, base: f32) -> f32 {
        let (scales, code) = summary.code();
        let layers = self.sections.count();
        let code = &code[..self.sections.code_bytes()];
        let product = kernels::multiply_sections(&self.sections, &scales[..layers], code);
        let score = base + product.value;
        if self.metric == Metric::Euclidean {
            return score - summary.term() / 2.0;
        }
        let share = |border: usize| f32::from(summary.share(border)) / 255.0;
        let length = match self.scale {
            Scale::None => return score,
            Scale::Whole => 1.0,
            Scale::Border(border) => share(border),
            Scale::Between(before, after, part) => {
                let squared =
                    |border: Option<usize>, none: f32| border.map_or(none, |b| share(b).powi(2));
                let (before, after) = (squared(before, 0.0), squared(after, 1.0));
                (before + (after - before).max(0.0) * part).sqrt()
            }
        };
        let length = length * summary.term().abs();
        if length > 0.0 { score / length } else { UNKNOWN }
    }

    /// The scores of a block's rows by at most so many layers; `bases` are their frames' shares, `inverse_lengths` those of the rows where the query
    /// [`divides`](Query::divides).
    #[inline]
    pub fn score_rows(
        &self,
        rows: Rows,
        bases: &[f32; ROWS],
        inverse_lengths: &[f32; ROWS],
        layers: usize,
        scores: &mut [f32; ROWS],
    ) {
        *scores = *bases;
        for (layer, tables) in self.tables.iter().enumerate().take(layers) {
            let (codes, scales) = (rows.codes(layer), rows.scales(layer));
            tables.score(codes, scales, scores);
        }
        if self.divides() {
            for (score, inverse) in scores.iter_mut().zip(inverse_lengths) {
                *score = if *inverse == 0.0 { UNKNOWN } else { *score * inverse };
            }
        } else if self.metric == Metric::Euclidean {
            for (score, term) in scores.iter_mut().zip(rows.terms()) {
                *score -= wide(*term) / 2.0;
            }
        }
    }

    /// The squared deviation of the error of a row's score, before it is divided by the row's length.
    #[inline]
    pub fn squared_error(&self, rows: Rows, row: usize) -> f32 {
        let of_layer = |(layer, squared): (usize, &f32)| {
            let scale = wide(rows.scales(layer)[row]);
            squared * scale * scale
        };
        self.squared_errors.iter().enumerate().map(of_layer).sum()
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
        let bytes = |layers: usize| (0..layers).map(|layer| shape.code_bytes(layer)).sum::<usize>();
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
    pub fn inverse_lengths(&self, rows: Rows) -> [f32; ROWS] {
        const WHOLE: [u8; ROWS] = [u8::MAX; ROWS];
        let mut lengths = [0.0; ROWS];
        let shares = |border: Option<usize>, none: &[u8; ROWS]| match border {
            None => *none,
            Some(border) => *rows.shares(border),
        };
        match self.scale {
            Scale::None => return [1.0; ROWS],
            Scale::Whole => lengths = [1.0; ROWS],
            Scale::Border(border) => {
                for (length, share) in lengths.iter_mut().zip(shares(Some(border), &WHOLE)) {
                    *length = f32::from(share) / 255.0;
                }
            }
            Scale::Between(before, after, part) => {
                let (before, after) = (shares(before, &[0; ROWS]), shares(after, &WHOLE));
                for ((length, before), after) in lengths.iter_mut().zip(before).zip(after) {
                    let squared = |share: u8| f32::from(share) * f32::from(share) / (255.0 * 255.0);
                    let (before, after) = (squared(before), squared(after));
                    *length = (before + (after - before).max(0.0) * part).sqrt();
                }
            }
        }
        for (length, term) in lengths.iter_mut().zip(rows.terms()) {
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
