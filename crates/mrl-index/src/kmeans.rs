//! Which vectors belong together: k-means over leading dimensions.
//!
//! Lloyd's rounds on a sample, started by k-means++ (Arthur and Vassilvitskii, SODA 2007). A vector goes to
//! the nearest centre; a centre is the mean of its vectors, where only directions count scaled to length 1
//! (spherical k-means: Dhillon and Modha, 2001). A centre that lost all its vectors takes over one of the
//! largest cluster's. Everything follows from the seed.

use std::ops::Range;

use half::f16;
use mrl_kernels as kernels;
use mrl_memory::OutOfMemory;

use crate::random::Random;
use crate::workers::Workers;

/// Rounds after which the centres move no more than lists of an index can tell.
const ROUNDS: usize = 8;
/// Vectors between two questions whether to stop.
const STRIDE: usize = 64;

/// Vectors of one dimension, one after another.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    components: &'a [f16],
    dimensions: usize,
}

impl<'a> Rows<'a> {
    /// # Panics
    /// Where the components are not a whole number of vectors.
    pub fn new(components: &'a [f16], dimensions: usize) -> Self {
        assert!(dimensions > 0 && components.len().is_multiple_of(dimensions), "broken rows");
        Self { components, dimensions }
    }

    pub fn count(&self) -> usize {
        self.components.len() / self.dimensions
    }

    pub fn row(&self, index: usize) -> &'a [f16] {
        &self.components[index * self.dimensions..][..self.dimensions]
    }

    /// So many of them, from one on.
    pub fn part(&self, first: usize, count: usize) -> Self {
        let components = &self.components[first * self.dimensions..][..count * self.dimensions];
        Self { components, dimensions: self.dimensions }
    }

    /// All of them, one after another.
    pub fn components(&self) -> &'a [f16] {
        self.components
    }

    pub fn iter(&self) -> impl Iterator<Item = &'a [f16]> + use<'a> {
        self.components.chunks_exact(self.dimensions)
    }
}

/// The centres of at most `count` clusters of a sample of vectors (`spherical`: of length 1): fewer
/// only where the sample has fewer different vectors. Nothing where the workers are told to stop, or there is no
/// memory.
pub fn centres(
    sample: Rows,
    count: usize,
    seed: u64,
    spherical: bool,
    workers: &Workers,
) -> Option<Vec<f16>> {
    let mut centres = first_centres(sample, count, &mut Random::new(seed), workers)?;
    for _ in 0..ROUNDS {
        let nearer = moved(sample, &centres, spherical, workers)?;
        if nearer == centres {
            break;
        }
        centres = nearer;
    }
    Some(centres)
}

/// The means of the vectors that are nearest to each of some centres. Nothing as in [`centres`].
pub fn moved(
    sample: Rows,
    centres: &[f16],
    spherical: bool,
    workers: &Workers,
) -> Option<Vec<f16>> {
    let assigned = assign(sample, Rows::new(centres, sample.dimensions), spherical, workers)?;
    means(sample, &assigned, centres.len() / sample.dimensions, spherical)
}

/// The nearest centre of each vector; of equally near ones the first.
pub fn assign(
    vectors: Rows,
    centres: Rows,
    spherical: bool,
    workers: &Workers,
) -> Option<Vec<u32>> {
    let biases = biases(centres, spherical).ok()?;
    workers.map(vectors.count(), STRIDE, |first, found| {
        nearest(vectors.part(first, found.len()), centres, &biases, found);
    })
}

/// What is taken off the inner product with each centre, so that the greatest result is the nearest
/// centre: nothing where all have one length, else half the squared length.
pub fn biases(centres: Rows, spherical: bool) -> Result<Vec<f32>, OutOfMemory> {
    let bias = |centre| if spherical { 0.0 } else { kernels::squared_norm(centre) / 2.0 };
    mrl_memory::collect(centres.iter().map(bias))
}

/// The nearest centre of each vector.
pub fn nearest(vectors: Rows, centres: Rows, biases: &[f32], found: &mut [u32]) {
    /// So many products fit a processor's nearest cache beside what they are made of.
    const VECTORS: usize = 4;
    const CENTRES: usize = 32;
    let length = vectors.dimensions;
    let groups = vectors.components.chunks(VECTORS * length).zip(found.chunks_mut(VECTORS));
    for (vectors, found) in groups {
        let mut best = [f32::NEG_INFINITY; VECTORS];
        found.fill(0);
        let chunks = centres.components.chunks(CENTRES * length).zip(biases.chunks(CENTRES));
        for (chunk, (centres, biases)) in chunks.enumerate() {
            let mut products = [0.0; VECTORS * CENTRES];
            let products = &mut products[..found.len() * biases.len()];
            kernels::products(length, vectors, centres, products);
            let of_vectors = products.chunks(biases.len()).zip(&mut best).zip(&mut *found);
            for ((products, best), found) in of_vectors {
                for (place, (product, bias)) in products.iter().zip(biases).enumerate() {
                    let score = product - bias;
                    if score > *best {
                        (*best, *found) = (score, (chunk * CENTRES + place) as u32);
                    }
                }
            }
        }
    }
}

/// k-means++: each next centre is a vector drawn with a probability in proportion to its squared
/// distance from the centres so far. Each is drawn from some of the sample only, a window that moves
/// through it: with all of it the start would cost more than the rounds.
fn first_centres(
    sample: Rows,
    count: usize,
    random: &mut Random,
    workers: &Workers,
) -> Option<Vec<f16>> {
    const MOST_DRAWN_FROM: usize = 16;
    let drawn_from = (MOST_DRAWN_FROM * count).min(sample.count());
    let mut rows: Vec<usize> = mrl_memory::collect(0..sample.count()).ok()?;
    for i in 0..drawn_from {
        let other = i + (random.next() % (rows.len() - i) as u64) as usize;
        rows.swap(i, other);
    }
    rows.truncate(drawn_from);
    let mut centres: Vec<f16> = Vec::new();
    mrl_memory::reserve(&mut centres, count * sample.dimensions).ok()?;
    let mut distances = mrl_memory::filled(f32::INFINITY, drawn_from).ok()?;
    while centres.len() < count * sample.dimensions {
        if (workers.stop)() {
            return None;
        }
        let total: f64 = distances.iter().map(|distance| f64::from(distance.min(1e30))).sum();
        if total <= 0.0 {
            break;
        }
        let mut left = (random.next() >> 11) as f64 / (1u64 << 53) as f64 * total;
        let drawn = distances.iter().position(|distance| {
            left -= f64::from(distance.min(1e30));
            left < 0.0 && *distance > 0.0
        });
        // Rounding may leave a little after the last one.
        let last = distances.iter().rposition(|distance| *distance > 0.0);
        let chosen = sample.row(rows[drawn.or(last)?]);
        centres.extend_from_slice(chosen);
        for (distance, row) in distances.iter_mut().zip(&rows) {
            *distance = distance.min(kernels::squared_l2(sample.row(*row), chosen));
        }
    }
    Some(centres)
}

/// The clusters' means; nothing where there is no memory.
fn means(sample: Rows, assigned: &[u32], count: usize, spherical: bool) -> Option<Vec<f16>> {
    let dimensions = sample.dimensions;
    let mut sums = mrl_memory::filled(0f64, count * dimensions).ok()?;
    // The rows of all clusters, one cluster's after another's; of each those that still belong to it.
    let mut members = mrl_memory::filled(0usize, assigned.len()).ok()?;
    let mut ranges: Vec<Range<usize>> = mrl_memory::filled(0..0, count).ok()?;
    for cluster in assigned {
        ranges[*cluster as usize].end += 1;
    }
    let mut end = 0;
    for range in &mut ranges {
        let start = end;
        end += range.end;
        *range = start..start;
    }
    for (index, (vector, cluster)) in sample.iter().zip(assigned).enumerate() {
        let range = &mut ranges[*cluster as usize];
        members[range.end] = index;
        range.end += 1;
        let sum = &mut sums[*cluster as usize * dimensions..][..dimensions];
        kernels::add_to_sums(vector, sum);
    }
    let mut centres = Vec::new();
    mrl_memory::reserve(&mut centres, sums.len()).ok()?;
    for (cluster, sum) in sums.chunks_exact(dimensions).enumerate() {
        let length = match spherical {
            true => sum.iter().map(|x| x * x).sum::<f64>().sqrt(),
            false => ranges[cluster].len() as f64,
        };
        if !ranges[cluster].is_empty() && length > 0.0 {
            centres.extend(sum.iter().map(|x| f16::from_f64(x / length)));
            continue;
        }
        let largest = (0..count).max_by_key(|other| ranges[*other].len()).unwrap_or_default();
        match ranges[largest].next_back() {
            Some(last) => centres.extend_from_slice(sample.row(members[last])),
            None => centres.extend(sum.iter().map(|x| f16::from_f64(*x))),
        }
    }
    Some(centres)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(vector: Vec<f32>) -> Vec<f16> {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.iter().map(|x| f16::from_f32(x / length)).collect()
    }

    fn centres_of(rows: Rows, count: usize, seed: u64) -> Vec<f16> {
        centres(rows, count, seed, true, &Workers::single()).unwrap()
    }

    /// `count` vectors around each of some axes.
    fn around_axes(axes: usize, count: usize, dimensions: usize, spread: f32) -> Vec<f16> {
        let mut random = Random::new(5);
        let mut uniform = move || (random.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        (0..axes * count)
            .flat_map(|i| {
                let mut vector: Vec<f32> = (0..dimensions).map(|_| spread * uniform()).collect();
                vector[i % axes] += 1.0;
                unit(vector)
            })
            .collect()
    }

    /// With more centres than groups none is shared by two groups that lie apart.
    #[test]
    fn groups_that_lie_apart_share_no_centre() {
        for (axes, dimensions) in [(2, 2), (7, 8), (30, 64)] {
            let vectors = around_axes(axes, 40, dimensions, 0.1);
            let rows = Rows::new(&vectors, dimensions);
            let centres = centres_of(rows, 4 * axes, 1);
            let assigned =
                assign(rows, Rows::new(&centres, dimensions), true, &Workers::single()).unwrap();
            let mut owner = vec![None; 4 * axes];
            for (index, cluster) in assigned.iter().enumerate() {
                let axis = *owner[*cluster as usize].get_or_insert(index % axes);
                assert_eq!(axis, index % axes, "{axes} axes");
            }
        }
    }

    #[test]
    fn centres_have_length_one_and_follow_from_the_seed() {
        let vectors = around_axes(5, 100, 16, 0.8);
        let rows = Rows::new(&vectors, 16);
        let first = centres_of(rows, 20, 3);
        assert_eq!(first.len(), 20 * 16);
        for centre in first.chunks_exact(16) {
            assert!((kernels::squared_norm(centre) - 1.0).abs() < 1e-2);
        }
        assert_eq!(centres_of(rows, 20, 3), first);
        assert_ne!(centres_of(rows, 20, 4), first);
    }

    /// Rounds bring vectors nearer to their centres than random vectors as centres are.
    #[test]
    fn rounds_improve_on_the_start() {
        let vectors = around_axes(10, 60, 32, 1.0);
        let rows = Rows::new(&vectors, 32);
        let fit = |centres: &[f16]| -> f32 {
            let centres = Rows::new(centres, 32);
            let mut nearest_of = vec![0; rows.count()];
            nearest(rows, centres, &[0.0; 20], &mut nearest_of);
            let pairs = rows.iter().zip(nearest_of);
            pairs.map(|(vector, centre)| kernels::dot(vector, centres.row(centre as usize))).sum()
        };
        let start = first_centres(rows, 20, &mut Random::new(2), &Workers::single()).unwrap();
        assert!(fit(&centres_of(rows, 20, 2)) > 1.02 * fit(&start));
    }

    #[test]
    fn fewer_different_vectors_than_clusters() {
        let vectors =
            [1.0, 0.0].repeat(50).into_iter().chain([0.0, 1.0].repeat(50)).map(f16::from_f32);
        let vectors: Vec<f16> = vectors.collect();
        let found = centres_of(Rows::new(&vectors, 2), 10, 1);
        assert_eq!(found.len(), 4);
        let none = centres_of(Rows::new(&[], 2), 10, 1);
        assert_eq!(none, []);
    }

    #[test]
    fn it_stops_when_asked() {
        let vectors = around_axes(5, 100, 16, 0.8);
        let stop = Workers { stop: Box::new(|| true), ..Workers::single() };
        assert_eq!(centres(Rows::new(&vectors, 16), 20, 3, true, &stop), None);
    }
}
