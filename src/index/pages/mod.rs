//! Pages of an index in the server's buffers: [`PageStore`] over the buffer manager and generic WAL.
//!
//! A page has the server's header and then a body (`mrl_index::pages::page`); it has neither line pointers
//! nor special space, and `pd_lower` lies behind the last byte that is not zero: what follows is the server's
//! hole, which it neither compares nor logs, and keeps zero. The header is checked before a page is used: a damaged
//! `pd_lower` would make the log copy beyond the page.
//!
//! A page that is read again is looked for in the buffer where it was before, which saves the way through
//! the server's table of buffers (module `server::buffer`).
//!
//! Locks are the server's: a buffer's content lock for a page, a heavyweight lock (module `lock`) for a list. What an
//! error leaves locked the server releases.

use std::cell::Cell;
use std::ptr;
use std::rc::Rc;

use mrl_index::pages::page::{Body, ListId, NONE, PageNumber, damaged};
use mrl_index::pages::store::{ListLock, MOST_PAGES, PageStore};
use pgrx::pg_sys;

use crate::index::pages::change::BufferChange;
use crate::index::pages::lock::{
    ALONE, CLEANING_LOCK, DIRECTORY_LOCK, HeavyLock, IN_COMMON, mode_of,
};
use crate::index::pages::page::{
    Buffer, HEADER_BYTES, SharedPage, body_of_mut, check_header, initialise, is_new, set_end,
};
use crate::server::buffer::{self, Recent};
use crate::server::error::SqlError;
use crate::server::{memory, table};

mod change;
mod lock;
mod page;
mod reader;

pub use reader::Reader;

/// The pages of one index.
pub struct BufferStore {
    index: pg_sys::Relation,
    fork: pg_sys::ForkNumber::Type,
    /// Pages below this one are there.
    known_pages: Cell<PageNumber>,
    recent: Rc<Recent>,
    /// Which buffers pages are read into that are in none; null for any.
    strategy: pg_sys::BufferAccessStrategy,
    /// By which pages are read, null for none.
    snapshot: Cell<pg_sys::Snapshot>,
}

impl BufferStore {
    /// # Safety
    /// The relation is an index of ours and stays open as long as this value.
    pub unsafe fn new(index: pg_sys::Relation) -> Self {
        // SAFETY: by contract.
        let recent = unsafe { Recent::of(index) };
        let fork = pg_sys::ForkNumber::MAIN_FORKNUM;
        let (strategy, snapshot) = (ptr::null_mut(), Cell::new(ptr::null_mut()));
        Self { index, fork, known_pages: Cell::new(0), recent, strategy, snapshot }
    }

    /// The same for VACUUM, which reads pages into a few buffers of its own.
    ///
    /// # Safety
    /// As [`BufferStore::new`]; the strategy lives as long as this value.
    pub unsafe fn with_strategy(
        index: pg_sys::Relation,
        strategy: pg_sys::BufferAccessStrategy,
    ) -> Self {
        // SAFETY: by contract.
        Self { strategy, ..unsafe { Self::new(index) } }
    }

    /// The pages of an unlogged index that it begins with after a crash.
    ///
    /// # Safety
    /// As [`BufferStore::new`].
    pub unsafe fn initial(index: pg_sys::Relation) -> Self {
        let (fork, recent) = (pg_sys::ForkNumber::INIT_FORKNUM, Rc::default());
        let (strategy, snapshot) = (ptr::null_mut(), Cell::new(ptr::null_mut()));
        Self { index, fork, known_pages: Cell::new(0), recent, strategy, snapshot }
    }

    /// What tells the pages from those that the index has had, or will have.
    pub fn storage(&self) -> table::Storage {
        // SAFETY: the relation is open.
        unsafe { table::storage_of(self.index) }
    }

    /// Pages are read by this snapshot from now on: releases up to 16 may be set to give up old ones, whose rows vacuum
    /// then takes out.
    pub fn test_by(&self, snapshot: pg_sys::Snapshot) {
        self.snapshot.set(snapshot);
    }

    /// What `TestForOldSnapshot`, inline in the server's headers, does.
    ///
    /// # Safety
    /// The page is pinned and locked.
    #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15", feature = "pg16"))]
    unsafe fn test_for_old_snapshot(&self, page: pg_sys::Page) {
        let snapshot = self.snapshot.get();
        // SAFETY: by contract; a snapshot that is set is that of a running scan.
        unsafe {
            if snapshot.is_null() || pg_sys::old_snapshot_threshold < 0 || (*snapshot).lsn == 0 {
                return;
            }
            let lsn = (*page.cast::<pg_sys::PageHeaderData>()).pd_lsn;
            if u64::from(lsn.xlogid) << 32 | u64::from(lsn.xrecoff) > (*snapshot).lsn {
                pg_sys::TestForOldSnapshot_impl(snapshot, self.index);
            }
        }
    }

    /// Later releases have no such setting.
    ///
    /// # Safety
    /// None.
    #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15", feature = "pg16")))]
    unsafe fn test_for_old_snapshot(&self, _: pg_sys::Page) {}

    /// Logs every page as it is.
    pub fn log_all(&self) -> Result<(), SqlError> {
        let pages = self.page_count()?;
        // SAFETY: the relation is open; nobody else sees it yet.
        unsafe { pg_sys::log_newpage_range(self.index, self.fork, 0, pages, true) };
        Ok(())
    }

    fn pin(&self, number: PageNumber) -> Result<Buffer, SqlError> {
        // SAFETY: the relation is open.
        let found = unsafe { buffer::pin_recent(self.index, self.fork, number, &self.recent) };
        match found {
            Some(buffer) => Ok(Buffer { buffer, is_locked: false }),
            None => self.find(number),
        }
    }

    /// Pins a page by the server's table of buffers, or reads it.
    fn find(&self, number: PageNumber) -> Result<Buffer, SqlError> {
        // Number NONE would add a page; of others beyond the end the server's error tells no index.
        if number == NONE {
            return Err(damaged(number, "a pointer leads nowhere").into());
        }
        if number >= self.known_pages.get() {
            self.known_pages.set(self.page_count()?);
            if number >= self.known_pages.get() {
                return Err(damaged(number, "a pointer leads beyond the end").into());
            }
        }
        // SAFETY: the relation is open; a page beyond its end is an error.
        let buffer = unsafe {
            pg_sys::ReadBufferExtended(
                self.index,
                self.fork,
                number,
                pg_sys::ReadBufferMode::RBM_NORMAL,
                self.strategy,
            )
        };
        self.recent.remember(number, buffer);
        Ok(Buffer { buffer, is_locked: false })
    }

    /// Adds so many pages, one at least; returns the first, locked.
    fn extend(&self, pages: u32) -> Buffer {
        // SAFETY: the relation is open; the lock on its extension is held while pages are added,
        // and nobody can find the first before it is locked except by the free-space map, after which
        // its content is looked at.
        unsafe {
            let add = || {
                let new = pg_sys::InvalidBlockNumber;
                let mode = pg_sys::ReadBufferMode::RBM_NORMAL;
                pg_sys::ReadBufferExtended(self.index, self.fork, new, mode, ptr::null_mut())
            };
            let guard = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
            pg_sys::LockRelationForExtension(self.index, guard);
            // A stale free-space map may have led another to the page already, who may wait for this lock while it
            // holds the page: then the page is its own.
            let first = loop {
                let mut first = Buffer { buffer: add(), is_locked: false };
                if pg_sys::ConditionalLockBuffer(first.buffer) {
                    first.is_locked = true;
                    break first;
                }
            };
            for _ in 1..pages {
                pg_sys::ReleaseBuffer(add());
            }
            pg_sys::UnlockRelationForExtension(self.index, guard);
            first
        }
    }

    /// A page more where none is free, and with it others, which are free then: what is added at once lies side by
    /// side, in the file and mostly in the buffers too, where neighbours are faster to come by.
    fn grow(&self) -> Result<Buffer, SqlError> {
        /// So the index is a hundredth or two larger than it needs to be.
        const PART: u32 = 64;
        const MOST: u32 = 32;
        let pages = (self.page_count()? / PART).clamp(1, MOST);
        let first = self.extend(pages);
        let (start, end) = (first.page_number(), first.page_number() + pages);
        // SAFETY: the relation is open, and has these pages or, where others added some meanwhile, more.
        unsafe {
            for number in start + 1..end {
                pg_sys::RecordFreeIndexPage(self.index, number);
            }
            if pages > 1 {
                pg_sys::FreeSpaceMapVacuumRange(self.index, start, end);
            }
        }
        Ok(first)
    }
}

impl PageStore for BufferStore {
    type Error = SqlError;
    type Page<'a> = SharedPage<'a>;
    type Change<'a> = BufferChange<'a>;
    type Lock<'a> = HeavyLock;

    fn read(&self, number: PageNumber) -> Result<SharedPage<'_>, SqlError> {
        // SAFETY: the relation is open.
        let found = unsafe { buffer::lock_recent(self.index, self.fork, number, &self.recent) };
        let page = match found {
            // SAFETY: pinned and locked.
            Some(buffer) => unsafe { SharedPage::of(buffer) },
            None => self.find(number)?.shared(),
        };
        // SAFETY: locked as long as the value lives.
        unsafe {
            check_header(page.header(), number)?;
            self.test_for_old_snapshot(page.header());
        }
        Ok(page)
    }

    fn read_any(&self, number: PageNumber) -> Result<Option<SharedPage<'_>>, SqlError> {
        let page = self.pin(number)?.shared();
        // SAFETY: locked as long as the value lives.
        let is_sound =
            unsafe { is_new(page.header()) || check_header(page.header(), number).is_ok() };
        Ok(is_sound.then_some(page))
    }

    fn prefetch(&self, number: PageNumber, offset: usize, bytes: usize) {
        if let Some(page) = self.recent.prefetch(number) {
            // The page's header and its tag are looked at first.
            mrl_kernels::prefetch(page, 1);
            mrl_kernels::prefetch(page.wrapping_add(HEADER_BYTES + offset), bytes);
        }
    }

    fn change(&self) -> Result<BufferChange<'_>, SqlError> {
        // SAFETY: the relation is open.
        let state = unsafe { pg_sys::GenericXLogStart(self.index) };
        Ok(BufferChange { store: self, state, pages: Vec::with_capacity(MOST_PAGES) })
    }

    fn page_count(&self) -> Result<u32, SqlError> {
        // SAFETY: the relation is open.
        Ok(unsafe { pg_sys::RelationGetNumberOfBlocksInFork(self.index, self.fork) })
    }

    fn write(&self, number: Option<PageNumber>, body: &Body) -> Result<PageNumber, SqlError> {
        let buffer = match number {
            None => self.extend(1),
            Some(number) => {
                let mut buffer = self.pin(number)?;
                buffer.lock(pg_sys::BUFFER_LOCK_EXCLUSIVE);
                buffer
            }
        };
        // SAFETY: the page is locked for us alone.
        unsafe {
            initialise(buffer.page());
            *body_of_mut(buffer.page()) = *body;
            set_end(buffer.page());
            pg_sys::MarkBufferDirty(buffer.buffer);
        }
        Ok(buffer.page_number())
    }

    fn offer(&self, number: PageNumber) -> Result<(), SqlError> {
        // SAFETY: the relation is open.
        unsafe { pg_sys::RecordFreeIndexPage(self.index, number) };
        Ok(())
    }

    fn publish_offers(&self) -> Result<(), SqlError> {
        // The free-space map is a tree whose upper pages only this brings up to date.
        // SAFETY: the relation is open.
        unsafe { pg_sys::IndexFreeSpaceMapVacuum(self.index) };
        Ok(())
    }

    fn lock_list(&self, list: ListId, lock: ListLock) -> Result<HeavyLock, SqlError> {
        Ok(self.lock(list, mode_of(lock)))
    }

    fn try_lock_list(&self, list: ListId, lock: ListLock) -> Result<Option<HeavyLock>, SqlError> {
        Ok(self.try_lock(list, mode_of(lock)))
    }

    fn lock_directory(&self, wait: bool) -> Result<Option<HeavyLock>, SqlError> {
        Ok(match wait {
            true => Some(self.lock(DIRECTORY_LOCK, ALONE)),
            false => self.try_lock(DIRECTORY_LOCK, ALONE),
        })
    }

    fn lock_cleaning(&self) -> Result<HeavyLock, SqlError> {
        Ok(self.lock(CLEANING_LOCK, ALONE))
    }

    fn keep_from_cleaning(&self) -> Result<Option<HeavyLock>, SqlError> {
        Ok(self.try_lock(CLEANING_LOCK, IN_COMMON))
    }

    fn stamp(&self) -> u64 {
        // SAFETY: reads shared memory under the server's own lock.
        unsafe { pg_sys::ReadNextFullTransactionId() }.value
    }

    fn is_past(&self, stamp: u64) -> bool {
        reader::is_before_all_snapshots(stamp)
            || (reader::is_of_this_transaction(stamp) && self.has_no_reader())
    }

    fn check_interrupts(&self) -> Result<(), SqlError> {
        pgrx::check_for_interrupts!();
        memory::check()
    }

    fn rest(&self) {
        // SAFETY: called where no page is locked; the server sleeps where VACUUM has used up its share.
        unsafe {
            #[cfg(not(feature = "pg18"))]
            pg_sys::vacuum_delay_point();
            #[cfg(feature = "pg18")]
            pg_sys::vacuum_delay_point(false);
        }
    }
}
