//! A copy of the directory is of one moment, whatever changes while it is read.

mod common;

use std::cell::RefCell;
use std::rc::Rc;

use common::*;
use mrl_index::directory::Directory;
use mrl_index::memory::MemoryStore;
use mrl_index::meta::{META_BLOCK, Metric, State};
use mrl_index::page::{Block, Body, ListId};
use mrl_index::split::split;
use mrl_index::store::{Failure, ListLock, PageStore};

/// What another does.
type Deed<'a> = Box<dyn FnOnce(&MemoryStore) + 'a>;

/// Pages that another changes as soon as the meta page has been read.
struct Shared<'a> {
    pages: &'a MemoryStore,
    deeds: RefCell<Vec<Deed<'a>>>,
}

impl PageStore for Shared<'_> {
    type Error = Failure;
    type Page<'a>
        = Rc<Body>
    where
        Self: 'a;
    type Change<'a>
        = <MemoryStore as PageStore>::Change<'a>
    where
        Self: 'a;
    type Lock<'a>
        = <MemoryStore as PageStore>::Lock<'a>
    where
        Self: 'a;

    fn read(&self, block: Block) -> Result<Rc<Body>, Failure> {
        let page = self.pages.read(block)?;
        let deed = if block == META_BLOCK { self.deeds.borrow_mut().pop() } else { None };
        if let Some(deed) = deed {
            deed(self.pages);
        }
        Ok(page)
    }

    fn read_any(&self, block: Block) -> Result<Rc<Body>, Failure> {
        self.pages.read_any(block)
    }

    fn change(&self) -> Result<Self::Change<'_>, Failure> {
        self.pages.change()
    }

    fn block_count(&self) -> Result<Block, Failure> {
        self.pages.block_count()
    }

    fn write(&self, block: Option<Block>, body: &Body) -> Result<Block, Failure> {
        self.pages.write(block, body)
    }

    fn offer(&self, block: Block) -> Result<(), Failure> {
        self.pages.offer(block)
    }

    fn publish_offers(&self) -> Result<(), Failure> {
        self.pages.publish_offers()
    }

    fn lock_list(&self, list: ListId, lock: ListLock) -> Result<Self::Lock<'_>, Failure> {
        self.pages.lock_list(list, lock)
    }

    fn try_lock_list(
        &self,
        list: ListId,
        lock: ListLock,
    ) -> Result<Option<Self::Lock<'_>>, Failure> {
        self.pages.try_lock_list(list, lock)
    }

    fn lock_directory(&self, wait: bool) -> Result<Option<Self::Lock<'_>>, Failure> {
        self.pages.lock_directory(wait)
    }

    fn stamp(&self) -> u64 {
        self.pages.stamp()
    }

    fn is_past(&self, stamp: u64) -> bool {
        self.pages.is_past(stamp)
    }

    fn check_interrupts(&self) -> Result<(), Failure> {
        self.pages.check_interrupts()
    }
}

/// Splits the list that is live and has the least id.
fn split_first(pages: &MemoryStore) {
    let directory = Directory::read(pages).unwrap();
    let list = directory.live_lists()[0];
    assert!(split(pages, &directory, list, &mut |_| Ok(None)).unwrap());
}

#[test]
fn a_copy_that_is_read_during_splits_has_all_live_lists() {
    let rows = numbered(clustered(20_000, 16, true, 2));
    let plan = plan(16, Metric::InnerProduct, false);
    let (pages, former) = built(&rows, &plan, 10);
    let live = |pages: &MemoryStore| Directory::read(pages).unwrap().live_lists().to_vec();
    for splits in 1..3 {
        let deeds = || (0..splits).map(|_| Box::new(split_first) as Deed).collect();
        let shared = Shared { pages: &pages, deeds: RefCell::new(deeds()) };
        let read = Directory::read(&shared).unwrap();
        assert_eq!(read.live_lists(), live(&pages));
        assert!(read.entries.iter().any(|entry| entry.state == State::Retired));
        let shared = Shared { pages: &pages, deeds: RefCell::new(deeds()) };
        let refreshed = former.refreshed(&shared).unwrap().unwrap();
        assert_eq!(refreshed.live_lists(), live(&pages));
    }
}
