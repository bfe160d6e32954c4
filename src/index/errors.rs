//! Errors of an index are raised with its name.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::server::error::SqlError;

/// An index's name.
///
/// # Safety
/// The relation is open.
pub unsafe fn name_of(index: pg_sys::Relation) -> String {
    // SAFETY: by contract: a NUL-terminated name.
    let name = unsafe { CStr::from_ptr((*(*index).rd_rel).relname.data.as_ptr()) };
    name.to_string_lossy().into_owned()
}

/// A result, or its error raised with the index's name.
///
/// # Safety
/// The relation is open.
pub unsafe fn or_raise<T>(index: pg_sys::Relation, result: Result<T, SqlError>) -> T {
    match result {
        Ok(value) => value,
        // SAFETY: by contract.
        Err(error) => error.in_index(&unsafe { name_of(index) }).raise(),
    }
}
