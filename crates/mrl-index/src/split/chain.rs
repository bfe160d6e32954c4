//! A list's chain of pages as a whole: all its rows read, written anew, its pages named and given back.

use std::collections::HashMap;

use half::f16;

use crate::clusters::arrange::{arrange, parts};
use crate::codes::block::ROWS;
use crate::insert::{lock_block, put_copy, write_block};
use crate::lists::directory::Directory;
use crate::lists::frame::Frame;
use crate::lists::summary::{self, Offset};
use crate::pages::group::{self, Group, Tid};
use crate::pages::page::{self, Damage, Kind, ListId, NONE, PageNumber, Problem};
use crate::pages::references::{ByRow, read_references};
use crate::pages::rows::{self, Row, Rows};
use crate::pages::shape::Shape;
use crate::pages::store::{Change, MOST_PAGES, PageStore};
use crate::pages::walk::{Chain, Walk};

/// A row of a list, with those of its TIDs that were wanted.
pub struct Member {
    /// Its record, and its copy where the index keeps one.
    pub row: Row,
    /// The list whose centre its code was made against.
    pub frame: ListId,
    /// The first becomes the row's own where it is written, the others its references; one at least.
    pub tids: Vec<Tid>,
}

/// Reads the rows of a list that have TIDs which are wanted, with those, the newest groups first; no further group once
/// there are as many as `most`. Of a list into which others insert meanwhile some that come are among them.
///
/// # Errors
/// What the storage answers; damage, where a page is not what it should be; out of memory.
pub fn read_members<S: PageStore>(
    store: &S,
    directory: &Directory,
    chain: Chain,
    most: usize,
    is_wanted: &dyn Fn(Tid) -> bool,
) -> Result<Vec<Member>, S::Error> {
    let shape = &directory.encoder.shape;
    let (list, newest) = (chain.list, chain.newest_references(store, shape)?);
    let references = ByRow::new(read_references(store, list, newest)?)?;
    let (mut members, mut bytes) = (Vec::new(), Vec::new());
    let mut groups = chain.groups();
    while members.len() < most
        && let Some((page, body)) = groups.next(store)?
    {
        let group = Group::new(&body, page, list, shape)?;
        for index in 0..group.blocks() {
            let mut live = group.live(index);
            if live == 0 {
                continue;
            }
            rows::read_block(store, group, index, &mut bytes)?;
            let stored = Rows::new(&bytes, shape);
            while live != 0 {
                let in_block = live.trailing_zeros() as usize;
                live &= live - 1;
                let slot = index * ROWS + in_block;
                let number = group.reference_number(slot);
                let others = number.map(|number| references.of(number.into()));
                // What a crash amid a vacuum leaves: a reference that has taken its row's place already.
                let own = stored.tid(in_block);
                let others = others.into_iter().flatten().filter(|tid| *tid != own);
                let all = [own].into_iter().chain(others);
                let mut tids = Vec::new();
                for tid in all.filter(|tid| is_wanted(*tid)) {
                    mrl_memory::push(&mut tids, tid)?;
                }
                if tids.is_empty() {
                    continue;
                }
                let copy = match group.copy_page_of(slot) {
                    _ if !shape.keeps_copies() => None,
                    copies => {
                        let body = store.read(copies)?;
                        page::check(&body, copies, Kind::Copies, list)?;
                        Some(rows::copy_of(&body, slot, shape).to_vec())
                    }
                };
                let place = usize::from(stored.frames()[in_block]);
                let frame = group.frame(place);
                let row = Row { record: stored.records.record(in_block), copy };
                mrl_memory::push(&mut members, Member { row, frame, tids })?;
            }
        }
    }
    Ok(members)
}

/// A list that is being written where nobody sees it.
pub struct ListWriter<'a, S: PageStore> {
    store: &'a S,
    directory: &'a Directory,
    list: ListId,
    frame: Frame,
    /// From the list's frame to those of its rows.
    offsets: HashMap<ListId, Offset>,
    /// Rows that wait to be put into blocks.
    waiting: Vec<Member>,
    /// The newest group; behind it are the others.
    group: PageNumber,
    groups: usize,
    /// Blocks of the newest group, and its frames.
    blocks: usize,
    frames: Vec<ListId>,
    references: Vec<(u16, Tid)>,
}

impl<'a, S: PageStore> ListWriter<'a, S> {
    /// Begins the chain of a list with this frame.
    ///
    /// # Errors
    /// What the storage answers.
    pub fn new(
        store: &'a S,
        directory: &'a Directory,
        list: ListId,
        frame: Frame,
    ) -> Result<Self, S::Error> {
        let mut writer = Self {
            store,
            directory,
            list,
            frame,
            offsets: HashMap::new(),
            waiting: vec![],
            group: NONE,
            groups: 0,
            blocks: 0,
            frames: vec![],
            references: vec![],
        };
        writer.begin_group()?;
        Ok(writer)
    }

    /// The centre of the list, whole: what its rows are encoded anew against.
    pub fn centre(&self) -> &[f16] {
        &self.frame.centre
    }

    /// Encodes a row anew, against the list's frame.
    pub fn encode_again(&self, member: &mut Member, vector: &[f16]) {
        member.row = self.directory.encoder.row(vector, &self.frame);
        member.frame = self.list;
    }

    /// Takes a row in, which waits until blocks are formed.
    ///
    /// # Errors
    /// What the storage answers; damage, where a page is not what it should be; out of memory.
    pub fn add(&mut self, member: Member) -> Result<(), S::Error> {
        if member.frame != self.list && !self.offsets.contains_key(&member.frame) {
            let of_row = self.directory.centre(self.store, member.frame)?;
            let offset = Offset::new(&self.directory.encoder, self.centre(), &of_row);
            mrl_memory::insert(&mut self.offsets, member.frame, offset)?;
        }
        Ok(mrl_memory::push(&mut self.waiting, member)?)
    }

    /// Forms blocks of the rows that wait, and writes them; but for the `last` time it keeps those that fill none.
    ///
    /// # Errors
    /// What the storage answers; damage, where a page is not what it should be, or a list is full; out of memory.
    pub fn form_blocks(&mut self, last: bool) -> Result<(), S::Error> {
        self.store.check_interrupts()?;
        if self.waiting.len() < ROWS && !last {
            return Ok(());
        }
        let mut members = std::mem::take(&mut self.waiting);
        let mut order = Vec::new();
        for part in parts(members.len()) {
            self.store.check_interrupts()?;
            let first = part.start as u32;
            let rows = members[part].iter();
            let rows = rows.map(|member| (&member.row.record[..], self.offsets.get(&member.frame)));
            let arranged = arrange(&self.directory.encoder.shape, rows)?;
            mrl_memory::reserve(&mut order, arranged.len())?;
            order.extend(arranged.into_iter().map(|place| first + place));
        }
        let mut kept = order.split_off(if last { order.len() } else { order.len() / ROWS * ROWS });
        let mut bytes = Vec::new();
        for block in order.chunks(ROWS) {
            self.write(block.iter().map(|place| &members[*place as usize]), &mut bytes)?;
        }
        kept.sort_unstable();
        for place in kept.into_iter().rev() {
            mrl_memory::push(&mut self.waiting, members.swap_remove(place as usize))?;
        }
        Ok(())
    }

    /// Writes what is left; returns the chain's head.
    ///
    /// # Errors
    /// What the storage answers; damage, where a page is not what it should be, or a list is full; out of memory.
    pub fn finish(mut self) -> Result<PageNumber, S::Error> {
        while !self.waiting.is_empty() {
            self.form_blocks(true)?;
        }
        link_references(self.store, self.list, self.group, &self.references)?;
        Ok(self.group)
    }

    fn begin_group(&mut self) -> Result<(), S::Error> {
        let mut change = self.store.change()?;
        let (place, page) = change.allocate()?;
        let shape = &self.directory.encoder.shape;
        let ordinal = group::ordinal(self.list, self.groups)?;
        group::format_group(change.body_mut(place), self.list, ordinal, shape);
        page::set_next(change.body_mut(place), self.group);
        group::set_open(change.body_mut(place), page);
        change.commit()?;
        (self.group, self.blocks) = (page, 0);
        self.groups += 1;
        self.frames.clear();
        Ok(())
    }

    /// Writes a block. Rows whose references have no number any more wait again: they become rows of their own.
    fn write<'m>(
        &mut self,
        members: impl ExactSizeIterator<Item = &'m Member> + Clone,
        bytes: &mut Vec<u8>,
    ) -> Result<(), S::Error> {
        self.store.check_interrupts()?;
        let shape = &self.directory.encoder.shape;
        self.add_frames(members.clone());
        if self.blocks == shape.group_blocks || self.frames.len() > shape.group_frames {
            self.begin_group()?;
            self.add_frames(members.clone());
        }
        let (index, count) = (self.blocks, members.len());
        bytes.clear();
        mrl_memory::reserve(bytes, shape.block_bytes)?;
        bytes.resize(shape.block_bytes, 0);
        for (in_block, member) in members.clone().enumerate() {
            let slot = index * ROWS + in_block;
            let Some((first, others)) = member.tids.split_first() else { continue };
            let place = self.frames.iter().position(|frame| *frame == member.frame);
            let frame_place = place.unwrap_or(0) as u8;
            rows::store_row(bytes, in_block, *first, frame_place, &member.row.record, shape);
            let number = u16::try_from((self.groups - 1) * shape.group_rows + slot);
            for other in others {
                match number {
                    Ok(number) => mrl_memory::push(&mut self.references, (number, *other))?,
                    Err(_) => {
                        let (row, frame) = (member.row.clone(), member.frame);
                        let again = Member { row, frame, tids: vec![*other] };
                        mrl_memory::push(&mut self.waiting, again)?;
                        mrl_memory::check()?;
                    }
                }
            }
            if shape.keeps_copies() {
                let mut change = self.store.change()?;
                let place = change.lock(self.group)?;
                put_copy(&mut change, place, slot, &member.row, shape)?;
                change.commit()?;
            }
        }
        let mut change = self.store.change()?;
        let place = change.lock(self.group)?;
        let row_places = lock_block(&mut change, place, index, shape)?;
        write_block(&mut change, &row_places, index, bytes, shape);
        let body = change.body_mut(place);
        group::set_first_live(body, index, count, shape);
        for (place, frame) in self.frames.iter().enumerate() {
            group::set_frame(body, place as u8, *frame);
        }
        let live = Group { shape, body }.live(index);
        let offsets = self.frames.iter().map(|frame| self.offsets.get(frame));
        let offsets: Vec<_> = mrl_memory::collect(offsets)?;
        let mean = summary::mean(Rows::new(bytes, shape), live, &offsets, &self.frame, shape);
        group::set_mean(body, index, &mean, shape);
        change.commit()?;
        self.blocks += 1;
        Ok(())
    }

    fn add_frames<'m>(&mut self, members: impl Iterator<Item = &'m Member>) {
        for member in members {
            if !self.frames.contains(&member.frame) {
                self.frames.push(member.frame);
            }
        }
    }
}

fn link_references<S: PageStore>(
    store: &S,
    list: ListId,
    head: PageNumber,
    references: &[(u16, Tid)],
) -> Result<(), S::Error> {
    let mut newest = NONE;
    for some in references.chunks(group::MOST_REFERENCES) {
        let mut change = store.change()?;
        let (new, page) = change.allocate()?;
        group::format_references(change.body_mut(new), list);
        page::set_next(change.body_mut(new), newest);
        group::set_all_references(change.body_mut(new), some);
        let place = change.lock(head)?;
        let open = if some.len() < group::MOST_REFERENCES { page } else { NONE };
        group::set_references(change.body_mut(place), page, open);
        change.commit()?;
        newest = page;
    }
    Ok(())
}

/// Makes pages of a list free. A page of another list, to which damage has led, is an error.
///
/// # Errors
/// What the storage answers; damage, where a page is not what it should be.
pub fn free<S: PageStore>(store: &S, list: ListId, pages: &[PageNumber]) -> Result<(), S::Error> {
    for some in pages.chunks(MOST_PAGES) {
        store.check_interrupts()?;
        let mut change = store.change()?;
        for page in some {
            let place = change.lock(*page)?;
            if page::list(change.body(place)) != list {
                return Err(Damage { page: *page, problem: Problem::List(list) }.into());
            }
            page::format(change.body_mut(place), Kind::Free, 0);
        }
        change.commit()?;
        for page in some {
            store.offer(*page)?;
        }
    }
    store.publish_offers()
}

/// All pages of a list: each group's own and then its others, and at last those of references.
///
/// # Errors
/// What the storage answers; damage, where a page is not what it should be; out of memory.
pub fn pages_of<S: PageStore>(
    store: &S,
    shape: &Shape,
    chain: Chain,
) -> Result<Vec<PageNumber>, S::Error> {
    let mut pages = Vec::new();
    let (mut groups, mut newest) = (chain.groups(), NONE);
    while let Some((page, body)) = groups.next(store)? {
        let group = Group::new(&body, page, chain.list, shape)?;
        if page == chain.head {
            newest = group.references();
        }
        mrl_memory::push(&mut pages, page)?;
        for other in group.other_pages() {
            mrl_memory::push(&mut pages, other)?;
        }
    }
    let mut references = Walk::starting_at(newest);
    while let Some((page, body)) = references.next(store)? {
        page::check(&body, page, Kind::References, chain.list)?;
        mrl_memory::push(&mut pages, page)?;
    }
    Ok(pages)
}
