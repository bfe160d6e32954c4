//! One row more.
//!
//! Whoever inserts holds the list's lock in common with others that insert: the list can't be split and
//! vacuum can't work on it meanwhile. Within it pages are locked head first, then group, then the
//! group's other pages.

use half::f16;

use crate::directory::Directory;
use crate::encode::Row;
use crate::group::{self, Group, References, RowEntry, Tid};
use crate::meta::{Entry, META_BLOCK, Metric, NULLS, State, ZEROS};
use crate::page::{self, Block, Body, Kind, ListId, NONE, damaged};
use crate::shape::Shape;
use crate::store::{Change, ListLock, PageStore, Steps};

/// Groups of a list that is due to be split: 2,496 rows of 384 dimensions. A grown index so has a recall
/// .005 to .01 above a fresh one's and takes 1.3 times as long; with 7 it is .006 to .014 below and takes 1.25 times.
pub const GROUPS_BEFORE_SPLIT: usize = 8;

/// What an insert found.
#[derive(Debug, PartialEq, Eq)]
pub enum Inserted {
    Done,
    /// Done, and the list should now be split.
    Full(ListId),
    /// Nothing was done: the directory is out of date.
    Stale,
}

/// Adds a row without a vector, or with a vector of zeros that has no distances.
pub fn insert_reference<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
    tid: Tid,
) -> Result<(), S::Error> {
    let _lock = store.lock_list(list, ListLock::Shared)?;
    add_reference(
        store,
        &directory.encoder.shape,
        list,
        directory.entries[list as usize].head,
        0,
        tid,
        None,
    )
}

/// The list that a vector belongs to where it has no distances, and so no place among the others.
pub fn list_without_distances(directory: &Directory, vector: Option<&[f16]>) -> Option<ListId> {
    match vector {
        None => Some(NULLS),
        Some(vector) => (directory.meta.metric == Metric::Cosine
            && vector.iter().all(|x| x.to_f32() == 0.0))
        .then_some(ZEROS),
    }
}

/// Adds a row with a vector. With `unchanged` (an update that is said to have left the vector as it
/// was) a row with the same code takes the TID as a reference, where there is one.
pub fn insert<S: PageStore>(
    store: &S,
    directory: &Directory,
    tid: Tid,
    vector: &[f16],
    unchanged: bool,
) -> Result<Inserted, S::Error> {
    /// A row was put into a list by an approximation of its vector where the list was split, so it
    /// may lie in one of the next.
    const LISTS_SEARCHED: usize = 3;
    let coarse = directory.encoder.coarse(vector);
    let lists = directory.ranked(&coarse, if unchanged { LISTS_SEARCHED } else { 1 });
    let nearest = lists.first().ok_or(damaged(META_BLOCK, "the index has no list"))?.1;
    if unchanged {
        for (_, list) in &lists {
            let _lock = store.lock_list(*list, ListLock::Shared)?;
            if !is_live(store, directory, *list)? {
                return Ok(Inserted::Stale);
            }
            if refer(store, directory, *list, tid, vector)? {
                return Ok(Inserted::Done);
            }
        }
    }
    let row = directory.encoder.row(vector, &directory.frame(store, nearest)?);
    let _lock = store.lock_list(nearest, ListLock::Shared)?;
    if !is_live(store, directory, nearest)? {
        return Ok(Inserted::Stale);
    }
    let groups = add_row(store, directory, nearest, tid, &row)?;
    let patience = directory.entries[nearest as usize].patience.min(16);
    let full = groups > GROUPS_BEFORE_SPLIT << patience;
    Ok(if full { Inserted::Full(nearest) } else { Inserted::Done })
}

/// Whether a list is still live; asked under its lock.
pub fn is_live<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
) -> Result<bool, S::Error> {
    let block = directory.meta.directory_block(list).ok_or(damaged(META_BLOCK, "no such list"))?;
    Ok(Entry::read(&*store.read(block)?, block, list)?.state == State::Live)
}

/// Puts a row into a free slot; returns, where the list had to grow, how many groups it has now, else 0.
fn add_row<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
    tid: Tid,
    row: &Row,
) -> Result<usize, S::Error> {
    let shape = &directory.encoder.shape;
    let head = directory.entries[list as usize].head;
    let (mut groups, mut popped) = (0, 0);
    loop {
        store.check_interrupts()?;
        let target = {
            let body = store.read(head)?;
            Group::new(&body, head, list, shape)?.open()
        };
        if target != NONE {
            let mut change = store.change()?;
            let place = change.lock(target)?;
            let group = Group::new(change.body(place), target, list, shape)?;
            if let Some(slot) = group.free_slot(list) {
                put_row(&mut change, place, slot, tid, row, list, shape)?;
                change.commit()?;
                return Ok(groups);
            }
            let next_open = group.next_open();
            drop(change);
            if next_open != NONE {
                // Nothing is put back on the stack while we hold the list's lock.
                popped += 1;
                if popped > store.block_count()? {
                    return Err(damaged(target, "a stack of groups has no end").into());
                }
                pop_open(store, shape, list, head, target, next_open)?;
                continue;
            }
        }
        groups = grow(store, shape, list, head, target)?.unwrap_or(groups);
    }
}

/// Takes a full group off the stack of those with free slots, unless another has done so.
fn pop_open<S: PageStore>(
    store: &S,
    shape: &Shape,
    list: ListId,
    head: Block,
    full: Block,
    next_open: Block,
) -> Result<(), S::Error> {
    let mut change = store.change()?;
    let place = change.lock(head)?;
    if Group::new(change.body(place), head, list, shape)?.open() == full {
        group::set_open(change.body_mut(place), next_open);
        change.commit()?;
    }
    Ok(())
}

/// Links a new group behind the head, unless another has done so. Returns how many groups there are now.
fn grow<S: PageStore>(
    store: &S,
    shape: &Shape,
    list: ListId,
    head: Block,
    full: Block,
) -> Result<Option<usize>, S::Error> {
    let newest = page::next(&*store.read(head)?);
    let newest_ordinal = match newest {
        NONE => 0,
        block => Group::new(&*store.read(block)?, block, list, shape)?.ordinal(),
    };
    let mut change = store.change()?;
    let place = change.lock(head)?;
    let group = Group::new(change.body(place), head, list, shape)?;
    if group.open() != full || page::next(change.body(place)) != newest {
        return Ok(None);
    }
    let ordinal = group.ordinal().max(newest_ordinal) + 1;
    let (new, new_block) = change.allocate()?;
    group::format_group(change.body_mut(new), list, ordinal, shape);
    page::set_next(change.body_mut(new), newest);
    page::set_next(change.body_mut(place), new_block);
    group::set_open(change.body_mut(place), new_block);
    change.commit()?;
    Ok(Some(ordinal + 1))
}

/// Writes a row into a slot of a locked group, taking the pages that the slot is the first to need.
pub fn put_row<C: Change>(
    change: &mut C,
    place: usize,
    slot: usize,
    tid: Tid,
    row: &Row,
    frame: ListId,
    shape: &Shape,
) -> Result<(), C::Error> {
    let list = page::list(change.body(place));
    group::store_leading(change.body_mut(place), slot, &row.leading, frame, shape);
    let index = slot / shape.rows_on_page;
    let block = group_of(change.body(place), shape).row_page(index);
    let rows = match block {
        NONE => {
            let (rows, block) = change.allocate()?;
            page::format(change.body_mut(rows), Kind::Rows, list);
            group::set_row_page(change.body_mut(place), index, block);
            rows
        }
        block => lock_expecting(change, block, Kind::Rows, list)?,
    };
    group::store_entry(change.body_mut(rows), slot, row, tid, shape);
    if let Some(copy) = &row.copy {
        let index = slot / shape.copies_on_page;
        let copies = match group_of(change.body(place), shape).copy_page(index) {
            NONE => {
                let (copies, block) = change.allocate()?;
                page::format(change.body_mut(copies), Kind::Copies, list);
                group::set_copy_page(change.body_mut(place), index, block, shape);
                copies
            }
            block => lock_expecting(change, block, Kind::Copies, list)?,
        };
        group::store_copy(change.body_mut(copies), slot, copy, shape);
    }
    Ok(())
}

fn group_of<'a>(body: &'a Body, shape: &'a Shape) -> Group<'a> {
    Group { shape, body }
}

fn lock_expecting<C: Change>(
    change: &mut C,
    block: Block,
    kind: Kind,
    list: ListId,
) -> Result<usize, C::Error> {
    let place = change.lock(block)?;
    page::expect(change.body(place), block, kind, list)?;
    Ok(place)
}

/// Looks for a row whose code is the vector's, and adds the TID to it.
fn refer<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
    tid: Tid,
    vector: &[f16],
) -> Result<bool, S::Error> {
    let shape = &directory.encoder.shape;
    let head = directory.entries[list as usize].head;
    let mut rows: Vec<(ListId, Row)> = Vec::new();
    let (mut block, mut steps) = (head, Steps::default());
    while block != NONE {
        steps.step(store, block)?;
        let body = store.read(block)?;
        let group = Group::new(&body, block, list, shape)?;
        for index in 0..group.blocks() {
            let rows_block = group.block(index);
            let frame = rows_block.frame();
            if rows_block.live() == 0 {
                continue;
            }
            let known = rows.iter().position(|(of, _)| *of == frame);
            let known = match known {
                Some(known) => known,
                None => {
                    let row = directory.encoder.row(vector, &directory.frame(store, frame)?);
                    rows.push((frame, row));
                    rows.len() - 1
                }
            };
            let row = &rows[known].1;
            let mut equal = rows_block.live();
            for (codes, byte) in rows_block
                .codes()
                .as_chunks::<{ crate::block::ROWS }>()
                .0
                .iter()
                .zip(row.leading.code)
            {
                let same =
                    codes.iter().enumerate().map(|(i, other)| u32::from(*other == byte) << i);
                equal &= same.fold(0, |mask, bit| mask | bit);
                if equal == 0 {
                    break;
                }
            }
            while equal != 0 {
                let in_block = equal.trailing_zeros() as usize;
                equal &= equal - 1;
                let slot = index * crate::block::ROWS + in_block;
                if rows_block.leading(in_block) == row.leading
                    && is_same_row(store, group, list, slot, row)?
                    && let Some(number) = group.reference_number(slot)
                {
                    drop(body);
                    add_reference(store, shape, list, head, number, tid, Some((block, slot)))?;
                    return Ok(true);
                }
            }
        }
        block = page::next(&body);
    }
    Ok(false)
}

/// Whether the rest of a row is equal, on its row page and, where there is one, its copy page.
fn is_same_row<S: PageStore>(
    store: &S,
    group: Group,
    list: ListId,
    slot: usize,
    row: &Row,
) -> Result<bool, S::Error> {
    let shape = group.shape;
    let block = group.row_page(slot / shape.rows_on_page);
    let body = store.read(block)?;
    page::expect(&body, block, Kind::Rows, list)?;
    if RowEntry::of(&body, slot, shape).code() != row.entry {
        return Ok(false);
    }
    let Some(copy) = &row.copy else { return Ok(true) };
    let block = group.copy_page(slot / shape.copies_on_page);
    let body = store.read(block)?;
    page::expect(&body, block, Kind::Copies, list)?;
    Ok(group::copy_of(&body, slot, shape) == copy)
}

/// Adds a reference to a list's chain of them; marks the row that it belongs to in the same change.
fn add_reference<S: PageStore>(
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
