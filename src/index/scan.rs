//! Scans: `ambeginscan`, `amrescan`, `amgettuple`, `amendscan`.

use std::cell::Cell;

use half::f16;
use mrl_index::pages::group::Tid;
use mrl_index::pages::meta::{META_PAGE, Metric};
use mrl_index::pages::page::damaged;
use mrl_index::scan::{Counters, Scan, Wanted, Workspace, every_tid};
use mrl_vector::VectorError;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;

use crate::index::class::{Class, class_of};
use crate::index::directory;
use crate::index::errors::or_raise;
use crate::index::heap::HeapReranker;
use crate::index::options::options_of;
use crate::index::pages::{BufferStore, Reader};
use crate::index::steering::steering;
use crate::index::tid::item_pointer;
use crate::server::call::FromSql;
use crate::server::error::SqlError;
use crate::server::statistics;
use crate::vector::datum::Vector;

/// What the session's latest scan has done.
#[derive(Debug, Clone, Copy)]
pub struct Latest {
    pub index: pg_sys::Oid,
    /// Whose query it was.
    user: pg_sys::Oid,
    pub counters: Counters,
    pub rows_returned: u64,
}

thread_local! {
    static LATEST: Cell<Option<Latest>> = const { Cell::new(None) };
    /// The memory of the scan that ended last.
    static WORKSPACE: Cell<Option<Workspace>> = const { Cell::new(None) };
}

/// What the session's latest scan has done, where it was the current user's, and row-level security hides nothing of
/// the table from them: how many rows were looked at says something about those that a policy takes out afterwards.
pub fn latest() -> Option<Latest> {
    LATEST.get().filter(|latest| {
        // SAFETY: catalog lookups; of an index that is gone nothing is said.
        unsafe {
            let table = pg_sys::IndexGetRelation(latest.index, true);
            let policies = || pg_sys::check_enable_rls(table, pg_sys::InvalidOid, true);
            latest.user == pg_sys::GetUserId()
                && table != pg_sys::InvalidOid
                && policies() as u32 != pg_sys::CheckEnableRlsResult::RLS_ENABLED
        }
    })
}

/// A running scan's rows.
enum Rows {
    Near(Box<Scan>, HeapReranker),
    /// For a query that is NULL: every row, in any order.
    Any(std::vec::IntoIter<Tid>),
}

/// What `IndexScanDesc.opaque` points to.
struct Running {
    store: BufferStore,
    rows: Option<Rows>,
    reader: Option<Reader>,
    returned: u64,
    /// Whose query it is.
    user: pg_sys::Oid,
}

impl Running {
    /// # Safety
    /// The scan that it belongs to still runs.
    unsafe fn clear(&mut self) {
        if let Some(Rows::Near(scan, reranker)) = self.rows.take() {
            WORKSPACE.set(Some(scan.into_workspace()));
            // SAFETY: by contract.
            unsafe { reranker.end() };
        }
        if let Some(reader) = self.reader.take() {
            // SAFETY: by contract.
            unsafe { reader.end() };
        }
        self.returned = 0;
    }
}

#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn ambeginscan(
    index: pg_sys::Relation,
    keys: i32,
    orders: i32,
) -> pg_sys::IndexScanDesc {
    // SAFETY: the server asks with its own relation. The state is freed with the memory context of the
    // scan, whether the scan ends well or not.
    unsafe {
        let scan = pg_sys::RelationGetIndexScan(index, keys, orders);
        let context = pgrx::PgMemoryContexts::CurrentMemoryContext;
        let user = pg_sys::GetUserId();
        let store = BufferStore::new((*scan).indexRelation);
        let running = Running { store, rows: None, reader: None, returned: 0, user };
        (*scan).opaque = leak_into(context, running).cast();
        scan
    }
}

/// Moves a value to the heap; it is dropped when the memory context is reset or deleted.
fn leak_into(mut context: pgrx::PgMemoryContexts, running: Running) -> *mut Running {
    context.leak_and_drop_on_delete(running)
}

#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn amrescan(
    scan: pg_sys::IndexScanDesc,
    keys: pg_sys::ScanKey,
    key_count: i32,
    orders: pg_sys::ScanKey,
    order_count: i32,
) {
    // SAFETY: the server passes as many keys as it announced, and the arrays for them.
    unsafe {
        (*(*scan).opaque.cast::<Running>()).clear();
        if !keys.is_null() && key_count > 0 {
            std::ptr::copy(keys, (*scan).keyData, key_count as usize);
        }
        if !orders.is_null() && order_count > 0 {
            std::ptr::copy(orders, (*scan).orderByData, order_count as usize);
        }
    }
}

#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn amendscan(scan: pg_sys::IndexScanDesc) {
    // SAFETY: begun by `ambeginscan`.
    unsafe { (*(*scan).opaque.cast::<Running>()).clear() };
}

#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn amgettuple(
    scan: pg_sys::IndexScanDesc,
    _direction: pg_sys::ScanDirection::Type,
) -> bool {
    // SAFETY: begun by `ambeginscan`; the relation stays open as long as the scan.
    unsafe {
        let index = (*scan).indexRelation;
        let found = or_raise(
            index,
            next(scan).map_err(|error| {
                // Nothing on a standby keeps pages that the primary has given another use from scans that still run.
                if pg_sys::RecoveryInProgress() { error.perhaps_of_recovery() } else { error }
            }),
        );
        if let Some(tid) = found {
            (*scan).xs_heaptid = item_pointer(tid);
            (*scan).xs_recheck = false;
            (*scan).xs_recheckorderby = false;
        }
        found.is_some()
    }
}

/// # Safety
/// The scan is running.
unsafe fn next(scan: pg_sys::IndexScanDesc) -> Result<Option<Tid>, SqlError> {
    // SAFETY: by contract.
    let (running, index) =
        unsafe { (&mut *(*scan).opaque.cast::<Running>(), (*(*scan).indexRelation).rd_id) };
    if running.rows.is_none() {
        // SAFETY: by contract; the snapshot is the scan's as long as it runs.
        running.store.test_by(unsafe { (*scan).xs_snapshot });
        running.reader = Some(running.store.reader()?);
        // SAFETY: by contract.
        running.rows = Some(unsafe { begin(scan, &running.store)? });
    }
    let (found, counters) = match &mut running.rows {
        Some(Rows::Near(rows, reranker)) => {
            let found = rows.next(&running.store, reranker)?;
            reranker.pause();
            if let Some(tid) = found {
                reranker.check(tid)?;
                // SAFETY: by contract.
                unsafe { reranker.hand_over(scan, tid) };
            }
            (found, rows.counters)
        }
        Some(Rows::Any(tids)) => (tids.next(), Counters::default()),
        None => (None, Counters::default()),
    };
    running.returned += u64::from(found.is_some());
    let (user, rows_returned) = (running.user, running.returned);
    LATEST.set(Some(Latest { index, user, counters, rows_returned }));
    Ok(found)
}

/// Looks at the query and begins.
///
/// # Safety
/// The scan is running.
unsafe fn begin(scan: pg_sys::IndexScanDesc, store: &BufferStore) -> Result<Rows, SqlError> {
    // SAFETY: by contract; the arrays have as many keys as the numbers say.
    unsafe {
        let index = (*scan).indexRelation;
        let snapshot = (*scan).xs_snapshot;
        use pg_sys::SnapshotType as Kind;
        if snapshot.is_null()
            || !matches!(
                (*snapshot).snapshot_type,
                Kind::SNAPSHOT_MVCC | Kind::SNAPSHOT_HISTORIC_MVCC
            )
        {
            return Err(internal("non-MVCC snapshots are not supported with mrl"));
        }
        statistics::count_scan(index);
        #[cfg(feature = "pg18")]
        if let Some(counters) = (*scan).instrument.as_mut() {
            counters.nsearches += 1;
        }
        let Some(wanted) = wanted_by(scan)? else { return Ok(Rows::Any(Vec::new().into_iter())) };
        // After the snapshot was taken: what it sees is in the lists of this copy.
        let directory = directory::current(store)?;
        let dimensions = directory.meta.dimensions;
        let steering = steering(&options_of(index), wanted);
        if (*scan).numberOfOrderBys == 0 {
            if wanted != Wanted::OnlyNull {
                return Err(internal("cannot scan mrl index without order"));
            }
            let nothing = vec![f16::ZERO; dimensions];
            let reranker = HeapReranker::new(scan, directory.meta.metric, vec![]);
            return Ok(Rows::Near(Box::new(Scan::new(directory, &nothing, steering)), reranker));
        }
        if (*scan).numberOfOrderBys > 1 {
            return Err(internal("cannot scan mrl index in the order of several distances"));
        }
        let order = &*(*scan).orderByData;
        if order.sk_strategy != 1 {
            return Err(internal("mrl indexes have one operator"));
        }
        if order.sk_flags as u32 & pg_sys::SK_ISNULL != 0 {
            return Ok(Rows::Any(every_tid(store, &directory, wanted)?.into_iter()));
        }
        let query = Vector::from_sql(order.sk_argument)?;
        let class = class_of(index)?;
        if class.metric != directory.meta.metric {
            return Err(damaged(META_PAGE, "its metric is not that of its operator class").into());
        }
        let asked = asked_for(&query, dimensions, class)?;
        let reranker = HeapReranker::new(scan, directory.meta.metric, query.to_vec());
        let workspace = WORKSPACE.take().unwrap_or_default();
        let scan = Scan::with_workspace(directory, &asked, steering, workspace);
        Ok(Rows::Near(Box::new(scan), reranker))
    }
}

/// Which rows the conditions leave; nothing where they contradict each other.
///
/// # Safety
/// The scan is running.
unsafe fn wanted_by(scan: pg_sys::IndexScanDesc) -> Result<Option<Wanted>, SqlError> {
    let mut wanted = Wanted::All;
    // SAFETY: by contract; there are as many keys as the number says.
    let keys = unsafe { 0..(*scan).numberOfKeys as usize };
    for key in keys {
        // SAFETY: as above.
        let flags = unsafe { (*(*scan).keyData.add(key)).sk_flags } as u32;
        let condition = match () {
            () if flags & pg_sys::SK_SEARCHNULL != 0 => Wanted::OnlyNull,
            () if flags & pg_sys::SK_SEARCHNOTNULL != 0 => Wanted::NotNull,
            () => return Err(internal("mrl indexes have no search operators")),
        };
        if wanted != Wanted::All && wanted != condition {
            return Ok(None);
        }
        wanted = condition;
    }
    Ok(Some(wanted))
}

/// The query as the index is asked: of its dimension at most, truncated as the operator does.
fn asked_for(query: &[f16], dimensions: usize, class: Class) -> Result<Vec<f16>, SqlError> {
    if class.equal_dimensions && query.len() != dimensions {
        let (left, right) = (dimensions, query.len());
        return Err(VectorError::DifferentDimensions { left, right }.into());
    }
    if query.len() <= dimensions {
        return Ok(query.to_vec());
    }
    let mut truncated = vec![f16::ZERO; dimensions];
    match class.metric {
        Metric::Cosine => truncated.copy_from_slice(&query[..dimensions]),
        _ => mrl_vector::convert::truncate(query, &mut truncated)?,
    }
    Ok(truncated)
}

fn internal(message: &str) -> SqlError {
    SqlError::new(Code::ERRCODE_INTERNAL_ERROR, message)
}
