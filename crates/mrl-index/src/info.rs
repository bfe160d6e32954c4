//! What an index and its lists consist of, for whoever watches it.

use std::collections::BTreeSet;

use crate::codes::block::ROWS;
use crate::lists::directory::Directory;
use crate::pages::group::Group;
use crate::pages::meta::{Entry, NULLS, State, ZEROS};
use crate::pages::page::ListId;
use crate::pages::references::count_references;
use crate::pages::store::PageStore;

/// What an index consists of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Info {
    /// Of the vectors.
    pub dimensions: usize,
    /// How many leading dimensions lists are chosen by.
    pub coarse_dimensions: usize,
    /// Whether the index keeps copies of the vectors.
    pub copies: bool,
    /// Live lists, but for those of rows without distances.
    pub lists: usize,
    /// Lists that others have replaced, and whose pages have not been taken back yet.
    pub retired_lists: usize,
    /// Lists that there are or have been, with those of rows without distances, of
    /// [`MOST_LIST_NUMBERS`](crate::pages::meta::MOST_LIST_NUMBERS).
    pub lists_made: usize,
    /// Rows with a code of their own, of all live lists; until vacuum comes dead ones too, here and below.
    pub rows: u64,
    /// More TIDs that have the code of one of these rows.
    pub references: u64,
    /// Rows whose vector is NULL.
    pub nulls: u64,
    /// Rows whose vector is zero, where the metric has no distance for it.
    pub zeros: u64,
    /// Slots of blocks, in use or not.
    pub slots: u64,
    /// Rows with a code of their own of the live list that has the fewest.
    pub smallest_list: u64,
    /// And of the one that has the most.
    pub largest_list: u64,
    /// Centres that the rows of each list are encoded against, of all lists together.
    pub frames: u64,
    /// Pages of the storage, free ones too.
    pub pages: u32,
}

/// What a live list consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListInfo {
    /// Its number.
    pub list: ListId,
    /// Rows with a code of their own.
    pub rows: u64,
    /// More TIDs that have the code of one of these.
    pub references: u64,
    /// Places for rows in its blocks.
    pub slots: u64,
    /// Centres that its rows are encoded against.
    pub frames: u64,
}

/// What an index consists of.
///
/// # Errors
/// What the storage answers; damage, where a page is not what it should be; out of memory.
pub fn info<S: PageStore>(store: &S) -> Result<Info, S::Error> {
    let directory = Directory::read(store)?;
    let is_retired = |entry: &&Entry| entry.state == State::Retired;
    let mut info = Info {
        dimensions: directory.meta.dimensions,
        coarse_dimensions: directory.meta.coarse_dimensions,
        copies: directory.meta.copies,
        lists: directory.live_lists().len(),
        lists_made: directory.meta.next_list as usize,
        retired_lists: directory.entries.iter().filter(is_retired).count(),
        pages: store.page_count()?,
        nulls: references_of(store, &directory, NULLS)?,
        zeros: references_of(store, &directory, ZEROS)?,
        smallest_list: u64::MAX,
        ..Info::default()
    };
    for list in directory.live_lists() {
        let list = list_info(store, &directory, *list)?;
        info.rows += list.rows;
        info.references += list.references;
        info.slots += list.slots;
        info.frames += list.frames;
        info.smallest_list = info.smallest_list.min(list.rows);
        info.largest_list = info.largest_list.max(list.rows);
    }
    Ok(info)
}

/// What each live list consists of, but for those of rows without distances; their numbers rise.
///
/// # Errors
/// What the storage answers; damage, where a page is not what it should be; out of memory.
pub fn lists<S: PageStore>(store: &S) -> Result<Vec<ListInfo>, S::Error> {
    let directory = Directory::read(store)?;
    let mut lists = Vec::new();
    for list in directory.live_lists() {
        mrl_memory::push(&mut lists, list_info(store, &directory, *list)?)?;
    }
    Ok(lists)
}

fn list_info<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
) -> Result<ListInfo, S::Error> {
    let shape = &directory.encoder.shape;
    let references = references_of(store, directory, list)?;
    let mut info = ListInfo { list, rows: 0, references, slots: 0, frames: 0 };
    let (mut frames, mut groups) = (BTreeSet::new(), directory.chain(list).groups());
    while let Some((page, body)) = groups.next(store)? {
        let group = Group::new(&body, page, list, shape)?;
        frames.extend(group.frames().filter(|frame| *frame != 0));
        info.rows += group.live_rows() as u64;
        info.slots += (group.blocks() * ROWS) as u64;
    }
    info.frames = frames.len() as u64;
    Ok(info)
}

fn references_of<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
) -> Result<u64, S::Error> {
    let newest = directory.chain(list).newest_references(store, &directory.encoder.shape)?;
    count_references(store, list, newest)
}
