//! Where the components of a vector are cut into layers: at 64, 128, 256, 512 and every 256 further.
//!
//! Layer 0 has two bits a dimension, the others one: most queries are decided by the leading
//! dimensions, where an embedding of a Matryoshka model has most of its meaning.

use std::ops::Range;

/// Dimensions of layer 0.
pub const LEADING: usize = 64;

/// The layers of vectors of one dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    /// 0, then the end of each layer.
    borders: Vec<usize>,
}

impl Layers {
    /// The layers of vectors of `dimensions` components; at least one.
    ///
    /// A last piece of fewer than 32 dimensions joins the layer before it: its code would say
    /// little, and its factor costs as much as another's. Layer 0 alone stays as it is: the scan's
    /// blocks have that width.
    pub fn of(dimensions: usize) -> Self {
        const SHORTEST: usize = 32;
        let usual = [LEADING, 2 * LEADING].into_iter().chain((1..).map(|i| 256 * i));
        let mut borders = vec![0];
        borders.extend(usual.take_while(|border| *border < dimensions));
        if borders.len() > 2 && dimensions - borders[borders.len() - 1] < SHORTEST {
            borders.pop();
        }
        borders.push(dimensions);
        Self { borders }
    }

    /// How many layers there are.
    pub fn count(&self) -> usize {
        self.borders.len() - 1
    }

    /// How many dimensions a vector has.
    pub fn dimensions(&self) -> usize {
        self.borders[self.count()]
    }

    /// The components of a layer.
    pub fn range(&self, layer: usize) -> Range<usize> {
        self.borders[layer]..self.borders[layer + 1]
    }

    /// The bits a dimension of a layer.
    pub fn bits(layer: usize) -> u32 {
        if layer == 0 { 2 } else { 1 }
    }

    /// The bytes of a layer's code.
    pub fn code_bytes(&self, layer: usize) -> usize {
        (self.range(layer).len() * Self::bits(layer) as usize).div_ceil(8)
    }

    /// How many layers a query of `dimensions` reads: those that begin below.
    pub fn read_by(&self, dimensions: usize) -> usize {
        self.borders[..self.count()].iter().take_while(|start| **start < dimensions).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_common_dimensions() {
        let borders = |dimensions| Layers::of(dimensions).borders;
        assert_eq!(borders(1), [0, 1]);
        assert_eq!(borders(64), [0, 64]);
        assert_eq!(borders(80), [0, 64, 80]);
        assert_eq!(borders(150), [0, 64, 150]);
        assert_eq!(borders(96), [0, 64, 96]);
        assert_eq!(borders(384), [0, 64, 128, 256, 384]);
        assert_eq!(borders(768), [0, 64, 128, 256, 512, 768]);
        assert_eq!(borders(1024), [0, 64, 128, 256, 512, 768, 1024]);
        assert_eq!(borders(530), [0, 64, 128, 256, 530]);
    }

    #[test]
    fn layers_cover_every_dimension_once() {
        for dimensions in 1..2000 {
            let layers = Layers::of(dimensions);
            assert_eq!(layers.dimensions(), dimensions);
            let covered: Vec<usize> = (0..layers.count()).flat_map(|l| layers.range(l)).collect();
            assert_eq!(covered, (0..dimensions).collect::<Vec<_>>());
            assert_eq!(layers.read_by(dimensions), layers.count());
            assert_eq!(layers.read_by(1), 1);
        }
    }

    #[test]
    fn a_query_reads_the_layers_below_its_dimension() {
        let layers = Layers::of(384);
        let read: Vec<usize> = [1, 64, 65, 128, 129, 256, 384].map(|k| layers.read_by(k)).into();
        assert_eq!(read, [1, 1, 2, 2, 3, 3, 4]);
    }

    #[test]
    fn codes_take_two_bits_in_the_first_layer_and_one_beyond() {
        let layers = Layers::of(384);
        let bytes: Vec<usize> = (0..layers.count()).map(|layer| layers.code_bytes(layer)).collect();
        assert_eq!(bytes, [16, 8, 16, 16]);
    }
}
