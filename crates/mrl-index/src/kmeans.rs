//! Which vectors belong together: k-means over leading dimensions, all of length 1.
//!
//! Lloyd's rounds on a sample, started by k-means++ (Arthur and Vassilvitskii, SODA 2007). A vector goes to
//! the centre with the greatest inner product; a centre is the mean of its vectors, scaled to length 1
//! (spherical k-means: Dhillon and Modha, 2001). A centre that lost all its vectors takes over one of the
//! largest cluster's. Everything follows from the seed.

use crate::random::Random;

/// Rounds after which the centres move no more than lists of an index can tell.
const ROUNDS: usize = 10;

/// Vectors of one dimension, one after another.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    components: &'a [f32],
    dimensions: usize,
}

impl<'a> Rows<'a> {
    /// # Panics
    /// Where the components are not a whole number of vectors.
    pub fn new(components: &'a [f32], dimensions: usize) -> Self {
        assert!(dimensions > 0 && components.len().is_multiple_of(dimensions), "broken rows");
        Self { components, dimensions }
    }

    pub fn count(&self) -> usize {
        self.components.len() / self.dimensions
    }

    pub fn row(&self, index: usize) -> &'a [f32] {
        &self.components[index * self.dimensions..][..self.dimensions]
    }

    fn iter(&self) -> impl Iterator<Item = &'a [f32]> {
        self.components.chunks_exact(self.dimensions)
    }
}

/// The centres of at most `count` clusters of a sample of vectors of length 1: fewer only where
/// the sample has fewer different vectors. `stop` is asked once for every some thousand vectors;
/// where it says so the result is nothing.
pub fn centres(sample: Rows, count: usize, seed: u64, stop: &dyn Fn() -> bool) -> Option<Vec<f32>> {
    let mut centres = first_centres(sample, count, &mut Random::new(seed), stop)?;
    for _ in 0..ROUNDS {
        let assigned = assign(sample, Rows::new(&centres, sample.dimensions), stop)?;
        let moved = means(sample, &assigned, centres.len() / sample.dimensions);
        if moved == centres {
            break;
        }
        centres = moved;
    }
    Some(centres)
}

/// The nearest centre of each vector; of equally near ones the first.
pub fn assign(vectors: Rows, centres: Rows, stop: &dyn Fn() -> bool) -> Option<Vec<u32>> {
    const BETWEEN_STOPS: usize = 1 << 24;
    let stride = (BETWEEN_STOPS / (centres.components.len()).max(1)).max(1);
    let mut assigned = Vec::with_capacity(vectors.count());
    for (index, vector) in vectors.iter().enumerate() {
        if index % stride == 0 && stop() {
            return None;
        }
        assigned.push(nearest(vector, centres).0 as u32);
    }
    Some(assigned)
}

/// The nearest centre of a vector, and their inner product.
pub fn nearest(vector: &[f32], centres: Rows) -> (usize, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (index, centre) in centres.iter().enumerate() {
        let product = dot(vector, centre);
        if product > best.1 {
            best = (index, product);
        }
    }
    best
}

/// k-means++: each next centre is a vector drawn with a probability in proportion to its squared
/// distance from the centres so far.
fn first_centres(
    sample: Rows,
    count: usize,
    random: &mut Random,
    stop: &dyn Fn() -> bool,
) -> Option<Vec<f32>> {
    let mut centres = Vec::with_capacity(count * sample.dimensions);
    // Of vectors of length 1 the squared distance is 2 − 2 · inner product.
    let mut distances = vec![2.0f32; sample.count()];
    while centres.len() < count * sample.dimensions {
        if stop() {
            return None;
        }
        let total: f64 = distances.iter().map(|distance| f64::from(*distance)).sum();
        if total <= 0.0 {
            break;
        }
        let mut left = (random.next() >> 11) as f64 / (1u64 << 53) as f64 * total;
        let drawn = distances.iter().position(|distance| {
            left -= f64::from(*distance);
            left < 0.0 && *distance > 0.0
        });
        // Rounding may leave a little after the last one.
        let last = distances.iter().rposition(|distance| *distance > 0.0);
        let chosen = sample.row(drawn.or(last)?);
        centres.extend_from_slice(chosen);
        for (distance, vector) in distances.iter_mut().zip(sample.iter()) {
            let squared = 2.0 - 2.0 * dot(vector, chosen);
            // Equal vectors are 0 apart, whatever rounding makes of it.
            *distance = distance.min(if squared < 1e-6 { 0.0 } else { squared });
        }
    }
    Some(centres)
}

/// The clusters' means, scaled to length 1.
fn means(sample: Rows, assigned: &[u32], count: usize) -> Vec<f32> {
    let dimensions = sample.dimensions;
    let mut sums = vec![0f64; count * dimensions];
    let mut members = vec![Vec::new(); count];
    for (index, (vector, cluster)) in sample.iter().zip(assigned).enumerate() {
        let sum = &mut sums[*cluster as usize * dimensions..][..dimensions];
        sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += f64::from(*x));
        members[*cluster as usize].push(index);
    }
    let mut centres = Vec::with_capacity(sums.len());
    for (cluster, sum) in sums.chunks_exact(dimensions).enumerate() {
        let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        if !members[cluster].is_empty() && length > 0.0 {
            centres.extend(sum.iter().map(|x| (x / length) as f32));
            continue;
        }
        let largest = (0..count).max_by_key(|other| members[*other].len()).unwrap_or_default();
        match members[largest].pop() {
            Some(index) => centres.extend_from_slice(sample.row(index)),
            None => centres.extend(sum.iter().map(|x| *x as f32)),
        }
    }
    centres
}

/// The inner product, in sixteen separate sums that the compiler keeps in registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for ((sum, x), y) in sums.iter_mut().zip(a).zip(b) {
            *sum += x * y;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const GO_ON: &dyn Fn() -> bool = &|| false;

    fn unit(mut vector: Vec<f32>) -> Vec<f32> {
        let length = dot(&vector, &vector).sqrt();
        vector.iter_mut().for_each(|x| *x /= length);
        vector
    }

    /// `count` vectors around each of some axes.
    fn around_axes(axes: usize, count: usize, dimensions: usize, spread: f32) -> Vec<f32> {
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
            let centres = centres(rows, 4 * axes, 1, GO_ON).unwrap();
            let assigned = assign(rows, Rows::new(&centres, dimensions), GO_ON).unwrap();
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
        let first = centres(rows, 20, 3, GO_ON).unwrap();
        assert_eq!(first.len(), 20 * 16);
        for centre in first.chunks_exact(16) {
            assert!((dot(centre, centre) - 1.0).abs() < 1e-5);
        }
        assert_eq!(centres(rows, 20, 3, GO_ON).unwrap(), first);
        assert_ne!(centres(rows, 20, 4, GO_ON).unwrap(), first);
    }

    /// Rounds bring vectors nearer to their centres than random vectors as centres are.
    #[test]
    fn rounds_improve_on_the_start() {
        let vectors = around_axes(10, 60, 32, 1.0);
        let rows = Rows::new(&vectors, 32);
        let fit = |centres: &[f32]| -> f32 {
            rows.iter().map(|vector| nearest(vector, Rows::new(centres, 32)).1).sum()
        };
        let start = first_centres(rows, 20, &mut Random::new(2), GO_ON).unwrap();
        assert!(fit(&centres(rows, 20, 2, GO_ON).unwrap()) > 1.02 * fit(&start));
    }

    #[test]
    fn fewer_different_vectors_than_clusters() {
        let vectors =
            [1.0, 0.0].repeat(50).into_iter().chain([0.0, 1.0].repeat(50)).collect::<Vec<f32>>();
        let found = centres(Rows::new(&vectors, 2), 10, 1, GO_ON).unwrap();
        assert_eq!(found.len(), 4);
        let none = centres(Rows::new(&[], 2), 10, 1, GO_ON).unwrap();
        assert_eq!(none, []);
    }

    #[test]
    fn it_stops_when_asked() {
        let vectors = around_axes(5, 100, 16, 0.8);
        let asked = std::cell::Cell::new(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() > 8
        };
        assert_eq!(centres(Rows::new(&vectors, 16), 20, 3, &stop), None);
    }

    #[test]
    fn products_of_any_length() {
        for length in [0, 1, 15, 16, 17, 40] {
            let vector = vec![2.0; length];
            assert_eq!(dot(&vector, &vector), 4.0 * length as f32);
        }
    }
}
