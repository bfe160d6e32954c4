//! A query made ready: what it gives for a block of rows, and for the means of blocks.
//!
//! Everything is compared by *scores*, the greater the nearer, of one unit for estimates and exact
//! values: the inner product with the row (or with its prefix, scaled to length 1); under L2 the
//! inner product less half the row's squared length.
//!
//! Under L2 rows may lie far from the origin, and the error of a product with a code must not grow with that. A row `x`
//! that is encoded against the frame `f` is `f + r`, and `q·x − x²/2 = q·f − f²/2 + (q − f)·r − r²/2`. With `c` for
//! what its code stands for, `c ≈ r`, the row's term is `r² + 2 f·c`, so that `q·c − term/2 = (q − f)·c − r²/2`: what
//! the code lacks is multiplied with the way from the frame to the query alone.

use std::borrow::Cow;

use half::f16;
use mrl_kernels::{self as kernels, CodeLayer};

use crate::codes::block::Tables;
use crate::codes::layers::LEADING;
use crate::codes::records::{LANES, Records, wide};
use crate::lists::encode::{Encoder, widened};
use crate::pages::group::{Summaries, factors};
use crate::pages::meta::Metric;
use crate::pages::shape::Shape;
use crate::scan::order::NO_BAR;

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

/// By how much of itself a record's term is wrong at most: that of a bfloat16, of eight significant bits. It tells
/// where a row is much shorter than the centre of its list.
const TERM_ERROR: f32 = 1.0 / 512.0;

/// By how much more a product is wrong as the tables that it is looked up in are rounded, in parts of what the code's
/// own error would be for all of the query's length.
const TABLE_ERROR: f32 = 0.1;

/// The score of what damage has made no number: nothing is known of it, so it is looked at.
pub const UNKNOWN: f32 = f32::MAX;

/// A query against one index.
#[derive(Debug, Clone)]
pub struct Query {
    /// As it was asked for: of 1 to the index's dimensions.
    pub vector: Vec<f16>,
    metric: Metric,
    squared_length: f32,
    /// What it gives for rows' codes of each layer that it reads, and for those of their means.
    rows: Vec<CodeLayer>,
    means: Vec<CodeLayer>,
    scale: Scale,
    length: f32,
    leading_share: f32,
}

impl Query {
    /// A query of 1 to as many dimensions as the index has, and under L2 of all. `middle` gives a point amid the rows,
    /// of all dimensions; it is called under L2 alone.
    ///
    /// # Panics
    /// For an empty or longer vector.
    pub fn new<'a>(
        encoder: &Encoder,
        vector: &[f16],
        middle: impl FnOnce() -> Cow<'a, [f16]>,
    ) -> Self {
        let rotated = encoder.codec.query(&widened(vector));
        let dimensions = encoder.shape.dimensions;
        let layers = &encoder.shape.layers;
        let last = rotated.layers() - 1;
        let range = layers.range(last);
        let squared = kernels::squared_norm(vector);
        // The squares of the lengths that codes are multiplied with, layer by layer. Under L2 the shares that layers
        // have in the way to the rows: how long it is each row tells.
        let mut squares: Vec<f32> =
            (0..=last).map(|layer| rotated.piece(layer).1.powi(2)).collect();
        if encoder.metric == Metric::Euclidean {
            let middle = middle();
            for (layer, square) in squares.iter_mut().enumerate() {
                let range = layers.range(layer);
                let range = range.start..range.end.min(vector.len());
                *square = kernels::squared_l2(&vector[range.clone()], &middle[range]);
            }
            let all = squares.iter().sum::<f32>();
            for (layer, square) in squares.iter_mut().enumerate() {
                let equal = layers.range(layer).len() as f32 / dimensions as f32;
                *square = if all > 0.0 { *square / all } else { equal };
            }
        }
        // By what a row's squared scale is multiplied for the squared deviation of its error.
        let squared_error = |layer: usize| {
            let length = layers.range(layer).len();
            factors(1.0, layer, length).error.powi(2) * squares[layer]
        };
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
        let piece = rotated.piece(0).0;
        leading[..piece.len()].copy_from_slice(piece);
        let (row, mean) = (&encoder.shape.row, &encoder.shape.summary);
        let two_bits = Tables::two_bits(&leading);
        let (mut rows, mut means) =
            (vec![two_bits.layer(row.places(0), squared_error(0))], Vec::new());
        // Of means nobody asks for the error.
        means.push(match encoder.shape.bits_of_means(0) {
            2 => two_bits.layer(mean.places(0), 0.0),
            _ => Tables::one_bit(&leading).layer(mean.places(0), 0.0),
        });
        for layer in 1..=last {
            let piece = rotated.piece(layer).0;
            let tables = Tables::one_bit(piece);
            rows.push(tables.layer(row.places(layer), squared_error(layer)));
            let of_means = encoder.shape.components_of_means(layer);
            let tables =
                if of_means < piece.len() { Tables::one_bit(&piece[..of_means]) } else { tables };
            means.push(tables.layer(mean.places(layer), 0.0));
        }
        Self {
            metric: encoder.metric,
            squared_length: squared,
            rows,
            means,
            scale,
            length: squared.sqrt(),
            leading_share: (squares[0] / squares.iter().sum::<f32>().max(f32::MIN_POSITIVE))
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

    /// Under L2 the square of the distance that a score stands for.
    fn squared_distance(&self, score: f32) -> f32 {
        (self.squared_length - 2.0 * score).max(0.0)
    }

    /// About the score of the best row of each of some blocks, and by how much it is thought to lie above that of their
    /// mean; `base` is the share of their list's own frame.
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
        let (spreads, terms) = (summaries.spreads(), summaries.records.terms());
        // Under L2 the way from the mean to the query is what counts.
        let is_distance = self.metric == Metric::Euclidean;
        let reach = if is_distance { REACH } else { REACH * self.length };
        reaches.iter_mut().zip(spreads).for_each(|(to, spread)| *to = reach * wide(*spread));
        if is_distance {
            for (to, score) in reaches.iter_mut().zip(&*scores) {
                *to *= self.squared_distance(*score).sqrt();
            }
        } else if self.divides() {
            // Of the spread a prefix has the share that it has of the length, by which its score is divided.
            for (to, term) in reaches.iter_mut().zip(terms) {
                let length = wide(*term).abs();
                *to = if length > 0.0 { *to / length } else { 0.0 };
            }
        }
        scores.iter_mut().zip(&*reaches).for_each(|(score, reach)| *score += reach);
    }

    /// About the mean score of the rows of each of some blocks.
    pub fn score_means(&self, means: Records, base: f32, scores: &mut [f32; LANES]) {
        *scores = [base; LANES];
        let mut squared_errors = [0.0; LANES];
        kernels::score_codes(means.bytes, &self.means, scores, &mut squared_errors);
        self.to_scores(means, 0.0, scores, &mut squared_errors);
    }

    /// The scores of a block's rows by at most so many layers, and the squared deviations of their errors; `scores` has
    /// the shares of their frames.
    #[inline]
    pub fn score_rows(
        &self,
        rows: Records,
        layers: usize,
        scores: &mut [f32; LANES],
        squared_errors: &mut [f32; LANES],
    ) {
        *squared_errors = [0.0; LANES];
        let layers = &self.rows[..layers.min(self.rows.len())];
        let bases = *scores;
        kernels::score_codes(rows.bytes, layers, scores, squared_errors);
        if self.metric == Metric::Euclidean {
            let rounding = TABLE_ERROR * TABLE_ERROR * self.squared_length;
            for (squared_error, base) in squared_errors.iter_mut().zip(bases) {
                *squared_error *= self.squared_distance(base) + rounding;
            }
        }
        // Zeros have the product 0, and under cosine no distance: they come last.
        let of_zeros = if self.metric == Metric::Cosine { NO_BAR } else { 0.0 };
        self.to_scores(rows, of_zeros, scores, squared_errors);
    }

    /// From inner products to scores, where those are divided by lengths `of_zeros` of what has none.
    #[inline]
    fn to_scores(
        &self,
        records: Records,
        of_zeros: f32,
        scores: &mut [f32; LANES],
        squared_errors: &mut [f32; LANES],
    ) {
        const WHOLE: [u8; LANES] = [u8::MAX; LANES];
        let between;
        let shares = match self.scale {
            Scale::None => {
                if self.metric == Metric::Euclidean {
                    let both = scores.iter_mut().zip(squared_errors);
                    for ((score, squared_error), term) in both.zip(records.terms()) {
                        let half = wide(*term) / 2.0;
                        *score -= half;
                        *squared_error += (TERM_ERROR * half).powi(2);
                    }
                }
                return;
            }
            Scale::Whole => &WHOLE,
            Scale::Border(border) => records.shares(border),
            Scale::Between(before, after, part) => {
                let squared = |shares: &[u8; LANES], i: usize| f32::from(shares[i]).powi(2);
                let before = before.map_or(&[0; LANES], |border| records.shares(border));
                let after = after.map_or(&WHOLE, |border| records.shares(border));
                between = std::array::from_fn(|i| {
                    let (before, after) = (squared(before, i), squared(after, i));
                    let share = (before + (after - before).max(0.0) * part).sqrt();
                    // That of a length that is not zero is not zero either.
                    if share > 0.0 { share.round().max(1.0) as u8 } else { 0 }
                });
                &between
            }
        };
        kernels::divide_by_lengths(shares, records.terms(), of_zeros, scores, squared_errors);
    }

    /// The share of the query's squared length that layer 0 has.
    pub fn leading_share(&self) -> f32 {
        self.leading_share
    }

    /// Whether the query has layer 0 alone.
    pub fn is_leading(&self) -> bool {
        self.rows.len() == 1
    }

    /// The part of a row's codes that the query reads.
    pub fn part_of_codes(&self, shape: &Shape) -> f64 {
        let bytes =
            |layers: usize| (0..layers).map(|layer| shape.row.code_bytes(layer)).sum::<usize>();
        bytes(self.rows.len()) as f64 / bytes(shape.layers.count()) as f64
    }

    /// Whether scores are divided by the length of the row's prefix.
    pub fn divides(&self) -> bool {
        self.scale != Scale::None
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
