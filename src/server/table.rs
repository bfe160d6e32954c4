//! The server's inline functions on tables and slots: what its headers define, over a table's own
//! routines. Each call is guarded, as those of the server's other functions are: an error in it unwinds.

use std::ffi::c_void;

use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;

/// What tells a relation's storage from all others of a database: the relation, its tablespace and its file.
pub type Storage = (pg_sys::Oid, pg_sys::Oid, pg_sys::Oid);

/// # Safety
/// The relation is open.
pub unsafe fn storage_of(relation: pg_sys::Relation) -> Storage {
    // SAFETY: by contract.
    let relation = unsafe { &*relation };
    #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
    let (tablespace, file) = (relation.rd_node.spcNode, relation.rd_node.relNode);
    #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
    let (tablespace, file) = (relation.rd_locator.spcOid, relation.rd_locator.relNumber);
    (relation.rd_id, tablespace, file)
}

/// A routine that every table has.
macro_rules! routine {
    ($table:expr, $name:ident) => {
        (*(*$table).rd_tableam).$name.unwrap_unchecked()
    };
}

/// # Safety
/// The table is open.
pub unsafe fn index_fetch_begin(table: pg_sys::Relation) -> *mut pg_sys::IndexFetchTableData {
    // SAFETY: by contract; the server checks that a table's routines are all there.
    unsafe { pg_guard_ffi_boundary(|| routine!(table, index_fetch_begin)(table)) }
}

/// # Safety
/// Begun, and not ended.
pub unsafe fn index_fetch_reset(fetch: *mut pg_sys::IndexFetchTableData) {
    // SAFETY: by contract.
    unsafe { pg_guard_ffi_boundary(|| routine!((*fetch).rel, index_fetch_reset)(fetch)) }
}

/// # Safety
/// Begun, and not ended.
pub unsafe fn index_fetch_end(fetch: *mut pg_sys::IndexFetchTableData) {
    // SAFETY: by contract.
    unsafe { pg_guard_ffi_boundary(|| routine!((*fetch).rel, index_fetch_end)(fetch)) }
}

/// Fetches the version that the snapshot sees of the row at a TID into the slot.
///
/// # Safety
/// The slot is of the table; the snapshot is registered or active.
pub unsafe fn index_fetch_tuple(
    fetch: *mut pg_sys::IndexFetchTableData,
    tid: pg_sys::ItemPointer,
    snapshot: pg_sys::Snapshot,
    slot: *mut pg_sys::TupleTableSlot,
) -> bool {
    let (mut again, mut all_dead) = (false, false);
    // SAFETY: by contract.
    unsafe {
        pg_guard_ffi_boundary(|| {
            routine!((*fetch).rel, index_fetch_tuple)(
                fetch,
                tid,
                snapshot,
                slot,
                &mut again,
                &mut all_dead,
            )
        })
    }
}

/// A column of a slot's row, by its number from 1; `None` for NULL.
///
/// # Safety
/// The slot holds a row that has the column.
pub unsafe fn column(slot: *mut pg_sys::TupleTableSlot, number: i32) -> Option<pg_sys::Datum> {
    // SAFETY: by contract.
    unsafe {
        if number > i32::from((*slot).tts_nvalid) {
            pg_sys::slot_getsomeattrs_int(slot, number);
        }
        let index = number as usize - 1;
        (!*(*slot).tts_isnull.add(index)).then(|| *(*slot).tts_values.add(index))
    }
}

/// # Safety
/// The slot exists.
pub unsafe fn clear(slot: *mut pg_sys::TupleTableSlot) {
    // SAFETY: by contract; every slot has its routines.
    unsafe { pg_guard_ffi_boundary(|| (*(*slot).tts_ops).clear.unwrap_unchecked()(slot)) }
}

/// Which rows a scan for a build looks at.
#[derive(Clone, Copy)]
pub enum Rows {
    /// Those that an index must have, all over the table; progress is reported where asked.
    Indexed { progress: bool },
    /// All of one block, as a sample.
    Block(u32),
}

/// Scans a table as a build does: the callback gets each row's TID and indexed value.
///
/// # Safety
/// The relations are open; the callback takes `state`; a scan, where one is given, was begun on the table,
/// and is ended here.
pub unsafe fn build_scan(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    rows: Rows,
    callback: pg_sys::IndexBuildCallback,
    state: *mut c_void,
    scan: pg_sys::TableScanDesc,
) -> f64 {
    // Any visible: of other snapshots than that of a plain build the server allows no.
    let any_visible = false;
    let (sync, progress, start, count) = match rows {
        Rows::Indexed { progress } => (true, progress, 0, pg_sys::InvalidBlockNumber),
        Rows::Block(block) => (false, false, block, 1),
    };
    // SAFETY: by contract.
    unsafe {
        pg_guard_ffi_boundary(|| {
            routine!(table, index_build_range_scan)(
                table,
                index,
                info,
                sync,
                any_visible,
                progress,
                start,
                count,
                callback,
                state,
                scan,
            )
        })
    }
}

/// Begins a scan of all blocks with a snapshot.
///
/// # Safety
/// The table is open, the snapshot registered.
pub unsafe fn begin_scan(
    table: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
) -> pg_sys::TableScanDesc {
    use pg_sys::ScanOptions as Options;
    let flags = Options::SO_TYPE_SEQSCAN
        | Options::SO_ALLOW_PAGEMODE
        | Options::SO_ALLOW_STRAT
        | Options::SO_ALLOW_SYNC;
    // SAFETY: by contract.
    unsafe {
        pg_guard_ffi_boundary(|| {
            routine!(table, scan_begin)(
                table,
                snapshot,
                0,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                flags,
            )
        })
    }
}

/// Whether changes of a relation are logged (`RelationNeedsWAL`).
///
/// # Safety
/// The relation is open.
pub unsafe fn needs_wal(relation: pg_sys::Relation) -> bool {
    const NO_SUBTRANSACTION: pg_sys::SubTransactionId = 0;
    // SAFETY: by contract; reads settings of the server.
    unsafe {
        #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
        let new_storage_since = (*relation).rd_firstRelfilenodeSubid;
        #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
        let new_storage_since = (*relation).rd_firstRelfilelocatorSubid;
        (*(*relation).rd_rel).relpersistence as u8 == pg_sys::RELPERSISTENCE_PERMANENT
            && (pg_sys::wal_level >= pg_sys::WalLevel::WAL_LEVEL_REPLICA as i32
                || ((*relation).rd_createSubid == NO_SUBTRANSACTION
                    && new_storage_since == NO_SUBTRANSACTION))
    }
}

/// How many blocks a table has.
///
/// # Safety
/// The table is open.
pub unsafe fn block_count(table: pg_sys::Relation) -> u32 {
    let fork = pg_sys::ForkNumber::MAIN_FORKNUM;
    // SAFETY: by contract.
    unsafe { pg_sys::RelationGetNumberOfBlocksInFork(table, fork) }
}
