//! Inserting a row: `aminsert`.

use mrl_index::insert::{self, Inserted};
use mrl_index::pages::group::Tid;
use mrl_index::pages::meta::META_PAGE;
use mrl_index::pages::page::damaged;
use mrl_index::split;
use pgrx::pg_sys;

use crate::index::directory;
use crate::index::errors::or_raise;
use crate::index::pages::BufferStore;
use crate::index::tid::tid_of;
use crate::index::vectors::HeapVectors;
use crate::server::call::FromSql;
use crate::server::error::SqlError;
use crate::vector::datum::Vector;

#[cfg(not(feature = "pg13"))]
#[pgrx::pg_guard]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C-unwind" fn aminsert(
    index: pg_sys::Relation,
    values: *mut pg_sys::Datum,
    nulls: *mut bool,
    tid: pg_sys::ItemPointer,
    table: pg_sys::Relation,
    _unique: pg_sys::IndexUniqueCheck::Type,
    unchanged: bool,
    _info: *mut pg_sys::IndexInfo,
) -> bool {
    // SAFETY: the server passes one value, and its own open relations.
    unsafe { add_or_raise(table, index, (values, nulls), tid, unchanged) }
}

/// Release 13 does not tell that an update has left the value as it was.
#[cfg(feature = "pg13")]
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn aminsert(
    index: pg_sys::Relation,
    values: *mut pg_sys::Datum,
    nulls: *mut bool,
    tid: pg_sys::ItemPointer,
    table: pg_sys::Relation,
    _unique: pg_sys::IndexUniqueCheck::Type,
    _info: *mut pg_sys::IndexInfo,
) -> bool {
    // SAFETY: the server passes one value, and its own open relations.
    unsafe { add_or_raise(table, index, (values, nulls), tid, false) }
}

/// False: whether a row is unique is not what such an index tells.
///
/// # Safety
/// The relations are an open table and an index of ours on it; there is one value, of its column.
unsafe fn add_or_raise(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    (values, nulls): (*const pg_sys::Datum, *const bool),
    tid: pg_sys::ItemPointer,
    unchanged: bool,
) -> bool {
    // SAFETY: by contract.
    unsafe {
        let value = (!*nulls).then(|| *values);
        or_raise(index, add(table, index, value, tid_of(tid), unchanged));
    }
    false
}

/// # Safety
/// The relations are an open table and an index of ours on it; the value is one of its column's.
unsafe fn add(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    value: Option<pg_sys::Datum>,
    tid: Tid,
    unchanged: bool,
) -> Result<(), SqlError> {
    // SAFETY: by contract.
    let (store, vector) = unsafe {
        let vector = value.map(|value| Vector::from_sql(value)).transpose()?;
        (BufferStore::new(index), vector)
    };
    let mut stale_epoch = None;
    loop {
        let directory = directory::current(&store)?;
        if let Some(list) = insert::list_without_distances(&directory, vector.as_deref()) {
            return insert::insert_reference(&store, &directory, list, tid);
        }
        let Some(vector) = &vector else { return Ok(()) };
        mrl_vector::check_expected_dimensions(directory.meta.dimensions, vector.len())?;
        match insert::insert(&store, &directory, tid, vector, unchanged)? {
            Inserted::Done => return Ok(()),
            // Where nothing has changed since, the directory contradicts itself, and will for ever.
            Inserted::Stale if stale_epoch == Some(directory.meta.epoch) => {
                return Err(damaged(META_PAGE, "a list of its directory is not live").into());
            }
            Inserted::Stale => stale_epoch = Some(directory.meta.epoch),
            Inserted::Full(_) if has_less_than(500) => return Ok(()),
            Inserted::Overfull(_) if has_less_than(200) => return Ok(()),
            inserted @ (Inserted::Full(list) | Inserted::Overfull(list)) => {
                // The row is in its list: that others work on lists is no reason to fail.
                let patient = WithoutLockTimeout::begin();
                let may_wait = patient.0 == 0 && !has_less_than(500);
                let wait = may_wait && inserted == Inserted::Overfull(list);
                // SAFETY: by contract.
                let mut vectors = unsafe { HeapVectors::new(table, index) };
                let result =
                    split::split(&store, &directory, list, wait, &mut |tid| vectors.read(tid));
                // SAFETY: an error of the server's unwinds past this.
                unsafe { vectors.end() };
                return result.map(drop);
            }
        }
    }
}

/// Whether the statement may not last so many milliseconds. A split takes 100 or more: another statement, with more
/// time, is to do it, unless the list has become far too long meanwhile.
fn has_less_than(milliseconds: i32) -> bool {
    // SAFETY: reads a setting.
    (1..milliseconds).contains(&unsafe { pg_sys::StatementTimeout })
}

/// `lock_timeout` is off for as long as it lives; it has what it was.
struct WithoutLockTimeout(i32);

impl WithoutLockTimeout {
    fn begin() -> Self {
        // SAFETY: the session's own setting, which the server reads where it begins to wait.
        Self(unsafe { (&raw mut pg_sys::LockTimeout).replace(0) })
    }
}

impl Drop for WithoutLockTimeout {
    fn drop(&mut self) {
        // SAFETY: as in `begin`. Nothing else has set it: a split runs no SQL.
        unsafe { pg_sys::LockTimeout = self.0 };
    }
}
