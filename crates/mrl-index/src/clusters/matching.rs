//! Blocks made rounder: rows and blocks are matched anew, all at once.
//!
//! Each row asks for the block whose mean is the nearest. Where more rows ask than a block has places those stay that
//! would lose the most elsewhere, and each of the others asks for its next one: deferred acceptance (Gale and Shapley,
//! "College admissions and the stability of marriage", 1962). What cutting into halves has put into whatever block had
//! room so finds its way over any number of blocks, where an exchange of rows (module `exchange`) needs two that both
//! gain.

use half::f16;
use mrl_kernels as kernels;
use mrl_memory::OutOfMemory;

use crate::clusters::exchange;
use crate::clusters::kmeans::{self, Rows};
use crate::codes::block::ROWS;
use crate::lists::encode::narrowed;

/// Blocks that a row asks for, one after the other; who is refused by all goes where there is room.
const ASKED: usize = 12;
/// What a row would lose elsewhere is reckoned from the block that comes so many after the one it asks for.
const ELSEWHERE: usize = 3;

/// A block that a row asks for, and how near its mean is: the greater the nearer.
#[derive(Clone, Copy)]
struct Wish {
    score: f32,
    block: u32,
}

/// The rows that a block has so far.
struct Places {
    /// Each one's number in the order, and what it would lose elsewhere.
    rows: [(f32, u32); ROWS],
    taken: usize,
    all: usize,
}

impl Places {
    /// Takes a row in; who then has no place, if one hasn't.
    fn take(&mut self, row: (f32, u32)) -> Option<u32> {
        if self.taken < self.all {
            self.rows[self.taken] = row;
            self.taken += 1;
            return None;
        }
        let least = self.rows[..self.all].iter_mut().min_by(|a, b| a.0.total_cmp(&b.0));
        match least {
            Some(least) if least.0 < row.0 => Some(std::mem::replace(least, row).1),
            _ => Some(row.1),
        }
    }
}

/// Matches rows anew with the blocks that an order cuts them into. `rows` are vectors of so many `dimensions`.
pub(crate) fn rematch(
    rows: &[f16],
    dimensions: usize,
    order: &mut [u32],
) -> Result<(), OutOfMemory> {
    let means = narrowed(&exchange::means(rows, dimensions, order)?);
    let (rows, means) = (Rows::new(rows, dimensions), Rows::new(&means, dimensions));
    let asked = ASKED.min(means.count());
    let wishes = wishes(rows, dimensions, order, means, asked)?;
    let mut blocks: Vec<Places> = mrl_memory::collect(order.chunks(ROWS).map(|block| Places {
        rows: [(0.0, 0); ROWS],
        taken: 0,
        all: block.len(),
    }))?;
    // How many blocks have refused each row.
    let mut refused = mrl_memory::filled(0u8, order.len())?;
    let mut homeless = Vec::new();
    for first in 0..order.len() {
        let mut asking = Some(first as u32);
        while let Some(row) = asking {
            let own = &wishes[row as usize * asked..][..asked];
            let place = usize::from(refused[row as usize]);
            let Some(wish) = own.get(place) else {
                mrl_memory::push(&mut homeless, row)?;
                break;
            };
            let elsewhere = own[(place + ELSEWHERE).min(asked - 1)].score;
            asking = blocks[wish.block as usize].take((wish.score - elsewhere, row));
            if let Some(row) = asking {
                refused[row as usize] += 1;
            }
        }
    }
    // As many places as rows are there in all.
    for row in homeless {
        let vector = rows.row(order[row as usize] as usize);
        let distance =
            |block: &(usize, &mut Places)| kernels::squared_l2(vector, means.row(block.0));
        let with_room = blocks.iter_mut().enumerate().filter(|(_, block)| block.taken < block.all);
        let nearest = with_room.map(|block| (distance(&block), block.1));
        if let Some((_, block)) = nearest.min_by(|a, b| a.0.total_cmp(&b.0)) {
            block.take((0.0, row));
        }
    }
    let placed = blocks.iter().flat_map(|block| &block.rows[..block.taken]);
    let placed: Vec<u32> = mrl_memory::collect(placed.map(|(_, row)| order[*row as usize]))?;
    order.copy_from_slice(&placed);
    Ok(())
}

/// The blocks that each row asks for, the nearest first, `asked` for each.
fn wishes(
    rows: Rows,
    dimensions: usize,
    order: &[u32],
    means: Rows,
    asked: usize,
) -> Result<Vec<Wish>, OutOfMemory> {
    /// Rows that are compared with all means at once.
    const ROWS_AT_ONCE: usize = 4;
    let biases = kmeans::biases(means, false)?;
    let mut wishes = Vec::new();
    mrl_memory::reserve(&mut wishes, order.len() * asked)?;
    let mut products = mrl_memory::filled(0.0, ROWS_AT_ONCE * biases.len())?;
    let mut some = Vec::new();
    mrl_memory::reserve(&mut some, ROWS_AT_ONCE * dimensions)?;
    let mut all: Vec<Wish> = Vec::new();
    mrl_memory::reserve(&mut all, biases.len())?;
    for order in order.chunks(ROWS_AT_ONCE) {
        some.clear();
        order.iter().for_each(|row| some.extend_from_slice(rows.row(*row as usize)));
        let products = &mut products[..order.len() * biases.len()];
        kernels::products(dimensions, &some, means.components(), products);
        for products in products.chunks_exact(biases.len()) {
            all.clear();
            let scores = products.iter().zip(&biases).map(|(product, bias)| product - bias);
            all.extend(scores.zip(0..).map(|(score, block)| Wish { score, block }));
            let nearer =
                |a: &Wish, b: &Wish| b.score.total_cmp(&a.score).then(a.block.cmp(&b.block));
            if asked < all.len() {
                all.select_nth_unstable_by(asked, nearer);
            }
            all[..asked].sort_unstable_by(nearer);
            wishes.extend_from_slice(&all[..asked]);
        }
    }
    Ok(wishes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Rows of eight clusters of 32, most of which are in blocks of others, and have nobody to exchange with that would
    /// gain as well: one pass brings nearly all of them home.
    #[test]
    fn rows_find_their_way_over_many_blocks() {
        const DIMENSIONS: usize = 16;
        let mut random = Random::new(7);
        let mut uniform = || (random.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        let centres: Vec<Vec<f32>> =
            (0..8).map(|_| (0..DIMENSIONS).map(|_| uniform()).collect()).collect();
        let rows: Vec<f16> = (0..8 * ROWS)
            .flat_map(|i| {
                centres[i % 8]
                    .iter()
                    .map(|x| f16::from_f32(x + 0.05 * uniform()))
                    .collect::<Vec<_>>()
            })
            .collect();
        // Twelve rows of each block belong to the next cluster, so its mean still lies near its own.
        let of_cluster =
            |cluster: usize, from: usize| (from..ROWS).map(move |i| (cluster % 8 + 8 * i) as u32);
        let mut order: Vec<u32> = (0..8)
            .flat_map(|cluster| of_cluster(cluster, 12).chain(of_cluster(cluster + 1, 0).take(12)))
            .collect();
        rematch(&rows, DIMENSIONS, &mut order).unwrap();
        for block in order.chunks(ROWS) {
            assert!(block.iter().all(|row| row % 8 == block[0] % 8), "{block:?}");
        }
    }

    #[test]
    fn every_row_stays_once() {
        let mut random = Random::new(3);
        for count in [1, 31, 32, 33, 70, 1000] {
            for value in [None, Some(f16::ONE), Some(f16::NAN)] {
                let mut draw = || f16::from_f32((random.next() >> 40) as f32 / (1u64 << 24) as f32);
                let rows: Vec<f16> =
                    (0..count * 3).map(|_| value.unwrap_or_else(&mut draw)).collect();
                let mut order: Vec<u32> = (0..count as u32).rev().collect();
                rematch(&rows, 3, &mut order).unwrap();
                order.sort_unstable();
                assert_eq!(order, (0..count as u32).collect::<Vec<_>>());
            }
        }
    }
}
