//! One round of a scan: of every block of the probed lists the summary is scored; of the best blocks (the
//! funnel) all rows' codes are, and of these the best rows go on to their exact distances.
//!
//! Depends on pages and the query; [`crate::scan`] decides which lists and how many blocks and rows.

use mrl_kernels::CodeScales;
use mrl_memory::OutOfMemory;

use crate::block::ROWS;
use crate::directory::Directory;
use crate::group::Group;
use crate::order::{NO_BAR, bar};
use crate::page::{self, Block, Kind, ListId, NONE};
use crate::probed::{Known, Probed};
use crate::query::{Query, UNKNOWN};
use crate::queue::Waiting;
use crate::references::read_references;
use crate::rows::{self, Rows};
use crate::shape::{Shape, TID_BYTES};
use crate::store::{PageStore, Steps};

/// The score of a row that is not there, or has gone on before: less than any bar.
const NOTHING: f32 = f32::NEG_INFINITY;
/// Blocks that are asked for ahead of their turn.
const BLOCKS_AHEAD: usize = 3;
/// Blocks whose pages are looked up at once, ahead of their turn: to find out where a page lies takes the processor long,
/// and it can do so for several at a time only if they are asked for one right after another.
const PAGES_AT_ONCE: usize = 16;
/// Of a block that is read whole so much is asked for: what follows the processor sees by itself.
const FIRST_BYTES: usize = 512;

/// A group that the round has seen.
#[derive(Debug, Clone, Copy)]
struct SeenGroup {
    list: ListId,
    /// The list's place among those probed.
    probed: usize,
    ordinal: usize,
    /// Its row pages, then copy pages, from here on among the round's pointers.
    pointers: usize,
    /// The shares of its frames in scores from here on among the round's, and how many there are.
    bases: usize,
    frames: usize,
}

/// A block that the round has seen.
#[derive(Debug, Clone, Copy)]
struct SeenBlock {
    group: u32,
    index: u32,
    /// The rows that are there and have not gone on.
    rows: u32,
    referenced: u32,
}

/// Where a block's bytes are: on the row page that was read last, or, from two pages, copied.
struct Held<'s, S: PageStore + 's> {
    page: Option<(Block, S::Page<'s>)>,
    copy: Vec<u8>,
}

impl<S: PageStore> Default for Held<'_, S> {
    fn default() -> Self {
        Self { page: None, copy: Vec::new() }
    }
}

/// The blocks of a round, in the order in which they were seen. One after another uses the same memory.
#[derive(Default)]
pub(crate) struct Round {
    /// The scores of their summaries.
    summaries: Vec<f32>,
    blocks: Vec<SeenBlock>,
    rows: usize,
    groups: Vec<SeenGroup>,
    pointers: Vec<Block>,
    bases: Vec<f32>,
    /// The blocks that were chosen: their places among the round's.
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
    /// Room for summaries that do not lie side by side as the kernels have them.
    room: Vec<u8>,
    /// Room for scores in order.
    keys: Vec<i32>,
}

impl Round {
    /// Begins anew, in the memory that it has.
    pub fn clear(&mut self) {
        self.rows = 0;
        self.summaries.clear();
        self.blocks.clear();
        self.groups.clear();
        self.pointers.clear();
        self.bases.clear();
        self.chosen.clear();
        self.scores.clear();
        self.inverse_lengths.clear();
        self.tids.clear();
        self.scales.clear();
    }

    /// About how many bytes it has.
    pub fn bytes(&self) -> usize {
        fn of<T>(vector: &Vec<T>) -> usize {
            vector.capacity() * size_of::<T>()
        }
        let seen = of(&self.summaries) + of(&self.blocks) + of(&self.groups) + of(&self.pointers);
        let scored = of(&self.scores) + of(&self.inverse_lengths) + of(&self.tids);
        seen + scored + of(&self.scales) + of(&self.chosen) + of(&self.squared_errors)
    }

    /// Scores the summaries of a list's blocks; unless `summarised` all count as equally good. `following` is the
    /// list that comes next.
    #[allow(clippy::too_many_arguments)]
    pub fn look_into<S: PageStore>(
        &mut self,
        store: &S,
        directory: &Directory,
        query: &Query,
        known: &mut Known,
        (place, probed): (usize, &mut Probed),
        summarised: bool,
        following: Option<ListId>,
    ) -> Result<(), S::Error> {
        let shape = &directory.encoder.shape;
        let list = probed.list;
        let head = directory.entries[list as usize].head;
        let own = known.base(store, directory, query, list)?;
        probed.left = 0;
        let mut block = head;
        let mut steps = Steps::default();
        if let Some(following) = following {
            directory.expect(store, following);
        }
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
            let seen = SeenGroup {
                list,
                probed: place,
                ordinal: group.ordinal(),
                pointers: self.pointers.len(),
                bases: self.bases.len(),
                frames: group.frames().iter().take_while(|frame| **frame != 0).count(),
            };
            for frame in &group.frames()[..seen.frames] {
                let base = match *frame {
                    frame if frame == list => own,
                    frame => known.base(store, directory, query, frame)?,
                };
                mrl_memory::push(&mut self.bases, base)?;
            }
            mrl_memory::reserve(&mut self.summaries, group.blocks())?;
            mrl_memory::reserve(&mut self.blocks, group.blocks())?;
            for number in 0..group.summaries_count() {
                let summaries = group.summaries(number, &mut self.room);
                let mut scores = [UNKNOWN; ROWS];
                if summarised {
                    query.score_summaries(summaries, own, &mut scores);
                }
                let first = number * shape.summary_lanes;
                let lanes = shape.summary_lanes.min(group.blocks() - first);
                for (lane, score) in scores[..lanes].iter().enumerate() {
                    let gone = probed.gone(block_number(seen.ordinal, first + lane, shape));
                    let rows = summaries.live(lane) & !gone;
                    if rows == 0 {
                        continue;
                    }
                    // Damage may have made it no number: nothing is known of such a block, so it is looked into.
                    self.summaries.push(if *score > NO_BAR { *score } else { UNKNOWN });
                    probed.left += rows.count_ones() as usize;
                    self.blocks.push(SeenBlock {
                        group: self.groups.len() as u32,
                        index: (first + lane) as u32,
                        rows,
                        referenced: summaries.referenced(lane),
                    });
                }
            }
            mrl_memory::push(&mut self.groups, seen)?;
            mrl_memory::reserve(&mut self.pointers, shape.row_pages + shape.copy_pages)?;
            self.pointers.extend((0..shape.row_pages).map(|i| group.row_page(i)));
            self.pointers.extend((0..shape.copy_pages).map(|i| group.copy_page(i)));
            block = page::next(&body);
        }
        self.rows += probed.left;
        Ok(())
    }

    /// How many rows the blocks have that were seen, but for those that have gone on.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Of the blocks with the best summaries, which have about `most` rows, exchanges the scores of these for those
    /// of the best row of each by layer 0, and gives up the others: where the leading dimensions hold most of a
    /// vector, they tell more.
    pub fn look_at_layer_0<S: PageStore>(
        &mut self,
        store: &S,
        directory: &Directory,
        query: &Query,
        most: usize,
    ) -> Result<(), S::Error> {
        let shape = &directory.encoder.shape;
        let most = self.blocks_of(most);
        let bar = bar(&self.summaries, most, &mut self.keys)?;
        let (mut looked_at, mut held) = (Vec::new(), Held::default());
        mrl_memory::reserve(&mut looked_at, self.blocks.len())?;
        for (place, score) in self.summaries.iter_mut().enumerate() {
            if *score >= bar {
                looked_at.push(place);
            } else {
                *score = NOTHING;
            }
        }
        let leading = shape.row.leading_end();
        for (i, place) in looked_at.iter().enumerate() {
            self.expect_ahead(store, shape, &looked_at, i, leading);
            let block = self.blocks[*place];
            let mut scores = [NOTHING; ROWS];
            self.with_rows(store, directory, (block, leading), &mut held, |rows| {
                let (bases, rows) = (self.bases(block, rows), rows.records);
                query.score_rows(rows, &bases, &query.inverse_lengths(rows), 1, &mut scores);
            })?;
            let best = greatest(&only(block.rows, scores));
            // Damage may have made all of them no numbers.
            self.summaries[*place] = if best > NO_BAR { best } else { UNKNOWN };
        }
        Ok(())
    }

    /// How many of the blocks have so many rows.
    fn blocks_of(&self, rows: usize) -> usize {
        let blocks = rows as u128 * self.blocks.len() as u128 / self.rows.max(1) as u128;
        blocks.min(usize::MAX as u128) as usize
    }

    /// Scores about `most` rows, those of the blocks with the best summaries; returns how many.
    pub fn score_blocks<S: PageStore>(
        &mut self,
        store: &S,
        directory: &Directory,
        query: &Query,
        most: usize,
    ) -> Result<u64, S::Error> {
        let most = self.blocks_of(most);
        let bar = bar(&self.summaries, most, &mut self.keys)?;
        let is_chosen = |score: &&f32| **score >= bar;
        let chosen = self.summaries.iter().filter(is_chosen).count();
        mrl_memory::reserve(&mut self.chosen, chosen)?;
        let places = self.summaries.iter().enumerate();
        self.chosen.extend(places.filter(|(_, score)| is_chosen(score)).map(|(place, _)| place));
        mrl_memory::reserve(&mut self.scores, chosen)?;
        if query.divides() {
            mrl_memory::reserve(&mut self.inverse_lengths, chosen)?;
        }
        let mut tids = std::mem::take(&mut self.tids);
        let mut scales = std::mem::take(&mut self.scales);
        mrl_memory::reserve(&mut tids, chosen * TID_BYTES * ROWS)?;
        mrl_memory::reserve(&mut scales, chosen * query.layers())?;
        let shape = &directory.encoder.shape;
        let (needed, expected) = match query.is_leading() {
            true => (shape.row.leading_end(), shape.row.leading_end()),
            false => (shape.block_bytes, FIRST_BYTES),
        };
        let (mut rows, mut held) = (0, Held::default());
        for (i, place) in self.chosen.iter().enumerate() {
            self.expect_ahead(store, shape, &self.chosen, i, expected);
            let block = self.blocks[*place];
            let mut scores = [NOTHING; ROWS];
            let mut inverse_lengths = [1.0; ROWS];
            self.with_rows(store, directory, (block, needed), &mut held, |rows| {
                inverse_lengths = query.inverse_lengths(rows.records);
                let bases = self.bases(block, rows);
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
            rows += u64::from(block.rows.count_ones());
            self.scores.push(scores);
            if query.divides() {
                self.inverse_lengths.push(inverse_lengths);
            }
        }
        (self.tids, self.scales) = (tids, scales);
        Ok(rows)
    }

    /// Asks for the memory of the blocks that come after the i-th of some, given by their places among the round's, of so
    /// many bytes each.
    fn expect_ahead<S: PageStore>(
        &self,
        store: &S,
        shape: &Shape,
        places: &[usize],
        i: usize,
        bytes: usize,
    ) {
        if i.is_multiple_of(PAGES_AT_ONCE) {
            let first = if i == 0 { 0 } else { i + PAGES_AT_ONCE };
            for place in places.iter().take(i + 2 * PAGES_AT_ONCE).skip(first) {
                self.expect(store, shape, Some(place), 1);
            }
        }
        self.expect(store, shape, places.get(i + BLOCKS_AHEAD), bytes);
    }

    /// Asks for the memory of so many bytes of a block, of a place among the round's.
    fn expect<S: PageStore>(&self, store: &S, shape: &Shape, place: Option<&usize>, bytes: usize) {
        let Some(block) = place.map(|place| &self.blocks[*place]) else { return };
        let Some(segment) = rows::segments(shape, block.index as usize).next() else { return };
        let pointers = &self.pointers[self.groups[block.group as usize].pointers..];
        store.expect(pointers[segment.page], segment.offset, bytes.min(segment.bytes));
    }

    /// The shares of the rows' frames in their scores.
    #[inline]
    fn bases(&self, block: SeenBlock, rows: Rows) -> [f32; ROWS] {
        let group = &self.groups[block.group as usize];
        let bases = &self.bases[group.bases..][..group.frames];
        match bases {
            [only] => [*only; ROWS],
            // Of a row that is not there the place may be any.
            _ => rows.frames().map(|place| bases.get(usize::from(place)).copied().unwrap_or(0.0)),
        }
    }

    /// Calls `with` with a block's bytes, the first so many that are `needed` at least. Asks for interrupts before
    /// another page is read, while none is held: as long as one is, the server answers none.
    fn with_rows<'s, S: PageStore>(
        &self,
        store: &'s S,
        directory: &Directory,
        (block, needed): (SeenBlock, usize),
        held: &mut Held<'s, S>,
        with: impl FnOnce(Rows),
    ) -> Result<(), S::Error> {
        let shape = &directory.encoder.shape;
        let group = &self.groups[block.group as usize];
        let pointers = &self.pointers[group.pointers..];
        let list = group.list;
        let mut segments = rows::segments(shape, block.index as usize);
        if let Some(segment) = segments.next()
            && segment.bytes >= needed
        {
            let wanted = pointers[segment.page];
            let body = match held.page.take() {
                Some((page, body)) if page == wanted => body,
                former => {
                    drop(former);
                    store.check_interrupts()?;
                    let body = store.read(wanted)?;
                    page::expect(&body, wanted, Kind::Rows, list)?;
                    body
                }
            };
            with(Rows::new(&body[segment.offset..][..segment.bytes], shape));
            held.page = Some((wanted, body));
            return Ok(());
        }
        held.page = None;
        store.check_interrupts()?;
        let index = block.index as usize;
        rows::read_block(store, shape, list, index, |page| pointers[page], &mut held.copy)?;
        with(Rows::new(&held.copy, shape));
        Ok(())
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
            let block = self.blocks[*place];
            let group = self.groups[block.group as usize];
            let count = chosen.count_ones() as usize;
            mrl_memory::reserve(&mut waiting, count)?;
            mrl_memory::reserve(&mut self.squared_errors, count)?;
            let first = waiting.len();
            let tids = &self.tids[i * TID_BYTES * ROWS..][..TID_BYTES * ROWS];
            let scales = &self.scales[i * query.layers()..][..query.layers()];
            for row in bits(chosen) {
                let slot = block.index as usize * ROWS + row;
                let copy = match shape.keeps_copies() {
                    true => {
                        let page = shape.row_pages + slot / shape.copies_on_page;
                        self.pointers[group.pointers + page]
                    }
                    false => NONE,
                };
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

/// A block's number in its list.
fn block_number(ordinal: usize, index: usize, shape: &Shape) -> usize {
    ordinal * shape.group_blocks + index
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
