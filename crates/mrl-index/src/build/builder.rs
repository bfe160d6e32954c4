//! An index that is being written: rows wait until all have come, in memory or, where they are more than it has room
//! for, outside; then list after list they are arranged into blocks and written, page after page. So a block is formed
//! of all rows of its list, whatever memory there is.
//!
//! The chain of a list is written from its far end: the last, partly filled group becomes the head. Nothing is logged:
//! whoever builds logs all pages at the end.

use std::ops::Range;

use half::f16;
use mrl_memory::OutOfMemory;

use crate::build::rows_waiting::{RowWaiting, RowsWaiting};
use crate::build::spill::Spill;
use crate::build::{Assigner, Encoded, Plan};
use crate::clusters::arrange::{arrange, parts};
use crate::codes::block::ROWS;
use crate::lists::encode::Encoder;
use crate::lists::frame::Frame;
use crate::lists::summary;
use crate::pages::group::{self, Group, Tid};
use crate::pages::meta::{
    self, ENTRIES_ON_PAGE, Entry, FIRST_LIST, META_PAGE, Meta, NULLS, State, ZEROS,
};
use crate::pages::page::{self, BODY_BYTES, Body, Kind, ListId, NONE, PageNumber};
use crate::pages::rows;
use crate::pages::shape::Shape;
use crate::pages::store::PageStore;
use crate::threads::workers::Workers;

/// A list that is being written.
#[derive(Default)]
struct Open {
    /// Rows that wait to be put into blocks.
    rows: RowsWaiting,
    /// The group that blocks go to.
    group: Option<Box<OpenGroup>>,
    /// The group written last.
    last: Option<PageNumber>,
    groups: usize,
}

/// A group of which some blocks have been written.
struct OpenGroup {
    body: Body,
    blocks: usize,
    /// The row page that is being filled, by its number in the group.
    rows: (usize, Body),
    copies: Option<(usize, Body)>,
}

/// An index that is being written.
pub struct Builder<'a, S: PageStore> {
    store: &'a S,
    meta: Meta,
    encoder: Encoder,
    frames: Vec<Frame>,
    entries: Vec<Entry>,
    lists: Vec<Open>,
    references: [OpenReferences; 2],
    /// Rows that wait in memory, of all lists, and how many of them may.
    waiting: usize,
    most_waiting: usize,
    /// Where the others are.
    spill: Box<dyn Spill<Error = S::Error> + 'a>,
    workers: Workers,
}

impl<'a, S: PageStore> Builder<'a, S> {
    /// Begins an index with a list for each frame, in an empty storage. The rows kept take about `memory` bytes at most;
    /// what is more goes into `spill`. Workers form blocks.
    ///
    /// # Errors
    /// What the storage answers; out of memory.
    pub fn new(
        store: &'a S,
        plan: &Plan,
        frames: Vec<f16>,
        memory: usize,
        spill: impl Spill<Error = S::Error> + 'a,
        workers: Workers,
    ) -> Result<Self, S::Error> {
        let meta = plan.meta();
        // The meta page is written at last; until then the index is one of no format.
        store.write(None, &[0; BODY_BYTES])?;
        let count = frames.len() / plan.dimensions;
        let lists = mrl_memory::collect((0..count).map(|_| Open::default()))?;
        let encoder = Encoder::new(&meta);
        let centres = frames.chunks_exact(plan.dimensions);
        let frames = mrl_memory::collect(centres.map(|row| Frame::new(&encoder, row.to_vec())))?;
        let row = RowsWaiting::BYTES_BESIDE + row_bytes(&encoder.shape);
        Ok(Self {
            store,
            meta,
            encoder,
            frames,
            entries: vec![],
            lists,
            references: [(); 2].map(|()| OpenReferences { tids: Vec::new(), newest: NONE }),
            waiting: 0,
            most_waiting: memory / row,
            spill: Box::new(spill),
            workers,
        })
    }

    /// What finds lists and codes; for workers.
    ///
    /// # Errors
    /// Out of memory.
    pub fn assigner(&self) -> Result<Assigner, OutOfMemory> {
        Assigner::new(&self.encoder, &self.frames)
    }

    /// Takes rows in, of lists whose frames it was given.
    ///
    /// # Errors
    /// What the storage answers; damage, where a list is full; out of memory, also where the workers were told to stop.
    pub fn add(&mut self, rows: Encoded) -> Result<(), S::Error> {
        for (tid, list, row) in rows {
            let index = (list - FIRST_LIST) as usize;
            self.lists[index].rows.push(tid, &row)?;
            self.waiting += 1;
        }
        if self.waiting > self.most_waiting {
            self.spill_all()?;
        }
        Ok(())
    }

    /// Takes in a row that has no vector, or one without distances.
    ///
    /// # Errors
    /// What the storage answers; out of memory.
    pub fn add_reference(&mut self, list: ListId, tid: Tid) -> Result<(), S::Error> {
        let references = &mut self.references[list as usize];
        mrl_memory::push(&mut references.tids, tid)?;
        if references.tids.len() == group::MOST_REFERENCES {
            references.write(self.store, list)?;
        }
        Ok(())
    }

    /// Moves the rows that wait in memory out of it.
    fn spill_all(&mut self) -> Result<(), S::Error> {
        for list in &mut self.lists {
            list.rows.spill(&mut *self.spill, || self.store.check_interrupts())?;
        }
        self.waiting = 0;
        Ok(())
    }

    /// Brings rows of some lists, from one on, back into memory: of as many as it has room for, of one at least. Returns
    /// the list that comes then, and whether all rows of the last one are there.
    fn bring_back(&mut self, first: usize) -> Result<(usize, bool), S::Error> {
        let row_bytes = row_bytes(&self.encoder.shape);
        let (mut next, mut room) = (first, self.most_waiting);
        while next < self.lists.len() {
            let rows = &mut self.lists[next].rows;
            if next > first && rows.spilled() > room {
                break;
            }
            rows.bring_back(&mut *self.spill, room, row_bytes, || self.store.check_interrupts())?;
            next += 1;
            room = room.saturating_sub(rows.len());
            if rows.spilled() > 0 {
                return Ok((next, false));
            }
        }
        Ok((next, true))
    }

    /// Forms blocks of the rows of each list and writes them.
    fn write_lists(&mut self) -> Result<(), S::Error> {
        // Once some are outside all are, so that there is room for those of a list.
        if self.lists.iter().any(|list| list.rows.spilled() > 0) {
            self.spill_all()?;
        }
        let mut first = 0;
        while first < self.lists.len() {
            let (next, is_complete) = self.bring_back(first)?;
            self.form_blocks(first..next, is_complete)?;
            first = if is_complete { next } else { next - 1 };
        }
        Ok(())
    }

    /// Forms blocks of the rows of some lists in memory and writes them; where the last list `is_complete` all of its
    /// rows, else those that fill blocks.
    fn form_blocks(&mut self, lists: Range<usize>, is_complete: bool) -> Result<(), S::Error> {
        let orders = self.arranged(lists.clone())?;
        for (index, order) in lists.clone().zip(orders) {
            let rows = self.lists[index].rows.take();
            let is_last = is_complete || index + 1 < lists.end;
            let whole = if is_last { order.len() } else { order.len() / ROWS * ROWS };
            for block in order[..whole].chunks(ROWS) {
                // A list may have all rows of a table.
                self.store.check_interrupts()?;
                self.append(index, block.iter().map(|place| rows.get(*place as usize)))?;
            }
            for place in &order[whole..] {
                self.lists[index].rows.add(rows.get(*place as usize))?;
            }
            if is_last {
                self.close_list(index)?;
            }
        }
        Ok(())
    }

    /// The order in which the rows of each of some lists that are in memory should lie.
    fn arranged(&self, lists: Range<usize>) -> Result<Vec<Vec<u32>>, OutOfMemory> {
        let (lists, shape) = (&self.lists[lists], &self.encoder.shape);
        let rows: usize = lists.iter().map(|list| list.rows.len()).sum();
        let no_memory = OutOfMemory { bytes: rows * size_of::<u32>() };
        let mut work = Vec::new();
        for (list, rows) in lists.iter().map(|list| &list.rows).enumerate() {
            for part in parts(rows.len()) {
                mrl_memory::push(&mut work, (list, part))?;
            }
        }
        // None where there was no memory.
        let compute = |place: usize, order: &mut [Option<Vec<u32>>]| {
            let (list, part) = &work[place];
            let rows = part.clone().map(|place| (lists[*list].rows.get(place).record, None));
            order[0] = arrange(shape, rows).ok();
        };
        let arranged = self.workers.map(work.len(), 1, compute).ok_or(no_memory)?;
        let mut orders = mrl_memory::filled(Vec::new(), lists.len())?;
        for ((list, part), order) in work.iter().zip(arranged) {
            let first = part.start as u32;
            let places = order.ok_or(no_memory)?.into_iter().map(|place| first + place);
            let places: Vec<u32> = mrl_memory::collect(places)?;
            mrl_memory::extend(&mut orders[*list], &places)?;
        }
        Ok(orders)
    }

    /// Writes a block behind the others of a list.
    fn append<'r>(
        &mut self,
        index: usize,
        rows: impl ExactSizeIterator<Item = RowWaiting<'r>>,
    ) -> Result<(), S::Error> {
        let list = FIRST_LIST + index as ListId;
        if self.lists[index]
            .group
            .as_ref()
            .is_some_and(|group| group.blocks == self.encoder.shape.group_blocks)
        {
            self.close_group(index)?;
        }
        let (store, shape) = (self.store, &self.encoder.shape);
        let open = &mut self.lists[index];
        let ordinal = group::ordinal(list, open.groups)?;
        let group = open.group.get_or_insert_with(|| {
            let mut group = OpenGroup {
                body: [0; BODY_BYTES],
                blocks: 0,
                rows: (0, [0; BODY_BYTES]),
                copies: None,
            };
            group::format_group(&mut group.body, list, ordinal, shape);
            page::set_next(&mut group.body, open.last.unwrap_or(NONE));
            group::set_frame(&mut group.body, 0, list);
            page::format(&mut group.rows.1, Kind::Rows, list);
            Box::new(group)
        });
        let (block, count) = (group.blocks, rows.len());
        let mut bytes = mrl_memory::filled(0, shape.block_bytes)?;
        for (in_block, row) in rows.enumerate() {
            rows::store_row(&mut bytes, in_block, row.tid, 0, row.record, shape);
            if shape.keeps_copies() {
                group.put_copy(store, list, block * ROWS + in_block, row.copy, shape)?;
            }
        }
        for segment in rows::segments(shape, block) {
            if segment.page != group.rows.0 {
                let full = store.write(None, &group.rows.1)?;
                group::set_row_page(&mut group.body, group.rows.0, full, shape);
                page::format(&mut group.rows.1, Kind::Rows, list);
                group.rows.0 = segment.page;
            }
            page::put(&mut group.rows.1, segment.offset, &bytes[segment.at..][..segment.bytes]);
        }
        group::set_first_live(&mut group.body, block, count, shape);
        let live = Group { shape, body: &group.body }.live(block);
        let rows = rows::Rows::new(&bytes, shape);
        let mean = summary::mean(rows, live, &[], &self.frames[index], shape);
        group::set_mean(&mut group.body, block, &mean, shape);
        group.blocks += 1;
        Ok(())
    }

    /// Writes a list's group as its newest.
    fn close_group(&mut self, index: usize) -> Result<(), S::Error> {
        let shape = &self.encoder.shape;
        let open = &mut self.lists[index];
        let Some(mut group) = open.group.take() else { return Ok(()) };
        let rows = self.store.write(None, &group.rows.1)?;
        group::set_row_page(&mut group.body, group.rows.0, rows, shape);
        if let Some((page, copies)) = group.copies.take() {
            let copies = self.store.write(None, &copies)?;
            group::set_copy_page(&mut group.body, page, copies, shape);
        }
        let written = self.write_group(group.body)?;
        let open = &mut self.lists[index];
        open.last = Some(written);
        open.groups += 1;
        Ok(())
    }

    /// Writes what is left of a list, or, of one without rows, its first group.
    fn close_list(&mut self, index: usize) -> Result<(), S::Error> {
        self.close_group(index)?;
        if self.lists[index].last.is_none() {
            let (mut body, list) = ([0; BODY_BYTES], FIRST_LIST + index as ListId);
            group::format_group(&mut body, list, 0, &self.encoder.shape);
            self.lists[index].last = Some(self.write_group(body)?);
        }
        Ok(())
    }

    fn write_group(&self, mut body: Body) -> Result<PageNumber, S::Error> {
        let page = self.store.write(None, &body)?;
        let group = Group { shape: &self.encoder.shape, body: &body };
        if group.rows() < self.encoder.shape.group_rows {
            // Only the head can have room: it names itself.
            group::set_open(&mut body, page);
            self.store.write(Some(page), &body)?;
        }
        Ok(page)
    }

    /// Writes what is left, the directory, and at last the meta page.
    ///
    /// # Errors
    /// What the storage answers; damage, where a list is full; out of memory, also where the workers were told to stop.
    pub fn finish(mut self) -> Result<(), S::Error> {
        let mut body: Box<Body> = Box::new([0; BODY_BYTES]);
        for list in [NULLS, ZEROS] {
            let references = &mut self.references[list as usize];
            let is_open = !references.tids.is_empty();
            if is_open {
                references.write(self.store, list)?;
            }
            group::format_group(&mut body, list, 0, &self.encoder.shape);
            let open = if is_open { references.newest } else { NONE };
            group::set_references(&mut body, references.newest, open);
            let head = self.store.write(None, &body)?;
            mrl_memory::push(&mut self.entries, Entry::without_frame(head))?;
        }
        self.write_lists()?;
        self.write_frames()?;
        self.write_directory()?;
        self.meta.next_list = FIRST_LIST + self.lists.len() as ListId;
        self.meta.write(&mut body);
        self.store.write(Some(META_PAGE), &body)?;
        Ok(())
    }

    fn write_frames(&mut self) -> Result<(), S::Error> {
        let on_page = self.encoder.shape.frames_on_page();
        let mut body: Box<Body> = Box::new([0; BODY_BYTES]);
        let mut lists = self.lists.iter();
        for frames in self.frames.chunks(on_page) {
            page::format(&mut body, Kind::Frames, 0);
            for (place, frame) in frames.iter().enumerate() {
                meta::write_frame(&mut body, place, &frame.centre);
            }
            let page = self.store.write(None, &body)?;
            let count = frames.len();
            for (place, list) in lists.by_ref().take(count).enumerate() {
                let entry = Entry {
                    head: list.last.unwrap_or(NONE),
                    frame_page: page,
                    frame_place: place as u16,
                    state: State::Live,
                    patience: 0,
                    retired: 0,
                };
                mrl_memory::push(&mut self.entries, entry)?;
            }
            (self.meta.frames_page, self.meta.frames_used) = (page, count);
        }
        Ok(())
    }

    fn write_directory(&mut self) -> Result<(), S::Error> {
        let mut body: Box<Body> = Box::new([0; BODY_BYTES]);
        for (page, entries) in self.entries.chunks(ENTRIES_ON_PAGE).enumerate() {
            page::format(&mut body, Kind::Directory, 0);
            for (i, entry) in entries.iter().enumerate() {
                entry.write(&mut body, (page * ENTRIES_ON_PAGE + i) as ListId);
            }
            self.meta.directory.push(self.store.write(None, &body)?);
        }
        Ok(())
    }
}

/// The bytes of a row's record and copy.
fn row_bytes(shape: &Shape) -> usize {
    shape.row.record_bytes() + if shape.keeps_copies() { 2 * shape.dimensions } else { 0 }
}

/// Rows without distances: those that fill no page yet, and the page written last.
struct OpenReferences {
    tids: Vec<Tid>,
    newest: PageNumber,
}

impl OpenReferences {
    /// Writes a page of those that wait, in front of the others.
    fn write<S: PageStore>(&mut self, store: &S, list: ListId) -> Result<(), S::Error> {
        store.check_interrupts()?;
        let mut body: Box<Body> = Box::new([0; BODY_BYTES]);
        group::format_references(&mut body, list);
        page::set_next(&mut body, self.newest);
        let references = mrl_memory::collect(self.tids.drain(..).map(|tid| (0, tid)))?;
        group::set_all_references(&mut body, &references);
        self.newest = store.write(None, &body)?;
        Ok(())
    }
}

impl OpenGroup {
    fn put_copy<S: PageStore>(
        &mut self,
        store: &S,
        list: ListId,
        slot: usize,
        copy: &[u8],
        shape: &Shape,
    ) -> Result<(), S::Error> {
        let page = slot / shape.copies_on_page;
        if let Some((of, body)) = &self.copies
            && *of != page
        {
            let full = store.write(None, body)?;
            group::set_copy_page(&mut self.body, *of, full, shape);
            self.copies = None;
        }
        let (_, body) = self.copies.get_or_insert_with(|| {
            let mut body = [0; BODY_BYTES];
            page::format(&mut body, Kind::Copies, list);
            (page, body)
        });
        rows::store_copy(body, slot, copy, shape);
        Ok(())
    }
}
