//! The heavyweight locks on lists, on the directory, and on cleaning up: those of pages, which nobody else takes on an
//! index of ours.

use mrl_index::pages::page::{NONE, PageNumber};
use mrl_index::pages::store::ListLock;
use pgrx::pg_sys;

use crate::index::pages::BufferStore;

/// The page number whose heavyweight lock stands for the directory; no relation is that long.
pub(super) const DIRECTORY_LOCK: PageNumber = NONE - 1;
/// The same for cleaning up.
pub(super) const CLEANING_LOCK: PageNumber = NONE - 2;

/// The server's modes of the locks of the directory and of cleaning up.
pub(super) const ALONE: pg_sys::LOCKMODE = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
pub(super) const IN_COMMON: pg_sys::LOCKMODE = pg_sys::ShareLock as pg_sys::LOCKMODE;

/// The server's mode of a list's lock: modes that speak against each other as [`ListLock`] says.
pub(super) fn mode_of(lock: ListLock) -> pg_sys::LOCKMODE {
    let mode = match lock {
        ListLock::Shared => pg_sys::RowExclusiveLock,
        ListLock::Replacing => pg_sys::ShareUpdateExclusiveLock,
        ListLock::Exclusive => pg_sys::ExclusiveLock,
    };
    mode as pg_sys::LOCKMODE
}

/// A heavyweight lock, given back when it is dropped.
pub struct HeavyLock {
    index: pg_sys::Relation,
    page: PageNumber,
    mode: pg_sys::LOCKMODE,
}

impl BufferStore {
    /// Waits for a lock.
    pub(super) fn lock(&self, page: PageNumber, mode: pg_sys::LOCKMODE) -> HeavyLock {
        // SAFETY: the relation is open.
        unsafe { pg_sys::LockPage(self.index, page, mode) };
        HeavyLock { index: self.index, page, mode }
    }

    /// Takes a lock, unless another's speaks against it.
    pub(super) fn try_lock(&self, page: PageNumber, mode: pg_sys::LOCKMODE) -> Option<HeavyLock> {
        // SAFETY: the relation is open.
        let is_locked = unsafe { pg_sys::ConditionalLockPage(self.index, page, mode) };
        // Made only where it is held.
        is_locked.then(|| HeavyLock { index: self.index, page, mode })
    }
}

impl Drop for HeavyLock {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: this value was made when the lock was taken.
            unsafe { pg_sys::UnlockPage(self.index, self.page, self.mode) };
        }
    }
}
