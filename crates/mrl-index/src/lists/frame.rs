//! What rows are encoded against: the centre of a list, most often of their own.

use half::f16;

use crate::codes::bits;
use crate::codes::layers::Layers;
use crate::lists::encode::{Encoder, widened};
use crate::pages::meta::Metric;
use crate::pages::shape::Shape;

/// The centre of a list, whole.
#[derive(Debug, Clone)]
pub struct Frame {
    /// As many halfs as the index has dimensions.
    pub centre: Vec<f16>,
    /// All its layers, rotated, where terms depend on it: under L2.
    rotated: Option<Vec<f32>>,
}

impl Frame {
    /// The frame that has this centre, of all dimensions.
    pub fn new(encoder: &Encoder, centre: Vec<f16>) -> Self {
        let rotated = match encoder.metric {
            Metric::Euclidean => Some(rotated(encoder, &widened(&centre))),
            Metric::InnerProduct | Metric::Cosine => None,
        };
        Self { centre, rotated }
    }

    /// All layers, rotated, where terms depend on them.
    pub fn rotated(&self) -> Option<&[f32]> {
        self.rotated.as_deref()
    }

    /// Its inner product with what the code of a record stands for, where terms depend on it.
    pub fn product(&self, shape: &Shape, record: &[u8]) -> Option<f32> {
        let rotated = self.rotated()?;
        let of_layer = |layer: usize| {
            let (code, scale) = shape.row.code_of(record, layer);
            let piece = &rotated[shape.layers.range(layer)];
            let product = match Layers::bits(layer) {
                2 => bits::product_two_bits(piece, code),
                _ => bits::product_one_bit(piece, code),
            };
            scale * product
        };
        Some((0..shape.layers.count()).map(of_layer).sum())
    }
}

/// All layers of a vector, rotated.
pub fn rotated(encoder: &Encoder, vector: &[f32]) -> Vec<f32> {
    let query = encoder.codec.query(vector);
    (0..query.layers()).flat_map(|layer| query.piece(layer).0.to_vec()).collect()
}
