//! One more TID of a row that is there: another version of the same table row, whose vector is the same.
//!
//! Called under the list's lock, held in common with others that insert.

use half::f16;

use crate::block::ROWS;
use crate::directory::Directory;
use crate::group::{self, Group, References, Tid};
use crate::insert::lock_expecting;
use crate::page::{self, Block, Kind, ListId, NONE, damaged};
use crate::rows::{self, Row, Rows};
use crate::shape::Shape;
use crate::store::{Change, PageStore, Steps};
use crate::summary;

/// Looks for a row whose code is the vector's, and adds the TID to it. The blocks that lie near are looked into first.
pub fn refer<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
    tid: Tid,
    vector: &[f16],
) -> Result<bool, S::Error> {
    let shape = &directory.encoder.shape;
    let head = directory.entries[list as usize].head;
    // What the vector is against each frame, the list's own first.
    let own = directory.encoder.row(vector, &directory.frame(store, list)?);
    let mut against: Vec<(ListId, Row)> = vec![(list, own)];
    let (mut bytes, mut room) = (Vec::new(), Vec::new());
    let (mut block, mut steps) = (head, Steps::default());
    while block != NONE {
        steps.step(store, block)?;
        let body = store.read(block)?;
        let group = Group::new(&body, block, list, shape)?;
        let mut near = Vec::new();
        mrl_memory::reserve(&mut near, group.blocks())?;
        for number in 0..group.summaries_count() {
            let summaries = group.summaries(number, &mut room);
            let differing = summary::differing(summaries, &against[0].1.record, shape);
            let (first, live) = (number * shape.summary_lanes, summaries.live());
            for index in first..(first + shape.summary_lanes).min(group.blocks()) {
                let live = live[index - first];
                if live != 0 {
                    near.push((differing[index - first], index, live));
                }
            }
        }
        near.sort_unstable();
        for (_, index, live) in near {
            rows::read_block(store, shape, list, index, |page| group.row_page(page), &mut bytes)?;
            let stored = Rows::new(&bytes, shape);
            for (place, frame) in group.frames().into_iter().enumerate() {
                let mut equal = live & mask(stored.frames(), place as u8);
                if equal == 0 {
                    continue;
                }
                let at = match against.iter().position(|(of, _)| *of == frame) {
                    Some(at) => at,
                    None => {
                        let frame_of = directory.frame(store, frame)?;
                        against.push((frame, directory.encoder.row(vector, &frame_of)));
                        against.len() - 1
                    }
                };
                let row = &against[at].1;
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
                        drop(body);
                        add_reference(store, shape, list, head, number, tid, Some((block, slot)))?;
                        return Ok(true);
                    }
                }
            }
        }
        block = page::next(&body);
    }
    Ok(false)
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
    let block = group.copy_block(slot);
    let body = store.read(block)?;
    page::expect(&body, block, Kind::Copies, list)?;
    Ok(rows::copy_of(&body, slot, group.shape) == copy)
}

/// Adds a reference to a list's chain of them; marks the row that it belongs to in the same change.
pub fn add_reference<S: PageStore>(
    store: &S,
    shape: &Shape,
    list: ListId,
    head: Block,
    number: u16,
    tid: Tid,
    row: Option<(Block, usize)>,
) -> Result<(), S::Error> {
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
            let row_place = match row {
                Some((block, _)) => Some(lock_expecting(&mut change, block, Kind::Group, list)?),
                None => None,
            };
            let place = change.lock(open)?;
            let page = References::new(change.body(place), open, list)?;
            if page.count() < group::MOST_REFERENCES {
                group::add_reference(change.body_mut(place), number, tid);
                if let (Some(row_place), Some((_, slot))) = (row_place, row) {
                    group::set_marks(change.body_mut(row_place), slot, true, true, shape);
                }
                return change.commit();
            }
            let next_open = page.next_open();
            drop(change);
            if next_open != NONE {
                popped += 1;
                if popped > store.block_count()? {
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
            let (new, new_block) = change.allocate()?;
            group::format_references(change.body_mut(new), list);
            page::set_next(change.body_mut(new), newest);
            group::set_references(change.body_mut(place), new_block, new_block);
            change.commit()?;
        }
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
