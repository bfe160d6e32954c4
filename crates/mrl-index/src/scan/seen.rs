//! What a round of a scan has seen: the blocks of the lists that it looks into, by their summaries, and the way to
//! their rows.
//!
//! Depends on pages and the query; which blocks go on [`crate::scan::round`] decides.

use mrl_memory::OutOfMemory;

use crate::codes::block::ROWS;
use crate::codes::records::LANES;
use crate::pages::group::Group;
use crate::pages::page::{self, Body, Kind, ListId, NONE, PageNumber};
use crate::pages::references::{ByRow, read_references};
use crate::pages::rows::{self, Rows};
use crate::pages::shape::Shape;
use crate::pages::store::PageStore;
use crate::pages::walk::Steps;
use crate::scan::order::NO_BAR;
use crate::scan::probed::{Known, Probed, Search};
use crate::scan::query::UNKNOWN;

/// The score of what is not there or is given up: less than any bar.
pub(crate) const NOTHING: f32 = f32::NEG_INFINITY;
/// Blocks that are asked for ahead of their turn.
const BLOCKS_AHEAD: usize = 2;
/// Blocks whose pages are looked up at once, ahead of their turn: to find out where a page lies takes the processor
/// long, and it can do so for several at a time only if they are asked for one right after another.
const PAGES_AT_ONCE: usize = 16;

/// A group that the round has seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeenGroup {
    pub list: ListId,
    /// The list's place among those probed.
    pub probed: usize,
    pub ordinal: usize,
    /// Its row pages, then copy pages, from here on among the round's pointers.
    pointers: usize,
    /// The shares of its frames in scores from here on among the round's, and how many there are.
    bases: usize,
    frames: usize,
}

/// Blocks that the round has seen, whose summaries lie side by side.
#[derive(Debug, Clone)]
struct Lanes {
    group: u32,
    /// The number of the first of them in its group.
    first: u32,
    /// Of each of them: the rows that are there and have not gone on.
    rows: [u32; LANES],
}

/// A block that the round has seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeenBlock {
    group: u32,
    pub index: u32,
    pub rows: u32,
}

/// A block that is looked into next: its place among the blocks of the round, and where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Next {
    pub place: u32,
    page: PageNumber,
    offset: u16,
    /// How many of its bytes are on that page.
    bytes: u32,
}

/// Where a block's bytes are: on the row page that was read last, or, from two pages, copied.
pub(crate) struct Held<'s, S: PageStore + 's> {
    page: Option<(PageNumber, S::Page<'s>)>,
    copy: Vec<u8>,
}

impl<S: PageStore> Default for Held<'_, S> {
    fn default() -> Self {
        Self { page: None, copy: Vec::new() }
    }
}

/// The blocks of a round, in the order in which they were seen. One round after another uses the same memory.
#[derive(Default)]
pub(crate) struct Seen {
    blocks: Vec<Lanes>,
    /// Of each of them about the score of its best row; [`NOTHING`] of places without a block.
    pub scores: Vec<[f32; LANES]>,
    /// Of all blocks at a lane: how far above the scores of their means these lie, how many there are, and how many
    /// rows they have.
    reaches: [f32; LANES],
    counts: [u32; LANES],
    rows: [u32; LANES],
    groups: Vec<SeenGroup>,
    pointers: Vec<PageNumber>,
    bases: Vec<f32>,
    /// Room for summaries that do not lie side by side as the kernels have them.
    room: Vec<u8>,
}

impl Seen {
    /// One group's blocks, by their scores.
    #[cfg(test)]
    pub fn of(scores: [f32; LANES]) -> Self {
        let group = SeenGroup { list: 0, probed: 0, ordinal: 0, pointers: 0, bases: 0, frames: 0 };
        Self {
            blocks: vec![Lanes { group: 0, first: 0, rows: [1; LANES] }],
            scores: vec![scores],
            groups: vec![group],
            pointers: vec![NONE; 64],
            ..Self::default()
        }
    }

    /// Begins anew, in the memory that it has.
    pub fn clear(&mut self) {
        self.blocks.clear();
        self.scores.clear();
        (self.reaches, self.counts, self.rows) = ([0.0; LANES], [0; LANES], [0; LANES]);
        self.groups.clear();
        self.pointers.clear();
        self.bases.clear();
    }

    /// About how many bytes it has.
    pub fn bytes(&self) -> usize {
        let seen = bytes_of(&self.blocks) + bytes_of(&self.scores) + bytes_of(&self.groups);
        seen + bytes_of(&self.pointers) + bytes_of(&self.bases)
    }

    /// How many rows the blocks have, but for those that have gone on.
    pub fn rows(&self) -> usize {
        sum(&self.rows)
    }

    /// How many of the blocks have so many rows.
    pub fn blocks_of(&self, rows: usize) -> usize {
        let blocks = rows as u128 * sum(&self.counts) as u128 / self.rows().max(1) as u128;
        blocks.min(usize::MAX as u128) as usize
    }

    /// How far above the score of a block's mean that of its best row is thought to lie, on the average.
    pub fn reach(&self) -> f32 {
        self.reaches.iter().sum::<f32>() / sum(&self.counts).max(1) as f32
    }

    /// The block at a place.
    #[inline]
    pub fn block(&self, place: u32) -> SeenBlock {
        let (lanes, lane) = (&self.blocks[place as usize / LANES], place as usize % LANES);
        let (group, index) = (lanes.group, lanes.first + lane as u32);
        SeenBlock { group, index, rows: lanes.rows[lane] }
    }

    /// The group of a block.
    pub fn group(&self, block: SeenBlock) -> SeenGroup {
        self.groups[block.group as usize]
    }

    /// The copy page of a slot of a group.
    pub fn copy_page_of(&self, group: SeenGroup, slot: usize, shape: &Shape) -> PageNumber {
        match shape.keeps_copies() {
            true => self.pointers[group.pointers + shape.row_pages + slot / shape.copies_on_page],
            false => NONE,
        }
    }

    /// Scores the summaries of a list's blocks; unless `summarised` all count as equally good. `following` is the
    /// list that comes next.
    pub fn look_into<S: PageStore>(
        &mut self,
        search: &Search<S>,
        known: &mut Known,
        place: usize,
        probed: &mut Probed,
        summarised: bool,
        following: Option<ListId>,
    ) -> Result<(), S::Error> {
        let (&Search { store, directory, query }, shape) = (search, search.shape());
        let list = probed.list;
        let head = directory.entries[list as usize].head;
        let own = match probed.base {
            Some(base) => base,
            None => directory.base(store, query, list)?,
        };
        probed.base = Some(own);
        let mut left = [0; LANES];
        let mut page = head;
        let mut steps = Steps::default();
        if let Some(following) = following {
            directory.prefetch(store, following);
        }
        while page != NONE {
            steps.step(store, page)?;
            let mut body = store.read(page)?;
            let mut group = Group::new(&body, page, list, shape)?;
            if page == head && group.references() != NONE && !known.references.contains_key(&list) {
                // References first: vacuum may put one in its row's place, and never the reverse.
                let newest = group.references();
                drop(body);
                let references = ByRow::new(read_references(store, list, newest)?)?;
                mrl_memory::insert(&mut known.references, list, references)?;
                body = store.read(page)?;
                group = Group::new(&body, page, list, shape)?;
            }
            let seen = SeenGroup {
                list,
                probed: place,
                ordinal: group.ordinal(),
                pointers: self.pointers.len(),
                bases: self.bases.len(),
                frames: group.frames().take_while(|frame| *frame != 0).count(),
            };
            for frame in group.frames().take(seen.frames) {
                let base = match frame {
                    frame if frame == list => own,
                    frame => known.base(search, frame)?,
                };
                mrl_memory::push(&mut self.bases, base)?;
            }
            let count = group.summaries_count();
            mrl_memory::reserve(&mut self.scores, count)?;
            mrl_memory::reserve(&mut self.blocks, count)?;
            for number in 0..count {
                let summaries = group.summaries(number, &mut self.room);
                let (mut scores, mut reaches) = ([UNKNOWN; LANES], [0.0; LANES]);
                if summarised {
                    query.score_summaries(summaries, own, &mut scores, &mut reaches);
                }
                let first = number * shape.summary_lanes;
                let used = shape.summary_lanes.min(group.blocks() - first);
                let mut rows = summaries.live();
                rows[used..].fill(0);
                probed.take_gone(block_number(seen.ordinal, first, shape), &mut rows);
                for lane in 0..LANES {
                    // Damage may have made a score no number: nothing is known of such a block, so it is looked into.
                    let score = if scores[lane] >= NO_BAR { scores[lane] } else { UNKNOWN };
                    let is_there = rows[lane] != 0;
                    scores[lane] = if is_there { score } else { NOTHING };
                    self.reaches[lane] += if is_there { reaches[lane] } else { 0.0 };
                    self.counts[lane] += u32::from(is_there);
                    left[lane] += rows[lane].count_ones();
                }
                self.scores.push(scores);
                let (group, first) = (self.groups.len() as u32, first as u32);
                self.blocks.push(Lanes { group, first, rows });
            }
            mrl_memory::push(&mut self.groups, seen)?;
            mrl_memory::reserve(&mut self.pointers, shape.row_pages + shape.copy_pages)?;
            self.pointers.extend((0..shape.row_pages).map(|i| group.row_page(i)));
            self.pointers.extend((0..shape.copy_pages).map(|i| group.copy_page(i)));
            page = page::next(&body);
        }
        probed.left = sum(&left);
        self.rows.iter_mut().zip(left).for_each(|(all, rows)| *all += rows);
        Ok(())
    }

    /// Puts the blocks with these scores, from the least on and below another, into `next`.
    pub fn choose(
        &self,
        shape: &Shape,
        least: f32,
        below: Option<f32>,
        next: &mut Vec<Next>,
    ) -> Result<(), OutOfMemory> {
        next.clear();
        for (i, (scores, lanes)) in self.scores.iter().zip(&self.blocks).enumerate() {
            let former = below.map_or(0, |below| mrl_kernels::at_least(scores, below));
            let chosen = mrl_kernels::at_least(scores, least) & !former;
            if chosen == 0 {
                continue;
            }
            let pointers = &self.pointers[self.groups[lanes.group as usize].pointers..];
            mrl_memory::reserve(next, chosen.count_ones() as usize)?;
            next.extend(bits(chosen).map(|lane| {
                let (page, offset, bytes) = shape.place(lanes.first as usize + lane);
                Next {
                    place: (i * LANES + lane) as u32,
                    page: pointers[page],
                    offset: offset as u16,
                    bytes: bytes as u32,
                }
            }));
        }
        Ok(())
    }

    /// The shares of the rows' frames in their scores.
    #[inline]
    pub fn bases(&self, block: SeenBlock, rows: Rows) -> [f32; ROWS] {
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
    pub fn with_rows<'s, S: PageStore>(
        &self,
        search: &Search<'s, S>,
        (next, needed): (Next, usize),
        held: &mut Held<'s, S>,
        with: impl FnOnce(SeenBlock, Rows),
    ) -> Result<(), S::Error> {
        let (store, shape) = (search.store, search.shape());
        let block = self.block(next.place);
        let group = &self.groups[block.group as usize];
        if next.bytes as usize >= needed {
            let body = held.read(store, next.page, group.list)?;
            with(block, Rows::new(&body[next.offset as usize..][..next.bytes as usize], shape));
            return Ok(());
        }
        let pointers = &self.pointers[group.pointers..];
        let mut copy = std::mem::take(&mut held.copy);
        copy.clear();
        for segment in rows::segments(shape, block.index as usize) {
            let body = held.read(store, pointers[segment.page], group.list)?;
            mrl_memory::extend(&mut copy, &body[segment.offset..][..segment.bytes])?;
        }
        with(block, Rows::new(&copy, shape));
        held.copy = copy;
        Ok(())
    }
}

impl<'s, S: PageStore> Held<'s, S> {
    /// A row page of a list, which is held until another is read.
    fn read(&mut self, store: &'s S, wanted: PageNumber, list: ListId) -> Result<&Body, S::Error> {
        // It stays where it is kept: to move it takes the processor longer than to look whether it is the one.
        if self.page.as_ref().is_none_or(|(page, _)| *page != wanted) {
            self.page = None;
            store.check_interrupts()?;
            let body = store.read(wanted)?;
            page::check(&body, wanted, Kind::Rows, list)?;
            self.page = Some((wanted, body));
        }
        match &self.page {
            Some((_, body)) => Ok(body),
            None => unreachable!("a page that has just been read is held"),
        }
    }
}

/// Asks for the memory of the blocks that come after the i-th of some, of so many bytes each.
pub(crate) fn prefetch_ahead<S: PageStore>(store: &S, blocks: &[Next], i: usize, bytes: usize) {
    if i.is_multiple_of(PAGES_AT_ONCE) {
        let first = if i == 0 { 0 } else { i + PAGES_AT_ONCE };
        for next in blocks.iter().take(i + 2 * PAGES_AT_ONCE).skip(first) {
            store.prefetch(next.page, next.offset.into(), 1);
        }
    }
    if let Some(next) = blocks.get(i + BLOCKS_AHEAD) {
        store.prefetch(next.page, next.offset.into(), bytes.min(next.bytes as usize));
    }
}

/// The places of the bits that are 1.
pub(crate) fn bits(mut word: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = (word != 0).then_some(word.trailing_zeros() as usize);
        word &= word.wrapping_sub(1);
        place
    })
}

fn sum(lanes: &[u32; LANES]) -> usize {
    lanes.iter().map(|number| *number as usize).sum()
}

/// A block's number in its list.
pub(crate) fn block_number(ordinal: usize, index: usize, shape: &Shape) -> usize {
    ordinal * shape.group_blocks + index
}

/// The bytes that a vector has taken.
pub(crate) fn bytes_of<T>(vector: &Vec<T>) -> usize {
    vector.capacity() * size_of::<T>()
}
