//! Exact distances from the table: a row's vector is read with the scan's own snapshot.
//!
//! The snapshot makes that safe although the index is not locked meanwhile: a TID that was freed and
//! given to another row leads to a row that the snapshot does not see.

use half::f16;
use mrl_index::pages::group::Tid;
use mrl_index::pages::meta::{META_PAGE, Metric};
use mrl_index::pages::page::damaged;
use mrl_index::scan::Reranker;
use mrl_vector::distance;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;

use crate::index::tid::item_pointer;
use crate::server::call::FromSql;
use crate::server::error::SqlError;
use crate::server::heap::Heap;
use crate::server::table;
use crate::vector::datum::Vector;

/// How the rows of a table are read.
enum Rows {
    Heap(Heap),
    /// By the table's own routines.
    Any(*mut pg_sys::IndexFetchTableData),
}

/// Reads rows of one table for one query.
pub struct HeapReranker {
    rows: Rows,
    /// Has the row that was read last, until the next is or the scan pauses.
    slot: *mut pg_sys::TupleTableSlot,
    holds: bool,
    snapshot: pg_sys::Snapshot,
    table: pg_sys::Relation,
    /// Blocks of the table below this one are there.
    known_blocks: u64,
    column: i32,
    metric: Metric,
    query: Vec<f16>,
}

impl HeapReranker {
    /// # Safety
    /// The scan is running; the table and the snapshot are its own.
    pub unsafe fn new(scan: pg_sys::IndexScanDesc, metric: Metric, query: Vec<f16>) -> Self {
        // SAFETY: by contract; what is begun here ends in `drop`.
        unsafe {
            let (relation, index) = ((*scan).heapRelation, (*scan).indexRelation);
            let blocks = table::block_count(relation);
            let column = (*(*index).rd_index).indkey.values.as_slice(1)[0].into();
            let value = (column, query.len() * size_of::<f16>());
            let rows = match Heap::new(relation, blocks, value) {
                Some(heap) => Rows::Heap(heap),
                None => Rows::Any(table::index_fetch_begin(relation)),
            };
            Self {
                rows,
                slot: pg_sys::table_slot_create(relation, std::ptr::null_mut()),
                holds: false,
                snapshot: (*scan).xs_snapshot,
                table: relation,
                known_blocks: blocks.into(),
                column,
                metric,
                query,
            }
        }
    }

    /// That a TID leads to a place that the table has: a damaged one would end in an error of the
    /// server's that names no index.
    pub fn check(&mut self, tid: Tid) -> Result<(), SqlError> {
        if tid >> 16 < self.known_blocks {
            return Ok(());
        }
        // SAFETY: the table is open as long as the scan.
        self.known_blocks = unsafe { table::block_count(self.table) }.into();
        if tid >> 16 < self.known_blocks {
            return Ok(());
        }
        Err(SqlError::new(
            Code::ERRCODE_INDEX_CORRUPTED,
            format!(
                "mrl index is damaged: it leads to block {} of the table, which is not there",
                tid >> 16
            ),
        )
        .hint("REINDEX it."))
    }

    /// Makes ready that the server fetches a row for whoever asked for it.
    ///
    /// # Safety
    /// The scan that this belongs to runs.
    pub unsafe fn hand_over(&self, scan: pg_sys::IndexScanDesc, tid: Tid) {
        if let Rows::Heap(heap) = &self.rows {
            // SAFETY: by contract.
            unsafe { heap.hand_over((*scan).xs_heapfetch, (tid >> 16) as u32) };
        }
    }

    /// Releases what is held of the table until the next row is read.
    pub fn pause(&mut self) {
        // SAFETY: both were begun by `new`.
        unsafe {
            if std::mem::take(&mut self.holds) {
                table::clear(self.slot);
            }
            if let Rows::Any(fetch) = self.rows {
                table::index_fetch_reset(fetch);
            }
        }
    }

    /// # Safety
    /// The scan that this belongs to still runs: not called when an error is on its way.
    pub unsafe fn end(self) {
        // SAFETY: begun by `new`.
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            if let Rows::Any(fetch) = self.rows {
                table::index_fetch_end(fetch);
            }
        }
    }

    fn distance(&self, row: &[f16]) -> Result<f64, SqlError> {
        Ok(match self.metric {
            Metric::InnerProduct => distance::negative_inner_product(row, &self.query),
            Metric::Cosine => distance::cosine_distance(row, &self.query),
            Metric::Euclidean => distance::l2_distance(row, &self.query)?,
        })
    }
}

impl Reranker for HeapReranker {
    type Error = SqlError;

    fn rows_at_once(&self) -> usize {
        match &self.rows {
            Rows::Heap(heap) => heap.rows_at_once(),
            // Nothing is done for any.
            Rows::Any(_) => 1,
        }
    }

    fn prefetch(&mut self, tids: impl Iterator<Item = Tid>) {
        if let Rows::Heap(heap) = &self.rows {
            let known = tids.filter(|tid| tid >> 16 < self.known_blocks);
            heap.prefetch(known.map(|tid| ((tid >> 16) as u32, tid as u16)));
        }
    }

    fn prefetch_place(&mut self, tid: Tid) {
        if let Rows::Heap(heap) = &self.rows {
            heap.prefetch_pointer((tid >> 16) as u32, tid as u16);
        }
    }

    fn prefetch_start(&mut self, tid: Tid) {
        if let Rows::Heap(heap) = &self.rows {
            heap.prefetch_start((tid >> 16) as u32, tid as u16);
        }
    }

    fn row(&mut self, tid: Tid) -> Result<Option<f64>, SqlError> {
        // What an expression gave is kept in the index, whatever a damaged one says.
        if self.column <= 0 {
            return Err(damaged(META_PAGE, "an index of an expression keeps no vectors").into());
        }
        self.check(tid)?;
        // The table overwrites it with the place of the row's version that is seen.
        let mut pointer = item_pointer(tid);
        // SAFETY: the table, the snapshot and the slot live as long as the scan; the vector is used
        // while the slot has its row.
        unsafe {
            let found = match &self.rows {
                Rows::Heap(heap) => heap.fetch(pointer, self.snapshot, self.slot),
                Rows::Any(fetch) => {
                    table::index_fetch_tuple(*fetch, &mut pointer, self.snapshot, self.slot)
                }
            };
            self.holds = true;
            if !found {
                return Ok(None);
            }
            match table::column(self.slot, self.column) {
                None => Ok(None),
                Some(value) => Ok(Some(self.distance(&Vector::from_sql(value)?)?)),
            }
        }
    }

    fn vector(&mut self, vector: &[f16]) -> Result<f64, SqlError> {
        self.distance(vector)
    }
}
