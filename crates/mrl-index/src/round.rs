//! One round of a scan: of every row of the probed lists layer 0 is scored; the best go on (the funnel), and
//! of these the later layers are scored too, which gives an estimate and the deviation of its error.
//!
//! Depends on pages and the query; [`crate::scan`] decides which lists and how many rows.

use std::collections::HashMap;

use mrl_memory::OutOfMemory;

use crate::block::ROWS;
use crate::directory::Directory;
use crate::group::{self, Group, References, RowEntry, Tid, wide};
use crate::page::{self, Block, Kind, ListId, NONE};
use crate::query::{Base, Query, UNKNOWN};
use crate::queue::Waiting;
use crate::store::{PageStore, Steps};

/// The score of a row that is not there, or has gone on before: less than any bar.
const NOTHING: f32 = f32::NEG_INFINITY;
/// The bar that every row passes.
pub(crate) const NO_BAR: f32 = f32::MIN;
/// Row pages whose rows are asked for ahead of their turn: finding where a page lies takes as long as
/// fetching some of it.
const PAGES_AHEAD: usize = 3;
/// Blocks of 32 rows whose memory is asked for ahead of their turn.
const BLOCKS_AHEAD: usize = 3;

/// What a scan knows of the lists that it has looked into.
#[derive(Default)]
pub(crate) struct Known {
    /// The references of lists that have any: row and TID, in order.
    pub references: HashMap<ListId, Vec<(u16, Tid)>>,
    /// What each frame gives for the query.
    bases: HashMap<ListId, Base>,
}

impl Known {
    fn base<S: PageStore>(
        &mut self,
        store: &S,
        directory: &Directory,
        query: &Query,
        frame: ListId,
    ) -> Result<Base, S::Error> {
        if let Some(base) = self.bases.get(&frame) {
            return Ok(*base);
        }
        let base = query.base(&directory.frame(store, frame)?);
        mrl_memory::insert(&mut self.bases, frame, base)?;
        Ok(base)
    }
}

/// A group that the round has seen.
#[derive(Debug, Clone, Copy)]
struct Seen {
    list: ListId,
    ordinal: usize,
    /// Its first block of rows among the round's.
    first_block: usize,
    /// Its row pages, then copy pages, from here on among the round's pointers.
    pointers: usize,
}

/// The rows of a round, 32 to a block, in the order in which they were read.
#[derive(Default)]
pub(crate) struct Round {
    /// Scores by layer 0.
    scores: Vec<f32>,
    /// Scales of layer 0, bfloat16s.
    scales: Vec<[u8; 2]>,
    /// Inverse lengths, where the query divides by them.
    inverse_lengths: Vec<f32>,
    /// Of each block: who has references.
    referenced: Vec<u32>,
    /// Of each block: by what the scores, before they are divided by the rows' lengths, are greater than
    /// layer 0 and the frame alone make them. Rows that came from another list in a split have codes against its
    /// frame, and of the dimensions that layer 0 lacks the own list's centre tells more.
    shifts: Vec<f32>,
    groups: Vec<Seen>,
    pointers: Vec<Block>,
    /// How many rows were scored.
    pub scored: u64,
}

impl Round {
    /// Scores the rows of a list by layer 0, but not those that went on in a former round: the scores of at
    /// least `taken_to`. `following` is the page that will be read after the list.
    #[allow(clippy::too_many_arguments)]
    pub fn score_list<S: PageStore>(
        &mut self,
        store: &S,
        directory: &Directory,
        query: &Query,
        known: &mut Known,
        list: ListId,
        taken_to: Option<f32>,
        following: Block,
    ) -> Result<(), S::Error> {
        let shape = &directory.encoder.shape;
        let head = directory.entries[list as usize].head;
        let mut block = head;
        let mut steps = Steps::default();
        while block != NONE {
            steps.step(store, block)?;
            let mut body = store.read(block)?;
            let mut group = Group::new(&body, block, list, shape)?;
            if block == head && group.references() != NONE && !known.references.contains_key(&list)
            {
                // References first: vacuum may put one in its row's place, and never the reverse.
                let newest = group.references();
                drop(body);
                let mut references = read_references(store, list, newest)?;
                references.sort_unstable();
                mrl_memory::insert(&mut known.references, list, references)?;
                body = store.read(block)?;
                group = Group::new(&body, block, list, shape)?;
            }
            block = page::next(&body);
            let next = if block == NONE { following } else { block };
            self.score_group(store, directory, query, known, group, list, taken_to, next)?;
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn score_group<S: PageStore>(
        &mut self,
        store: &S,
        directory: &Directory,
        query: &Query,
        known: &mut Known,
        group: Group,
        list: ListId,
        taken_to: Option<f32>,
        next: Block,
    ) -> Result<(), S::Error> {
        let shape = group.shape;
        let seen = Seen {
            list,
            ordinal: group.ordinal(),
            first_block: self.referenced.len(),
            pointers: self.pointers.len(),
        };
        mrl_memory::push(&mut self.groups, seen)?;
        mrl_memory::reserve(&mut self.pointers, shape.row_pages + shape.copy_pages)?;
        self.pointers.extend((0..shape.row_pages).map(|i| group.row_page(i)));
        self.pointers.extend((0..shape.copy_pages).map(|i| group.copy_page(i)));
        let own = known.base(store, directory, query, list)?;
        for i in 0..group.blocks() {
            match (i + BLOCKS_AHEAD).checked_sub(group.blocks()) {
                None => group.block(i + BLOCKS_AHEAD).expect(),
                Some(of_next) => {
                    let offset = shape.first_block + of_next * shape.block_bytes;
                    store.expect(next, offset, group::SCANNED_BYTES);
                }
            }
            let rows = group.block(i);
            // Of the last block fewer rows may belong to a group than a block has.
            let live = rows.live() & group::mask_below(shape.group_rows - i * ROWS);
            self.scored += u64::from(live.count_ones());
            let (mut scores, mut shift) = ([NOTHING; ROWS], 0.0);
            let inverse_lengths = query.inverse_lengths(rows);
            if live != 0 {
                let base = match rows.frame() {
                    frame if frame == list => own,
                    frame => known.base(store, directory, query, frame)?,
                };
                shift = own.later - base.later;
                query.score_block(rows, base.value + shift, &inverse_lengths, &mut scores);
                // Damage may have made scores no numbers: nothing is known of such rows, so they go on.
                let mut odd = !mrl_kernels::at_least(&scores, NOTHING);
                while odd != 0 {
                    scores[odd.trailing_zeros() as usize] = UNKNOWN;
                    odd &= odd - 1;
                }
                let gone = taken_to.map_or(0, |bar| mrl_kernels::at_least(&scores, bar));
                let mut absent = !live | gone;
                while absent != 0 {
                    scores[absent.trailing_zeros() as usize] = NOTHING;
                    absent &= absent - 1;
                }
            }
            mrl_memory::extend(&mut self.scores, &scores)?;
            mrl_memory::extend(&mut self.scales, rows.scales())?;
            if query.divides() {
                mrl_memory::extend(&mut self.inverse_lengths, &inverse_lengths)?;
            }
            mrl_memory::push(&mut self.referenced, rows.referenced())?;
            mrl_memory::push(&mut self.shifts, shift)?;
        }
        Ok(())
    }

    /// A score that about `most` rows have or surpass; [`NO_BAR`] where there are no more.
    ///
    /// It is that of a sample: how many go on need not be exact.
    pub fn bar(&self, most: usize) -> f32 {
        const SAMPLE: usize = 2048;
        // Odd, so that the sample comes from all places of blocks.
        let stride = (self.scores.len() / SAMPLE) | 1;
        let mut sample: Vec<f32> = self.scores.iter().step_by(stride).copied().collect();
        let rank = most / stride;
        if rank >= sample.len() {
            return NO_BAR;
        }
        let (_, bar, _) = sample.select_nth_unstable_by(rank, |a, b| b.total_cmp(a));
        // Damage may have made it no number.
        if bar.is_finite() { *bar } else { NO_BAR }
    }

    /// The rows that go on: their places among the round's.
    pub fn at_least(&self, bar: f32) -> Result<Vec<u32>, OutOfMemory> {
        let mut chosen = Vec::new();
        let (blocks, _) = self.scores.as_chunks::<ROWS>();
        for (i, scores) in blocks.iter().enumerate() {
            let mut mask = mrl_kernels::at_least(scores, bar);
            while mask != 0 {
                mrl_memory::push(&mut chosen, (i * ROWS) as u32 + mask.trailing_zeros())?;
                mask &= mask - 1;
            }
        }
        Ok(chosen)
    }

    /// Scores the later layers of rows that go on; they wait for their exact distances, by their
    /// estimate plus `epsilon` deviations of its error.
    pub fn finish<S: PageStore>(
        &self,
        store: &S,
        directory: &Directory,
        query: &Query,
        known: &Known,
        chosen: &[u32],
        epsilon: f32,
    ) -> Result<Vec<Waiting>, S::Error> {
        let shape = &directory.encoder.shape;
        let (mut waiting, mut deviations) = (Vec::new(), Vec::new());
        mrl_memory::reserve(&mut waiting, chosen.len())?;
        mrl_memory::reserve(&mut deviations, chosen.len())?;
        let runs = Runs { round: self, rows_on_page: shape.rows_on_page, rest: chosen, group: 0 };
        let runs = mrl_memory::collect(runs)?;
        let expect = |run: &(usize, usize, &[u32])| {
            let seen = &self.groups[run.0];
            let block = self.pointers[seen.pointers + run.1];
            for place in run.2 {
                let slot = *place as usize - seen.first_block * ROWS;
                store.expect(block, group::entry_offset(slot, shape), shape.entry_bytes);
            }
        };
        runs.iter().take(PAGES_AHEAD).for_each(expect);
        for (i, (group, index, rows)) in runs.iter().enumerate() {
            store.check_interrupts()?;
            runs.get(i + PAGES_AHEAD).into_iter().for_each(expect);
            let seen = &self.groups[*group];
            let pointers = &self.pointers[seen.pointers..];
            let block = pointers[*index];
            let body = store.read(block)?;
            page::expect(&body, block, Kind::Rows, seen.list)?;
            for place in *rows {
                let slot = *place as usize - seen.first_block * ROWS;
                let entry = RowEntry::of(&body, slot, shape);
                let (upper, squared) = match epsilon {
                    f32::INFINITY => (f32::INFINITY, 0.0),
                    _ => self.estimate(query, entry, *place as usize),
                };
                let copy = match shape.keeps_copies() {
                    true => pointers[shape.row_pages + slot / shape.copies_on_page],
                    false => NONE,
                };
                let row = Waiting { upper, tid: entry.tid(), copy, slot: slot as u16 };
                mrl_memory::push(&mut waiting, row)?;
                mrl_memory::push(&mut deviations, squared)?;
                let marks = self.referenced[*place as usize / ROWS];
                if marks >> (*place as usize % ROWS) & 1 == 1
                    && let Some(references) = known.references.get(&seen.list)
                {
                    let number = (seen.ordinal * shape.group_rows + slot) as u64;
                    let first = references.partition_point(|(row, _)| u64::from(*row) < number);
                    let own = references[first..].iter();
                    let own = own.take_while(|(row, _)| u64::from(*row) == number);
                    for (_, tid) in own.filter(|(_, tid)| *tid != row.tid) {
                        mrl_memory::push(&mut waiting, Waiting { tid: *tid, ..row })?;
                        mrl_memory::push(&mut deviations, squared)?;
                    }
                }
            }
        }
        // Roots take long, one after another; of all rows at once they overlap.
        for (row, squared) in waiting.iter_mut().zip(&deviations) {
            row.upper += epsilon.min(f32::MAX) * squared.sqrt();
            // What is damaged or unknown is looked at.
            if row.upper.is_nan() {
                row.upper = f32::INFINITY;
            }
        }
        Ok(waiting)
    }

    /// A row's score by all layers, and the squared deviation of its error.
    #[inline]
    fn estimate(&self, query: &Query, entry: RowEntry, place: usize) -> (f32, f32) {
        let later = query.later(entry);
        let leading = query.leading_error_squared(wide(self.scales[place]));
        let inverse_length = self.inverse_lengths.get(place).copied().unwrap_or(1.0);
        (
            self.scores[place] + inverse_length * (later.value - self.shifts[place / ROWS]),
            inverse_length * inverse_length * (leading + later.squared_error),
        )
    }
}

/// Rows that go on, cut where another row page begins: the group, the row page's number in it, the rows.
struct Runs<'a> {
    round: &'a Round,
    rows_on_page: usize,
    rest: &'a [u32],
    group: usize,
}

impl<'a> Iterator for Runs<'a> {
    type Item = (usize, usize, &'a [u32]);

    fn next(&mut self) -> Option<Self::Item> {
        let first = *self.rest.first()? as usize;
        let groups = &self.round.groups;
        while groups.get(self.group + 1).is_some_and(|next| next.first_block * ROWS <= first) {
            self.group += 1;
        }
        let start = groups[self.group].first_block * ROWS;
        let end_of_group =
            groups.get(self.group + 1).map_or(usize::MAX, |next| next.first_block * ROWS);
        let index = (first - start) / self.rows_on_page;
        let end = (start + (index + 1) * self.rows_on_page).min(end_of_group);
        let count = self.rest.iter().take_while(|place| (**place as usize) < end).count();
        let (rows, rest) = self.rest.split_at(count);
        self.rest = rest;
        Some((self.group, index, rows))
    }
}

/// All references of a list, from the newest page on.
pub fn read_references<S: PageStore>(
    store: &S,
    list: ListId,
    newest: Block,
) -> Result<Vec<(u16, Tid)>, S::Error> {
    let (mut all, mut block) = (Vec::new(), newest);
    let mut steps = Steps::default();
    while block != NONE {
        steps.step(store, block)?;
        let body = store.read(block)?;
        let references = References::new(&body, block, list)?;
        mrl_memory::reserve(&mut all, references.count())?;
        all.extend(references.iter());
        block = page::next(&body);
    }
    Ok(all)
}
