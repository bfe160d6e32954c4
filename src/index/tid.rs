//! A row's place in its table, as the server has it and as the index keeps it.

use mrl_index::pages::group::Tid;
use pgrx::pg_sys;

/// A heap tuple's address as the index keeps it.
///
/// # Safety
/// The pointer is to an item pointer of the server's.
pub unsafe fn tid_of(pointer: pg_sys::ItemPointer) -> Tid {
    // SAFETY: by contract.
    let pointer = unsafe { &*pointer };
    let block = u64::from(pointer.ip_blkid.bi_hi) << 16 | u64::from(pointer.ip_blkid.bi_lo);
    block << 16 | u64::from(pointer.ip_posid)
}

/// The other way round.
pub fn item_pointer(tid: Tid) -> pg_sys::ItemPointerData {
    pg_sys::ItemPointerData {
        ip_blkid: pg_sys::BlockIdData { bi_hi: (tid >> 32) as u16, bi_lo: (tid >> 16) as u16 },
        ip_posid: tid as u16,
    }
}
