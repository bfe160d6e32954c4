//! One round of a scan: of every block of the probed lists the summary is scored; of the best blocks (the
//! funnel) all rows' codes are, and of these the best rows go on to their exact distances.
//!
//! How many blocks are looked into depends on what is found: first a few of the best are, and then those that may
//! have rows among the best of these.
//!
//! Depends on pages and the query; [`crate::scan`] decides which lists, and about how many blocks and rows.

use mrl_kernels::CodeScales;
use mrl_memory::OutOfMemory;

use crate::block::ROWS;
use crate::directory::Directory;
use crate::order::{NO_BAR, bar};
use crate::page::ListId;
use crate::probed::{Known, Probed};
use crate::query::{Query, UNKNOWN};
use crate::queue::Waiting;
use crate::rows;
use crate::seen::{Held, Seen, block_number, bytes_of};
use crate::shape::{Shape, TID_BYTES};
use crate::store::PageStore;

/// The score of a row that is not there, or has gone on before, or of a block that is given up: less than any bar.
const NOTHING: f32 = f32::NEG_INFINITY;
/// Of a block that is read whole so much is asked for: what follows the processor sees by itself.
const FIRST_BYTES: usize = 512;

/// Which blocks are looked into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    /// The best ones, which have about so many rows.
    pub first: usize,
    /// Then the next best,
    /// whose scores are less by at most so many reaches than what
    pub margin: f32,
    /// so many of the best rows, or of the blocks by their best rows, have that were found in the first;
    pub best: usize,
    /// as long as all have at most about so many rows.
    pub most: usize,
}

impl Choice {
    /// The best ones, which have about so many rows, whatever is found in them.
    pub fn of(rows: usize) -> Self {
        Self { first: rows, margin: 0.0, best: 0, most: rows }
    }
}

/// The blocks of a round, and what is known of their rows. One round after another uses the same memory.
#[derive(Default)]
pub(crate) struct Round {
    seen: Seen,
    /// Places of blocks that are looked into next.
    next: Vec<usize>,
    /// The blocks whose rows are scored: their places among those seen.
    chosen: Vec<usize>,
    /// Of each of them: its rows' scores.
    scores: Vec<[f32; ROWS]>,
    /// Of each of them: its rows' inverse lengths, where the query divides by them.
    inverse_lengths: Vec<[f32; ROWS]>,
    /// Of each of them: its rows' TIDs, as they lie there, and their scales, layer after layer: what is needed
    /// of those that go on, kept while the page is at hand.
    tids: Vec<u8>,
    scales: Vec<CodeScales>,
    /// Of each row that goes on, the square of its error's deviation.
    squared_errors: Vec<f32>,
    /// Room for scores in order.
    keys: Vec<i32>,
}

impl Round {
    /// Begins anew, in the memory that it has.
    pub fn clear(&mut self) {
        self.seen.clear();
        self.chosen.clear();
        self.scores.clear();
        self.inverse_lengths.clear();
        self.tids.clear();
        self.scales.clear();
    }

    /// About how many bytes it has.
    pub fn bytes(&self) -> usize {
        let scored =
            bytes_of(&self.scores) + bytes_of(&self.inverse_lengths) + bytes_of(&self.tids);
        let rows = bytes_of(&self.scales) + bytes_of(&self.squared_errors) + bytes_of(&self.keys);
        self.seen.bytes() + bytes_of(&self.next) + bytes_of(&self.chosen) + scored + rows
    }

    /// See [`Seen::look_into`].
    #[allow(clippy::too_many_arguments)]
    pub fn look_into<S: PageStore>(
        &mut self,
        store: &S,
        directory: &Directory,
        query: &Query,
        known: &mut Known,
        list: (usize, &mut Probed),
        summarised: bool,
        following: Option<ListId>,
    ) -> Result<(), S::Error> {
        self.seen.look_into(store, directory, query, known, list, summarised, following)
    }

    /// How many rows the blocks have that were seen, but for those that have gone on.
    pub fn rows(&self) -> usize {
        self.seen.rows()
    }

    /// Of the chosen blocks exchanges the scores for those of the best row of each by layer 0, and gives up the
    /// others: where the leading dimensions hold most of a vector, they tell more.
    pub fn look_at_layer_0<S: PageStore>(
        &mut self,
        store: &S,
        directory: &Directory,
        query: &Query,
        choice: Choice,
    ) -> Result<(), S::Error> {
        let mut found = mrl_memory::filled(NOTHING, self.seen.blocks.len())?;
        let first = self.choose_first(choice)?;
        self.look_at(store, directory, query, &mut found)?;
        if self.choose_further(choice, first, &found)? {
            self.look_at(store, directory, query, &mut found)?;
        }
        self.seen.scores = found;
        Ok(())
    }

    /// Scores the rows of the blocks that come next by layer 0; `found` takes the best of each.
    fn look_at<S: PageStore>(
        &mut self,
        store: &S,
        directory: &Directory,
        query: &Query,
        found: &mut [f32],
    ) -> Result<(), S::Error> {
        let (shape, seen) = (&directory.encoder.shape, &self.seen);
        let leading = shape.row.leading_end();
        let mut held = Held::default();
        for (i, place) in self.next.iter().enumerate() {
            seen.expect_ahead(store, shape, &self.next, i, leading);
            let block = seen.blocks[*place];
            let mut scores = [NOTHING; ROWS];
            seen.with_rows(store, directory, (block, leading), &mut held, |rows| {
                let (bases, rows) = (seen.bases(block, rows), rows.records);
                query.score_rows(rows, &bases, &query.inverse_lengths(rows), 1, &mut scores);
            })?;
            let best = greatest(&only(block.rows, scores));
            // Damage may have made all of them no numbers.
            found[*place] = if best > NO_BAR { best } else { UNKNOWN };
        }
        Ok(())
    }

    /// Scores the rows of the chosen blocks; returns how many.
    pub fn score_blocks<S: PageStore>(
        &mut self,
        store: &S,
        directory: &Directory,
        query: &Query,
        choice: Choice,
    ) -> Result<u64, S::Error> {
        let first = self.choose_first(choice)?;
        let mut scored = self.score(store, directory, query)?;
        let found = std::mem::take(&mut self.scores);
        let further = self.choose_further(choice, first, found.as_flattened());
        self.scores = found;
        if further? {
            scored += self.score(store, directory, query)?;
        }
        Ok(scored)
    }

    /// The first of the blocks come next; returns the bar that they have passed.
    fn choose_first(&mut self, choice: Choice) -> Result<f32, OutOfMemory> {
        let first = bar(&self.seen.scores, self.seen.blocks_of(choice.first), &mut self.keys)?;
        self.choose(first, None)?;
        Ok(first)
    }

    /// Those come next that have not passed the first bar and may have rows among the best of what was `found`;
    /// whether there are any.
    fn choose_further(
        &mut self,
        choice: Choice,
        first: f32,
        found: &[f32],
    ) -> Result<bool, OutOfMemory> {
        if choice.most <= choice.first || first == NO_BAR {
            return Ok(false);
        }
        let most = bar(&self.seen.scores, self.seen.blocks_of(choice.most), &mut self.keys)?;
        let best = bar(found, choice.best, &mut self.keys)?;
        // Of rows of which nothing is known nothing follows.
        let best = if best == UNKNOWN { NO_BAR } else { best };
        let further = most.max(best - choice.margin * self.seen.reach());
        self.choose(further, Some(first))?;
        Ok(!self.next.is_empty())
    }

    /// The blocks with these scores, from the least on and below another, come next.
    fn choose(&mut self, least: f32, below: Option<f32>) -> Result<(), OutOfMemory> {
        let is_chosen =
            |score: &&f32| **score >= least && below.is_none_or(|below| **score < below);
        let chosen = self.seen.scores.iter().filter(is_chosen).count();
        self.next.clear();
        mrl_memory::reserve(&mut self.next, chosen)?;
        let places = self.seen.scores.iter().enumerate();
        self.next.extend(places.filter(|(_, score)| is_chosen(score)).map(|(place, _)| place));
        Ok(())
    }

    /// Scores the rows of the blocks that come next; returns how many.
    fn score<S: PageStore>(
        &mut self,
        store: &S,
        directory: &Directory,
        query: &Query,
    ) -> Result<u64, S::Error> {
        let chosen = self.next.len();
        mrl_memory::extend(&mut self.chosen, &self.next)?;
        mrl_memory::reserve(&mut self.scores, chosen)?;
        if query.divides() {
            mrl_memory::reserve(&mut self.inverse_lengths, chosen)?;
        }
        mrl_memory::reserve(&mut self.tids, chosen * TID_BYTES * ROWS)?;
        mrl_memory::reserve(&mut self.scales, chosen * query.layers())?;
        let (shape, seen) = (&directory.encoder.shape, &self.seen);
        let (tids, scales) = (&mut self.tids, &mut self.scales);
        let (needed, expected) = match query.is_leading() {
            true => (shape.row.leading_end(), shape.row.leading_end()),
            false => (shape.block_bytes, FIRST_BYTES),
        };
        let (mut scored, mut held) = (0, Held::default());
        for (i, place) in self.next.iter().enumerate() {
            seen.expect_ahead(store, shape, &self.next, i, expected);
            let block = seen.blocks[*place];
            let mut scores = [NOTHING; ROWS];
            let mut inverse_lengths = [1.0; ROWS];
            seen.with_rows(store, directory, (block, needed), &mut held, |rows| {
                inverse_lengths = query.inverse_lengths(rows.records);
                let bases = seen.bases(block, rows);
                query.score_rows(rows.records, &bases, &inverse_lengths, usize::MAX, &mut scores);
                tids.extend_from_slice(rows.tids());
                scales.extend((0..query.layers()).map(|layer| *rows.records.scales(layer)));
            })?;
            // Damage may have made scores no numbers: nothing is known of such rows, so they go on.
            let mut odd = !mrl_kernels::at_least(&scores, NO_BAR);
            while odd != 0 {
                scores[odd.trailing_zeros() as usize] = UNKNOWN;
                odd &= odd - 1;
            }
            scores = only(block.rows, scores);
            scored += u64::from(block.rows.count_ones());
            self.scores.push(scores);
            if query.divides() {
                self.inverse_lengths.push(inverse_lengths);
            }
        }
        Ok(scored)
    }

    /// About `most` rows, those with the best scores, go on: they wait for their exact distances, by their
    /// estimate plus `epsilon` deviations of its error.
    pub fn finish(
        &mut self,
        shape: &Shape,
        query: &Query,
        (known, probed): (&Known, &mut [Probed]),
        most: usize,
        epsilon: f32,
    ) -> Result<Vec<Waiting>, OutOfMemory> {
        let bar = bar(self.scores.as_flattened(), most, &mut self.keys)?;
        let mut waiting = Vec::new();
        self.squared_errors.clear();
        for (i, (place, scores)) in self.chosen.iter().zip(&self.scores).enumerate() {
            let chosen = mrl_kernels::at_least(scores, bar);
            if chosen == 0 {
                continue;
            }
            let block = self.seen.blocks[*place];
            let group = self.seen.group(block);
            let count = chosen.count_ones() as usize;
            mrl_memory::reserve(&mut waiting, count)?;
            mrl_memory::reserve(&mut self.squared_errors, count)?;
            let first = waiting.len();
            let tids = &self.tids[i * TID_BYTES * ROWS..][..TID_BYTES * ROWS];
            let scales = &self.scales[i * query.layers()..][..query.layers()];
            for row in bits(chosen) {
                let slot = block.index as usize * ROWS + row;
                let copy = self.seen.copy_page(group, slot, shape);
                let inverse_length = self.inverse_lengths.get(i).map_or(1.0, |all| all[row]);
                let tid = rows::get_tid(&tids[TID_BYTES * row..]);
                waiting.push(Waiting { upper: scores[row], tid, copy, slot: slot as u16 });
                let squared = query.squared_error(scales, row);
                self.squared_errors.push(squared * inverse_length * inverse_length);
            }
            let mut with_references = chosen & block.referenced;
            while let Some(row) = bits(with_references).next()
                && let Some(references) = known.references.get(&group.list)
            {
                with_references &= with_references - 1;
                let before = ones_below(chosen, row);
                let (own, squared) = (waiting[first + before], self.squared_errors[first + before]);
                let slot = block.index as usize * ROWS + row;
                let number = (group.ordinal * shape.group_rows + slot) as u64;
                let start = references.partition_point(|(row, _)| u64::from(*row) < number);
                let more = references[start..].iter();
                let more = more.take_while(|(row, _)| u64::from(*row) == number);
                for (_, tid) in more.filter(|(_, tid)| *tid != own.tid) {
                    mrl_memory::push(&mut waiting, Waiting { tid: *tid, ..own })?;
                    mrl_memory::push(&mut self.squared_errors, squared)?;
                }
            }
            let number = block_number(group.ordinal, block.index as usize, shape);
            let probed = &mut probed[group.probed];
            probed.add_gone(number, chosen & block.rows)?;
            probed.left = probed.left.saturating_sub((chosen & block.rows).count_ones() as usize);
        }
        // Roots take long, one after another; of all rows at once they overlap.
        for (row, squared) in waiting.iter_mut().zip(&self.squared_errors) {
            row.upper += epsilon.min(f32::MAX) * squared.sqrt();
            // What is damaged or unknown is looked at; without a bound on the error everything is.
            if row.upper.is_nan() || epsilon == f32::INFINITY {
                row.upper = f32::INFINITY;
            }
        }
        Ok(waiting)
    }
}

/// The scores of some rows, those of the others made [`NOTHING`].
fn only(rows: u32, mut scores: [f32; ROWS]) -> [f32; ROWS] {
    for absent in bits(!rows) {
        scores[absent] = NOTHING;
    }
    scores
}

/// The greatest of some scores, which may be no numbers. In an order that vectors can follow.
fn greatest(scores: &[f32; ROWS]) -> f32 {
    let mut greatest = *scores;
    for half in [16, 8, 4, 2, 1] {
        let (into, from) = greatest.split_at_mut(half);
        for (a, b) in into.iter_mut().zip(from) {
            *a = if *b > *a { *b } else { *a };
        }
    }
    greatest[0]
}

/// The places of the bits that are 1.
fn bits(mut word: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = (word != 0).then_some(word.trailing_zeros() as usize);
        word &= word.wrapping_sub(1);
        place
    })
}

/// How many bits below a place are 1.
fn ones_below(word: u32, place: usize) -> usize {
    (word & ((1 << place) - 1)).count_ones() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by the fuzz target `split`: a score without bounds kept a block from ever being chosen, and so a scan
    /// to the last row from ending.
    #[test]
    fn a_score_without_bounds_is_the_best() {
        let mut round = Round::default();
        round.seen.scores = vec![0.0, f32::INFINITY, UNKNOWN, NOTHING];
        round.choose(NO_BAR, None).unwrap();
        assert_eq!(round.next, [0, 1, 2]);
        round.choose(0.0, Some(UNKNOWN)).unwrap();
        assert_eq!(round.next, [0]);
    }
}
