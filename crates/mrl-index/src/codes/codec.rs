//! From a vector to its code in all layers, and from a query to estimates.
//!
//! What is encoded is a row's vector minus its frame. The inner product of a query `q` of
//! k dimensions with the row's vector is the centre's own product plus an estimate for the rest, from the
//! layers below k; for a query of fewer dimensions `<#>` divides it by the length of the row's k-prefix.

use crate::codes::bits::{self, Factors};
use crate::codes::layers::Layers;
use crate::codes::rotation::Rotation;

/// What encodes and estimates for vectors of one dimension.
#[derive(Debug, Clone)]
pub struct Codec {
    layers: Layers,
    rotations: Vec<Rotation>,
}

/// A vector's code.
#[derive(Debug, Clone, PartialEq)]
pub struct Code {
    layers: Vec<LayerCode>,
}

/// One layer of a code.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerCode {
    /// The levels, in the form of [`bits`].
    pub bytes: Vec<u8>,
    pub factors: Factors,
}

/// An estimate of an inner product.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Estimate {
    pub value: f32,
    /// The standard deviation of its error.
    pub error: f32,
}

/// A query, rotated layer by layer.
#[derive(Debug, Clone)]
pub struct Query {
    /// Of each layer that the query reads: the rotated piece, and its length.
    pieces: Vec<(Vec<f32>, f32)>,
}

impl Codec {
    /// The codec for vectors of `dimensions` components, at least one. All vectors of an index are
    /// encoded and asked for with one seed.
    pub fn new(dimensions: usize, seed: u64) -> Self {
        let layers = Layers::of(dimensions);
        let rotations = (0..layers.count())
            .map(|layer| Rotation::new(layers.range(layer).len(), seed.wrapping_add(layer as u64)))
            .collect();
        Self { layers, rotations }
    }

    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// Encodes a vector (what is left of it after its list's centre was taken off), or its first layers.
    ///
    /// # Panics
    /// For a vector that does not end where a layer does.
    pub fn encode(&self, vector: &[f32]) -> Code {
        let layers = self.layers.read_by(vector.len());
        let is_whole = !vector.is_empty() && vector.len() == self.layers.range(layers - 1).end;
        assert!(is_whole, "a vector of another dimension");
        let encode = |layer: usize| {
            let mut piece = vector[self.layers.range(layer)].to_vec();
            self.rotations[layer].apply(&mut piece);
            let mut bytes = vec![0; self.layers.code_bytes(layer)];
            let factors = match Layers::bits(layer) {
                2 => bits::encode_two_bits(&piece, &mut bytes),
                _ => bits::encode_one_bit(&piece, &mut bytes),
            };
            LayerCode { bytes, factors }
        };
        Code { layers: (0..layers).map(encode).collect() }
    }

    /// Turns a layer's rotated piece back.
    pub fn rotate_back(&self, layer: usize, piece: &mut [f32]) {
        self.rotations[layer].undo(piece);
    }

    /// Makes a query of at most the index's dimensions ready; one that ends within a layer counts as
    /// zero beyond its end.
    ///
    /// # Panics
    /// For a query that is empty or longer.
    pub fn query(&self, query: &[f32]) -> Query {
        assert!(
            (1..=self.layers.dimensions()).contains(&query.len()),
            "a query of no fitting dimension"
        );
        let piece = |layer: usize| {
            let range = self.layers.range(layer);
            let mut piece = query[range.start..range.end.min(query.len())].to_vec();
            piece.resize(range.len(), 0.0);
            let length = piece.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
            self.rotations[layer].apply(&mut piece);
            (piece, length as f32)
        };
        Query { pieces: (0..self.layers.read_by(query.len())).map(piece).collect() }
    }
}

impl Code {
    /// One layer.
    pub fn layer(&self, layer: usize) -> &LayerCode {
        &self.layers[layer]
    }
}

impl Query {
    /// A layer's rotated piece, and its length.
    pub fn piece(&self, layer: usize) -> (&[f32], f32) {
        let (piece, length) = &self.pieces[layer];
        (piece, *length)
    }

    /// How many layers the query reads.
    pub fn layers(&self) -> usize {
        self.pieces.len()
    }

    /// One layer's share of the inner product with what was encoded.
    pub fn estimate_layer(&self, layer: usize, code: &LayerCode) -> Estimate {
        let (piece, length) = &self.pieces[layer];
        let product = match Layers::bits(layer) {
            2 => bits::product_two_bits(piece, &code.bytes),
            _ => bits::product_one_bit(piece, &code.bytes),
        };
        Estimate { value: code.factors.scale * product, error: code.factors.error * length }
    }

    /// The inner product with what was encoded, from the first `layers` layers.
    pub fn estimate(&self, code: &Code, layers: usize) -> Estimate {
        let shares = code.layers.iter().take(layers.min(self.layers())).enumerate();
        let sum = shares.map(|(layer, code)| self.estimate_layer(layer, code)).fold(
            (0.0, 0.0),
            |(value, squared_error), share| {
                (value + share.value, squared_error + share.error * share.error)
            },
        );
        Estimate { value: sum.0, error: sum.1.sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// A number from the normal distribution (Box and Muller, 1958).
    fn normal(random: &mut Random) -> f32 {
        let mut uniform = || ((random.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let (radius, angle) = ((-2.0 * uniform().ln()).sqrt(), std::f64::consts::TAU * uniform());
        (radius * angle.cos()) as f32
    }

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(x, y)| x * y).sum()
    }

    fn scaled(mut vector: Vec<f32>) -> Vec<f32> {
        let length = dot(&vector, &vector).sqrt();
        vector.iter_mut().for_each(|x| *x /= length);
        vector
    }

    /// Normalised vectors in clusters, the leading components the stronger ones, as in the
    /// synthetic set of `bench/`.
    fn clustered(count: usize, dimensions: usize, seed: u64) -> Vec<Vec<f32>> {
        let mut random = Random::new(seed);
        let scale: Vec<f32> = (0..dimensions).map(|i| (1.0 + i as f32).powf(-0.55)).collect();
        let mut draw = |spread: f32| -> Vec<f32> {
            scale.iter().map(|s| spread * s * normal(&mut random)).collect()
        };
        let centres: Vec<_> = (0..16).map(|_| draw(1.0)).collect();
        (0..count)
            .map(|i| {
                let noise = draw(0.7);
                scaled(centres[i % 16].iter().zip(noise).map(|(c, n)| c + n).collect())
            })
            .collect()
    }

    #[test]
    fn estimates_of_all_layers_lie_within_their_errors() {
        for dimensions in [5, 64, 100, 384, 768] {
            let codec = Codec::new(dimensions, 3);
            let vectors = clustered(200, dimensions, 1);
            let (mut within, mut all) = (0, 0);
            for asked in vectors.iter().take(20) {
                let query = codec.query(asked);
                for vector in &vectors {
                    let estimate = query.estimate(&codec.encode(vector), usize::MAX);
                    let off = (estimate.value - dot(asked, vector)).abs();
                    within += usize::from(off <= 1.96 * estimate.error + 1e-5);
                    all += 1;
                }
            }
            // 95 % of a normal error; of 5 dimensions the error is not normal, but bounded.
            let share = within as f64 / all as f64;
            assert!(share > 0.93, "{dimensions}: {share}");
        }
    }

    /// The nearest ten of 4,000 by the exact product of the k-prefixes are among the best 100 by the
    /// estimates: what reranking needs. (Without lists and centres: those make it easier.)
    #[test]
    fn the_nearest_are_among_the_best_estimates() {
        let dimensions = 384;
        let codec = Codec::new(dimensions, 9);
        let vectors = clustered(4000, dimensions, 2);
        let codes: Vec<_> = vectors.iter().map(|vector| codec.encode(vector)).collect();
        for (asked_dimensions, least) in [(64, 0.97), (128, 0.97), (384, 0.97)] {
            let lengths: Vec<f32> = vectors
                .iter()
                .map(|vector| dot(&vector[..asked_dimensions], &vector[..asked_dimensions]).sqrt())
                .collect();
            let best = |score: &dyn Fn(usize) -> f32, count: usize| {
                let mut scored: Vec<(f32, usize)> =
                    (0..vectors.len()).map(|row| (score(row), row)).collect();
                scored.sort_by(|a, b| b.0.total_cmp(&a.0));
                scored.truncate(count);
                scored.into_iter().map(|(_, row)| row).collect::<Vec<_>>()
            };
            let (mut found, mut wanted) = (0, 0);
            for asked in clustered(40, dimensions, 2 + asked_dimensions as u64) {
                let asked = &asked[..asked_dimensions];
                let query = codec.query(asked);
                let exact = best(&|row| dot(&vectors[row], asked) / lengths[row], 10);
                let estimated =
                    best(&|row| query.estimate(&codes[row], usize::MAX).value / lengths[row], 100);
                found += exact.iter().filter(|row| estimated.contains(row)).count();
                wanted += exact.len();
            }
            let recall = found as f64 / wanted as f64;
            assert!(recall >= least, "{asked_dimensions} dimensions: {recall}");
        }
    }

    /// A query that ends within a layer is one with zeros behind.
    #[test]
    fn a_query_may_end_anywhere() {
        let codec = Codec::new(384, 1);
        let vector = &clustered(1, 384, 4)[0];
        let code = codec.encode(vector);
        for dimensions in [1, 8, 63, 64, 65, 100, 300, 383] {
            let short = codec.query(&vector[..dimensions]);
            let mut padded = vector.clone();
            padded[dimensions..].fill(0.0);
            let long = codec.query(&padded);
            let layers = codec.layers().read_by(dimensions);
            assert_eq!(short.layers(), layers);
            assert_eq!(short.estimate(&code, layers), long.estimate(&code, layers));
        }
    }
}
