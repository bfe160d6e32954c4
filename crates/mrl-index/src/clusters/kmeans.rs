//! Which vectors belong together: k-means over leading dimensions.
//!
//! Lloyd's rounds on a sample, started by k-means++ (Arthur and Vassilvitskii, SODA 2007). A vector goes to the nearest
//! centre; a centre is the mean of its vectors, where only directions count scaled to length 1 (spherical k-means:
//! Dhillon and Modha, 2001). Clusters of much different sizes are evened out between rounds: the centre of a small one
//! moves into a large one, which the next round divides among its centres. Everything follows from the seed.

use std::collections::BinaryHeap;
use std::ops::Range;

use half::f16;
use mrl_kernels as kernels;
use mrl_memory::OutOfMemory;

use crate::random::Random;
use crate::threads::workers::Workers;

/// Rounds after which the centres move no more than lists of an index can tell.
const ROUNDS: usize = 8;
/// Of these, the first that even clusters out; the others let the centres settle.
const EVENING_ROUNDS: usize = 5;
/// A cluster is small with fewer vectors than such a share of the mean ...
const FEW: f64 = 0.5;
/// ... and large with more than so many times the mean for each of its centres.
const MANY: f64 = 1.5;
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
    for round in 0..ROUNDS {
        let few = if round < EVENING_ROUNDS { FEW } else { 0.0 };
        let nearer = moved(sample, &centres, spherical, few, workers)?;
        if nearer == centres {
            break;
        }
        centres = nearer;
    }
    Some(centres)
}

/// The means of the vectors that are nearest to each of some centres, but for centres of fewer vectors than the share
/// `few` of the mean: these move into large clusters, and such of none at all into the largest, where its vectors
/// differ. Nothing as in [`centres`].
pub fn moved(
    sample: Rows,
    centres: &[f16],
    spherical: bool,
    few: f64,
    workers: &Workers,
) -> Option<Vec<f16>> {
    let assigned = assign(sample, Rows::new(centres, sample.dimensions), spherical, workers)?;
    let clusters = Clusters::of(&assigned, centres.len() / sample.dimensions).ok()?;
    let mut centres = means(sample, &clusters, spherical).ok()?;
    even_out(sample, &clusters, &mut centres, spherical, few).ok()?;
    Some(centres)
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

/// Which vectors belong to which centre.
struct Clusters {
    /// The vectors' indexes, one cluster's after another's.
    members: Vec<usize>,
    /// Where those of each cluster lie.
    ranges: Vec<Range<usize>>,
}

impl Clusters {
    fn of(assigned: &[u32], count: usize) -> Result<Self, OutOfMemory> {
        let mut members = mrl_memory::filled(0usize, assigned.len())?;
        let mut ranges: Vec<Range<usize>> = mrl_memory::filled(0..0, count)?;
        for cluster in assigned {
            ranges[*cluster as usize].end += 1;
        }
        let mut end = 0;
        for range in &mut ranges {
            let start = end;
            end += range.end;
            *range = start..start;
        }
        for (index, cluster) in assigned.iter().enumerate() {
            let range = &mut ranges[*cluster as usize];
            members[range.end] = index;
            range.end += 1;
        }
        Ok(Self { members, ranges })
    }

    fn of_cluster(&self, cluster: usize) -> &[usize] {
        &self.members[self.ranges[cluster].clone()]
    }
}

/// The clusters' means; zeros for one without vectors.
fn means(sample: Rows, clusters: &Clusters, spherical: bool) -> Result<Vec<f16>, OutOfMemory> {
    let mut centres = Vec::new();
    mrl_memory::reserve(&mut centres, clusters.ranges.len() * sample.dimensions)?;
    let mut sum = mrl_memory::filled(0f64, sample.dimensions)?;
    for cluster in 0..clusters.ranges.len() {
        sum.fill(0.0);
        let members = clusters.of_cluster(cluster);
        for index in members {
            kernels::add_to_sums(sample.row(*index), &mut sum);
        }
        let length = match spherical {
            true => sum.iter().map(|x| x * x).sum::<f64>().sqrt(),
            false => members.len() as f64,
        };
        let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
        centres.extend(sum.iter().map(|x| f16::from_f64(x * scale)));
    }
    Ok(centres)
}

/// Moves the centres of small clusters into large ones, the smallest first and into the one that is then the largest.
/// There a centre lies next to the mean, towards one of the vectors, so that the next round finds about as many on
/// either side: at a vector's own place few others would be nearest to it, as all of a cluster lie farther from each
/// other than from the mean.
fn even_out(
    sample: Rows,
    clusters: &Clusters,
    centres: &mut [f16],
    spherical: bool,
    few: f64,
) -> Result<(), OutOfMemory> {
    let width = sample.dimensions;
    let count = clusters.ranges.len();
    let size = |cluster: usize| clusters.ranges[cluster].len();
    let mean = sample.count() as f64 / count.max(1) as f64;
    // Where only directions count a mean of nothing is no centre.
    let is_nowhere = |cluster: usize| {
        let centre = &centres[cluster * width..][..width];
        size(cluster) == 0 || spherical && centre.iter().all(|x| x.to_f32() == 0.0)
    };
    let is_small = |cluster: usize| is_nowhere(cluster) || (size(cluster) as f64) < few * mean;
    let given_up = (0..count).filter(|cluster| is_small(*cluster));
    let mut given_up: Vec<(bool, usize, usize)> = mrl_memory::collect(
        given_up.map(|cluster| (!is_nowhere(cluster), size(cluster), cluster)),
    )?;
    given_up.sort_unstable();
    // The others, by how many vectors they have for each centre, which grows.
    let mut large = BinaryHeap::new();
    for cluster in (0..count).filter(|cluster| !is_small(*cluster)) {
        mrl_memory::add(&mut large, (size(cluster), cluster, 1))?;
    }
    for (is_somewhere, _, small) in given_up {
        let near = loop {
            let Some((share, cluster, centres_there)) = large.pop() else { return Ok(()) };
            if is_somewhere && (share as f64) < MANY * mean {
                return Ok(());
            }
            let members = clusters.of_cluster(cluster);
            // Another one for each centre.
            let first = members.len() * centres_there / (centres_there + 1);
            if let Some(vector) = one_that_differs(sample, members, first) {
                let centres_there = centres_there + 1;
                large.push((members.len() / centres_there, cluster, centres_there));
                break next_to(&centres[cluster * width..][..width], vector, spherical)?;
            }
        };
        centres[small * width..][..width].copy_from_slice(&near);
    }
    Ok(())
}

/// One of a cluster's vectors, from a place among them on, that is not as its first is; nothing where most are equal,
/// which no centres can part.
fn one_that_differs<'a>(sample: Rows<'a>, members: &[usize], first: usize) -> Option<&'a [f16]> {
    const TRIES: usize = 4;
    let member =
        |place: usize| members.get(place % members.len().max(1)).map(|row| sample.row(*row));
    let usual = member(0)?;
    let step = (members.len() / (TRIES + 1)).max(1);
    (0..TRIES).filter_map(|i| member(first + i * step)).find(|vector| *vector != usual)
}

/// A place next to a centre, towards a vector.
fn next_to(centre: &[f16], vector: &[f16], spherical: bool) -> Result<Vec<f16>, OutOfMemory> {
    const TOWARDS_THE_VECTOR: f32 = 0.1;
    let near = |c: f16, x: f16| c.to_f32() + TOWARDS_THE_VECTOR * (x.to_f32() - c.to_f32());
    let components = || centre.iter().zip(vector).map(|(c, x)| near(*c, *x));
    let length = components().map(|x| x * x).sum::<f32>().sqrt();
    let scale = if spherical && length > 0.0 { 1.0 / length } else { 1.0 };
    mrl_memory::collect(components().map(|x| f16::from_f32(x * scale)))
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

    /// Half of the vectors are equal: no centre moves to where they are.
    #[test]
    fn equal_vectors_attract_no_centres() {
        let mut equal = vec![0.0; 32];
        equal[0] = 1.0;
        let vectors =
            (0..600).flat_map(|_| unit(equal.clone())).chain(around_axes(30, 20, 32, 0.2));
        let vectors: Vec<f16> = vectors.collect();
        let rows = Rows::new(&vectors, 32);
        let centres = centres_of(rows, 30, 1);
        let assigned = assign(rows, Rows::new(&centres, 32), true, &Workers::single()).unwrap();
        let mut sizes = [0; 30];
        assigned.iter().for_each(|cluster| sizes[*cluster as usize] += 1);
        assert!(sizes.iter().filter(|size| **size > 0).count() >= 28, "{sizes:?}");
    }

    /// A third of the vectors lie close around one axis of 20: few centres are drawn from among them.
    #[test]
    fn a_dense_cluster_is_cut_into_such_of_about_one_size() {
        let crowd = around_axes(1, 1000, 64, 0.05);
        let others = around_axes(20, 100, 64, 0.2);
        let vectors: Vec<f16> = crowd.into_iter().chain(others).collect();
        let rows = Rows::new(&vectors, 64);
        let centres = centres_of(rows, 20, 1);
        let assigned = assign(rows, Rows::new(&centres, 64), true, &Workers::single()).unwrap();
        let mut sizes = [0; 20];
        assigned.iter().for_each(|cluster| sizes[*cluster as usize] += 1);
        assert!(sizes.iter().max() <= Some(&(2 * 3000 / 20)), "{sizes:?}");
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
