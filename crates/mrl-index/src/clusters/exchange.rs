//! Blocks made rounder: rows of neighbouring blocks change places as long as both lie nearer to each other's mean.
//!
//! What cutting into halves leaves at its borders is mended so. Of two blocks the row of each is taken that lies
//! farthest towards the other's mean, then the next. Where x of a block of m rows and y of one of n change places, the
//! sum of all squared distances from the means μ and ν falls by 2 (x − y)·(ν − μ) + |x − y|² (1/m + 1/n): it is what
//! k-means would make smaller, with clusters of a fixed size.

use half::f16;
use mrl_kernels as kernels;
use mrl_memory::OutOfMemory;

use crate::codes::block::ROWS;
use crate::lists::encode::narrowed;

/// Times that pairs of neighbours are gone through.
const SWEEPS: usize = 3;
/// Blocks that each one exchanges rows with: those whose means are the nearest.
const NEIGHBOURS: usize = 16;
/// An exchange that gains less than this part of the rows' own squared distance is rounding.
const LEAST_GAIN: f32 = 1e-3;

/// Exchanges rows between the blocks that an order cuts them into. `rows` are vectors of so many `dimensions`.
pub(crate) fn exchange(
    rows: &[f16],
    dimensions: usize,
    order: &mut [u32],
) -> Result<(), OutOfMemory> {
    let mut blocks = Blocks::new(rows, dimensions, order)?;
    let mut pairs = blocks.neighbours()?;
    for _ in 0..SWEEPS {
        // Few of those that had nothing to exchange have later.
        pairs.retain(|(one, other)| blocks.exchange_between(*one, *other) > 0);
    }
    Ok(())
}

/// The means of the blocks that an order cuts rows into, one after another.
pub(crate) fn means(
    rows: &[f16],
    dimensions: usize,
    order: &[u32],
) -> Result<Vec<f32>, OutOfMemory> {
    let mut means = Vec::new();
    mrl_memory::reserve(&mut means, order.len().div_ceil(ROWS) * dimensions)?;
    let mut sums = mrl_memory::filled(0.0, dimensions)?;
    for block in order.chunks(ROWS) {
        sums.fill(0.0);
        for row in block {
            kernels::add_to_sums(&rows[*row as usize * dimensions..][..dimensions], &mut sums);
        }
        means.extend(sums.iter().map(|sum| (sum / block.len() as f64) as f32));
    }
    Ok(means)
}

struct Blocks<'a> {
    rows: &'a [f16],
    dimensions: usize,
    /// The rows of all blocks, one block after another.
    order: &'a mut [u32],
    /// The means of their rows.
    means: Vec<f32>,
    /// Room for two rows that change places.
    wide: [Vec<f32>; 2],
}

impl<'a> Blocks<'a> {
    fn new(rows: &'a [f16], dimensions: usize, order: &'a mut [u32]) -> Result<Self, OutOfMemory> {
        let means = means(rows, dimensions, order)?;
        let wide = [mrl_memory::filled(0.0, dimensions)?, mrl_memory::filled(0.0, dimensions)?];
        Ok(Self { rows, dimensions, order, means, wide })
    }

    fn row(&self, place: usize) -> &'a [f16] {
        &self.rows[self.order[place] as usize * self.dimensions..][..self.dimensions]
    }

    /// Pairs of blocks of which one is among the nearest of the other.
    fn neighbours(&self) -> Result<Vec<(usize, usize)>, OutOfMemory> {
        let means: Vec<Vec<f16>> =
            mrl_memory::collect(self.means.chunks_exact(self.dimensions).map(narrowed))?;
        let mut pairs = Vec::new();
        for one in 0..means.len() {
            let others = (0..means.len()).filter(|other| *other != one);
            let with_distance =
                others.map(|other| (kernels::squared_l2(&means[one], &means[other]), other));
            let mut nearest = mrl_memory::collect(with_distance)?;
            if nearest.len() > NEIGHBOURS {
                nearest.select_nth_unstable_by(NEIGHBOURS, |a, b| {
                    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
                });
                nearest.truncate(NEIGHBOURS);
            }
            mrl_memory::reserve(&mut pairs, nearest.len())?;
            pairs.extend(nearest.iter().map(|(_, other)| (one.min(*other), one.max(*other))));
        }
        pairs.sort_unstable();
        pairs.dedup();
        Ok(pairs)
    }

    /// Exchanges rows of two blocks; how many of each. All are chosen by the means as they were before: after the first
    /// exchange, which moves them apart, the others gain a little more than is reckoned.
    fn exchange_between(&mut self, one: usize, other: usize) -> usize {
        let places = |block: usize| block * ROWS..self.order.len().min((block + 1) * ROWS);
        let (ones, others) = (places(one), places(other));
        let (m, n) = (ones.len() as f32, others.len() as f32);
        let difference = self.mean(one).iter().zip(self.mean(other)).map(|(from, to)| to - from);
        let length = difference.clone().map(|x| x * x).sum::<f32>().sqrt();
        if length <= 0.0 {
            return 0;
        }
        // Of length 1, so that halfs can hold it.
        let direction: Vec<f32> = difference.map(|x| x / length).collect();
        let direction = narrowed(&direction);
        let offset = |place: usize| (kernels::dot(self.row(place), &direction), place);
        let mut farthest: [(f32, usize); ROWS] = [(f32::NEG_INFINITY, 0); ROWS];
        let mut nearest: [(f32, usize); ROWS] = [(f32::INFINITY, 0); ROWS];
        farthest.iter_mut().zip(ones).for_each(|(to, place)| *to = offset(place));
        nearest.iter_mut().zip(others).for_each(|(to, place)| *to = offset(place));
        farthest.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        nearest.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        for (exchanges, (x, y)) in farthest.iter().zip(&nearest).enumerate() {
            let (from, to) = (self.row(x.1), self.row(y.1));
            let squared = kernels::squared_l2(from, to);
            let apart = if exchanges == 0 { squared * (1.0 / m + 1.0 / n) } else { 0.0 };
            // Written so that what is no number is no gain.
            let is_gain = 2.0 * length * (x.0 - y.0) + apart > LEAST_GAIN * squared;
            if !is_gain {
                return exchanges;
            }
            let dimensions = self.dimensions;
            let [wide_from, wide_to] = &mut self.wide;
            kernels::to_f32(from, wide_from);
            kernels::to_f32(to, wide_to);
            for (block, count, sign) in [(one, m, 1.0), (other, n, -1.0)] {
                let mean = &mut self.means[block * dimensions..][..dimensions];
                let factor = sign / count;
                for ((mean, from), to) in mean.iter_mut().zip(&*wide_from).zip(&*wide_to) {
                    *mean += factor * (to - from);
                }
            }
            self.order.swap(x.1, y.1);
        }
        ROWS
    }

    fn mean(&self, block: usize) -> &[f32] {
        &self.means[block * self.dimensions..][..self.dimensions]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// The sum of the squared distances of rows from the means of their blocks.
    fn sum_of_squares(rows: &[f16], dimensions: usize, order: &[u32]) -> f64 {
        let row = |row: u32| &rows[row as usize * dimensions..][..dimensions];
        let of_block = |block: &[u32]| -> f64 {
            (0..dimensions)
                .map(|i| {
                    let of = |r: &u32| row(*r)[i].to_f64();
                    let mean = block.iter().map(of).sum::<f64>() / block.len() as f64;
                    block.iter().map(|r| (of(r) - mean).powi(2)).sum::<f64>()
                })
                .sum()
        };
        order.chunks(ROWS).map(of_block).sum()
    }

    fn drawn(count: usize, dimensions: usize) -> Vec<f16> {
        let mut random = Random::new(11);
        let mut uniform = || (random.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        (0..count * dimensions).map(|_| f16::from_f32(uniform())).collect()
    }

    #[test]
    fn every_row_stays_and_the_sum_of_squares_falls() {
        for (count, dimensions) in [(70, 3), (640, 8), (1000, 2), (5000, 4)] {
            let rows = drawn(count, dimensions);
            let mut order: Vec<u32> = (0..count as u32).collect();
            let before = sum_of_squares(&rows, dimensions, &order);
            exchange(&rows, dimensions, &mut order).unwrap();
            let after = sum_of_squares(&rows, dimensions, &order);
            assert!(after < 0.9 * before, "{count}: {before} to {after}");
            order.sort_unstable();
            assert_eq!(order, (0..count as u32).collect::<Vec<_>>());
        }
    }

    /// Two clusters that are mixed over two blocks come apart, though each exchange is one of many.
    #[test]
    fn what_was_mixed_comes_apart() {
        let dimensions = 16;
        let noise = drawn(2 * ROWS, dimensions);
        let rows: Vec<f16> = noise
            .iter()
            .enumerate()
            .map(|(i, x)| {
                f16::from_f32(x.to_f32() + if i / dimensions % 2 == 0 { 2.0 } else { -2.0 })
            })
            .collect();
        // A quarter of each block belongs to the other.
        let mut order: Vec<u32> = (0..2 * ROWS as u32).collect();
        order.sort_by_key(|row| (row % 2 == 1) != (row % 8 == 3 || row % 8 == 4));
        exchange(&rows, dimensions, &mut order).unwrap();
        for block in order.chunks(ROWS) {
            assert!(block.iter().all(|row| row % 2 == block[0] % 2), "{block:?}");
        }
    }

    /// Rows that are alike, or that no mean can be made of, are left where they are.
    #[test]
    fn nothing_is_gained_where_rows_are_alike() {
        for value in [f16::ONE, f16::ZERO, f16::MAX, f16::NAN] {
            let mut order: Vec<u32> = (0..100).collect();
            exchange(&vec![value; 100 * 5], 5, &mut order).unwrap();
            assert_eq!(order, (0..100).collect::<Vec<_>>());
        }
    }
}
