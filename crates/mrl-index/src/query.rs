//! A query made ready: what it gives for a block of rows, and for one row's later layers.
//!
//! Everything is compared by *scores*, the greater the nearer, of one unit for estimates and exact
//! values: the inner product with the row (or with its prefix, scaled to length 1); under L2 the
//! inner product less half the row's squared length.

use half::f16;
use mrl_kernels::{self as kernels, Sections, SectionsProduct};

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
pub const UNKNOWN: f32 = f32::MAX;

/// What a frame gives for a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Base {
    /// Its share of the scores of its rows.
    pub value: f32,
    /// The part of the inner product that the later layers' dimensions have.
    pub later: f32,
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
    /// The later layers, each component rounded to one of sixteen numbers; the error of that is a tenth
    /// of a one-bit code's own.
    later: Sections,
    /// The layers of a row, of which the query may read fewer.
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
        let mut later = Sections::default();
        for layer in 1..rotated.layers() {
            let (piece, length) = rotated.piece(layer);
            later.push(piece, factors(1.0, layer, piece.len()).error * length);
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
            tables: Tables::new(&leading),
            leading_share: (leading_length
                / kernels::squared_norm(vector).sqrt().max(f32::MIN_POSITIVE))
            .powi(2)
            .min(1.0),
            leading_error: factors(1.0, 0, layers.range(0).len()).error * leading_length,
            later,
            layers: layers.count(),
            scale,
            length: kernels::squared_norm(vector).sqrt(),
            vector: vector.to_vec(),
        }
    }

    /// A frame's share of the scores of its rows.
    pub fn base(&self, frame: &[f16]) -> Base {
        let (leading, later) = self.vector.split_at(LEADING.min(self.vector.len()));
        let (frame_leading, frame_later) = frame[..self.vector.len()].split_at(leading.len());
        let later = kernels::dot(frame_later, later);
        let product = kernels::dot(frame_leading, leading) + later;
        let value = match self.metric {
            Metric::Euclidean => product - kernels::squared_norm(frame) / 2.0,
            _ => product,
        };
        Base { value, later }
    }

    /// The scores of a block's rows by layer 0 alone; `inverse_lengths` are those of the rows where the
    /// query [`divides`](Query::divides).
    #[inline]
    pub fn score_block(
        &self,
        block: RowBlock,
        base: f32,
        inverse_lengths: &[f32; ROWS],
        scores: &mut [f32; ROWS],
    ) {
        self.tables.score(block.codes(), block.scales(), base, scores);
        if self.divides() {
            for (score, inverse) in scores.iter_mut().zip(inverse_lengths) {
                *score = if *inverse == 0.0 { UNKNOWN } else { *score * inverse };
            }
        } else if self.metric == Metric::Euclidean {
            for (score, term) in scores.iter_mut().zip(block.terms()) {
                *score -= wide(*term) / 2.0;
            }
        }
    }

    /// Whether scores are divided by the length of the row's prefix.
    pub fn divides(&self) -> bool {
        self.scale != Scale::None
    }

    /// By what the rows' inner products are multiplied; 0 where a row's prefix is all but zero.
    ///
    /// Written so that the compiler makes vectors of it: it is done for every row that is scored.
    #[inline]
    pub fn inverse_lengths(&self, block: RowBlock) -> [f32; ROWS] {
        const WHOLE: [u8; ROWS] = [u8::MAX; ROWS];
        let mut lengths = [0.0; ROWS];
        let shares = |border: Option<usize>, none: &[u8; ROWS]| match border {
            None => *none,
            Some(border) => *block.shares(border).first_chunk().unwrap_or(none),
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
        for (length, term) in lengths.iter_mut().zip(block.terms()) {
            let product = *length * wide(*term).abs();
            *length = if product > 0.0 { 1.0 / product } else { 0.0 };
        }
        lengths
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

    /// What the later layers add to an inner product, and their squared error.
    #[inline]
    pub fn later(&self, entry: RowEntry) -> SectionsProduct {
        if self.later.count() == 0 {
            return SectionsProduct::default();
        }
        let (scales, codes) = entry.code().split_at(2 * (self.layers - 1));
        let (scales, _) = scales.as_chunks::<2>();
        let codes = &codes[..self.later.code_bytes()];
        kernels::multiply_sections(&self.later, &scales[..self.later.count()], codes)
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
