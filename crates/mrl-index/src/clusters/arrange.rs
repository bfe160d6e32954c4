//! The order of a list's rows in which each 32 belong together.
//!
//! The rows are cut into halves of whole blocks by a direction along which they differ much, each half again,
//! down to blocks. A direction is the difference of the means of the halves that the one before it makes: a few
//! rounds of that are the power method on the rows' covariance, with signs. Then neighbouring blocks exchange rows
//! (module `exchange`), rows and blocks are matched anew (module `matching`), and what that has left over is exchanged
//! again. All of it works on what the rows' codes stand for, so that a list can be arranged anew
//! without its vectors.

use std::ops::Range;

use half::f16;
use mrl_kernels as kernels;
use mrl_memory::OutOfMemory;

use crate::clusters::exchange::exchange;
use crate::clusters::matching::rematch;
use crate::codes::block::ROWS;
use crate::lists::encode::{Encoder, narrow_into, narrowed};
use crate::lists::summary::Offset;
use crate::pages::shape::Shape;

/// Rounds of a direction.
const ROUNDS: usize = 4;
/// Blocks among which rows are exchanged and matched: the distances between all their means are needed.
const BLOCKS_TOGETHER: usize = 128;
/// Rows that are arranged together. Of a longer list, most often of rows that are alike, each so many are arranged for
/// themselves: that bounds the memory, and how long it takes until somebody can stop it.
const MOST_ROWS: usize = 8192;
/// The leading dimensions tell enough of which rows are near each other: of a Matryoshka model's they have most of the
/// meaning, of any other's they are, rotated, a sample.
const MOST_DIMENSIONS: usize = 384;
/// The least share that layer 0 has in the squares of what rows are arranged by: by it alone a query of few dimensions
/// chooses blocks, and to others a little more of it does no harm. Of a Matryoshka model's vectors it has more.
const LEADING_SHARE: f64 = 0.25;

/// The rows of a list of so many that are arranged together, part after part.
pub fn parts(count: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).step_by(MOST_ROWS).map(move |start| start..(start + MOST_ROWS).min(count))
}

/// The places of rows in the order in which they should lie. Of each its record is given and, where its frame
/// is another than that of most, the way to it.
pub fn arrange<'a>(
    shape: &Shape,
    rows_given: impl ExactSizeIterator<Item = (&'a [u8], Option<&'a Offset>)>,
) -> Result<Vec<u32>, OutOfMemory> {
    let count = rows_given.len();
    let mut order = mrl_memory::collect(0..count as u32)?;
    if count <= ROWS {
        return Ok(order);
    }
    let dimensions = shape.dimensions.min(MOST_DIMENSIONS);
    let mut rows = Vec::new();
    mrl_memory::reserve(&mut rows, count * dimensions + shape.dimensions)?;
    for (i, (record, offset)) in rows_given.enumerate() {
        Encoder::decode_rotated(shape, record, |layer, piece| {
            if let Some(offset) = offset {
                let offset = &offset.rotated[shape.layers.range(layer)];
                piece.iter_mut().zip(offset).for_each(|(x, more)| *x += more);
            }
            let start = rows.len();
            rows.resize(start + piece.len(), f16::ZERO);
            narrow_into(piece, &mut rows[start..]);
        });
        rows.truncate((i + 1) * dimensions);
    }
    weigh_leading(&mut rows, dimensions, shape.layers.range(0).len());
    let mut work = Work {
        rows: &rows,
        dimensions,
        offsets: mrl_memory::filled((0.0, 0), count)?,
        sums: [mrl_memory::filled(0.0, dimensions)?, mrl_memory::filled(0.0, dimensions)?],
        direction: mrl_memory::filled(f16::ZERO, dimensions)?,
    };
    work.cut(&mut order);
    for order in order.chunks_mut(BLOCKS_TOGETHER * ROWS) {
        exchange(&rows, dimensions, order)?;
        rematch(&rows, dimensions, order)?;
        exchange(&rows, dimensions, order)?;
    }
    Ok(order)
}

/// Makes the leading components of rows longer where they have less than their share of the squares.
fn weigh_leading(rows: &mut [f16], dimensions: usize, leading: usize) {
    let (mut first, mut others) = (0.0, 0.0);
    for row in rows.chunks_exact(dimensions) {
        first += f64::from(kernels::squared_norm(&row[..leading]));
        others += f64::from(kernels::squared_norm(&row[leading..]));
    }
    let factor = (LEADING_SHARE / (1.0 - LEADING_SHARE) * others / first).sqrt() as f32;
    // Nor is anything done where there is nothing to weigh, or no number.
    if !(factor > 1.0 && factor.is_finite()) {
        return;
    }
    let mut wide = vec![0.0; leading];
    for row in rows.chunks_exact_mut(dimensions) {
        kernels::to_f32(&row[..leading], &mut wide);
        wide.iter_mut().for_each(|x| *x *= factor);
        narrow_into(&wide, &mut row[..leading]);
    }
}

struct Work<'a> {
    rows: &'a [f16],
    dimensions: usize,
    /// How far each row lies along the direction.
    offsets: Vec<(f32, u32)>,
    sums: [Vec<f64>; 2],
    direction: Vec<f16>,
}

impl Work<'_> {
    fn row(&self, row: u32) -> &[f16] {
        &self.rows[row as usize * self.dimensions..][..self.dimensions]
    }

    fn cut(&mut self, order: &mut [u32]) {
        if order.len() <= ROWS {
            return;
        }
        let half = order.len().div_ceil(ROWS) / 2 * ROWS;
        // The first direction: from the first row to the one that is farthest from it.
        let first = self.row(order[0]);
        let distance = |row: &u32| kernels::squared_l2(self.row(*row), first);
        let farthest = order.iter().copied().map(|row| (distance(&row), row));
        let farthest = farthest.max_by(|a, b| a.0.total_cmp(&b.0)).map_or(order[0], |(_, row)| row);
        let difference = self.row(farthest).iter().zip(self.row(order[0]));
        let difference: Vec<f32> = difference.map(|(a, b)| a.to_f32() - b.to_f32()).collect();
        self.point_to(&difference);
        for round in 0..ROUNDS {
            self.sort(order, half);
            if round + 1 < ROUNDS {
                self.turn(order, half);
            }
        }
        let (before, after) = order.split_at_mut(half);
        self.cut(before);
        self.cut(after);
    }

    /// Puts the rows that lie the least along the direction first.
    fn sort(&mut self, order: &mut [u32], half: usize) {
        let mut offsets = std::mem::take(&mut self.offsets);
        for (offset, row) in offsets.iter_mut().zip(order.iter()) {
            *offset = (kernels::dot(self.row(*row), &self.direction), *row);
        }
        let all = &mut offsets[..order.len()];
        all.select_nth_unstable_by(half, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for (row, (_, of)) in order.iter_mut().zip(all) {
            *row = *of;
        }
        self.offsets = offsets;
    }

    /// Makes the direction the one from the mean of the first half to that of the second.
    fn turn(&mut self, order: &[u32], half: usize) {
        let mut sums = std::mem::take(&mut self.sums);
        for (sum, rows) in sums.iter_mut().zip([&order[..half], &order[half..]]) {
            sum.fill(0.0);
            for row in rows {
                kernels::add_to_sums(self.row(*row), sum);
            }
        }
        let counts = [half as f64, (order.len() - half) as f64];
        let difference = sums[1].iter().zip(&sums[0]);
        let difference: Vec<f32> =
            difference.map(|(b, a)| (b / counts[1] - a / counts[0]) as f32).collect();
        self.sums = sums;
        self.point_to(&difference);
    }

    /// Of length 1, so that halfs can hold it.
    fn point_to(&mut self, difference: &[f32]) {
        let length = difference.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        let scale = if length > 0.0 { (1.0 / length) as f32 } else { 0.0 };
        let scaled: Vec<f32> = difference.iter().map(|x| x * scale).collect();
        self.direction = narrowed(&scaled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lists::frame::Frame;
    use crate::pages::meta::{Meta, Metric};
    use crate::pages::page::NONE;
    use crate::random::Random;

    fn encoder(dimensions: usize) -> Encoder {
        Encoder::new(&Meta {
            build: 0,
            epoch: 1,
            seed: 5,
            next_list: 3,
            dimensions,
            coarse_dimensions: dimensions,
            metric: Metric::InnerProduct,
            copies: false,
            frames_page: NONE,
            frames_used: 0,
            directory: Vec::new(),
        })
    }

    #[test]
    fn leading_components_get_their_share() {
        let (dimensions, leading) = (96, 64);
        let share = |rows: &[f16]| {
            let squares = |part: &[f16]| f64::from(kernels::squared_norm(part));
            let rows = rows.chunks_exact(dimensions);
            let sums = rows.map(|row| (squares(&row[..leading]), squares(row)));
            let (first, all) = sums.fold((0.0, 0.0), |sum, row| (sum.0 + row.0, sum.1 + row.1));
            first / all
        };
        for (length, is_changed) in [(0.1, true), (0.4, true), (2.0, false), (0.0, false)] {
            let row = (0..dimensions).map(|i| if i < leading { length } else { 1.0 });
            let row: Vec<f16> = row.map(f16::from_f32).collect();
            let mut rows = row.repeat(5);
            let before = rows.clone();
            weigh_leading(&mut rows, dimensions, leading);
            if is_changed {
                assert!((share(&rows) - LEADING_SHARE).abs() < 1e-3, "{length}: {}", share(&rows));
                let rest = |rows: &[f16]| rows[leading..dimensions].to_vec();
                assert_eq!(rest(&rows), rest(&before));
            } else {
                assert_eq!(rows, before);
            }
        }
        // Nothing but leading components, or no number.
        for mut rows in [vec![f16::ONE; 64], vec![f16::NAN; 96]] {
            let before: Vec<u16> = rows.iter().map(|x| x.to_bits()).collect();
            let dimensions = rows.len();
            weigh_leading(&mut rows, dimensions, leading);
            assert_eq!(rows.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), before);
        }
    }

    /// Rows of eight clusters of 32, mixed: every block is of one cluster.
    #[test]
    fn rows_that_belong_together_come_together() {
        let encoder = encoder(96);
        let mut random = Random::new(3);
        let mut uniform = move || (random.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        let centres: Vec<Vec<f32>> = (0..8).map(|_| (0..96).map(|_| uniform()).collect()).collect();
        let frame = Frame::new(&encoder, vec![f16::ZERO; 96]);
        let records: Vec<Vec<u8>> = (0..8 * ROWS)
            .map(|i| {
                let row: Vec<f32> = centres[i % 8].iter().map(|x| x + 0.2 * uniform()).collect();
                encoder.row(&narrowed(&row), &frame).record
            })
            .collect();
        let order =
            arrange(&encoder.shape, records.iter().map(|record| (&record[..], None))).unwrap();
        for block in order.chunks(ROWS) {
            assert!(block.iter().all(|row| row % 8 == block[0] % 8), "{block:?}");
        }
    }

    #[test]
    fn parts_are_of_whole_blocks() {
        for count in [0, 1, MOST_ROWS, MOST_ROWS + 1, 3 * MOST_ROWS - 1] {
            let parts: Vec<_> = parts(count).collect();
            assert_eq!(parts.iter().flat_map(Range::clone).count(), count);
            assert!(parts.is_sorted_by_key(|part| part.start));
            assert!(parts.iter().all(|part| part.start % ROWS == 0 && !part.is_empty()));
        }
    }

    #[test]
    fn every_row_comes_once() {
        let encoder = encoder(5);
        for count in [0, 1, 31, 32, 33, 64, 100, 1000] {
            // All alike: there is no direction.
            let frame = Frame::new(&encoder, vec![f16::ZERO; 5]);
            let record = encoder.row(&[f16::ONE; 5], &frame).record;
            let order = arrange(&encoder.shape, (0..count).map(|_| (&record[..], None))).unwrap();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..count as u32).collect::<Vec<_>>());
        }
    }
}
