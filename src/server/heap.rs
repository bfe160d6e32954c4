//! Rows of the server's own kind of tables, read one by one as the table's routines do, but for how their pages are
//! found: those that a session has read before are looked for where they were.

use std::rc::Rc;

use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;

use crate::server::buffer::{self, Recent};

/// Functions of the server's, several of which are called behind one guard.
mod unguarded {
    use pgrx::pg_sys;

    // SAFETY: the server's own functions, as the headers of its releases declare them.
    unsafe extern "C-unwind" {
        pub fn ReadBuffer(relation: pg_sys::Relation, block: pg_sys::BlockNumber)
        -> pg_sys::Buffer;
        pub fn ReleaseBuffer(buffer: pg_sys::Buffer);
        pub fn LockBuffer(buffer: pg_sys::Buffer, mode: i32);
        pub fn heap_hot_search_buffer(
            tid: pg_sys::ItemPointer,
            table: pg_sys::Relation,
            buffer: pg_sys::Buffer,
            snapshot: pg_sys::Snapshot,
            tuple: pg_sys::HeapTuple,
            all_dead: *mut bool,
            first_call: bool,
        ) -> bool;
        pub fn ExecStorePinnedBufferHeapTuple(
            tuple: pg_sys::HeapTuple,
            slot: *mut pg_sys::TupleTableSlot,
            buffer: pg_sys::Buffer,
        ) -> *mut pg_sys::TupleTableSlot;
        pub fn slot_getsomeattrs_int(slot: *mut pg_sys::TupleTableSlot, columns: i32);
    }
}

const FORK: pg_sys::ForkNumber::Type = pg_sys::ForkNumber::MAIN_FORKNUM;
const PAGE_BYTES: usize = pg_sys::BLCKSZ as usize;

/// A table whose rows are read in no order.
pub struct Heap {
    table: pg_sys::Relation,
    /// Where its pages were, if all of them may well be in memory; else the storage has to be asked ahead.
    recent: Option<Rc<Recent>>,
    /// The number of the column that is read, and about how many bytes of a row that takes.
    column: i32,
    bytes: usize,
}

impl Heap {
    /// Of how many rows the pages are asked for at once.
    const AT_ONCE: usize = 32;
    /// What of a row comes before the value that is read, in the usual case.
    const BYTES_BEFORE: usize = 64;
    const PAGE_HEADER_BYTES: usize = 24;

    /// A table of the server's own kind with so many `blocks`, of whose rows a column's values of some `bytes` will be
    /// read. Of tables of other kinds it is not known how rows lie on pages.
    ///
    /// # Safety
    /// The table stays open as long as the value.
    pub unsafe fn new(
        table: pg_sys::Relation,
        blocks: u32,
        (column, bytes): (i32, usize),
    ) -> Option<Self> {
        // SAFETY: by contract; reads a setting.
        unsafe {
            if (*table).rd_tableam != pg_sys::GetHeapamTableAmRoutine() {
                return None;
            }
            let is_shared = (*(*table).rd_rel).relpersistence as u8 != pg_sys::RELPERSISTENCE_TEMP;
            let is_small = is_shared && blocks < pg_sys::NBuffers as u32 / 2;
            let recent = is_small.then(|| Recent::of(table));
            Some(Self { table, recent, column, bytes: bytes + Self::BYTES_BEFORE })
        }
    }

    /// Of how many rows at once memory or storage is best asked ahead.
    pub fn rows_at_once(&self) -> usize {
        // With tables of 384 and 768 dimensions 8 were faster than 4, 16 or 32 where all lies in memory.
        if self.recent.is_some() { 8 } else { Self::AT_ONCE }
    }

    /// Asks for the memory of rows that will soon be read, or, where their blocks are not there, the storage for
    /// them. Nothing but time depends on it. Each row is a block and a number on it.
    ///
    /// The first look at a page costs more than the bytes that are read from it: the processor has to find out where
    /// it lies. It does so for several at a time if they are asked for one right after another.
    pub fn prefetch(&self, rows: impl Iterator<Item = (u32, u16)>) {
        let mut pages = [(std::ptr::null::<u8>(), 0u16); Self::AT_ONCE];
        let mut rows = rows.peekable();
        while rows.peek().is_some() {
            let mut count = 0;
            for ((block, number), place) in rows.by_ref().take(Self::AT_ONCE).zip(&mut pages) {
                let known = self.recent.as_ref().and_then(|recent| recent.prefetch(block));
                let (page, number) = (known.unwrap_or_else(|| self.find(block)), number.max(1) - 1);
                if !page.is_null() {
                    mrl_kernels::prefetch(page.wrapping_add(Self::pointer_at(number)), 4);
                }
                *place = (page, number);
                count += 1;
            }
            for (page, number) in pages.into_iter().take(count) {
                let at = Self::pointer_at(number);
                if page.is_null() || at + 4 > PAGE_BYTES {
                    continue;
                }
                // SAFETY: within a buffer of shared memory, which is always mapped; whatever is read there
                // only says which bytes to ask for.
                let pointer = unsafe { page.add(at).cast::<u32>().read_volatile() };
                // A line pointer's lowest 15 bits are the row's place on the page.
                let offset = (pointer & 0x7fff) as usize;
                let bytes = self.bytes.min(PAGE_BYTES.saturating_sub(offset));
                mrl_kernels::prefetch(page.wrapping_add(offset), bytes);
            }
        }
    }

    /// Asks for the memory of what leads to a row whose page was read before.
    pub fn prefetch_pointer(&self, block: u32, number: u16) {
        if let Some(page) = self.recent.as_ref().and_then(|recent| recent.prefetch(block)) {
            mrl_kernels::prefetch(page.wrapping_add(Self::pointer_at(number.max(1) - 1)), 4);
        }
    }

    /// Asks for the beginning of a row; [`Heap::prefetch_pointer`] has been called for it before.
    pub fn prefetch_start(&self, block: u32, number: u16) {
        let Some(page) = self.recent.as_ref().and_then(|recent| recent.address(block)) else {
            return;
        };
        let at = Self::pointer_at(number.max(1) - 1);
        if at + 4 <= PAGE_BYTES {
            // SAFETY: as in `prefetch`.
            let pointer = unsafe { page.add(at).cast::<u32>().read_volatile() };
            mrl_kernels::prefetch(page.wrapping_add((pointer & 0x7fff) as usize), 1);
        }
    }

    /// Where a row's line pointer is on its page.
    fn pointer_at(number: u16) -> usize {
        Self::PAGE_HEADER_BYTES + 4 * usize::from(number)
    }

    /// Where a block is in memory; where it is not, the storage is asked for it.
    fn find(&self, block: u32) -> *const u8 {
        // SAFETY: the table is open. Where the block is in memory its buffer is named; that may be given to
        // another block at any time, so its bytes are only asked for, not believed.
        unsafe {
            let buffer = pg_sys::PrefetchBuffer(self.table, FORK, block).recent_buffer;
            if buffer <= 0 {
                return std::ptr::null();
            }
            if let Some(recent) = &self.recent {
                recent.remember(block, buffer);
            }
            pg_sys::BufferGetPage(buffer).cast::<u8>().cast_const()
        }
    }

    /// Pins the page that a scan will next fetch a row from, where it is in the buffer that it was in: the server then
    /// need not look for it.
    ///
    /// # Safety
    /// `fetch` is that of a running scan of this table.
    pub unsafe fn hand_over(&self, fetch: *mut pg_sys::IndexFetchTableData, block: u32) {
        let Some(recent) = self.recent.as_deref().filter(|_| !fetch.is_null()) else { return };
        // SAFETY: by contract; the state of a fetch from a table of this kind begins so. The pin that it had
        // is given back in exchange for the new one, which the server gives back as if it were its own.
        unsafe {
            let fetch = fetch.cast::<pg_sys::IndexFetchHeapData>();
            if let Some(buffer) = buffer::pin_recent(self.table, FORK, block, recent) {
                let former = std::mem::replace(&mut (*fetch).xs_cbuf, buffer);
                if former != pg_sys::InvalidBuffer as pg_sys::Buffer {
                    pg_sys::ReleaseBuffer(former);
                }
            }
        }
    }

    /// Puts any version of the row at a TID into the slot, visible or not, where its page is in memory: nothing waits
    /// for the storage. Whether the page is there, and whether there is a row.
    ///
    /// # Safety
    /// As [`Heap::fetch`].
    pub unsafe fn fetch_from_memory(
        &self,
        tid: pg_sys::ItemPointerData,
        slot: *mut pg_sys::TupleTableSlot,
    ) -> (bool, bool) {
        // SAFETY: by contract; the server's own snapshot lives as long as it.
        unsafe {
            let locked = self.lock_recent(block_of(tid));
            // It was somewhere else, if it was read before.
            if locked.is_none() && self.find(block_of(tid)).is_null() {
                return (false, false);
            }
            (true, self.fetch_from(locked, tid, &raw mut pg_sys::SnapshotAnyData, slot))
        }
    }

    /// Pins and locks a page in common with other readers, where it is in the buffer that it was in.
    ///
    /// # Safety
    /// No page of the table is locked by us.
    unsafe fn lock_recent(&self, block: u32) -> Option<pg_sys::Buffer> {
        let recent = self.recent.as_deref()?;
        // SAFETY: by contract; the table is open.
        unsafe { buffer::lock_recent(self.table, FORK, block, recent) }
    }

    /// Puts the version that the snapshot sees of the row at a TID into the slot, as the table's own routine does,
    /// which besides looks whether the page could be pruned, and takes the row apart as far as the column that is read.
    /// What was in the slot before goes out of it.
    ///
    /// # Safety
    /// The TID lies in the table; the slot was made for it; the snapshot is registered or active.
    pub unsafe fn fetch(
        &self,
        tid: pg_sys::ItemPointerData,
        snapshot: pg_sys::Snapshot,
        slot: *mut pg_sys::TupleTableSlot,
    ) -> bool {
        // SAFETY: by contract; no page of the table is locked by us.
        unsafe { self.fetch_from(None, tid, snapshot, slot) }
    }

    /// The same, from a page that may be locked already.
    ///
    /// # Safety
    /// As [`Heap::fetch`]; the buffer is the page's.
    unsafe fn fetch_from(
        &self,
        locked: Option<pg_sys::Buffer>,
        mut tid: pg_sys::ItemPointerData,
        snapshot: pg_sys::Snapshot,
        slot: *mut pg_sys::TupleTableSlot,
    ) -> bool {
        let (block, recent) = (block_of(tid), self.recent.as_deref());
        let likely = match locked {
            Some(_) => None,
            None => recent.and_then(|recent| recent.in_turn(block)),
        };
        // SAFETY: by contract: a slot of such a table is one for rows in buffers. Its room for a row's address
        // lives as long as it; the pin goes over to it, or is given back.
        let (found, buffer, is_hit) = unsafe {
            let tuple = &raw mut (*slot.cast::<pg_sys::BufferHeapTupleTableSlot>()).base.tupdata;
            let tid = &raw mut tid;
            pg_guard_ffi_boundary(|| {
                let hit = likely
                    .filter(|buffer| buffer::take_if_of(self.table, FORK, block, *buffer, true));
                let buffer = locked.or(hit).unwrap_or_else(|| {
                    let buffer = unguarded::ReadBuffer(self.table, block);
                    unguarded::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
                    buffer
                });
                let found = unguarded::heap_hot_search_buffer(
                    tid,
                    self.table,
                    buffer,
                    snapshot,
                    tuple,
                    std::ptr::null_mut(),
                    true,
                );
                unguarded::LockBuffer(buffer, pg_sys::BUFFER_LOCK_UNLOCK as i32);
                if found {
                    (*tuple).t_self = *tid;
                    (*tuple).t_tableOid = (*self.table).rd_id;
                    unguarded::ExecStorePinnedBufferHeapTuple(tuple, slot, buffer);
                    unguarded::slot_getsomeattrs_int(slot, self.column);
                } else {
                    unguarded::ReleaseBuffer(buffer);
                }
                (found, buffer, hit.is_some())
            })
        };
        if is_hit {
            // SAFETY: the table is open.
            unsafe { buffer::count_hit(self.table) };
        } else if let (None, Some(recent)) = (locked, recent) {
            recent.remember(block, buffer);
        }
        found
    }
}

/// The block of a TID.
fn block_of(tid: pg_sys::ItemPointerData) -> u32 {
    u32::from(tid.ip_blkid.bi_hi) << 16 | u32::from(tid.ip_blkid.bi_lo)
}
