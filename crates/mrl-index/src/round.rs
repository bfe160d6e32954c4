//! One round of a scan: of every row of the probed lists layer 0 is scored; the best go on (the funnel), and
//! of these the later layers are scored too, which gives an estimate and the deviation of its error.
//!
//! Depends on pages and the query; [`crate::scan`] decides which lists and how many rows.

use std::collections::HashMap;

use crate::block::ROWS;
use crate::directory::Directory;
use crate::group::{self, Group, References, RowEntry, Tid, wide};
use crate::page::{self, Block, Kind, ListId, NONE, damaged};
use crate::query::Query;
use crate::queue::Waiting;
use crate::store::PageStore;

/// The score of a row that is not there, or has gone on before: less than any bar.
const NOTHING: f32 = f32::NEG_INFINITY;
/// The bar that every row passes.
pub(crate) const NO_BAR: f32 = f32::MIN;
/// Rows whose memory is asked for ahead of their turn.
const ROWS_AHEAD: usize = 8;
/// Bytes of a page that are asked for before it is read: the processor notices the rest by itself.
const BYTES_AHEAD: usize = 1024;

/// What a scan knows of the lists that it has looked into.
#[derive(Default)]
pub(crate) struct Known {
    /// The references of lists that have any: row and TID, in order.
    pub references: HashMap<ListId, Vec<(u16, Tid)>>,
    /// Each frame's share of the scores of its rows.
    bases: HashMap<ListId, f32>,
}

impl Known {
    fn base<S: PageStore>(
        &mut self,
        store: &S,
        directory: &Directory,
        query: &Query,
        frame: ListId,
    ) -> Result<f32, S::Error> {
        if let Some(base) = self.bases.get(&frame) {
            return Ok(*base);
        }
        let base = query.base(&directory.frame(store, frame)?);
        self.bases.insert(frame, base);
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
    groups: Vec<Seen>,
    pointers: Vec<Block>,
    /// How many rows were scored.
    pub scored: u64,
}

impl Round {
    /// Scores the rows of a list by layer 0, but not those that went on in a former round: the scores of at
    /// least `taken_to`.
    pub fn score_list<S: PageStore>(
        &mut self,
        store: &S,
        directory: &Directory,
        query: &Query,
        known: &mut Known,
        list: ListId,
        taken_to: Option<f32>,
    ) -> Result<(), S::Error> {
        let shape = &directory.encoder.shape;
        let head = directory.entries[list as usize].head;
        let mut block = head;
        let mut left = store.block_count()?;
        while block != NONE {
            store.check_interrupts()?;
            left = left.checked_sub(1).ok_or(damaged(block, "a chain of pages has no end"))?;
            let mut body = store.read(block)?;
            let mut group = Group::new(&body, block, list, shape)?;
            if block == head && group.references() != NONE && !known.references.contains_key(&list)
            {
                // References first: vacuum may put one in its row's place, and never the reverse.
                let newest = group.references();
                drop(body);
                let mut references = read_references(store, list, newest)?;
                references.sort_unstable();
                known.references.insert(list, references);
                body = store.read(block)?;
                group = Group::new(&body, block, list, shape)?;
            }
            block = page::next(&body);
            store.expect(block, 0, BYTES_AHEAD);
            self.score_group(store, directory, query, known, group, list, taken_to)?;
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
    ) -> Result<(), S::Error> {
        let shape = group.shape;
        self.groups.push(Seen {
            list,
            ordinal: group.ordinal(),
            first_block: self.referenced.len(),
            pointers: self.pointers.len(),
        });
        self.pointers.extend((0..shape.row_pages).map(|i| group.row_page(i)));
        self.pointers.extend((0..shape.copy_pages).map(|i| group.copy_page(i)));
        let mut frame = None;
        for i in 0..group.blocks() {
            let rows = group.block(i);
            // Of the last block fewer rows may belong to a group than a block has.
            let live = rows.live() & group::mask_below(shape.group_rows - i * ROWS);
            self.scored += u64::from(live.count_ones());
            let mut scores = [NOTHING; ROWS];
            if live != 0 {
                let base = match frame {
                    Some((id, base)) if id == rows.frame() => base,
                    _ => known.base(store, directory, query, rows.frame())?,
                };
                frame = Some((rows.frame(), base));
                query.score_block(rows, base, &mut scores);
                let gone = taken_to.map_or(0, |bar| mrl_kernels::at_least(&scores, bar));
                let mut absent = !live | gone;
                while absent != 0 {
                    scores[absent.trailing_zeros() as usize] = NOTHING;
                    absent &= absent - 1;
                }
            }
            self.scores.extend_from_slice(&scores);
            self.scales.extend_from_slice(rows.scales());
            if query.divides() {
                let inverse = (0..ROWS).map(|row| query.inverse_length(rows, row));
                self.inverse_lengths.extend(inverse);
            }
            self.referenced.push(rows.referenced());
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
    pub fn at_least(&self, bar: f32) -> Vec<u32> {
        let mut chosen = Vec::with_capacity(1024);
        let (blocks, _) = self.scores.as_chunks::<ROWS>();
        for (i, scores) in blocks.iter().enumerate() {
            let mut mask = mrl_kernels::at_least(scores, bar);
            while mask != 0 {
                chosen.push((i * ROWS) as u32 + mask.trailing_zeros());
                mask &= mask - 1;
            }
        }
        chosen
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
        let mut waiting = Vec::with_capacity(chosen.len());
        let runs = Runs { round: self, rows_on_page: shape.rows_on_page, rest: chosen, group: 0 };
        let mut runs = runs.peekable();
        while let Some((group, index, rows)) = runs.next() {
            store.check_interrupts()?;
            let seen = &self.groups[group];
            let slot_of = |place: u32| place as usize - seen.first_block * ROWS;
            let pointers = &self.pointers[seen.pointers..];
            let block = pointers[index];
            let body = store.read(block)?;
            page::expect(&body, block, Kind::Rows, seen.list)?;
            if let Some((group, index, rows)) = runs.peek() {
                let seen = &self.groups[*group];
                let block = self.pointers[seen.pointers + index];
                for place in rows.iter().take(ROWS_AHEAD) {
                    let slot = *place as usize - seen.first_block * ROWS;
                    store.expect(block, group::entry_offset(slot, shape), shape.entry_bytes);
                }
            }
            for (i, place) in rows.iter().enumerate() {
                if let Some(later) = rows.get(i + ROWS_AHEAD) {
                    let start = group::entry_offset(slot_of(*later), shape);
                    mrl_kernels::prefetch(body[start..].as_ptr(), shape.entry_bytes);
                }
                let slot = slot_of(*place);
                let entry = RowEntry::of(&body, slot, shape);
                let upper = self.upper(query, entry, *place as usize, epsilon);
                let copy = match shape.keeps_copies() {
                    true => pointers[shape.row_pages + slot / shape.copies_on_page],
                    false => NONE,
                };
                let row = Waiting { upper, tid: entry.tid(), copy, slot: slot as u16 };
                waiting.push(row);
                let marks = self.referenced[*place as usize / ROWS];
                if marks >> (*place as usize % ROWS) & 1 == 1
                    && let Some(references) = known.references.get(&seen.list)
                {
                    let number = (seen.ordinal * shape.group_rows + slot) as u64;
                    let first = references.partition_point(|(row, _)| u64::from(*row) < number);
                    let own = references[first..].iter();
                    let own = own.take_while(|(row, _)| u64::from(*row) == number);
                    let others = own.filter(|(_, tid)| *tid != row.tid);
                    waiting.extend(others.map(|(_, tid)| Waiting { tid: *tid, ..row }));
                }
            }
        }
        Ok(waiting)
    }

    /// The most that a row's score may be.
    #[inline]
    fn upper(&self, query: &Query, entry: RowEntry, place: usize, epsilon: f32) -> f32 {
        if epsilon == f32::INFINITY {
            return epsilon;
        }
        let later = query.later(entry);
        let leading = query.leading_error_squared(wide(self.scales[place]));
        let more = later.value + epsilon * (leading + later.squared_error).sqrt();
        let inverse_length = self.inverse_lengths.get(place).copied().unwrap_or(1.0);
        let upper = self.scores[place] + inverse_length * more;
        // What is damaged or unknown is looked at.
        if upper.is_nan() { f32::INFINITY } else { upper }
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
    let mut left = store.block_count()?;
    while block != NONE {
        store.check_interrupts()?;
        left = left.checked_sub(1).ok_or(damaged(block, "a chain of pages has no end"))?;
        let body = store.read(block)?;
        all.extend(References::new(&body, block, list)?.iter());
        block = page::next(&body);
    }
    Ok(all)
}
