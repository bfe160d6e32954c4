//! One more TID of a row that is there: another version of the same table row, whose vector is the same.
//!
//! Called under the list's lock, held in common with others that insert.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use half::f16;
use mrl_memory::OutOfMemory;

use crate::codes::block::ROWS;
use crate::lists::directory::Directory;
use crate::lists::summary;
use crate::pages::group::{self, Group, References, Tid};
use crate::pages::page::{self, Kind, ListId, NONE, PageNumber, damaged};
use crate::pages::rows::{self, Row, Rows};
use crate::pages::shape::Shape;
use crate::pages::store::{Change, PageStore};
use crate::pages::walk::{Chain, Walk};

/// Looks for a row whose code is the vector's, and adds the TID to it. Of the list's blocks those are looked into whose
/// ranks, the one that lies nearest to the vector first, are in `ranks`.
pub fn refer<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
    tid: Tid,
    vector: &[f16],
    ranks: Range<usize>,
) -> Result<bool, S::Error> {
    let own = directory.encoder.row(vector, &directory.frame(store, list)?);
    let mut near = near_blocks(store, directory, list, &own.record)?;
    let mut sought = Sought { directory, list, vector, against: vec![(list, own)] };
    let mut bytes = Vec::new();
    for rank in 0..ranks.end {
        store.check_interrupts()?;
        let Some(Reverse((_, group, index))) = near.pop() else { break };
        if rank < ranks.start {
            continue;
        }
        if let Some(number) = sought.find(store, group, index, &mut bytes)? {
            add_reference(store, &directory.encoder.shape, directory.chain(list), number, tid)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// A block by how far it lies from a row, its group's page, and its number there: the nearest is the greatest.
type Near = Reverse<(u16, PageNumber, usize)>;

/// The blocks of a list that have rows.
fn near_blocks<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
    record: &[u8],
) -> Result<BinaryHeap<Near>, S::Error> {
    let shape = &directory.encoder.shape;
    let (mut near, mut room) = (Vec::new(), Vec::new());
    let mut groups = directory.chain(list).groups();
    while let Some((page, body)) = groups.next(store)? {
        let group = Group::new(&body, page, list, shape)?;
        if group.reference_number(0).is_none() {
            continue;
        }
        mrl_memory::reserve(&mut near, group.blocks())?;
        for number in 0..group.summaries_count() {
            let summaries = group.summaries(number, &mut room);
            let differing = summary::differing(summaries, record, shape);
            let (first, live) = (number * shape.summary_lanes, summaries.live());
            for index in first..(first + shape.summary_lanes).min(group.blocks()) {
                if live[index - first] != 0 {
                    near.push(Reverse((differing[index - first], page, index)));
                }
            }
        }
    }
    // The row is most often in the first or second: no need to order them all.
    Ok(BinaryHeap::from(near))
}

/// A row that is looked for in a list.
struct Sought<'a> {
    directory: &'a Directory,
    list: ListId,
    vector: &'a [f16],
    /// What the vector is against each frame.
    against: Vec<(ListId, Row)>,
}

impl Sought<'_> {
    /// The number of a row of a block that has the vector's code.
    fn find<S: PageStore>(
        &mut self,
        store: &S,
        group_page: PageNumber,
        index: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<Option<u16>, S::Error> {
        let (encoder, list) = (&self.directory.encoder, self.list);
        let body = store.read(group_page)?;
        let group = Group::new(&body, group_page, list, &encoder.shape)?;
        let live = group.live(index);
        rows::read_block(store, group, index, bytes)?;
        let stored = Rows::new(bytes, &encoder.shape);
        for (place, frame) in group.frames().enumerate() {
            let mut equal = live & mask(stored.frames(), place as u8);
            if equal == 0 {
                continue;
            }
            let at = match self.against.iter().position(|(of, _)| *of == frame) {
                Some(at) => at,
                None => {
                    let frame_of = self.directory.frame(store, frame)?;
                    self.against.push((frame, encoder.row(self.vector, &frame_of)));
                    self.against.len() - 1
                }
            };
            let row = &self.against[at].1;
            for (codes, byte) in stored.records.codes(0).iter().zip(&row.record) {
                equal &= mask(codes, *byte);
                if equal == 0 {
                    break;
                }
            }
            while equal != 0 {
                let in_block = equal.trailing_zeros() as usize;
                equal &= equal - 1;
                let slot = index * ROWS + in_block;
                if stored.records.is(in_block, &row.record)
                    && is_same_copy(store, group, list, slot, row)?
                    && let Some(number) = group.reference_number(slot)
                {
                    return Ok(Some(number));
                }
            }
        }
        Ok(None)
    }
}

/// Which of 32 bytes are this one.
fn mask(bytes: &[u8; ROWS], byte: u8) -> u32 {
    bytes.iter().enumerate().fold(0, |mask, (i, other)| mask | u32::from(*other == byte) << i)
}

/// Whether a row's copy, where it has one, is equal.
fn is_same_copy<S: PageStore>(
    store: &S,
    group: Group,
    list: ListId,
    slot: usize,
    row: &Row,
) -> Result<bool, S::Error> {
    let Some(copy) = &row.copy else { return Ok(true) };
    let page = group.copy_page_of(slot);
    let body = store.read(page)?;
    page::check(&body, page, Kind::Copies, list)?;
    Ok(rows::copy_of(&body, slot, group.shape) == copy)
}

/// Adds a reference to a list's chain of them.
pub fn add_reference<S: PageStore>(
    store: &S,
    shape: &Shape,
    chain: Chain,
    number: u16,
    tid: Tid,
) -> Result<(), S::Error> {
    let Chain { list, head } = chain;
    let mut popped = 0;
    loop {
        store.check_interrupts()?;
        let (newest, open) = {
            let body = store.read(head)?;
            let group = Group::new(&body, head, list, shape)?;
            (group.references(), group.references_open())
        };
        let mut change = store.change()?;
        if open != NONE {
            let place = change.lock(open)?;
            let references = References::new(change.body(place), open, list)?;
            if references.count() < group::MOST_REFERENCES {
                group::add_reference(change.body_mut(place), number, tid);
                return change.commit();
            }
            let next_open = references.next_open();
            drop(change);
            if next_open != NONE {
                popped += 1;
                if popped > store.page_count()? {
                    return Err(damaged(open, "a stack of references has no end").into());
                }
                let mut change = store.change()?;
                let place = change.lock(head)?;
                if Group::new(change.body(place), head, list, shape)?.references_open() == open {
                    group::set_references(change.body_mut(place), newest, next_open);
                    change.commit()?;
                }
                continue;
            }
            change = store.change()?;
        }
        let place = change.lock(head)?;
        let group = Group::new(change.body(place), head, list, shape)?;
        if (group.references(), group.references_open()) == (newest, open) {
            let (new, new_page) = change.allocate()?;
            group::format_references(change.body_mut(new), list);
            page::set_next(change.body_mut(new), newest);
            group::set_references(change.body_mut(place), new_page, new_page);
            change.commit()?;
        }
    }
}

/// All references of a list, from the newest page on.
pub fn read_references<S: PageStore>(
    store: &S,
    list: ListId,
    newest: PageNumber,
) -> Result<Vec<(u16, Tid)>, S::Error> {
    let (mut all, mut pages) = (Vec::new(), Walk::starting_at(newest));
    while let Some((page, body)) = pages.next(store)? {
        let references = References::new(&body, page, list)?;
        mrl_memory::reserve(&mut all, references.count())?;
        all.extend(references.iter());
    }
    Ok(all)
}

/// How many references a list has, from the newest page on.
pub fn count_references<S: PageStore>(
    store: &S,
    list: ListId,
    newest: PageNumber,
) -> Result<u64, S::Error> {
    let (mut count, mut pages) = (0, Walk::starting_at(newest));
    while let Some((page, body)) = pages.next(store)? {
        count += References::new(&body, page, list)?.count() as u64;
    }
    Ok(count)
}

/// Makes a stack of a list's pages of references that have room, the newest at its bottom. Called while nobody inserts.
pub fn relink<S: PageStore>(store: &S, shape: &Shape, chain: Chain) -> Result<(), S::Error> {
    let Chain { list, head } = chain;
    let (newest, open) = {
        let body = store.read(head)?;
        let group = Group::new(&body, head, list, shape)?;
        (group.references(), group.references_open())
    };
    let (mut pages, mut stack) = (Walk::starting_at(newest), NONE);
    while let Some((page, body)) = pages.next(store)? {
        let references = References::new(&body, page, list)?;
        let has_room = references.count() < group::MOST_REFERENCES;
        let next_open = references.next_open();
        drop(body);
        if has_room {
            if next_open != stack {
                let mut change = store.change()?;
                let place = change.lock(page)?;
                group::set_references_next_open(change.body_mut(place), stack);
                change.commit()?;
            }
            stack = page;
        }
    }
    if open != stack {
        let mut change = store.change()?;
        let place = change.lock(head)?;
        group::set_references(change.body_mut(place), newest, stack);
        change.commit()?;
    }
    Ok(())
}

/// A list's references, by the rows that they belong to.
#[derive(Debug, Default)]
pub struct ByRow {
    /// Of each row, by its number: the place, from 1, of its first reference; 0 where it has none.
    first: Vec<u32>,
    /// Each reference, and the place of the next one of the same row.
    references: Vec<(Tid, u32)>,
}

impl ByRow {
    pub fn new(references: Vec<(u16, Tid)>) -> Result<Self, OutOfMemory> {
        let rows = references.iter().map(|(row, _)| usize::from(*row) + 1).max().unwrap_or(0);
        let mut by_row = Self { first: mrl_memory::filled(0, rows)?, references: Vec::new() };
        mrl_memory::reserve(&mut by_row.references, references.len())?;
        for (place, (row, tid)) in (1..).zip(references) {
            let next = std::mem::replace(&mut by_row.first[usize::from(row)], place);
            by_row.references.push((tid, next));
        }
        Ok(by_row)
    }

    /// The TIDs that a row has besides its own.
    #[inline]
    pub fn of(&self, row: usize) -> impl Iterator<Item = Tid> + use<'_> {
        let mut place = self.first.get(row).copied().unwrap_or(0);
        std::iter::from_fn(move || {
            let (tid, next) = *self.references.get((place as usize).checked_sub(1)?)?;
            place = next;
            Some(tid)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_row_has_the_references_of_its_number(
            references in prop::collection::vec((0u16..40, 0u64..1 << 48), 0..200),
        ) {
            let by_row = ByRow::new(references.clone()).unwrap();
            for row in 0..50 {
                let own = references.iter().filter(|(of, _)| usize::from(*of) == row);
                let mut expected: Vec<_> = own.map(|(_, tid)| *tid).collect();
                expected.reverse();
                prop_assert_eq!(by_row.of(row).collect::<Vec<_>>(), expected);
            }
        }
    }
}
