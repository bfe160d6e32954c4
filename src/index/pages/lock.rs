//! The heavyweight locks on lists, on the directory, and on cleaning up: those of an object, whose class is the index
//! and whose number is the list's. No catalog has the index's number, so nobody else takes them; in `pg_locks` they show as
//! `object` with the index as `classid` and the list as `objid`.
//!
//! Locks of pages would say more, but in releases 13 to 16 a session that has one may take no other, and those who wait
//! for one are not looked at for deadlocks.

use mrl_index::pages::page::{NONE, PageNumber};
use mrl_index::pages::store::ListLock;
use pgrx::pg_sys;

use crate::index::pages::BufferStore;

/// The number whose lock stands for the directory; no list has it.
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
    tag: pg_sys::LOCKTAG,
    mode: pg_sys::LOCKMODE,
}

impl BufferStore {
    fn tag(&self, number: u32) -> pg_sys::LOCKTAG {
        // SAFETY: the relation is open.
        let index = unsafe { &*self.index };
        pg_sys::LOCKTAG {
            locktag_field1: index.rd_lockInfo.lockRelId.dbId.into(),
            locktag_field2: index.rd_id.into(),
            locktag_field3: number,
            locktag_field4: 0,
            locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
            locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
        }
    }

    /// Waits for the lock of a list or of what has a number beyond theirs.
    pub(super) fn lock(&self, number: u32, mode: pg_sys::LOCKMODE) -> HeavyLock {
        let tag = self.tag(number);
        // SAFETY: the server copies the tag.
        unsafe { pg_sys::LockAcquire(&tag, mode, false, false) };
        HeavyLock { tag, mode }
    }

    /// Takes a lock, unless another's speaks against it.
    pub(super) fn try_lock(&self, number: u32, mode: pg_sys::LOCKMODE) -> Option<HeavyLock> {
        let tag = self.tag(number);
        // SAFETY: the server copies the tag.
        let taken = unsafe { pg_sys::LockAcquire(&tag, mode, false, true) };
        // Made only where it is held.
        (taken != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL).then(|| HeavyLock { tag, mode })
    }
}

impl Drop for HeavyLock {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: this value was made when the lock was taken.
            unsafe { pg_sys::LockRelease(&self.tag, self.mode, false) };
        }
    }
}
