//! The heavyweight locks on lists and on the directory.

use mrl_index::page::{NONE, PageNumber};
use mrl_index::store::ListLock;
use pgrx::pg_sys;

/// The page number whose heavyweight lock stands for the directory; no relation is that long.
pub(super) const DIRECTORY_LOCK: PageNumber = NONE - 1;

/// The server's mode of a list's lock: modes that speak against each other as [`ListLock`] says.
pub(super) fn mode_of(lock: ListLock) -> pg_sys::LOCKMODE {
    let mode = match lock {
        ListLock::Shared => pg_sys::RowExclusiveLock,
        ListLock::Replacing => pg_sys::ShareUpdateExclusiveLock,
        ListLock::Exclusive => pg_sys::ExclusiveLock,
    };
    mode as pg_sys::LOCKMODE
}

/// A heavyweight lock.
pub struct HeavyLock {
    pub(super) index: pg_sys::Relation,
    pub(super) page: PageNumber,
    pub(super) mode: pg_sys::LOCKMODE,
}

impl Drop for HeavyLock {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: this value was made when the lock was taken.
            unsafe { pg_sys::UnlockPage(self.index, self.page, self.mode) };
        }
    }
}
