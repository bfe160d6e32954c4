//! A vector to the row that its pages keep, and back to what the row says about the vector.

use half::f16;
use mrl_kernels as kernels;

use crate::block::CODE_BYTES;
use crate::codec::Codec;
use crate::codes::LEVELS;
use crate::group::{Leading, RowEntry, narrow, wide};
use crate::meta::{Meta, Metric};
use crate::shape::Shape;

/// A row without its TID, as its pages keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub leading: Leading,
    /// What follows the TID on the row page.
    pub entry: Vec<u8>,
    /// The vector's halfs, where the index keeps copies.
    pub copy: Option<Vec<u8>>,
}

/// What encodes the vectors of one index.
#[derive(Debug, Clone)]
pub struct Encoder {
    pub codec: Codec,
    pub shape: Shape,
    pub metric: Metric,
    pub coarse_dimensions: usize,
}

impl Encoder {
    pub fn new(meta: &Meta) -> Self {
        Self {
            codec: Codec::new(meta.dimensions, meta.seed),
            shape: meta.shape(),
            metric: meta.metric,
            coarse_dimensions: meta.coarse_dimensions,
        }
    }

    /// The row of a vector, against a frame; both have the index's dimensions.
    pub fn row(&self, vector: &[f16], frame: &[f16]) -> Row {
        let mut rest: Vec<f32> = widened(vector);
        rest.iter_mut().zip(frame).for_each(|(x, centre)| *x -= centre.to_f32());
        let code = self.codec.encode(&rest);
        let squared = f64::from(kernels::squared_norm(vector));
        let length = squared.sqrt();
        let term = match self.metric {
            Metric::Euclidean => squared - f64::from(kernels::squared_norm(frame)),
            _ => length,
        };
        let layers = &self.shape.layers;
        let share = |border: usize| {
            let prefix = kernels::squared_norm(&vector[..layers.range(border).end]);
            (f64::from(prefix).sqrt() / length.max(f64::MIN_POSITIVE) * 255.0).round() as u8
        };
        let mut leading_code = [0; CODE_BYTES];
        leading_code[..code.layer(0).bytes.len()].copy_from_slice(&code.layer(0).bytes);
        let later = 1..layers.count();
        let scales = later.clone().flat_map(|layer| narrow(code.layer(layer).factors.scale));
        let codes = later.flat_map(|layer| code.layer(layer).bytes.iter().copied());
        Row {
            leading: Leading {
                code: leading_code,
                scale: narrow(code.layer(0).factors.scale),
                term: narrow(term as f32),
                shares: (0..self.shape.inner_borders()).map(share).collect(),
            },
            entry: scales.chain(codes).collect(),
            copy: self
                .shape
                .keeps_copies()
                .then(|| vector.iter().flat_map(|half| half.to_le_bytes()).collect()),
        }
    }

    /// About the vector that a row stands for: its frame and the best guess at the rest.
    pub fn decode(&self, leading: &Leading, entry: RowEntry, frame: &[f16]) -> Vec<f32> {
        let layers = &self.shape.layers;
        let mut vector = vec![0.0; layers.dimensions()];
        let mut code = &entry.code()[2 * (layers.count() - 1)..];
        for layer in 0..layers.count() {
            let piece = &mut vector[layers.range(layer)];
            if layer == 0 {
                let scale = wide(leading.scale);
                for (i, x) in piece.iter_mut().enumerate() {
                    *x = scale * LEVELS[usize::from(leading.code[i / 4] >> (2 * (i % 4)) & 3)];
                }
            } else {
                let scale = entry.scale(layer);
                for (i, x) in piece.iter_mut().enumerate() {
                    *x = if code[i / 8] & 0x80 >> (i % 8) != 0 { scale } else { -scale };
                }
                code = &code[layers.code_bytes(layer)..];
            }
            self.codec.rotate_back(layer, piece);
        }
        vector.iter_mut().zip(frame).for_each(|(x, centre)| *x += centre.to_f32());
        vector
    }

    /// What a vector's list is chosen by: its leading dimensions; of length 1 unless distances are
    /// compared. Zero stays zero.
    pub fn coarse(&self, vector: &[f16]) -> Vec<f16> {
        let prefix = &vector[..self.coarse_dimensions.min(vector.len())];
        coarse_of(&widened(prefix), self.metric)
    }
}

/// As [`Encoder::coarse`], of a prefix.
pub fn coarse_of(prefix: &[f32], metric: Metric) -> Vec<f16> {
    let length = prefix.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    let scale = match metric {
        Metric::Euclidean => 1.0,
        _ if length > 0.0 => (1.0 / length) as f32,
        _ => 0.0,
    };
    let scaled: Vec<f32> = prefix.iter().map(|x| x * scale).collect();
    narrowed(&scaled)
}

pub fn widened(halfs: &[f16]) -> Vec<f32> {
    let mut wide = vec![0.0; halfs.len()];
    kernels::to_f32(halfs, &mut wide);
    wide
}

/// Rounded to halfs; what is too large becomes the largest.
pub fn narrowed(numbers: &[f32]) -> Vec<f16> {
    let mut halfs = vec![f16::ZERO; numbers.len()];
    kernels::from_f32(numbers, &mut halfs);
    for half in &mut halfs {
        if !half.is_finite() {
            *half = if half.is_nan() { f16::ZERO } else { f16::MAX.copysign(*half) };
        }
    }
    halfs
}
