//! What SQL can ask about an index: `mrl_index_info`, `mrl_index_lists`, `mrl_index_check`, `mrl_scan_stats`.
//!
//! The first three tell about rows that row-level security may hide: they are for who owns the index,
//! or whom its owner lets.

use std::collections::BTreeSet;
use std::ffi::{CStr, c_void};

use mrl_index::check;
use mrl_index::info;
use mrl_index::pages::group::Tid;
use mrl_index::pages::page::VERSION;
use mrl_index::pages::tids::Tids;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;

use crate::index::errors::{name_of, or_raise};
use crate::index::pages::BufferStore;
use crate::index::scan;
use crate::index::tid::tid_of;
use crate::server::call::{Call, IntoSql};
use crate::server::catalog;
use crate::server::error::SqlError;
use crate::server::memory;
use crate::server::rows::{Row, return_rows};
use crate::server::table;

/// An index of ours, opened for reading, and its table; closed when dropped.
struct Opened {
    table: pg_sys::Relation,
    index: pg_sys::Relation,
}

impl Opened {
    /// The lock is the table's.
    fn new(oid: pg_sys::Oid, lock: u32) -> Result<Self, SqlError> {
        // SAFETY: relations are opened with locks, the table before its index, and looked at.
        unsafe {
            let table = pg_sys::IndexGetRelation(oid, true);
            let name = pg_sys::get_rel_name(oid);
            let name = match name.is_null() {
                true => oid.to_string(),
                false => CStr::from_ptr(name).to_string_lossy().into_owned(),
            };
            // Whoever must not look at it must not lock it either.
            if table == pg_sys::InvalidOid || !catalog::is_index_of(oid, c"mrl") {
                let message = format!("\"{name}\" is not an mrl index");
                let error = SqlError::new(Code::ERRCODE_WRONG_OBJECT_TYPE, message);
                return Err(match pg_sys::get_rel_relkind(oid) as u8 {
                    pg_sys::RELKIND_PARTITIONED_INDEX => error
                        .detail("It is partitioned: what has rows are the partitions' indexes."),
                    _ => error,
                });
            }
            let check_owner = || match catalog::owns_relation(oid) {
                true => Ok(()),
                false => Err(SqlError::new(
                    Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
                    format!("must be owner of index {name}"),
                )),
            };
            check_owner()?;
            let table = pg_sys::table_open(table, lock as pg_sys::LOCKMODE);
            let reading = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
            let opened = Self { table, index: pg_sys::index_open(oid, reading) };
            // It may have been given away while the lock was waited for.
            check_owner()?;
            if (*(*opened.index).rd_rel).relpersistence as u8 == pg_sys::RELPERSISTENCE_TEMP
                && !(*opened.index).rd_islocaltemp
            {
                return Err(SqlError::new(
                    Code::ERRCODE_FEATURE_NOT_SUPPORTED,
                    "cannot access temporary indexes of other sessions",
                ));
            }
            Ok(opened)
        }
    }

    fn store(&self) -> BufferStore {
        // SAFETY: open as long as this value.
        unsafe { BufferStore::new(self.index) }
    }

    /// An error with the index's name. On a standby recovery may have given a page another use meanwhile.
    fn named<T>(&self, result: Result<T, SqlError>) -> Result<T, SqlError> {
        // SAFETY: open as long as this value; shared memory is read.
        let (name, in_recovery) = unsafe { (name_of(self.index), pg_sys::RecoveryInProgress()) };
        result.map_err(|error| {
            let error = if in_recovery { error.perhaps_of_recovery() } else { error };
            error.in_index(&name)
        })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened by `new`; the locks stay until the transaction ends.
            unsafe {
                pg_sys::index_close(self.index, 0);
                pg_sys::table_close(self.table, 0);
            }
        }
    }
}

fn index_argument(call: &Call, lock: u32) -> Result<Opened, SqlError> {
    Opened::new(pg_sys::Oid::from(call.get::<i32>(0)? as u32), lock)
}

/// What an index's lists tell, which are read without their locks, while others go on writing.
fn read_beside_others<T>(
    call: &Call,
    read: fn(&BufferStore) -> Result<T, SqlError>,
) -> Result<T, SqlError> {
    let opened = index_argument(call, pg_sys::AccessShareLock)?;
    let store = opened.store();
    let reader = store.reader()?;
    let found = opened.named(read(&store))?;
    // SAFETY: no error is on its way.
    unsafe { reader.end() };
    Ok(found)
}

/// The lock of who compares what an index has with itself and its table: it keeps away those that change either, who
/// would be taken for damage. On a standby, where there is no such lock, it keeps away nobody.
fn comparing() -> u32 {
    // SAFETY: reads shared memory.
    match unsafe { pg_sys::RecoveryInProgress() } {
        true => pg_sys::AccessShareLock,
        false => pg_sys::ShareLock,
    }
}

fn number(number: u64) -> Option<pg_sys::Datum> {
    (number as i64).into_sql()
}

sql_function! {
    fn mrl_index_info(call) -> () {
        let info = read_beside_others(call, info::info)?;
        let rows = info.rows + info.references + info.nulls + info.zeros;
        let bytes = u64::from(info.pages) * u64::from(pg_sys::BLCKSZ);
        let row: Row = vec![
            i32::from(VERSION).into_sql(),
            (info.dimensions as i32).into_sql(),
            (info.coarse_dimensions as i32).into_sql(),
            info.copies.into_sql(),
            (info.lists as i32).into_sql(),
            (info.retired_lists as i32).into_sql(),
            (info.lists_made as i32).into_sql(),
            number(info.rows),
            number(info.references),
            number(info.nulls),
            number(info.zeros),
            number(if info.lists == 0 { 0 } else { info.smallest_list }),
            number(info.largest_list),
            number(info.pages.into()),
            (bytes as f64 / rows.max(1) as f64).into_sql(),
            (info.rows as f64 / info.slots.max(1) as f64).into_sql(),
            (info.frames as f64 / info.lists.max(1) as f64).into_sql(),
        ];
        return_rows(call, vec![row])
    }

    fn mrl_index_lists(call) -> () {
        let lists = read_beside_others(call, info::lists)?;
        let rows = lists.into_iter().map(|list| {
            vec![
                (list.list as i32).into_sql(),
                number(list.rows),
                number(list.references),
                (list.rows as f64 / list.slots.max(1) as f64).into_sql(),
                (list.frames as i32).into_sql(),
            ]
        });
        return_rows(call, rows)
    }

    fn mrl_index_check(call) -> () {
        let opened = index_argument(call, comparing())?;
        let mut tids = Tids::default();
        let found = check::check(&opened.store(), &mut |tid| {
            tids.insert(tid);
            Ok(())
        });
        let problems = opened.named(found)?;
        let mut missing = BTreeSet::new();
        if call.get::<bool>(1)? {
            missing = missing_rows(&opened, &tids)?;
        }
        let name = |tid: Tid| format!("({},{})", tid >> 16, tid & 0xffff);
        let missing = missing.into_iter().map(|tid| format!("row {} of the table is missing", name(tid)));
        return_rows(call, problems.into_iter().chain(missing).map(|problem| vec![text(&problem)]))
    }

    fn mrl_scan_stats(call) -> () {
        let rows = scan::latest().into_iter().map(|latest| {
            let counters = latest.counters;
            vec![
                Some(pg_sys::Datum::from(latest.index)),
                number(counters.rounds),
                number(counters.lists_probed),
                number(counters.codes_scored),
                number(counters.codes_finished),
                number(counters.rows_reranked),
                number(latest.rows_returned),
            ]
        });
        return_rows(call, rows)
    }
}

fn text(text: &str) -> Option<pg_sys::Datum> {
    // SAFETY: the server copies so many bytes.
    let datum =
        unsafe { pg_sys::cstring_to_text_with_len(text.as_ptr().cast(), text.len() as i32) };
    datum.into_sql()
}

/// What the callback of the table scan fills.
struct Sought<'a> {
    tids: &'a Tids,
    missing: BTreeSet<Tid>,
}

/// That the session's snapshot may be compared with an index. One that was built while there were chains of updates
/// whose values differ lacks the older ones, which a snapshot from before may still see; the server doesn't use it
/// there either.
fn check_snapshot(opened: &Opened) -> Result<(), SqlError> {
    // SAFETY: the relation is open; its row of the catalog and the session's snapshot are looked at.
    unsafe {
        let keeps_snapshot = pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32;
        if !keeps_snapshot || !(*(*opened.index).rd_index).indcheckxmin {
            return Ok(());
        }
        let row = &*(*(*opened.index).rd_indextuple).t_data;
        let frozen = pg_sys::HEAP_XMIN_FROZEN as u16;
        let made = match row.t_infomask & frozen == frozen {
            true => pg_sys::FrozenTransactionId,
            false => row.t_choice.t_heap.t_xmin,
        };
        if pg_sys::TransactionIdPrecedes(made, (*pg_sys::GetTransactionSnapshot()).xmin) {
            return Ok(());
        }
        let name = name_of(opened.index);
        let message =
            format!("index \"{name}\" cannot be compared with the rows that this transaction sees");
        Err(SqlError::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            .detail("It was made after the transaction's snapshot, and may lack rows that have been updated since.")
            .hint("Check it in a later transaction, or without the table."))
    }
}

/// The rows that the session's snapshot sees of the table and that the index lacks.
fn missing_rows(opened: &Opened, tids: &Tids) -> Result<BTreeSet<Tid>, SqlError> {
    check_snapshot(opened)?;
    let mut sought = Sought { tids, missing: BTreeSet::new() };
    // SAFETY: a scan of the table as a build makes it, with the session's own snapshot, which is
    // registered as long as the scan runs; the callback gets `sought` only during the call. An error takes the user
    // and the settings back with the transaction.
    unsafe {
        // Expressions and conditions of the index run as their owner.
        let (mut user, mut security) = (pg_sys::InvalidOid, 0);
        pg_sys::GetUserIdAndSecContext(&mut user, &mut security);
        pg_sys::SetUserIdAndSecContext(
            (*(*opened.table).rd_rel).relowner,
            security | pg_sys::SECURITY_RESTRICTED_OPERATION as i32,
        );
        let settings = pg_sys::NewGUCNestLevel();
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        pg_sys::RestrictSearchPath();
        let info = pg_sys::BuildIndexInfo(opened.index);
        (*info).ii_Concurrent = true;
        (*info).ii_Unique = false;
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot());
        let scan = table::begin_scan(opened.table, snapshot);
        table::build_scan(
            opened.table,
            opened.index,
            info,
            table::Rows::Indexed { progress: false },
            Some(seek),
            (&raw mut sought).cast(),
            scan,
        );
        pg_sys::UnregisterSnapshot(snapshot);
        pg_sys::AtEOXact_GUC(false, settings);
        pg_sys::SetUserIdAndSecContext(user, security);
    }
    Ok(sought.missing)
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn seek(
    index: pg_sys::Relation,
    tid: pg_sys::ItemPointer,
    _values: *mut pg_sys::Datum,
    _nulls: *mut bool,
    _alive: bool,
    state: *mut c_void,
) {
    // SAFETY: the server passes a row's place and what we gave it.
    unsafe {
        let sought = &mut *state.cast::<Sought>();
        let tid = tid_of(tid);
        if !sought.tids.contains(tid) {
            sought.missing.insert(tid);
            or_raise(index, memory::check());
        }
    }
}
