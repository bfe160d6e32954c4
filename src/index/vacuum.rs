//! `ambulkdelete` and `amvacuumcleanup`.

use std::ffi::c_void;

use mrl_index::build::MOST_LISTS;
use mrl_index::pages::meta::MOST_LIST_NUMBERS;
use mrl_index::pages::store::PageStore;
use mrl_index::vacuum;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;

use crate::index::errors::{name_of, or_raise};
use crate::index::pages::BufferStore;
use crate::index::tid::item_pointer;
use crate::server::error::SqlError;

#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn ambulkdelete(
    info: *mut pg_sys::IndexVacuumInfo,
    stats: *mut pg_sys::IndexBulkDeleteResult,
    callback: pg_sys::IndexBulkDeleteCallback,
    state: *mut c_void,
) -> *mut pg_sys::IndexBulkDeleteResult {
    // SAFETY: the server passes an open index, and a callback that asks about one TID.
    unsafe {
        let index = (*info).index;
        let store = BufferStore::with_strategy(index, (*info).strategy);
        let stats = or_new(stats);
        let mut is_dead = |tid| {
            let mut pointer = item_pointer(tid);
            // CREATE INDEX CONCURRENTLY sorts what it is asked, which may fail.
            callback.is_some_and(|callback| pg_guard_ffi_boundary(|| callback(&mut pointer, state)))
        };
        let deleted = or_raise(index, vacuum::bulk_delete(&store, &mut is_dead));
        (*stats).tuples_removed += deleted.removed as f64;
        (*stats).num_index_tuples = deleted.kept as f64;
        stats
    }
}

#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn amvacuumcleanup(
    info: *mut pg_sys::IndexVacuumInfo,
    stats: *mut pg_sys::IndexBulkDeleteResult,
) -> *mut pg_sys::IndexBulkDeleteResult {
    // SAFETY: the server passes an open index.
    unsafe {
        if (*info).analyze_only {
            return stats;
        }
        let index = (*info).index;
        let store = BufferStore::with_strategy(index, (*info).strategy);
        let stats = or_new(stats);
        let swept = or_raise(index, vacuum::clean_up(&store));
        pg_sys::IndexFreeSpaceMapVacuum(index);
        if swept.lists_left < MOST_LIST_NUMBERS / 10 {
            let message = format!(
                "index \"{}\" can make {} lists more of {MOST_LIST_NUMBERS}",
                name_of(index),
                swept.lists_left
            );
            SqlError::new(Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED, message)
                .detail("Each split and each list written anew takes some; without any lists grow, and scans slow down.")
                .hint("REINDEX it.")
                .warn();
        }
        if swept.lists > MOST_LISTS - MOST_LISTS / 10 {
            let message = format!(
                "index \"{}\" has {} lists of {MOST_LISTS} at most",
                name_of(index),
                swept.lists
            );
            SqlError::new(Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED, message)
                .detail("Once it has as many, lists are not split any more, and scans slow down.")
                .hint("Partition the table.")
                .warn();
        }
        (*stats).num_pages = or_raise(index, store.page_count());
        (*stats).pages_free = swept.free;
        // A list that was split while rows were deleted has been met twice then.
        (*stats).num_index_tuples = swept.rows as f64;
        stats
    }
}

/// # Safety
/// Called by the server: the result lives in the current memory context.
unsafe fn or_new(stats: *mut pg_sys::IndexBulkDeleteResult) -> *mut pg_sys::IndexBulkDeleteResult {
    if !stats.is_null() {
        return stats;
    }
    // SAFETY: zeroed memory is a valid value.
    unsafe { pg_sys::palloc0(size_of::<pg_sys::IndexBulkDeleteResult>()).cast() }
}
