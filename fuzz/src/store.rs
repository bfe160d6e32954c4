//! Pages in memory that notice work without end, and can stop as a crash does.

use std::cell::Cell;
use std::rc::Rc;

use mrl_index::pages::memory::{MemoryChange, MemoryStore};
use mrl_index::pages::page::{Body, ListId, NONE, PageNumber, damaged};
use mrl_index::pages::store::{Change, Failure, ListLock, PageStore};

/// A [`MemoryStore`] that panics when one piece of work reads far more pages than there are, and
/// whose changes fail from a certain one on: what they were to change is as it was, and whoever
/// works on the pages gets no further, as with a server that is killed.
#[derive(Default)]
pub struct WatchedStore {
    pub pages: MemoryStore,
    reads_left: Cell<u64>,
    commits_left: Cell<Option<u64>>,
}

const CRASH: &str = "the end of the run";

/// Whether an error is the crash that was asked for.
pub fn is_crash(failure: &Failure) -> bool {
    *failure == damaged(NONE, CRASH).into()
}

impl WatchedStore {
    pub fn new(pages: MemoryStore) -> Self {
        let store = Self { pages, ..Self::default() };
        store.begin_work();
        store
    }

    /// A new piece of work begins, which may read each page some times for each page there is: a
    /// clean-up walks a list's chain anew for each page that seems to belong to it.
    pub fn begin_work(&self) {
        let pages = self.pages.page_count().map_or(0, u64::from);
        self.reads_left.set(20_000 + 40 * pages * (pages + 10));
    }

    /// Lets so many changes more take effect, then none; `None` ends that.
    pub fn crash_after(&self, commits: Option<u64>) {
        self.commits_left.set(commits);
    }

    fn count(&self) {
        let left = self.reads_left.get().checked_sub(1);
        self.reads_left.set(left.expect("work without end"));
    }
}

impl PageStore for WatchedStore {
    type Error = Failure;
    type Page<'a> = Rc<Body>;
    type Change<'a> = WatchedChange<'a>;
    type Lock<'a> = <MemoryStore as PageStore>::Lock<'a>;

    fn read(&self, number: PageNumber) -> Result<Rc<Body>, Failure> {
        self.count();
        self.pages.read(number)
    }

    fn read_any(&self, number: PageNumber) -> Result<Option<Rc<Body>>, Failure> {
        self.count();
        self.pages.read_any(number)
    }

    fn change(&self) -> Result<WatchedChange<'_>, Failure> {
        Ok(WatchedChange { store: self, change: self.pages.change()? })
    }

    fn page_count(&self) -> Result<u32, Failure> {
        self.pages.page_count()
    }

    fn write(&self, number: Option<PageNumber>, body: &Body) -> Result<PageNumber, Failure> {
        self.pages.write(number, body)
    }

    fn offer(&self, number: PageNumber) -> Result<(), Failure> {
        self.pages.offer(number)
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

    fn lock_cleaning(&self) -> Result<Self::Lock<'_>, Failure> {
        self.pages.lock_cleaning()
    }

    fn keep_from_cleaning(&self) -> Result<Option<Self::Lock<'_>>, Failure> {
        self.pages.keep_from_cleaning()
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

pub struct WatchedChange<'a> {
    store: &'a WatchedStore,
    change: MemoryChange<'a>,
}

impl Change for WatchedChange<'_> {
    type Error = Failure;

    fn lock(&mut self, number: PageNumber) -> Result<usize, Failure> {
        self.store.count();
        self.change.lock(number)
    }

    fn holds(&self, number: PageNumber) -> bool {
        self.change.holds(number)
    }

    fn allocate(&mut self) -> Result<(usize, PageNumber), Failure> {
        self.store.count();
        self.change.allocate()
    }

    fn body(&self, place: usize) -> &Body {
        self.change.body(place)
    }

    fn body_mut(&mut self, place: usize) -> &mut Body {
        self.change.body_mut(place)
    }

    fn commit(self) -> Result<(), Failure> {
        match self.store.commits_left.get() {
            Some(0) => return Err(damaged(NONE, CRASH).into()),
            Some(left) => self.store.commits_left.set(Some(left - 1)),
            None => {}
        }
        self.change.commit()
    }
}
