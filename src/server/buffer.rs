//! Buffers that are read again and again by one session: where a page was before it most likely still is.
//!
//! The server finds a page's buffer through a table that all sessions share. `ReadRecentBuffer` (release 14)
//! looks into one buffer instead, and says whether it is the page's. Pages found so do not count
//! as used for the server's choice of what to evict, so now and then the long way is taken.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mrl_memory::Kept;

use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;

#[cfg(not(feature = "pg13"))]
use crate::server::statistics;

/// The same functions as in [`pg_sys`], each of whose calls is guarded on its own: here several are
/// called behind one guard.
#[cfg(not(feature = "pg13"))]
mod unguarded {
    use pgrx::pg_sys;

    // SAFETY: the server's own functions, as the headers of its releases declare them.
    unsafe extern "C-unwind" {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        pub fn ReadRecentBuffer(
            relation: pg_sys::RelFileNode,
            fork: pg_sys::ForkNumber::Type,
            block: pg_sys::BlockNumber,
            recent: pg_sys::Buffer,
        ) -> bool;
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        pub fn ReadRecentBuffer(
            relation: pg_sys::RelFileLocator,
            fork: pg_sys::ForkNumber::Type,
            block: pg_sys::BlockNumber,
            recent: pg_sys::Buffer,
        ) -> bool;
        pub fn LockBuffer(buffer: pg_sys::Buffer, mode: i32);
    }
}

// SAFETY: the server's own function, as its header declares it.
unsafe extern "C-unwind" {
    #[link_name = "UnlockReleaseBuffer"]
    fn unlock_release_buffer(buffer: pg_sys::Buffer);
}

/// Blocks of a relation whose buffers are remembered.
const MOST_BLOCKS: usize = 1 << 20;
/// What is remembered may take so many bytes together: the buffers of 32 GB of pages.
const MOST_BYTES: usize = 16 << 20;
/// Of so many reads of pages one takes the long way.
const LONG_WAY: u32 = 256;

/// The buffers in which a relation's pages were last seen.
#[derive(Default)]
pub struct Recent {
    buffers: RefCell<Vec<pg_sys::Buffer>>,
    turn: Cell<u32>,
}

thread_local! {
    static KEPT: RefCell<Kept<pg_sys::Oid, Recent>> = RefCell::default();
}

/// Forgets what is remembered of all relations.
pub fn forget() {
    KEPT.take();
}

impl Recent {
    /// What the session remembers of a relation's storage.
    ///
    /// # Safety
    /// The relation is open.
    pub unsafe fn of(relation: pg_sys::Relation) -> Rc<Self> {
        // The oid of a relation, not of its storage: what is remembered of a former storage is found out.
        // SAFETY: by contract.
        let oid = unsafe { (*relation).rd_id };
        KEPT.with_borrow_mut(|kept| {
            kept.get(oid).unwrap_or_else(|| {
                let recent: Rc<Self> = Rc::default();
                let bytes = |recent: &Self| size_of_val(&recent.buffers.borrow()[..]);
                kept.keep(oid, recent.clone(), MOST_BYTES, bytes);
                recent
            })
        })
    }

    pub fn remember(&self, block: u32, buffer: pg_sys::Buffer) {
        let (mut buffers, index) = (self.buffers.borrow_mut(), block as usize);
        if index >= MOST_BLOCKS {
            return;
        }
        if index >= buffers.len() {
            let most = (index + 1).next_power_of_two();
            let more = most - buffers.len();
            if mrl_memory::reserve(&mut buffers, more).is_err() {
                // It lasts for the session: none of it may lie in the reserve.
                *buffers = Vec::new();
                return;
            }
            buffers.resize(most, 0);
        }
        buffers[index] = buffer;
    }

    /// The buffer to look into, where it is not the turn of the long way.
    pub fn in_turn(&self, block: u32) -> Option<pg_sys::Buffer> {
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        // Of a buffer of the session's own, whose number is negative, releases before 14.5 look at another's; release
        // 13 knows no other way at all.
        let buffer = if cfg!(feature = "pg13") { 0 } else { self.buffer(block) };
        (buffer > 0 && !turn.is_multiple_of(LONG_WAY)).then_some(buffer)
    }

    /// 0 where it is not known.
    fn buffer(&self, block: u32) -> pg_sys::Buffer {
        self.buffers.borrow().get(block as usize).copied().unwrap_or(0)
    }

    /// Asks for the memory in which the server keeps the state of a page's buffer, and tells where the page lies, most
    /// likely: for hints to the processor alone.
    pub fn prefetch(&self, block: u32) -> Option<*const u8> {
        let page = self.address(block)?;
        // SAFETY: an address is computed, and nothing read.
        let state =
            unsafe { pg_sys::BufferDescriptors.wrapping_add(self.buffer(block) as usize - 1) };
        mrl_kernels::prefetch(state.cast(), 1);
        Some(page)
    }

    /// Where a page lies in shared memory, most likely: for hints to the processor alone.
    pub fn address(&self, block: u32) -> Option<*const u8> {
        let buffer = self.buffer(block);
        // SAFETY: an address is computed, and nothing read.
        (buffer > 0).then(|| unsafe { pg_sys::BufferGetPage(buffer) }.cast::<u8>().cast_const())
    }
}

/// Pins and locks a page's buffer in common with other readers, where it is the one it was.
///
/// # Safety
/// The relation is open; we hold no lock on the page.
pub unsafe fn lock_recent(
    relation: pg_sys::Relation,
    fork: pg_sys::ForkNumber::Type,
    block: u32,
    recent: &Recent,
) -> Option<pg_sys::Buffer> {
    // SAFETY: by contract.
    unsafe { take_recent(relation, fork, block, recent, true) }
}

/// Pins a page's buffer, where it is the one it was.
///
/// # Safety
/// The relation is open.
pub unsafe fn pin_recent(
    relation: pg_sys::Relation,
    fork: pg_sys::ForkNumber::Type,
    block: u32,
    recent: &Recent,
) -> Option<pg_sys::Buffer> {
    // SAFETY: by contract.
    unsafe { take_recent(relation, fork, block, recent, false) }
}

/// # Safety
/// That of [`lock_recent`] or of [`pin_recent`].
unsafe fn take_recent(
    relation: pg_sys::Relation,
    fork: pg_sys::ForkNumber::Type,
    block: u32,
    recent: &Recent,
    lock: bool,
) -> Option<pg_sys::Buffer> {
    let buffer = recent.in_turn(block)?;
    // SAFETY: by contract; errors of the server unwind from the guard.
    unsafe {
        let found = pg_guard_ffi_boundary(|| take_if_of(relation, fork, block, buffer, lock));
        if found {
            count_hit(relation);
        }
        found.then_some(buffer)
    }
}

/// Pins a buffer, and locks it if that is wanted, where it is a page's. Whoever calls it counts the hit.
///
/// # Safety
/// That of [`lock_recent`] or of [`pin_recent`], and called behind a guard.
#[cfg(not(feature = "pg13"))]
pub unsafe fn take_if_of(
    relation: pg_sys::Relation,
    fork: pg_sys::ForkNumber::Type,
    block: u32,
    buffer: pg_sys::Buffer,
    lock: bool,
) -> bool {
    // SAFETY: by contract.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        let storage = (*relation).rd_node;
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        let storage = (*relation).rd_locator;
        let found = unguarded::ReadRecentBuffer(storage, fork, block, buffer);
        if found && lock {
            unguarded::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
        }
        found
    }
}

/// Counts what the long way counts, and this one doesn't. `pg_stat_io` has no way in.
///
/// # Safety
/// The relation is open.
pub unsafe fn count_hit(relation: pg_sys::Relation) {
    // SAFETY: by contract; release 13 never comes here.
    #[cfg(not(feature = "pg13"))]
    unsafe {
        statistics::count_hit(relation)
    };
    #[cfg(feature = "pg13")]
    let _ = relation;
}

/// Release 13 has no such way.
///
/// # Safety
/// None.
#[cfg(feature = "pg13")]
pub unsafe fn take_if_of(
    _: pg_sys::Relation,
    _: pg_sys::ForkNumber::Type,
    _: u32,
    _: pg_sys::Buffer,
    _: bool,
) -> bool {
    false
}

/// Unlocks and unpins a buffer.
///
/// # Safety
/// It is pinned and locked by us: then the server raises no error, and no guard is needed.
pub unsafe fn unlock(buffer: pg_sys::Buffer) {
    // SAFETY: by contract.
    unsafe { unlock_release_buffer(buffer) }
}
