//! One round of a scan: of every block of the probed lists the summary is scored; of the best blocks (the
//! funnel) all rows' codes are, and of these the best rows go on to their exact distances.
//!
//! How many blocks are looked into depends on what is found: first a few of the best are, and then those that may
//! have rows among the best of these.
//!
//! Depends on pages and the query; [`crate::scan`] decides which lists, and about how many blocks and rows.

use mrl_memory::OutOfMemory;

use crate::codes::block::ROWS;
use crate::pages::group::Tid;
use crate::pages::rows;
use crate::pages::shape::{Shape, TID_BYTES};
use crate::pages::store::PageStore;
use crate::scan::order::{self, NO_BAR, bar};
use crate::scan::probed::{Known, Probed, Search};
use crate::scan::query::UNKNOWN;
use crate::scan::queue::Waiting;
use crate::scan::seen::{Held, NOTHING, Next, Seen, bits, block_number, bytes_of, prefetch_ahead};
use crate::scan::tuning::{self, Funnel};

/// Which blocks are looked into: first the best by their summaries, then others, by what is found in the first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    /// Rows of the blocks that are looked into first, about.
    pub first: usize,
    /// Which rows found there the others are measured by: the so many best.
    pub best: usize,
    /// By how much less than the least of these rows a block's score may be, in reaches (see [`Seen::reach`]).
    pub margin: f32,
    /// Rows of all blocks that are looked into, about, at most.
    pub most: usize,
}

impl Choice {
    /// Some of the best ones, and of the others those that come near to what is found there: were all queries alike,
    /// about so many `rows` are scored.
    pub fn by_what_is_found(rows: usize, funnel: Funnel, thoroughness: f64, caution: f64) -> Self {
        let rows = rows as f64;
        Self {
            first: (rows * funnel.first) as usize,
            best: tuning::BEST_ROWS,
            margin: (funnel.margin * thoroughness * caution) as f32,
            most: (rows * tuning::MOST_PARTS * caution.max(1.0)) as usize,
        }
    }

    /// The best ones, which have about so many rows, whatever is found in them.
    pub fn of(rows: usize) -> Self {
        Self { first: rows, margin: 0.0, best: 0, most: rows }
    }
}

/// Which blocks are looked into after the first, by what was found in these.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Further {
    /// Their scores are at least the one and less than the other.
    least: f32,
    below: f32,
    /// The score that the best rows found have, and the least with which a row may go on.
    best: f32,
    least_row: f32,
}

/// How many rows of a round go on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GoOn {
    /// About so many, with those that have before.
    pub rows: usize,
    /// After further parts of them at most so many.
    pub most: usize,
    /// By their estimates plus so many deviations of the error.
    pub epsilon: f32,
}

/// The rows of a round that have not gone on, and may.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest {
    /// Their scores may be as great as this, by as many deviations as count.
    pub upper: f32,
    /// What goes on next.
    pub next: GoOn,
}

/// What is kept, while its page is at hand, of a block of whose rows some may go on.
#[derive(Debug, Clone, Copy)]
struct Scored {
    /// Its place among the blocks that the round has seen.
    place: u32,
    /// Its rows' TIDs, as they lie there.
    tids: [u8; TID_BYTES * ROWS],
}

/// The blocks of a round, and what is known of their rows. One round after another uses the same memory.
#[derive(Default)]
pub(crate) struct Round {
    pub seen: Seen,
    /// Blocks that are looked into next.
    next: Vec<Next>,
    scored: Vec<Scored>,
    /// Of each of them: its rows' scores, and the squared deviations of their errors.
    scores: Vec<[f32; ROWS]>,
    squared_errors: Vec<[f32; ROWS]>,
    /// Blocks were left out of which all rows have scores less than this; [`NO_BAR`] where none was.
    dropped: f32,
}

impl Round {
    /// Begins anew, in the memory that it has.
    pub fn clear(&mut self) {
        self.seen.clear();
        self.scored.clear();
        self.scores.clear();
        self.squared_errors.clear();
        self.dropped = NO_BAR;
    }

    /// About how many bytes it has.
    pub fn bytes(&self) -> usize {
        let scores = bytes_of(&self.scores) + bytes_of(&self.squared_errors);
        self.seen.bytes() + bytes_of(&self.next) + bytes_of(&self.scored) + scores
    }

    /// Scores the rows of the blocks that are looked into whatever is found, of which about `most` will go on. Returns
    /// how many, and which blocks come then.
    pub fn score_first<S: PageStore>(
        &mut self,
        search: &Search<S>,
        choice: Choice,
        most: usize,
    ) -> Result<(u64, Option<Further>), S::Error> {
        let blocks = [choice.most, choice.first].map(|rows| self.seen.blocks_of(rows));
        let [furthest, first] = order::bars(self.seen.scores.as_flattened(), blocks);
        self.seen.choose(search.shape(), first, None, &mut self.next)?;
        let scored = self.score(search, NO_BAR)?;
        if choice.most <= choice.first || first == NO_BAR {
            return Ok((scored, None));
        }
        // A row that is not among the best of some is not among those of more; a further part of them may go on too.
        let rows = [most.saturating_mul(tuning::MORE_GO_ON).max(choice.best), choice.best];
        let [least_row, best] = order::bars(self.scores.as_flattened(), rows);
        // Of rows of which nothing is known nothing follows.
        let best = if best == UNKNOWN { NO_BAR } else { best };
        let least = furthest.max(best - choice.margin * self.seen.reach());
        Ok((scored, Some(Further { least, below: first, best, least_row })))
    }

    /// The best rows of the first blocks.
    pub fn best_of_first(&self, further: Further) -> impl Iterator<Item = Tid> {
        let blocks = self.scored.iter().zip(&self.scores).filter(move |_| further.best > NO_BAR);
        blocks.flat_map(move |(scored, scores)| {
            let best = bits(mrl_kernels::at_least(scores, further.best));
            best.map(|row| rows::get_tid(&scored.tids[TID_BYTES * row..]))
        })
    }

    /// Scores the rows of the blocks that come then; returns how many.
    pub fn score_further<S: PageStore>(
        &mut self,
        search: &Search<S>,
        further: Further,
    ) -> Result<u64, S::Error> {
        let Further { least, below, .. } = further;
        self.seen.choose(search.shape(), least, Some(below), &mut self.next)?;
        self.score(search, further.least_row)
    }

    /// Scores the rows of the blocks that come next, and keeps what is needed of those that have one with `least` or
    /// more; returns how many.
    fn score<S: PageStore>(&mut self, search: &Search<S>, least: f32) -> Result<u64, S::Error> {
        let (query, shape) = (search.query, search.shape());
        let needed = match query.is_leading() {
            true => shape.row.leading_end(),
            false => shape.block_bytes,
        };
        let (mut scored, mut held, mut squared_errors) = (0, Held::default(), [0.0; ROWS]);
        let mut dropped = self.dropped;
        for (i, next) in self.next.iter().enumerate() {
            prefetch_ahead(search.store, &self.next, i, needed);
            mrl_memory::reserve(&mut self.scored, 1)?;
            mrl_memory::reserve(&mut self.scores, 1)?;
            mrl_memory::reserve(&mut self.squared_errors, 1)?;
            let (seen, place) = (&self.seen, next.place);
            seen.with_rows(search, (*next, needed), &mut held, |block, rows| {
                let mut scores = seen.bases(block, rows);
                query.score_rows(rows.records, usize::MAX, &mut scores, &mut squared_errors);
                // Damage may have made scores no numbers: nothing is known of such rows, so they go on.
                let odd = !mrl_kernels::at_least(&scores, NO_BAR);
                bits(odd).for_each(|row| scores[row] = UNKNOWN);
                bits(!block.rows).for_each(|row| scores[row] = NOTHING);
                scored += u64::from(block.rows.count_ones());
                if least == NO_BAR || mrl_kernels::at_least(&scores, least) != 0 {
                    self.scored.push(Scored { place, tids: *rows.tids() });
                    self.scores.push(scores);
                    self.squared_errors.push(squared_errors);
                } else {
                    dropped = least;
                }
            })?;
        }
        self.dropped = dropped;
        Ok(scored)
    }

    /// The rows with the best scores go on, less those that have before: they wait for their exact distances. Returns the
    /// others too, if there are any.
    pub fn finish<S: PageStore>(
        &mut self,
        search: &Search<S>,
        known: &Known,
        probed: &mut [Probed],
        go_on: GoOn,
    ) -> Result<(Vec<Waiting>, Option<Rest>), S::Error> {
        /// Blocks, and rows, after which it is asked whether the work is to end: there may be millions.
        const BLOCKS_A_PAUSE: usize = 64;
        const ROWS_A_PAUSE: usize = 1 << 16;
        let shape = search.shape();
        let GoOn { rows, most, epsilon } = go_on;
        let bar = bar(self.scores.as_flattened(), rows);
        let mut equal = self.room_for_equal(bar, rows);
        let are_equal = equal < usize::MAX;
        let mut going_on = GoingOn::default();
        for place in 0..self.scored.len() {
            if place.is_multiple_of(BLOCKS_A_PAUSE) {
                search.store.check_interrupts()?;
            }
            let scores = &self.scores[place];
            let mut chosen = mrl_kernels::at_least(scores, bar);
            if chosen != 0 {
                chosen &= !self.gone(place, probed, shape);
            }
            if are_equal {
                for row in bits(chosen & !mrl_kernels::at_least(scores, bar.next_up())) {
                    if equal == 0 {
                        chosen &= !(1 << row);
                    }
                    equal = equal.saturating_sub(1);
                }
            }
            if chosen != 0 {
                self.go_on(place, chosen, shape, known, probed, &mut going_on)?;
            }
        }
        let GoingOn { mut waiting, squared_errors } = going_on;
        let squared_error = squared_errors.iter().sum::<f32>() / squared_errors.len().max(1) as f32;
        let upper = bar.max(self.dropped) + epsilon * squared_error.sqrt();
        let next = GoOn { rows: rows.saturating_mul(tuning::MORE_GO_ON), ..go_on };
        // Many that are equal are no nearer than those of them that go on. Of no number nothing follows, and where nothing
        // has gone on nothing more will. Beyond what was dropped the best are not known any more.
        let is_known = bar > NO_BAR && bar >= self.dropped;
        let may = is_known && upper.is_finite() && !waiting.is_empty() && next.rows <= most;
        let rest = (may && !are_equal).then_some(Rest { upper, next });
        let both = waiting.chunks_mut(ROWS_A_PAUSE).zip(squared_errors.chunks(ROWS_A_PAUSE));
        for (rows, squared_errors) in both {
            search.store.check_interrupts()?;
            // Roots take long, one after another; of many rows at once they overlap.
            for (row, squared) in rows.iter_mut().zip(squared_errors) {
                row.upper += epsilon.min(f32::MAX) * squared.sqrt();
                // What is damaged or unknown is looked at; without a bound on the error everything is.
                if row.upper.is_nan() || epsilon == f32::INFINITY {
                    row.upper = f32::INFINITY;
                }
            }
        }
        Ok((waiting, rest))
    }

    /// How many of the rows whose score is the bar itself go on: where they are many, as those of equal vectors are, no
    /// more than the others leave room for. The rest is found by later rounds.
    fn room_for_equal(&self, bar: f32, most: usize) -> usize {
        let passing = |bar| mrl_kernels::count_at_least(self.scores.as_flattened(), bar) as usize;
        match bar == NO_BAR || passing(bar) <= most.saturating_mul(2) {
            true => usize::MAX,
            false => most.saturating_sub(passing(bar.next_up())).max(1),
        }
    }

    /// Those of the rows of a scored block that have gone on.
    fn gone(&self, place: usize, probed: &[Probed], shape: &Shape) -> u32 {
        let block = self.seen.block(self.scored[place].place);
        let group = self.seen.group(block);
        let number = block_number(group.ordinal, block.index as usize, shape);
        probed[group.probed].gone(number)
    }

    /// Lets the chosen rows of a scored block go on, with their references.
    fn go_on(
        &self,
        place: usize,
        chosen: u32,
        shape: &Shape,
        known: &Known,
        probed: &mut [Probed],
        to: &mut GoingOn,
    ) -> Result<(), OutOfMemory> {
        let scored = &self.scored[place];
        let block = self.seen.block(scored.place);
        let group = self.seen.group(block);
        let count = chosen.count_ones() as usize;
        mrl_memory::reserve(&mut to.waiting, count)?;
        mrl_memory::reserve(&mut to.squared_errors, count)?;
        let first = to.waiting.len();
        for row in bits(chosen) {
            let slot = block.index as usize * ROWS + row;
            let copy = self.seen.copy_page_of(group, slot, shape);
            let tid = rows::get_tid(&scored.tids[TID_BYTES * row..]);
            let (upper, list) = (self.scores[place][row], group.list);
            to.waiting.push(Waiting { upper, tid, copy, slot: slot as u16, list });
            to.squared_errors.push(self.squared_errors[place][row]);
        }
        let number = block_number(group.ordinal, block.index as usize, shape);
        // A list without references has none of its rows' either.
        if let Some(references) = known.references.get(&group.list) {
            for (nth, row) in bits(chosen).enumerate() {
                let (own, squared) = (to.waiting[first + nth], to.squared_errors[first + nth]);
                for tid in references.of(number * ROWS + row).filter(|tid| *tid != own.tid) {
                    mrl_memory::push(&mut to.waiting, Waiting { tid, ..own })?;
                    mrl_memory::push(&mut to.squared_errors, squared)?;
                }
            }
        }
        let probed = &mut probed[group.probed];
        probed.add_gone(number, chosen & block.rows)?;
        probed.left = probed.left.saturating_sub((chosen & block.rows).count_ones() as usize);
        Ok(())
    }
}

/// Rows that go on, with their estimates, and the squared deviations of these.
#[derive(Default)]
struct GoingOn {
    waiting: Vec<Waiting>,
    squared_errors: Vec<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::records::LANES;

    /// Found by the fuzz target `split`: a score without bounds kept a block from ever being chosen, and so a scan
    /// to the last row from ending.
    #[test]
    fn a_score_without_bounds_is_the_best() {
        let mut scores = [NOTHING; LANES];
        scores[..3].copy_from_slice(&[0.0, f32::INFINITY, UNKNOWN]);
        let seen = Seen::of(scores);
        let chosen = |least, below| {
            let (shape, mut next) = (Shape::new(64, false), Vec::new());
            seen.choose(&shape, least, below, &mut next).unwrap();
            next.into_iter().map(|next| next.place).collect::<Vec<_>>()
        };
        assert_eq!(chosen(NO_BAR, None), [0, 1, 2]);
        assert_eq!(chosen(0.0, Some(UNKNOWN)), [0]);
    }
}
