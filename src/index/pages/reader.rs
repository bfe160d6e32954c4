//! Who may still read a list that is retired.
//!
//! A scan locks no list: it goes by a copy of the directory that it has from its beginning, and a list that was retired
//! since keeps its rows until that scan has ended. There are two ways to know that. The usual one is the server's own
//! for deleted pages of a B-tree: no snapshot is left that is as old as the retirement. While a transaction is under
//! way none later than its beginning is, and one that fills a table would find all lists that its splits retire still
//! there. So scans pin the meta page, from before they look at the directory until they end, and who gets the page's
//! cleanup lock, which waits for no pin, knows that there is none. Scans that begin afterwards find the newer
//! directory.
//!
//! The second way is taken only for what the session's own transaction keeps from the first: it doesn't know of scans
//! on standbys, whose snapshots `hot_standby_feedback` tells the first of.

#[cfg(not(feature = "pg13"))]
use std::ptr;

use mrl_index::pages::meta::META_PAGE;
use pgrx::pg_sys;

use crate::index::pages::BufferStore;
use crate::server::error::SqlError;

/// One who reads lists without their locks: a pin of the meta page. It has no `Drop`, as what a scan keeps is dropped
/// after an error too, when the server has released the pin.
pub struct Reader(pg_sys::Buffer);

impl Reader {
    /// # Safety
    /// Not called when an error is on its way.
    pub unsafe fn end(self) {
        // SAFETY: pinned by `BufferStore::reader`.
        unsafe { pg_sys::ReleaseBuffer(self.0) };
    }
}

impl BufferStore {
    /// To be called before the directory is looked at.
    pub fn reader(&self) -> Result<Reader, SqlError> {
        let pinned = self.pin(META_PAGE)?;
        let reader = Reader(pinned.buffer);
        std::mem::forget(pinned);
        Ok(reader)
    }

    /// Whether nobody reads lists that are retired by now. No page is locked by us.
    pub(super) fn has_no_reader(&self) -> bool {
        let Ok(mut meta) = self.pin(META_PAGE) else { return false };
        // SAFETY: pinned, by us once at least; whoever has pinned it besides keeps the lock from us, ourselves
        // included.
        meta.is_locked = unsafe { pg_sys::ConditionalLockBufferForCleanup(meta.buffer) };
        meta.is_locked
    }
}

/// Whether something went out of use after this transaction had got its number, and before it ended.
pub(super) fn is_of_this_transaction(stamp: u64) -> bool {
    // SAFETY: the session's own state.
    let own = unsafe { pg_sys::GetTopFullTransactionIdIfAny() }.value;
    // The lower half is 0 where there is none.
    own as u32 != 0 && stamp > own
}

/// Whether no snapshot that was taken before the stamp is left.
#[cfg(not(feature = "pg13"))]
pub(super) fn is_before_all_snapshots(stamp: u64) -> bool {
    let stamp = pg_sys::FullTransactionId { value: stamp };
    // SAFETY: without a relation the server assumes that any session may still look.
    unsafe { pg_sys::GlobalVisCheckRemovableFullXid(ptr::null_mut(), stamp) }
}

/// Release 13 tells what all sessions may still look at.
#[cfg(feature = "pg13")]
pub(super) fn is_before_all_snapshots(stamp: u64) -> bool {
    // SAFETY: reads shared memory under the server's own lock.
    stamp < unsafe { pg_sys::GetFullRecentGlobalXmin() }.value
}
