//! One row more.
//!
//! Whoever inserts holds the list's lock in common with others that insert, and with a split that works on it: that
//! can't retire the list meanwhile, and vacuum can't work on it. Where one of them keeps others from a list the next
//! nearest takes the row. Within a list pages are locked head first, then group, then the group's other pages.

use std::borrow::Cow;

use half::f16;

use crate::codes::block::ROWS;
use crate::lists::directory::Directory;
use crate::lists::frame::Frame;
use crate::lists::summary::{self, Offset};
use crate::pages::group::{self, Group, Tid};
use crate::pages::meta::{Entry, META_PAGE, Metric, NULLS, State, ZEROS};
use crate::pages::page::{self, Kind, ListId, NONE, PageNumber, damaged};
use crate::pages::references::{add_reference, refer};
use crate::pages::rows::{self, Row, Rows};
use crate::pages::shape::Shape;
use crate::pages::store::{Change, ListLock, PageStore};
use crate::pages::walk::Chain;
use crate::scan::query::Query;
use crate::split::patience::{slots_before_split, slots_of};

/// Blocks of a group that are filled side by side, so that a row finds one that it belongs to.
const OPEN_BLOCKS: usize = 7;

/// By what part of itself a list may be longer than when it was due to be split, before who makes it longer has to
/// wait: where eight sessions insert as fast as they can and splits are left to who gets to them, lists of 16,000 rows
/// come about.
const OVERFULL_BY: usize = 4;

/// What an insert found.
#[derive(Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The row is there, or one that was there has its TID as a reference.
    Done,
    /// Done, and the list should now be split.
    Full(ListId),
    /// The same of a list so long that it should be waited for: rows come faster than lists are split.
    Overfull(ListId),
    /// Nothing was done: the directory is out of date.
    Stale,
}

/// Adds a row without a vector, or with a vector of zeros that has no distances.
///
/// # Errors
/// What the storage answers; damage, where a page is not what it should be.
pub fn insert_reference<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
    tid: Tid,
) -> Result<(), S::Error> {
    let _lock = store.lock_list(list, ListLock::Shared)?;
    add_reference(store, &directory.encoder.shape, directory.chain(list), 0, tid)
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
///
/// # Errors
/// What the storage answers; damage, where a page is not what it should be, or a list is full; out of memory.
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
    /// A list that has the row has it, 19 times in 20, in one of so many blocks.
    const BLOCKS_SEARCHED_FIRST: usize = 4;
    /// And a list of the usual length in one of these; in a longer one a second code is found sooner than the row.
    const BLOCKS_SEARCHED: usize = 256;
    let coarse = directory.encoder.coarse(vector);
    let lists = directory.ranked(&coarse, LISTS_SEARCHED);
    if unchanged {
        // First where it most likely is, in each of the lists: to look into all of one takes long.
        for ranks in [0..BLOCKS_SEARCHED_FIRST, BLOCKS_SEARCHED_FIRST..BLOCKS_SEARCHED] {
            for (_, list) in &lists {
                // One that is kept from others may have the row, but to wait for vacuum costs more than a second code.
                let Some(_lock) = lock_for_reference(store, directory, *list)? else { continue };
                if !is_live(store, directory, *list)? {
                    return Ok(Inserted::Stale);
                }
                if refer(store, directory, *list, tid, vector, ranks.clone())? {
                    return Ok(Inserted::Done);
                }
            }
        }
    }
    let (list, _lock) = lock_for_row(store, directory, &lists)?;
    if !is_live(store, directory, list)? {
        return Ok(Inserted::Stale);
    }
    let frame = directory.frame(store, list)?;
    let slots = add_row(store, directory, (list, &frame), tid, vector)?;
    let due = slots_before_split(directory.entries[list as usize]);
    // They are counted by groups, which need not be used up.
    let slots = match slots > due {
        true => slots_of(store, &directory.encoder.shape, directory.chain(list))?,
        false => slots,
    };
    Ok(match slots {
        _ if slots > due + due / OVERFULL_BY => Inserted::Overfull(list),
        _ if slots > due => Inserted::Full(list),
        _ => Inserted::Done,
    })
}

/// Locks a list for one row more: the nearest of some, or, while vacuum or the end of a split keeps others from that,
/// the next. An update that leaves the vector as it was looks for the row in all of them that are not kept from others.
fn lock_for_row<'s, S: PageStore>(
    store: &'s S,
    directory: &Directory,
    lists: &[(f32, ListId)],
) -> Result<(ListId, S::Lock<'s>), S::Error> {
    let nearest = lists.first().ok_or(damaged(META_PAGE, "the index has no list"))?.1;
    // Where a row's pages don't fit one change, nobody else may take the slot between two: then a lock that is held
    // is most often that of another insert, and soon free.
    if !directory.encoder.shape.row_fits_a_change() {
        return Ok((nearest, store.lock_list(nearest, ListLock::Exclusive)?));
    }
    for (_, list) in lists {
        if let Some(lock) = store.try_lock_list(*list, ListLock::Shared)? {
            return Ok((*list, lock));
        }
    }
    Ok((nearest, store.lock_list(nearest, ListLock::Shared)?))
}

/// Locks a list for one TID more of a row that it may have; nothing while vacuum or the end of a split keeps others
/// from it.
fn lock_for_reference<'s, S: PageStore>(
    store: &'s S,
    directory: &Directory,
    list: ListId,
) -> Result<Option<S::Lock<'s>>, S::Error> {
    // Where inserts keep each other from a list the lock is most often another's, and soon free.
    match directory.encoder.shape.row_fits_a_change() {
        true => store.try_lock_list(list, ListLock::Shared),
        false => store.lock_list(list, ListLock::Shared).map(Some),
    }
}

/// Whether a list is still live; asked under its lock.
///
/// # Errors
/// What the storage answers; damage, where a page is not what it should be.
pub fn is_live<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
) -> Result<bool, S::Error> {
    let page = directory.meta.directory_page(list).ok_or(damaged(META_PAGE, "no such list"))?;
    Ok(Entry::read(&*store.read(page)?, page, list)?.state == State::Live)
}

/// Puts a row into a free slot; returns, where a block was begun for it, how many slots the list has used, if all of
/// its groups but the newest are used up.
fn add_row<S: PageStore>(
    store: &S,
    directory: &Directory,
    (list, frame): (ListId, &Frame),
    tid: Tid,
    vector: &[f16],
) -> Result<usize, S::Error> {
    let shape = &directory.encoder.shape;
    let row = &directory.encoder.row(vector, frame);
    let chain = directory.chain(list);
    // The vector asks for the block that a scan for it would look into first.
    // Errors of what it is compared with do not count: any point is amid the rows.
    let query = Query::new(&directory.encoder, vector, || Cow::Borrowed(vector));
    let base = query.base(&frame.centre);
    let mut popped = 0;
    loop {
        store.check_interrupts()?;
        let target = {
            let body = store.read(chain.head)?;
            Group::new(&body, chain.head, list, shape)?.open()
        };
        if target != NONE {
            let mut change = store.change()?;
            let place = change.lock(target)?;
            let group = Group::new(change.body(place), target, list, shape)?;
            if let Some((slot, is_first)) = free_slot(group, list, &query, base) {
                let slots = group.ordinal() * shape.group_rows + slot + 1;
                if !shape.row_fits_a_change() {
                    put_copy(&mut change, place, slot, row, shape)?;
                    change.commit()?;
                    change = store.change()?;
                    change.lock(target)?;
                } else {
                    put_copy(&mut change, place, slot, row, shape)?;
                }
                put_row(store, directory, frame, &mut change, place, slot, (tid, row))?;
                change.commit()?;
                return Ok(if is_first { slots } else { 0 });
            }
            let next_open = group.next_open();
            drop(change);
            if next_open != NONE {
                // Nothing is put back on the stack while we hold the list's lock.
                popped += 1;
                if popped > store.page_count()? {
                    return Err(damaged(target, "a stack of groups has no end").into());
                }
                pop_open(store, shape, chain, target, next_open)?;
                continue;
            }
        }
        grow(store, shape, chain, target)?;
    }
}

/// A slot that a row with this frame may take, and whether it is the first of its block: in the block
/// with room that the row lies nearest to, once enough blocks have some; before, in a new one.
fn free_slot(group: Group, frame: ListId, query: &Query, base: f32) -> Option<(usize, bool)> {
    group.frame_place(frame)?;
    let (mut nearest, mut open, mut empty) = (None, 0, None);
    let (lanes, mut room) = (group.shape.summary_lanes, Vec::new());
    for number in 0..group.summaries_count() {
        let summaries = group.summaries(number, &mut room);
        let mut scores = [0.0; ROWS];
        query.score_means(summaries.records, base, &mut scores);
        let (first, live) = (number * lanes, summaries.live());
        for index in first..(first + lanes).min(group.blocks()) {
            let live = live[index - first];
            if live == 0 {
                empty = empty.or(Some(index));
            } else if live != u32::MAX {
                open += 1;
                let score = scores[index - first];
                if nearest.is_none_or(|(best, _, _)| score > best) {
                    nearest = Some((score, index, live));
                }
            }
        }
    }
    let next = group.blocks();
    let begun = empty.or((next < group.shape.group_blocks).then_some(next));
    match (nearest, begun) {
        (Some((_, index, live)), begun) if open >= OPEN_BLOCKS || begun.is_none() => {
            Some((index * ROWS + live.trailing_ones() as usize, false))
        }
        (_, begun) => begun.map(|index| (index * ROWS, true)),
    }
}

/// Takes a full group off the stack of those with free slots, unless another has done so.
fn pop_open<S: PageStore>(
    store: &S,
    shape: &Shape,
    chain: Chain,
    full: PageNumber,
    next_open: PageNumber,
) -> Result<(), S::Error> {
    let Chain { list, head } = chain;
    let mut change = store.change()?;
    let place = change.lock(head)?;
    if Group::new(change.body(place), head, list, shape)?.open() == full {
        group::set_open(change.body_mut(place), next_open);
        change.commit()?;
    }
    Ok(())
}

/// Links a new group behind the head, unless another has done so.
fn grow<S: PageStore>(
    store: &S,
    shape: &Shape,
    chain: Chain,
    full: PageNumber,
) -> Result<(), S::Error> {
    let Chain { list, head } = chain;
    let newest = page::next(&*store.read(head)?);
    let newest_ordinal = match newest {
        NONE => 0,
        page => Group::new(&*store.read(page)?, page, list, shape)?.ordinal(),
    };
    let mut change = store.change()?;
    let place = change.lock(head)?;
    let group = Group::new(change.body(place), head, list, shape)?;
    if group.open() != full || page::next(change.body(place)) != newest {
        return Ok(());
    }
    let ordinal = group::ordinal(list, group.ordinal().max(newest_ordinal) + 1)?;
    let (new, new_page) = change.allocate()?;
    group::format_group(change.body_mut(new), list, ordinal, shape);
    page::set_next(change.body_mut(new), newest);
    page::set_next(change.body_mut(place), new_page);
    group::set_open(change.body_mut(place), new_page);
    change.commit()
}

/// Writes a row's copy, where it has one, taking the page that its slot is the first to need.
///
/// # Errors
/// What the storage answers; damage, where a page is not what it should be.
pub fn put_copy<C: Change>(
    change: &mut C,
    place: usize,
    slot: usize,
    row: &Row,
    shape: &Shape,
) -> Result<(), C::Error> {
    let Some(copy) = &row.copy else { return Ok(()) };
    let list = page::list(change.body(place));
    let index = slot / shape.copies_on_page;
    let copies = match (Group { shape, body: change.body(place) }).copy_page(index) {
        NONE => {
            let (copies, page) = change.allocate()?;
            page::format(change.body_mut(copies), Kind::Copies, list);
            group::set_copy_page(change.body_mut(place), index, page, shape);
            copies
        }
        page => lock_checked(change, page, Kind::Copies, list)?,
    };
    rows::store_copy(change.body_mut(copies), slot, copy, shape);
    Ok(())
}

/// Writes a row into a slot of a locked group, all but its copy, and where it is due the summary of its block anew. The
/// row's frame is the list's own.
fn put_row<S: PageStore>(
    store: &S,
    directory: &Directory,
    own: &Frame,
    change: &mut S::Change<'_>,
    place: usize,
    slot: usize,
    (tid, row): (Tid, &Row),
) -> Result<(), S::Error> {
    let encoder = &directory.encoder;
    let (shape, index, list) = (&encoder.shape, slot / ROWS, page::list(change.body(place)));
    let row_places = lock_block(change, place, index, shape)?;
    let mut bytes = mrl_memory::filled(0, shape.block_bytes)?;
    for (segment, row_place) in rows::segments(shape, index).zip(&row_places) {
        let from = &change.body(*row_place)[segment.offset..][..segment.bytes];
        bytes[segment.at..][..segment.bytes].copy_from_slice(from);
    }
    let frame_place = Group { shape, body: change.body(place) }.frame_place(list).unwrap_or(0);
    // No row of a table has that TID.
    let is_first = Rows::new(&bytes, shape).tid(slot % ROWS) == 0;
    rows::store_row(&mut bytes, slot % ROWS, tid, frame_place, &row.record, shape);
    write_block(change, &row_places, index, &bytes, shape);
    let body = change.body_mut(place);
    group::set_frame(body, frame_place, list);
    group::set_used(body, slot + 1);
    group::set_live(body, slot, true, shape);
    let live = Group { shape, body }.live(index);
    if is_first && !is_summary_due(live.count_ones() as usize) {
        return Ok(());
    }
    let stored = Rows::new(&bytes, shape);
    // Rows that came by a split have frames of other lists.
    let mut others: Vec<(usize, Offset)> = Vec::new();
    for in_block in (0..ROWS).filter(|in_block| live >> in_block & 1 == 1) {
        let of_row = usize::from(stored.frames()[in_block]);
        let frame = Group { shape, body: change.body(place) }.frame(of_row);
        if frame == list || frame == 0 || others.iter().any(|(other, _)| *other == of_row) {
            continue;
        }
        if let Some(entry) = directory.entries.get(frame as usize)
            && change.holds(entry.frame_page)
        {
            return Err(damaged(entry.frame_page, "two pointers lead to one page").into());
        }
        let offset = Offset::new(encoder, &own.centre, &directory.centre(store, frame)?);
        mrl_memory::push(&mut others, (of_row, offset))?;
    }
    let places = others.iter().map(|(place, _)| place + 1).max().unwrap_or(0);
    let mut offsets = mrl_memory::filled(None, places)?;
    others.iter().for_each(|(place, offset)| offsets[*place] = Some(offset));
    let mean = summary::mean(stored, live, &offsets, own, shape);
    group::set_mean(change.body_mut(place), index, &mean, shape);
    Ok(())
}

/// Whether the summary of a block that fills for the first time is made anew, by how many rows are there now: with
/// about every fourth part that is added, so that three quarters of its rows count. Of one in which rows take the place
/// of others it is with each of them, as those count until then.
fn is_summary_due(rows: usize) -> bool {
    rows.is_multiple_of((rows / 4).max(1))
}

/// Locks the row pages of a block of a locked group, taking those that it is the first to need. Returns their places
/// among the change's pages.
///
/// # Errors
/// What the storage answers; damage, where a page is not what it should be.
pub fn lock_block<C: Change>(
    change: &mut C,
    place: usize,
    index: usize,
    shape: &Shape,
) -> Result<Vec<usize>, C::Error> {
    let list = page::list(change.body(place));
    let mut places = Vec::with_capacity(shape.block_pages);
    for segment in rows::segments(shape, index) {
        places.push(match (Group { shape, body: change.body(place) }).row_page(segment.page) {
            NONE => {
                let (rows, page) = change.allocate()?;
                page::format(change.body_mut(rows), Kind::Rows, list);
                group::set_row_page(change.body_mut(place), segment.page, page, shape);
                rows
            }
            page => lock_checked(change, page, Kind::Rows, list)?,
        });
    }
    Ok(places)
}

/// Writes a block to its pages, which are locked.
pub fn write_block<C: Change>(
    change: &mut C,
    places: &[usize],
    index: usize,
    bytes: &[u8],
    shape: &Shape,
) {
    for (segment, place) in rows::segments(shape, index).zip(places) {
        let from = &bytes[segment.at..][..segment.bytes];
        page::put(change.body_mut(*place), segment.offset, from);
    }
}

/// Locks a page that is one of a kind, of a list; returns its place among the change's pages.
///
/// # Errors
/// What the storage answers; damage, where a page is not what it should be.
pub fn lock_checked<C: Change>(
    change: &mut C,
    page: PageNumber,
    kind: Kind,
    list: ListId,
) -> Result<usize, C::Error> {
    let place = change.lock(page)?;
    page::check(change.body(place), page, kind, list)?;
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_quarters_of_the_rows_of_a_block_that_fills_count_in_its_summary() {
        let mut counted = 0;
        for rows in 1..=ROWS {
            if is_summary_due(rows) {
                counted = rows;
            }
            assert!(4 * counted >= 3 * rows, "{counted} of {rows}");
        }
        assert_eq!(counted, ROWS);
    }
}
