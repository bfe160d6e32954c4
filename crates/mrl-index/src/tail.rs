//! The lists of rows without distances, NULLs and under cosine zeros, which come last: TIDs on pages of references, as
//! many as there are such rows, and be they most of a table.
//!
//! So they are read and cleaned a page at a time. A page never leaves such a list's chain, a TID stays on its page as
//! long as it is there, and new pages come before the newest: who walks the chain meets every TID that was there when
//! it began. Depends on chains of references and on locks.

use std::vec::IntoIter;

use crate::directory::Directory;
use crate::group::{self, Group, References, Tid};
use crate::page::{self, ListId, NONE, PageNumber};
use crate::references::relink;
use crate::shape::Shape;
use crate::store::{Change, ListLock, PageStore, Steps};
use crate::vacuum::Deleted;

/// A walk through one of these lists.
#[derive(Debug)]
pub(crate) struct Tail {
    list: ListId,
    /// The page that comes next; nothing where the walk has not begun.
    next: Option<PageNumber>,
    steps: Steps,
    /// What is left of a page.
    tids: IntoIter<Tid>,
}

impl Tail {
    pub fn of(list: ListId) -> Self {
        let (steps, tids) = (Steps::default(), Vec::new().into_iter());
        Self { list, next: None, steps, tids }
    }

    /// The next TID.
    pub fn next<S: PageStore>(
        &mut self,
        store: &S,
        directory: &Directory,
    ) -> Result<Option<Tid>, S::Error> {
        loop {
            if let Some(tid) = self.tids.next() {
                return Ok(Some(tid));
            }
            let page = match self.next {
                Some(page) => page,
                None => {
                    let head = directory.entries[self.list as usize].head;
                    newest(store, &directory.encoder.shape, self.list, head)?
                }
            };
            if page == NONE {
                self.next = Some(NONE);
                return Ok(None);
            }
            self.steps.step(store, page)?;
            let (tids, next) = read(store, self.list, page)?;
            (self.tids, self.next) = (tids.into_iter(), Some(next));
        }
    }
}

/// Takes dead TIDs out, while others add some: these are kept away only at last, while the stack of the pages that have
/// room is made anew.
pub(crate) fn remove_dead<S: PageStore>(
    store: &S,
    shape: &Shape,
    (list, head): (ListId, PageNumber),
    is_dead: &mut dyn FnMut(Tid) -> bool,
    deleted: &mut Deleted,
) -> Result<(), S::Error> {
    let _lock = store.lock_list(list, ListLock::Replacing)?;
    let (mut page, mut steps) = (newest(store, shape, list, head)?, Steps::default());
    while page != NONE {
        steps.step(store, page)?;
        store.rest();
        let (mut tids, next) = read(store, list, page)?;
        let all = tids.len();
        tids.retain(|tid| is_dead(*tid));
        deleted.removed += tids.len() as u64;
        deleted.kept += (all - tids.len()) as u64;
        if !tids.is_empty() {
            tids.sort_unstable();
            let mut change = store.change()?;
            let place = change.lock(page)?;
            // As it is by now: it may have more.
            let references = References::new(change.body(place), page, list)?;
            let is_kept = |(_, tid): &(u16, Tid)| tids.binary_search(tid).is_err();
            let kept = mrl_memory::collect(references.iter().filter(is_kept))?;
            group::set_all_references(change.body_mut(place), &kept);
            change.commit()?;
        }
        page = next;
    }
    let _alone = store.lock_list(list, ListLock::Exclusive)?;
    relink(store, shape, list, head)
}

/// The newest page of a list's references.
fn newest<S: PageStore>(
    store: &S,
    shape: &Shape,
    list: ListId,
    head: PageNumber,
) -> Result<PageNumber, S::Error> {
    Ok(Group::new(&*store.read(head)?, head, list, shape)?.references())
}

/// A page's TIDs, and the page that comes next.
fn read<S: PageStore>(
    store: &S,
    list: ListId,
    page: PageNumber,
) -> Result<(Vec<Tid>, PageNumber), S::Error> {
    let body = store.read(page)?;
    let references = References::new(&body, page, list)?;
    let tids = mrl_memory::collect(references.iter().map(|(_, tid)| tid))?;
    Ok((tids, page::next(&body)))
}
