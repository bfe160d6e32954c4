//! A random rotation, in O(n log n): rounds of random signs and Walsh-Hadamard transforms.
//!
//! After it the components of any fixed vector are close to independent and normal, whatever the
//! vector was: what the estimates of [`crate::codes::bits`] rely on. Of a length that is no power of two,
//! a round transforms the leading power of two and then the trailing one; they overlap, so that
//! some rounds mix all components (the idea is that of fast Johnson-Lindenstrauss transforms: Ailon and
//! Chazelle, STOC 2006).

use mrl_kernels as kernels;

use crate::random::Random;

/// Rounds: three make components indistinguishable from normal ones in the tests below; where two
/// transforms overlap, their seam takes one more.
const ROUNDS: usize = 4;

/// The rotation of vectors of one length, given by a seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotation {
    /// +1 or −1 for each component, round after round.
    signs: Vec<f32>,
    length: usize,
}

impl Rotation {
    /// The rotation of vectors of `length` components, at least one, that a seed gives.
    pub fn new(length: usize, seed: u64) -> Self {
        let mut random = Random::new(seed ^ (length as u64).rotate_left(32));
        let mut bits = (0..).flat_map(move |_| {
            let word = random.next();
            (0..64).map(move |i| word >> i & 1)
        });
        let mut sign = || if bits.next() == Some(1) { 1.0 } else { -1.0 };
        Self { signs: (0..ROUNDS * length).map(|_| sign()).collect(), length }
    }

    /// Turns a vector of the rotation's length in place. Lengths and inner products stay.
    ///
    /// # Panics
    /// For a slice of another length.
    pub fn apply(&self, vector: &mut [f32]) {
        assert_eq!(vector.len(), self.length, "a rotation of another length");
        let power = 1 << self.length.ilog2();
        for signs in self.signs.chunks_exact(self.length) {
            for (component, sign) in vector.iter_mut().zip(signs) {
                *component *= sign;
            }
            kernels::walsh_hadamard(&mut vector[..power]);
            if power < self.length {
                kernels::walsh_hadamard(&mut vector[self.length - power..]);
            }
        }
    }

    /// Undoes [`Rotation::apply`].
    ///
    /// # Panics
    /// For a slice of another length.
    pub fn undo(&self, vector: &mut [f32]) {
        assert_eq!(vector.len(), self.length, "a rotation of another length");
        let power = 1 << self.length.ilog2();
        // Each transform and each change of signs is its own inverse.
        for signs in self.signs.chunks_exact(self.length).rev() {
            if power < self.length {
                kernels::walsh_hadamard(&mut vector[self.length - power..]);
            }
            kernels::walsh_hadamard(&mut vector[..power]);
            for (component, sign) in vector.iter_mut().zip(signs) {
                *component *= sign;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    }

    fn vector(length: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed);
        (0..length).map(|_| (random.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
    }

    #[test]
    fn inner_products_stay() {
        for length in [1, 2, 3, 31, 64, 100, 128, 200, 256, 257, 500] {
            let rotation = Rotation::new(length, 7);
            let (mut a, mut b) = (vector(length, 1), vector(length, 2));
            let (before, scale) = (dot(&a, &b), (dot(&a, &a) * dot(&b, &b)).sqrt());
            rotation.apply(&mut a);
            rotation.apply(&mut b);
            assert!((dot(&a, &b) - before).abs() < 1e-5 * scale, "{length}");
            rotation.undo(&mut a);
            assert!(a.iter().zip(vector(length, 1)).all(|(x, y)| (x - y).abs() < 1e-5), "{length}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_rotation_and_another_another() {
        assert_eq!(Rotation::new(100, 5), Rotation::new(100, 5));
        assert_ne!(Rotation::new(100, 5), Rotation::new(100, 6));
    }

    /// A vector with all its weight in one component comes out like a normal one: over many seeds
    /// each component has mean 0, variance 1/n and (as a normal number) kurtosis 3.
    #[test]
    fn components_come_out_normal() {
        for length in [64, 100, 128, 256] {
            let (mut mean, mut variance, mut fourth, mut count) = (0.0, 0.0, 0.0, 0.0);
            for seed in 0..400 {
                let mut spike = vec![0.0; length];
                spike[seed as usize % length] = (length as f32).sqrt();
                Rotation::new(length, seed).apply(&mut spike);
                for component in spike {
                    let x = f64::from(component);
                    mean += x;
                    variance += x * x;
                    fourth += x.powi(4);
                    count += 1.0;
                }
            }
            assert!((mean / count).abs() < 0.02, "{length}");
            assert!((variance / count - 1.0).abs() < 1e-3, "{length}");
            let kurtosis = fourth / count / (variance / count).powi(2);
            assert!((kurtosis - 3.0).abs() < 0.25, "{length}: {kurtosis}");
        }
    }
}
