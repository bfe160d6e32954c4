//! The vectors of a table's rows for a split that encodes them anew, as far as they lie in memory: an insert must not
//! wait for storage on behalf of rows that have nothing to do with it.
//!
//! Rows are read whether anybody sees them or not, and not believed: `mrl_index::split::vectors` compares each with
//! what the index has of it. Of a value outside the row (TOAST) a dead row's may be gone, so those are passed over.

use half::f16;
use mrl_index::pages::group::Tid;
use pgrx::pg_sys;
use pgrx::varlena::varatt_is_1b_e;

use crate::index::tid::item_pointer;
use crate::server::call::FromSql;
use crate::server::error::SqlError;
use crate::server::heap::Heap;
use crate::server::table;
use crate::vector::datum::Vector;

/// Reads vectors for one insert.
pub struct HeapVectors {
    /// Nothing where the table is of another kind, or what is indexed is not a column of it.
    rows: Option<Rows>,
    /// How many rows were asked for, and how many of them were not in memory.
    asked: usize,
    missing: usize,
}

struct Rows {
    table: pg_sys::Relation,
    heap: Heap,
    slot: *mut pg_sys::TupleTableSlot,
    column: i32,
    /// Blocks below this one are there.
    blocks: u32,
}

impl HeapVectors {
    /// With more than this many rows, and more than one in eight, not in memory no more are asked for: that they are
    /// not there has made the server tell the storage to read ahead.
    const MOST_MISSING: usize = 16;

    /// # Safety
    /// The relations are open as long as the value; the table is the index's.
    pub unsafe fn new(table: pg_sys::Relation, index: pg_sys::Relation) -> Self {
        // SAFETY: by contract; what is made here ends in `end`.
        let rows = unsafe {
            let column = i32::from((*(*index).rd_index).indkey.values.as_slice(1)[0]);
            let blocks = table::block_count(table);
            let heap = Heap::new(table, blocks, (column, 0)).filter(|_| column > 0);
            heap.map(|heap| Rows {
                table,
                heap,
                slot: pg_sys::table_slot_create(table, std::ptr::null_mut()),
                column,
                blocks,
            })
        };
        Self { rows, asked: 0, missing: 0 }
    }

    /// # Safety
    /// Not called when an error is on its way.
    pub unsafe fn end(self) {
        if let Some(rows) = self.rows {
            // SAFETY: made by `new`.
            unsafe { pg_sys::ExecDropSingleTupleTableSlot(rows.slot) };
        }
    }

    /// The vector of the row at a TID, whichever that is, where it lies in memory.
    pub fn read(&mut self, tid: Tid) -> Result<Option<Vec<f16>>, SqlError> {
        let Some(rows) = &mut self.rows else { return Ok(None) };
        if self.missing > Self::MOST_MISSING.max(self.asked / 8) {
            return Ok(None);
        }
        if tid >> 16 >= rows.blocks.into() {
            // Others have inserted since.
            // SAFETY: the table is open.
            rows.blocks = unsafe { table::block_count(rows.table) };
            if tid >> 16 >= rows.blocks.into() {
                return Ok(None);
            }
        }
        self.asked += 1;
        // SAFETY: the block is there; the slot was made for the table; the vector is copied before the slot is
        // cleared.
        unsafe {
            let (in_memory, found) = rows.heap.fetch_from_memory(item_pointer(tid), rows.slot);
            self.missing += usize::from(!in_memory);
            if !found {
                return Ok(None);
            }
            let value = table::column(rows.slot, rows.column);
            let value = value.filter(|value| !varatt_is_1b_e(value.cast_mut_ptr()));
            let vector = value.and_then(|value| Vector::from_sql(value).ok());
            let copy = vector.as_deref().map(|vector| mrl_memory::collect(vector.iter().copied()));
            drop(vector);
            table::clear(rows.slot);
            Ok(copy.transpose()?)
        }
    }
}
