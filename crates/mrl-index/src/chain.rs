//! A list's chain of pages as a whole: all its rows read, written anew, its pages named and given back.

use crate::block::ROWS;
use crate::directory::Directory;
use crate::encode::Row;
use crate::group::{self, Group, RowEntry, Tid};
use crate::insert::put_row;
use crate::page::{self, Block, Damage, Kind, ListId, NONE, Problem, damaged};
use crate::round::read_references;
use crate::shape::Shape;
use crate::store::{Change, MOST_PAGES, PageStore, Steps};

/// A row of a list, with all its TIDs.
pub struct Member {
    pub row: Row,
    pub frame: ListId,
    pub tids: Vec<Tid>,
}

/// Reads all rows of a list, under its lock.
pub fn read_members<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
    head: Block,
) -> Result<Vec<Member>, S::Error> {
    let shape = &directory.encoder.shape;
    let newest = Group::new(&*store.read(head)?, head, list, shape)?.references();
    let mut references = read_references(store, list, newest)?;
    references.sort_unstable();
    let mut members = Vec::new();
    let (mut block, mut steps) = (head, Steps::default());
    while block != NONE {
        steps.step(store, block)?;
        let body = store.read(block)?;
        let group = Group::new(&body, block, list, shape)?;
        for index in 0..group.blocks() {
            let rows = group.block(index);
            let mut live = rows.live();
            while live != 0 {
                let in_block = live.trailing_zeros() as usize;
                live &= live - 1;
                let slot = index * ROWS + in_block;
                if slot >= shape.group_rows {
                    return Err(damaged(block, "a row lies beyond its group").into());
                }
                let row_block = group.row_page(slot / shape.rows_on_page);
                let page = store.read(row_block)?;
                page::expect(&page, row_block, Kind::Rows, list)?;
                let entry = RowEntry::of(&page, slot, shape);
                let mut tids = vec![entry.tid()];
                if let Some(number) = group.reference_number(slot) {
                    let first = references.partition_point(|(row, _)| *row < number);
                    let own = references[first..].iter().take_while(|(row, _)| *row == number);
                    for (_, tid) in own {
                        mrl_memory::push(&mut tids, *tid)?;
                    }
                }
                let code = entry.code().to_vec();
                drop(page);
                let copy = match shape.keeps_copies() {
                    false => None,
                    true => {
                        let copy_block = group.copy_page(slot / shape.copies_on_page);
                        let page = store.read(copy_block)?;
                        page::expect(&page, copy_block, Kind::Copies, list)?;
                        Some(group::copy_of(&page, slot, shape).to_vec())
                    }
                };
                let row = Row { leading: rows.leading(in_block), entry: code, copy };
                mrl_memory::push(&mut members, Member { row, frame: rows.frame(), tids })?;
            }
        }
        block = page::next(&body);
    }
    Ok(members)
}

/// Writes a list's chain, unlinked; returns its head.
pub fn write_list<S: PageStore>(
    store: &S,
    shape: &Shape,
    list: ListId,
    mut members: Vec<Member>,
) -> Result<Block, S::Error> {
    // A block has rows of one frame: together they fill blocks. (A stable sort would need memory.)
    members.sort_unstable_by_key(|member| (member.frame, member.tids.first().copied()));
    let mut references: Vec<(u16, Tid)> = Vec::new();
    let mut rows = members
        .into_iter()
        .flat_map(|member| {
            let Member { row, frame, tids } = member;
            let mut tids = tids.into_iter();
            tids.next().map(|tid| (row, frame, tid, tids))
        })
        .peekable();
    let mut pending: Vec<(Row, ListId, Tid, std::vec::IntoIter<Tid>)> = Vec::new();
    let (mut newest, mut ordinal) = (NONE, 0);
    loop {
        store.check_interrupts()?;
        // One group: its page first, then row by row; each page is logged as often as it changes, so
        // rows are put in by the pageful.
        let mut change = store.change()?;
        let (place, block) = change.allocate()?;
        group::format_group(change.body_mut(place), list, ordinal, shape);
        page::set_next(change.body_mut(place), newest);
        group::set_open(change.body_mut(place), block);
        change.commit()?;
        let mut slot = 0;
        let mut last_frame = None;
        let mut is_full = false;
        while !pending.is_empty() || rows.peek().is_some() {
            let mut change = store.change()?;
            let place = change.lock(block)?;
            let page_index = slot / shape.rows_on_page;
            let mut pages = PagesOfRow::default();
            while let Some((row, frame, tid, others)) = pending.pop().or_else(|| rows.next()) {
                if last_frame != Some(frame) {
                    slot = slot_after(slot);
                    last_frame = Some(frame);
                }
                if slot >= shape.group_rows {
                    is_full = true;
                    pending.push((row, frame, tid, others));
                    break;
                }
                if slot / shape.rows_on_page != page_index || !pages.has_room(slot, shape) {
                    pending.push((row, frame, tid, others));
                    break;
                }
                pages.put(&mut change, place, slot, tid, &row, frame, shape)?;
                let number = u16::try_from(ordinal * shape.group_rows + slot);
                for other in others {
                    match number {
                        Ok(number) => {
                            mrl_memory::push(&mut references, (number, other))?;
                            group::set_marks(change.body_mut(place), slot, true, true, shape);
                        }
                        Err(_) => {
                            mrl_memory::reserve(&mut pending, 1)?;
                            pending.insert(0, (row.clone(), frame, other, vec![].into_iter()));
                            mrl_memory::check()?;
                        }
                    }
                }
                slot += 1;
            }
            change.commit()?;
            if is_full {
                break;
            }
        }
        newest = block;
        ordinal += 1;
        if pending.is_empty() && rows.peek().is_none() {
            break;
        }
    }
    link_references(store, list, newest, &references)?;
    Ok(newest)
}

/// The first slot of the next block, unless a block begins here.
fn slot_after(slot: usize) -> usize {
    slot.next_multiple_of(ROWS)
}

/// The pages of a group that one change has already taken.
#[derive(Default)]
struct PagesOfRow {
    rows: Option<usize>,
    copies: Option<(usize, usize)>,
}

impl PagesOfRow {
    /// Whether a row's pages are among those of this change, or may still come in.
    fn has_room(&self, slot: usize, shape: &Shape) -> bool {
        !shape.keeps_copies()
            || self.copies.is_none_or(|(index, _)| index == slot / shape.copies_on_page)
    }

    #[allow(clippy::too_many_arguments)]
    fn put<C: Change>(
        &mut self,
        change: &mut C,
        place: usize,
        slot: usize,
        tid: Tid,
        row: &Row,
        frame: ListId,
        shape: &Shape,
    ) -> Result<(), C::Error> {
        match self.rows {
            None => {
                put_row(change, place, slot, tid, row, frame, shape)?;
                // The group's page is the first of the change, so these are the next two.
                self.rows = Some(place + 1);
                self.copies = row.copy.is_some().then(|| (slot / shape.copies_on_page, place + 2));
            }
            Some(rows) => {
                group::store_leading(change.body_mut(place), slot, &row.leading, frame, shape);
                group::store_entry(change.body_mut(rows), slot, row, tid, shape);
                if let (Some((_, copies)), Some(copy)) = (self.copies, &row.copy) {
                    group::store_copy(change.body_mut(copies), slot, copy, shape);
                }
            }
        }
        Ok(())
    }
}

fn link_references<S: PageStore>(
    store: &S,
    list: ListId,
    head: Block,
    references: &[(u16, Tid)],
) -> Result<(), S::Error> {
    let mut newest = NONE;
    for some in references.chunks(group::MOST_REFERENCES) {
        let mut change = store.change()?;
        let (new, block) = change.allocate()?;
        group::format_references(change.body_mut(new), list);
        page::set_next(change.body_mut(new), newest);
        group::set_all_references(change.body_mut(new), some);
        let place = change.lock(head)?;
        let open = if some.len() < group::MOST_REFERENCES { block } else { NONE };
        group::set_references(change.body_mut(place), block, open);
        change.commit()?;
        newest = block;
    }
    Ok(())
}

/// Makes pages of a list free. A page of another list, to which damage has led, is an error.
pub fn free<S: PageStore>(store: &S, list: ListId, pages: &[Block]) -> Result<(), S::Error> {
    for some in pages.chunks(MOST_PAGES) {
        store.check_interrupts()?;
        let mut change = store.change()?;
        for block in some {
            let place = change.lock(*block)?;
            if page::list(change.body(place)) != list {
                return Err(Damage { block: *block, problem: Problem::List(list) }.into());
            }
            page::format(change.body_mut(place), Kind::Free, 0);
        }
        change.commit()?;
        for block in some {
            store.offer(*block)?;
        }
    }
    store.publish_offers()
}

/// All pages of a list.
pub fn pages_of<S: PageStore>(
    store: &S,
    shape: &Shape,
    list: ListId,
    head: Block,
) -> Result<Vec<Block>, S::Error> {
    let mut pages = Vec::new();
    let (mut block, mut steps) = (head, Steps::default());
    let mut references = NONE;
    while block != NONE {
        steps.step(store, block)?;
        let body = store.read(block)?;
        let group = Group::new(&body, block, list, shape)?;
        if block == head {
            references = group.references();
        }
        mrl_memory::push(&mut pages, block)?;
        let others = (0..shape.row_pages).map(|i| group.row_page(i));
        let others = others.chain((0..shape.copy_pages).map(|i| group.copy_page(i)));
        for other in others.filter(|other| *other != NONE) {
            mrl_memory::push(&mut pages, other)?;
        }
        block = page::next(&body);
    }
    let mut block = references;
    while block != NONE {
        steps.step(store, block)?;
        let body = store.read(block)?;
        page::expect(&body, block, Kind::References, list)?;
        mrl_memory::push(&mut pages, block)?;
        block = page::next(&body);
    }
    Ok(pages)
}
