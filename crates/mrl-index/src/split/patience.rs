//! When a list is due to be split, and that one whose rows are alike, so that a split is of no use, waits until it is
//! twice as long.

use half::f16;

use crate::lists::directory::Directory;
use crate::pages::group::Group;
use crate::pages::meta::{Entry, META_PAGE};
use crate::pages::page::{ListId, damaged};
use crate::pages::shape::Shape;
use crate::pages::store::{Change, PageStore};
use crate::pages::walk::Chain;
use crate::split::recycle::bump_epoch;

/// Slots of a list that is due to be split.
pub(crate) const SLOTS_BEFORE_SPLIT: usize = 2176;
/// What counts at most of a list's patience.
const MOST: u8 = 16;

/// Slots of this list with which it is due.
pub(crate) fn slots_before_split(entry: Entry) -> usize {
    SLOTS_BEFORE_SPLIT << entry.patience.min(MOST)
}

/// How many slots a list has at most that a split takes into memory without a second thought, with what it knows of
/// each row.
pub(crate) fn most_slots(shape: &Shape) -> usize {
    const MOST_BYTES: usize = 256 << 20;
    /// What a row takes beside its record, its vector, what lists are chosen by, and its copy.
    const OVERHEAD: usize = 256;
    let vectors = if shape.keeps_copies() { 3 } else { 2 };
    let row = OVERHEAD + shape.row.record_bytes() + vectors * size_of::<f16>() * shape.dimensions;
    MOST_BYTES / row
}

/// How many of a list that is split by its codes alone.
pub(crate) fn most_slots_of_codes(shape: &Shape) -> usize {
    const MOST_BYTES: usize = 512 << 20;
    /// What a row takes beside its record and its copy, twice over while it goes from one part to another.
    const OVERHEAD: usize = 400;
    let copy = if shape.keeps_copies() { size_of::<f16>() * shape.dimensions } else { 0 };
    MOST_BYTES / (OVERHEAD + shape.row.record_bytes() + copy)
}

/// How many slots of a list have been used. Groups whose rows have many frames are not used up.
pub(crate) fn slots_of<S: PageStore>(
    store: &S,
    shape: &Shape,
    chain: Chain,
) -> Result<usize, S::Error> {
    let (mut slots, mut groups) = (0, chain.groups());
    while let Some((page, body)) = groups.next(store)? {
        slots += Group::new(&body, page, chain.list, shape)?.rows();
    }
    Ok(slots)
}

/// Writes that a list is to have more than so many slots before it is due. Called under the directory's lock.
pub(crate) fn wait<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
    slots: usize,
) -> Result<(), S::Error> {
    let mut change = store.change()?;
    let page = directory.meta.directory_page(list).ok_or(damaged(META_PAGE, "no such list"))?;
    let place = change.lock(page)?;
    let mut entry = Entry::read(change.body(place), page, list)?;
    let former = entry.patience;
    while entry.patience < MOST && slots_before_split(entry) <= slots {
        entry.patience += 1;
    }
    if entry.patience == former {
        return Ok(());
    }
    entry.write(change.body_mut(place), list);
    bump_epoch(&mut change, &directory.meta)?;
    change.commit()
}
