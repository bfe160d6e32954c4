//! A vector to the row that its pages keep, and back to what the row says about the vector.

use half::f16;
use mrl_kernels as kernels;

use crate::codes::bits;
use crate::codes::codec::Codec;
use crate::codes::records::narrow;
use crate::lists::frame::Frame;
use crate::pages::meta::{Meta, Metric};
use crate::pages::rows::Row;
use crate::pages::shape::Shape;

/// What encodes the vectors of one index.
#[derive(Debug, Clone)]
pub struct Encoder {
    /// What makes codes of vectors that their frames were taken off.
    pub codec: Codec,
    /// How rows lie on the pages of the index.
    pub shape: Shape,
    /// By what rows are compared with a query.
    pub metric: Metric,
    /// How many leading dimensions lists are chosen by.
    pub coarse_dimensions: usize,
}

impl Encoder {
    /// That of the index with this meta page; its rotations are drawn from the seed there.
    pub fn new(meta: &Meta) -> Self {
        Self {
            codec: Codec::new(meta.dimensions, meta.seed),
            shape: meta.shape(),
            metric: meta.metric,
            coarse_dimensions: meta.coarse_dimensions,
        }
    }

    /// The row of a vector, against a frame; both have the index's dimensions.
    pub fn row(&self, vector: &[f16], frame: &Frame) -> Row {
        let mut record = self.record(vector, frame, self.shape.layers.count());
        if let Some(term) = self.term(vector, frame, &record) {
            record[self.shape.row.term_of_record()].copy_from_slice(&narrow(term));
        }
        let copy = || vector.iter().flat_map(|half| half.to_le_bytes()).collect();
        Row { record, copy: self.shape.keeps_copies().then(copy) }
    }

    /// Whether a record is that of a vector, against a frame, by its layer 0 and the lengths of all prefixes: vectors
    /// that differ in neither lie so close that their codes tell the same.
    pub fn is_of(&self, record: &[u8], vector: &[f16], frame: &Frame) -> bool {
        let mut of_vector = self.record(vector, frame, 1);
        let form = &self.shape.row;
        if let Some(term) = self.term(vector, frame, record) {
            of_vector[form.term_of_record()].copy_from_slice(&narrow(term));
        }
        let leading = form.leading_record_bytes();
        record[..leading] == of_vector[..leading]
    }

    /// Under L2 a record's term, which depends on its codes: see module `query`.
    fn term(&self, vector: &[f16], frame: &Frame, record: &[u8]) -> Option<f32> {
        let product = frame.product(&self.shape, record)?;
        let apart = widened(vector).into_iter().zip(widened(&frame.centre)).map(|(x, f)| x - f);
        let squared: f64 = apart.map(|x| f64::from(x) * f64::from(x)).sum();
        Some((squared + 2.0 * f64::from(product)) as f32)
    }

    /// A record with the codes of the first so many layers; under L2 without its term.
    fn record(&self, vector: &[f16], frame: &Frame, layers: usize) -> Vec<u8> {
        let (all, form) = (&self.shape.layers, &self.shape.row);
        let end = all.range(layers - 1).end;
        let mut rest = widened(&vector[..end]);
        let centre = widened(&frame.centre[..end]);
        rest.iter_mut().zip(centre).for_each(|(x, centre)| *x -= centre);
        let code = self.codec.encode(&rest);
        let length = f64::from(kernels::squared_norm(vector)).sqrt();
        let share = |border: usize| {
            let prefix = kernels::squared_norm(&vector[..all.range(border).end]);
            let share = f64::from(prefix).sqrt() / length.max(f64::MIN_POSITIVE) * 255.0;
            // None is that of zeros alone.
            if prefix > 0.0 { share.round().max(1.0) as u8 } else { 0 }
        };
        let codes = (0..layers).map(|layer| {
            let code = code.layer(layer);
            (&code.bytes[..], code.factors.scale)
        });
        form.record(codes, length as f32, (0..self.shape.inner_borders()).map(share))
    }

    /// The best guess at what is encoded, layer after layer, still rotated; `piece` is given each layer's.
    pub fn decode_rotated(shape: &Shape, record: &[u8], mut piece: impl FnMut(usize, &mut [f32])) {
        let mut room = Vec::new();
        for layer in 0..shape.layers.count() {
            let (code, scale) = shape.row.code_of(record, layer);
            let length = shape.layers.range(layer).len();
            match layer {
                0 => bits::decode_two_bits(code, scale, length, &mut room),
                _ => bits::decode_one_bit(code, scale, length, &mut room),
            }
            piece(layer, &mut room);
        }
    }

    /// About the vector that a row stands for: its frame and the best guess at the rest.
    pub fn decode(&self, record: &[u8], frame: &[f16]) -> Vec<f32> {
        let mut vector = Vec::with_capacity(self.shape.dimensions);
        Self::decode_rotated(&self.shape, record, |layer, piece| {
            self.codec.rotate_back(layer, piece);
            vector.extend_from_slice(piece);
        });
        vector.iter_mut().zip(widened(frame)).for_each(|(x, centre)| *x += centre);
        vector
    }

    /// What a vector's list is chosen by: its leading dimensions; of length 1 unless distances are
    /// compared. Zero stays zero.
    pub fn coarse(&self, vector: &[f16]) -> Vec<f16> {
        coarse_of(&vector[..self.coarse_dimensions.min(vector.len())], self.metric)
    }
}

/// As [`Encoder::coarse`], of a prefix.
pub fn coarse_of(prefix: &[f16], metric: Metric) -> Vec<f16> {
    if metric == Metric::Euclidean {
        return prefix.to_vec();
    }
    let length = kernels::squared_norm(prefix).sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    let mut scaled = widened(prefix);
    scaled.iter_mut().for_each(|x| *x *= scale);
    narrowed(&scaled)
}

/// Halfs as singles, without rounding.
pub fn widened(halfs: &[f16]) -> Vec<f32> {
    let mut wide = vec![0.0; halfs.len()];
    kernels::to_f32(halfs, &mut wide);
    wide
}

/// Rounded to halfs; what is too large becomes the largest.
pub fn narrowed(numbers: &[f32]) -> Vec<f16> {
    let mut halfs = vec![f16::ZERO; numbers.len()];
    narrow_into(numbers, &mut halfs);
    halfs
}

/// The same into as many halfs.
pub fn narrow_into(numbers: &[f32], halfs: &mut [f16]) {
    kernels::from_f32(numbers, halfs);
    if kernels::all_finite(halfs) {
        return;
    }
    for half in halfs.iter_mut().filter(|half| !half.is_finite()) {
        *half = if half.is_nan() { f16::ZERO } else { f16::MAX.copysign(*half) };
    }
}
