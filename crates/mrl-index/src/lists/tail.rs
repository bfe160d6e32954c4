//! The lists of rows without distances, NULLs and under cosine zeros, which come last: TIDs on pages of references, as
//! many as there are such rows, and be they most of a table.
//!
//! So they are read and cleaned a page at a time. A page never leaves such a list's chain, a TID stays on its page as
//! long as it is there, and new pages come before the newest: who walks the chain meets every TID that was there when
//! it began. Depends on chains of references and on locks.

use std::vec::IntoIter;

use mrl_memory::OutOfMemory;

use crate::lists::directory::Directory;
use crate::pages::group::{self, References, Tid};
use crate::pages::page::ListId;
use crate::pages::references::relink;
use crate::pages::shape::Shape;
use crate::pages::store::{Change, ListLock, PageStore};
use crate::pages::walk::{Chain, Walk};
use crate::vacuum::Deleted;

/// A walk through one of these lists.
#[derive(Debug)]
pub(crate) struct Tail {
    list: ListId,
    /// Nothing where it has not begun.
    pages: Option<Walk>,
    /// What is left of a page.
    tids: IntoIter<Tid>,
}

impl Tail {
    pub fn of(list: ListId) -> Self {
        Self { list, pages: None, tids: Vec::new().into_iter() }
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
            let pages = match &mut self.pages {
                Some(pages) => pages,
                None => {
                    let chain = directory.chain(self.list);
                    let newest = chain.newest_references(store, &directory.encoder.shape)?;
                    self.pages.insert(Walk::starting_at(newest))
                }
            };
            let Some((page, body)) = pages.next(store)? else { return Ok(None) };
            self.tids = tids_of(References::new(&body, page, self.list)?)?.into_iter();
        }
    }
}

/// Takes dead TIDs out, while others add some: these are kept away only at last, while the stack of the pages that have
/// room is made anew.
pub(crate) fn remove_dead<S: PageStore>(
    store: &S,
    shape: &Shape,
    chain: Chain,
    is_dead: &mut dyn FnMut(Tid) -> bool,
    deleted: &mut Deleted,
) -> Result<(), S::Error> {
    let list = chain.list;
    let _lock = store.lock_list(list, ListLock::Replacing)?;
    let mut pages = Walk::starting_at(chain.newest_references(store, shape)?);
    while let Some((page, body)) = pages.next(store)? {
        let mut tids = tids_of(References::new(&body, page, list)?)?;
        drop(body);
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
        store.rest();
    }
    let _alone = store.lock_list(list, ListLock::Exclusive)?;
    relink(store, shape, chain)
}

/// The TIDs on a page of references.
fn tids_of(references: References) -> Result<Vec<Tid>, OutOfMemory> {
    mrl_memory::collect(references.iter().map(|(_, tid)| tid))
}
