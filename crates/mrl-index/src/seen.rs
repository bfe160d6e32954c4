//! What a round of a scan has seen: the blocks of the lists that it looks into, by their summaries, and the way to
//! their rows.
//!
//! Depends on pages and the query; which blocks go on [`crate::round`] decides.

use crate::block::ROWS;
use crate::directory::Directory;
use crate::group::Group;
use crate::order::NO_BAR;
use crate::page::{self, Block, Kind, ListId, NONE};
use crate::probed::{Known, Probed};
use crate::query::{Query, UNKNOWN};
use crate::references::read_references;
use crate::rows::{self, Rows};
use crate::shape::Shape;
use crate::store::{PageStore, Steps};

/// Blocks that are asked for ahead of their turn.
const BLOCKS_AHEAD: usize = 3;
/// Blocks whose pages are looked up at once, ahead of their turn: to find out where a page lies takes the processor long,
/// and it can do so for several at a time only if they are asked for one right after another.
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

/// A block that the round has seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeenBlock {
    group: u32,
    pub index: u32,
    /// The rows that are there and have not gone on.
    pub rows: u32,
    pub referenced: u32,
}

/// Where a block's bytes are: on the row page that was read last, or, from two pages, copied.
pub(crate) struct Held<'s, S: PageStore + 's> {
    page: Option<(Block, S::Page<'s>)>,
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
    pub blocks: Vec<SeenBlock>,
    /// Of each of them about the score of its best row.
    pub scores: Vec<f32>,
    /// How far above the scores of their means these lie, of all blocks together.
    reaches: f32,
    rows: usize,
    groups: Vec<SeenGroup>,
    pointers: Vec<Block>,
    bases: Vec<f32>,
    /// Room for summaries that do not lie side by side as the kernels have them.
    room: Vec<u8>,
}

impl Seen {
    /// Begins anew, in the memory that it has.
    pub fn clear(&mut self) {
        (self.rows, self.reaches) = (0, 0.0);
        self.blocks.clear();
        self.scores.clear();
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
        self.rows
    }

    /// How many of the blocks have so many rows.
    pub fn blocks_of(&self, rows: usize) -> usize {
        let blocks = rows as u128 * self.blocks.len() as u128 / self.rows.max(1) as u128;
        blocks.min(usize::MAX as u128) as usize
    }

    /// How far above the score of a block's mean that of its best row is thought to lie, on the average.
    pub fn reach(&self) -> f32 {
        self.reaches / self.blocks.len().max(1) as f32
    }

    /// The group of a block.
    pub fn group(&self, block: SeenBlock) -> SeenGroup {
        self.groups[block.group as usize]
    }

    /// The copy page of a slot of a group.
    pub fn copy_page(&self, group: SeenGroup, slot: usize, shape: &Shape) -> Block {
        match shape.keeps_copies() {
            true => self.pointers[group.pointers + shape.row_pages + slot / shape.copies_on_page],
            false => NONE,
        }
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
            mrl_memory::reserve(&mut self.scores, group.blocks())?;
            mrl_memory::reserve(&mut self.blocks, group.blocks())?;
            for number in 0..group.summaries_count() {
                let summaries = group.summaries(number, &mut self.room);
                let (mut scores, mut reaches) = ([UNKNOWN; ROWS], [0.0; ROWS]);
                if summarised {
                    query.score_summaries(summaries, own, &mut scores, &mut reaches);
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
                    self.scores.push(if *score > NO_BAR { *score } else { UNKNOWN });
                    self.reaches += reaches[lane];
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

    /// Asks for the memory of the blocks that come after the i-th of some, given by their places among the round's, of so
    /// many bytes each.
    pub fn expect_ahead<S: PageStore>(
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
}

/// A block's number in its list.
pub(crate) fn block_number(ordinal: usize, index: usize, shape: &Shape) -> usize {
    ordinal * shape.group_blocks + index
}

/// The bytes that a vector has taken.
pub(crate) fn bytes_of<T>(vector: &Vec<T>) -> usize {
    vector.capacity() * size_of::<T>()
}
