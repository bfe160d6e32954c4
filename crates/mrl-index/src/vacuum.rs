//! Vacuum: dead TIDs are taken out, pages that belong to nothing are taken back.
//!
//! A list is worked on under its lock, so that nobody inserts; scans go on. (Lists without distances: module `tail`.) A
//! row whose TID is dead takes the place of its TID from one of its references, where it has one: the row first, then
//! the reference, in this order, so that a scan, which reads references before rows, sees the TID at least once. Rows
//! never move.

use std::collections::{BTreeMap, BTreeSet};

use crate::codes::block::ROWS;
use crate::lists::directory::Directory;
use crate::lists::tail;
use crate::pages::group::{self, Group, References, Tid};
use crate::pages::meta::{Entry, FIRST_LIST, META_PAGE, Meta, State};
use crate::pages::page::{self, Kind, ListId, NONE, PageNumber, damaged};
use crate::pages::references::{count_references, read_references, relink};
use crate::pages::rows::{self, Rows};
use crate::pages::shape::Shape;
use crate::pages::store::{Change, ListLock, PageStore};
use crate::pages::walk::{Chain, Steps};
use crate::split;
use crate::split::chain;
use crate::split::patience;
use crate::split::recycle::recycle;

/// What was removed and what is left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deleted {
    /// TIDs that were dead, those of rows and those of references.
    pub removed: u64,
    /// TIDs that are left; one that a split has moved meanwhile may count twice.
    pub kept: u64,
}

/// What a clean-up found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Pages that may be taken for anything, those that were free before among them.
    pub free: u32,
    /// TIDs in live lists, those of rows without distances among them.
    pub rows: u64,
    /// Live lists, but for those of rows without distances.
    pub lists: usize,
    /// How many lists can still be made.
    pub lists_left: usize,
}

/// A list with less than this share of its slots in use is written anew.
const SPARSE: f64 = 0.25;
/// Fewer slots than this are not worth it.
const SLOTS_WORTH_REWRITING: u64 = 320;

/// Asks of every TID whether it is dead, and takes out those that are.
///
/// # Errors
/// What the storage answers; damage, where a page is not what it should be; out of memory.
pub fn bulk_delete<S: PageStore>(
    store: &S,
    is_dead: &mut dyn FnMut(Tid) -> bool,
) -> Result<Deleted, S::Error> {
    let mut deleted = Deleted::default();
    let mut list = 0;
    loop {
        store.check_interrupts()?;
        store.rest();
        // Lists that splits add meanwhile have higher ids.
        let meta = Meta::read(&*store.read(META_PAGE)?)?;
        if list >= meta.next_list {
            break;
        }
        let page = meta.directory_page(list).ok_or(damaged(META_PAGE, "no such list"))?;
        if list < FIRST_LIST {
            // Neither is ever replaced.
            let entry = Entry::read(&*store.read(page)?, page, list)?;
            let chain = Chain { list, head: entry.head };
            tail::remove_dead(store, &meta.shape(), chain, is_dead, &mut deleted)?;
            list += 1;
            continue;
        }
        let _locks = lock_alone(store, list)?;
        let entry = Entry::read(&*store.read(page)?, page, list)?;
        if entry.state == State::Live {
            let chain = Chain { list, head: entry.head };
            let pass = Pass { store, shape: &meta.shape(), chain };
            pass.run(is_dead, &mut deleted)?;
        }
        list += 1;
    }
    Ok(deleted)
}

/// Keeps all others from a list. Those that insert would wait behind who waits for the exclusive lock: so first a split
/// that works on the list is waited for, beside them.
fn lock_alone<S: PageStore>(store: &S, list: ListId) -> Result<[S::Lock<'_>; 2], S::Error> {
    Ok([store.lock_list(list, ListLock::Replacing)?, store.lock_list(list, ListLock::Exclusive)?])
}

/// The work on one list.
struct Pass<'a, S: PageStore> {
    store: &'a S,
    shape: &'a Shape,
    chain: Chain,
}

/// A list's references, told apart.
struct Sorted {
    /// Of each row, by its number: the TIDs that may take its own one's place.
    living: BTreeMap<u16, Vec<Tid>>,
    /// Those that are dead, or have become their rows' own TIDs.
    gone: BTreeSet<(u16, Tid)>,
}

/// What happens to a row whose TID is dead.
#[derive(Clone, Copy)]
enum Fate {
    Remove,
    /// A reference's TID takes the place of its own.
    Promote(Tid),
}

/// Of each row page of a group, by its number there: the slots of dead rows, and what happens to them.
type Fates = BTreeMap<usize, Vec<(usize, Fate)>>;

impl<S: PageStore> Pass<'_, S> {
    fn run(
        &self,
        is_dead: &mut dyn FnMut(Tid) -> bool,
        deleted: &mut Deleted,
    ) -> Result<(), S::Error> {
        let newest = self.chain.newest_references(self.store, self.shape)?;
        let mut references = self.sort_references(newest, is_dead, deleted)?;
        let (mut groups, mut open) = (self.chain.groups(), Vec::new());
        while let Some((page, body)) = groups.next(self.store)? {
            let group = Group::new(&body, page, self.chain.list, self.shape)?;
            let fates = self.fates(group, &mut references, is_dead, deleted)?;
            drop(body);
            self.clean_group(page, fates)?;
            let body = self.store.read(page)?;
            let group = Group::new(&body, page, self.chain.list, self.shape)?;
            if group.live_rows() < self.shape.group_rows {
                mrl_memory::push(&mut open, (page, group.next_open()))?;
            }
        }
        self.relink_open(&open)?;
        self.clean_references(newest, &references.gone)
    }

    fn sort_references(
        &self,
        newest: PageNumber,
        is_dead: &mut dyn FnMut(Tid) -> bool,
        deleted: &mut Deleted,
    ) -> Result<Sorted, S::Error> {
        let mut sorted = Sorted { living: BTreeMap::new(), gone: BTreeSet::new() };
        for (row, tid) in read_references(self.store, self.chain.list, newest)? {
            self.store.check_interrupts()?;
            if is_dead(tid) {
                sorted.gone.insert((row, tid));
                deleted.removed += 1;
            } else {
                mrl_memory::push(sorted.living.entry(row).or_default(), tid)?;
                deleted.kept += 1;
            }
        }
        Ok(sorted)
    }

    /// What is to happen to the dead rows of a group: a living reference takes a row's place, or it goes.
    fn fates(
        &self,
        group: Group,
        Sorted { living, gone }: &mut Sorted,
        is_dead: &mut dyn FnMut(Tid) -> bool,
        deleted: &mut Deleted,
    ) -> Result<Fates, S::Error> {
        let (mut fates, mut bytes) = (Fates::new(), Vec::new());
        for index in 0..group.blocks() {
            let live = group.live(index);
            if live == 0 {
                continue;
            }
            rows::read_block(self.store, group, index, &mut bytes)?;
            let stored = Rows::new(&bytes, self.shape);
            for row in (0..ROWS).filter(|row| live >> row & 1 == 1) {
                let (slot, tid) = (index * ROWS + row, stored.tid(row));
                let number = group.reference_number(slot);
                let mut own = number.and_then(|number| living.get_mut(&number));
                // A crash came between a promotion and the end of the reference.
                if let (Some(number), Some(own)) = (number, &mut own)
                    && let Some(place) = own.iter().position(|other| *other == tid)
                {
                    own.swap_remove(place);
                    gone.insert((number, tid));
                    deleted.kept -= 1;
                }
                if !is_dead(tid) {
                    deleted.kept += 1;
                    continue;
                }
                deleted.removed += 1;
                let fate = match (number, own.and_then(|own| own.pop())) {
                    (Some(number), Some(tid)) => {
                        gone.insert((number, tid));
                        Fate::Promote(tid)
                    }
                    _ => Fate::Remove,
                };
                let (row_page, _) = rows::tid_place(slot, self.shape);
                fates.entry(row_page).or_default().push((slot, fate));
            }
        }
        Ok(fates)
    }

    /// Takes dead rows out of a group, or puts a living reference into their place.
    fn clean_group(&self, page: PageNumber, fates: Fates) -> Result<(), S::Error> {
        let list = self.chain.list;
        for (index, fates) in fates {
            self.store.check_interrupts()?;
            let mut change = self.store.change()?;
            let place = change.lock(page)?;
            let row_page = Group::new(change.body(place), page, list, self.shape)?.row_page(index);
            let promotes = fates.iter().any(|(_, fate)| matches!(fate, Fate::Promote(..)));
            let row_place = if promotes { Some(change.lock(row_page)?) } else { None };
            for (slot, fate) in fates {
                match (fate, row_place) {
                    (Fate::Promote(tid), Some(row_place)) => {
                        let (_, offset) = rows::tid_place(slot, self.shape);
                        rows::put_tid(change.body_mut(row_place), offset, tid);
                    }
                    _ => group::set_live(change.body_mut(place), slot, false, self.shape),
                }
            }
            change.commit()?;
        }
        Ok(())
    }

    /// Rewrites pages that have references which are gone, and the stack of those with room.
    fn clean_references(
        &self,
        newest: PageNumber,
        gone: &BTreeSet<(u16, Tid)>,
    ) -> Result<(), S::Error> {
        let (mut page, mut steps) = (newest, Steps::default());
        while page != NONE && !gone.is_empty() {
            steps.step(self.store, page)?;
            let mut change = self.store.change()?;
            let place = change.lock(page)?;
            let references = References::new(change.body(place), page, self.chain.list)?;
            let kept = references.iter().filter(|reference| !gone.contains(reference));
            let kept = mrl_memory::collect(kept)?;
            let is_changed = kept.len() != references.count();
            page = page::next(change.body(place));
            if is_changed {
                group::set_all_references(change.body_mut(place), &kept);
                change.commit()?;
            }
        }
        relink(self.store, self.shape, self.chain)
    }

    /// Makes a stack of the groups with free slots.
    fn relink_open(&self, open: &[(PageNumber, PageNumber)]) -> Result<(), S::Error> {
        for (i, (page, next_open)) in open.iter().enumerate() {
            let wanted = open.get(i + 1).map_or(NONE, |(next, _)| *next);
            if *next_open != wanted {
                let mut change = self.store.change()?;
                let place = change.lock(*page)?;
                group::set_next_open(change.body_mut(place), wanted);
                change.commit()?;
            }
        }
        let first = open.first().map_or(NONE, |(page, _)| *page);
        let Chain { list, head } = self.chain;
        let mut change = self.store.change()?;
        let place = change.lock(head)?;
        if Group::new(change.body(place), head, list, self.shape)?.open() != first {
            group::set_open(change.body_mut(place), first);
            change.commit()?;
        }
        Ok(())
    }
}

/// Takes back the pages of retired lists, and those that a crash left belonging to nothing; then writes
/// sparse lists anew. That comes at last: it may need room, of which there is none where a disk is full, and the
/// pages given back before are the first that it takes.
///
/// # Errors
/// What the storage answers; damage, where a page is not what it should be; out of memory.
pub fn clean_up<S: PageStore>(store: &S) -> Result<Swept, S::Error> {
    let _cleaning = store.lock_cleaning()?;
    let (swept, sparse) = sweep(store)?;
    if !sparse.is_empty() {
        store.publish_offers()?;
        let directory = Directory::read(store)?;
        for list in sparse {
            split::rewrite(store, &directory, list)?;
        }
    }
    Ok(swept)
}

/// All of the clean-up but for sparse lists, which are named.
fn sweep<S: PageStore>(store: &S) -> Result<(Swept, Vec<ListId>), S::Error> {
    let mut sparse = Vec::new();
    let Some(_lock) = store.lock_directory(true)? else { return Ok((Swept::default(), sparse)) };
    let directory = Directory::read(store)?;
    recycle(store, &directory, usize::MAX)?;
    let directory = Directory::read(store)?;
    let shape = &directory.encoder.shape;
    let mut used: BTreeSet<PageNumber> = [META_PAGE, directory.meta.frames_page].into();
    used.extend(&directory.meta.directory);
    let (lists, lists_left) = (directory.live_lists().len(), directory.meta.lists_left());
    let mut swept = Swept { lists, lists_left, ..Swept::default() };
    // Before the walk: pages that come later are in use.
    let pages = store.page_count()?;
    for (list, entry) in directory.entries.iter().enumerate() {
        store.rest();
        used.insert(entry.frame_page);
        if entry.state == State::Gone {
            continue;
        }
        let list = list as ListId;
        let chain = directory.chain(list);
        for page in chain::pages_of(store, shape, chain)? {
            used.insert(page);
            mrl_memory::check()?;
        }
        if entry.state == State::Live {
            let (rows, references, slots) = rows_of(store, shape, chain)?;
            swept.rows += rows + references;
            let is_sparse = slots > SLOTS_WORTH_REWRITING && (rows as f64) < SPARSE * slots as f64;
            // What is written anew lies in memory.
            if is_sparse && rows as usize <= patience::most_slots(shape) {
                mrl_memory::push(&mut sparse, list)?;
            }
        }
    }
    // Of each list that they name, pages that belonged to nothing: groups, and others. They are freed in this order, that of
    // who follows a list, as a standby locks them in it too.
    let mut stray: BTreeMap<ListId, [Vec<PageNumber>; 2]> = BTreeMap::new();
    for page in (0..pages).filter(|page| !used.contains(page)) {
        store.rest();
        store.check_interrupts()?;
        // A page that nobody needs and that the storage finds damaged stays as it is.
        let Some(body) = store.read_any(page)? else { continue };
        if page::is_free(&body) {
            drop(body);
            store.offer(page)?;
            swept.free += 1;
        } else {
            let is_other = usize::from(!matches!(page::kind(&body, page), Ok(Kind::Group)));
            let of_list = stray.entry(page::list(&body)).or_default();
            mrl_memory::push(&mut of_list[is_other], page)?;
        }
    }
    for (list, [mut pages, others]) in stray {
        mrl_memory::extend(&mut pages, &others)?;
        // An insert may have linked them since: ask again while nobody inserts.
        let _list_locks = lock_alone(store, list)?;
        if directory.entries.get(list as usize).is_some_and(|entry| entry.state == State::Live) {
            let linked = chain::pages_of(store, shape, directory.chain(list))?;
            let linked: BTreeSet<_> = linked.into_iter().collect();
            pages.retain(|page| !linked.contains(page));
        }
        chain::free(store, list, &pages)?;
        swept.free += pages.len() as u32;
    }
    Ok((swept, sparse))
}

/// A list's rows, its references, and the slots of its blocks.
fn rows_of<S: PageStore>(
    store: &S,
    shape: &Shape,
    chain: Chain,
) -> Result<(u64, u64, u64), S::Error> {
    let newest = chain.newest_references(store, shape)?;
    let references = count_references(store, chain.list, newest)?;
    let (mut rows, mut slots, mut groups) = (0, 0, chain.groups());
    while let Some((page, body)) = groups.next(store)? {
        let group = Group::new(&body, page, chain.list, shape)?;
        rows += group.live_rows() as u64;
        slots += (group.blocks() * ROWS) as u64;
    }
    Ok((rows, references, slots))
}
