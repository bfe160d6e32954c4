//! Functions that return a set of rows: all at once, in a tuplestore (the "materialize mode" of
//! set-returning functions).

use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;

use crate::server::call::Call;
use crate::server::error::SqlError;
use crate::server::memory;

/// One row: a value or NULL for each column.
pub type Row = Vec<Option<pg_sys::Datum>>;

/// Returns `rows` as the result of a function declared `RETURNS TABLE (…)` or `RETURNS SETOF`.
///
/// Each row has as many values as the declaration has columns, of their types.
pub fn return_rows(call: &Call, rows: impl IntoIterator<Item = Row>) -> Result<(), SqlError> {
    let info = call.info();
    // SAFETY: the server passes a ReturnSetInfo where it accepts a set; its node tag tells.
    let result = unsafe {
        let result: *mut pg_sys::ReturnSetInfo = (*info).resultinfo.cast();
        let accepts_set = !result.is_null()
            && (*result).type_ == pg_sys::NodeTag::T_ReturnSetInfo
            && (*result).allowedModes & pg_sys::SetFunctionReturnMode::SFRM_Materialize as i32 != 0;
        if !accepts_set {
            return Err(SqlError::new(
                Code::ERRCODE_FEATURE_NOT_SUPPORTED,
                "set-valued function called in context that cannot accept a set",
            ));
        }
        &mut *result
    };
    let mut columns: pg_sys::TupleDesc = std::ptr::null_mut();
    // SAFETY: memory that outlives the call is taken from the query's context, which the server
    // names for this purpose; the descriptor is the function's declared row type.
    unsafe {
        let kind = pg_sys::get_call_result_type(info, std::ptr::null_mut(), &mut columns);
        if kind == pg_sys::TypeFuncClass::TYPEFUNC_SCALAR {
            // Of one column the caller knows the descriptor.
            columns = result.expectedDesc;
        }
        if columns.is_null() {
            return Err(SqlError::new(
                Code::ERRCODE_INTERNAL_ERROR,
                "return type must be a row type",
            ));
        }
        let query_context = (*result.econtext).ecxt_per_query_memory;
        let former_context = pg_sys::MemoryContextSwitchTo(query_context);
        let store = pg_sys::tuplestore_begin_heap(true, false, pg_sys::work_mem);
        result.setDesc = pg_sys::CreateTupleDescCopy(columns);
        pg_sys::MemoryContextSwitchTo(former_context);
        result.returnMode = pg_sys::SetFunctionReturnMode::SFRM_Materialize;
        result.setResult = store;
        for row in rows {
            memory::check()?;
            debug_assert_eq!(row.len(), (*columns).natts as usize);
            let (mut values, mut nulls): (Vec<_>, Vec<_>) =
                row.into_iter().map(|v| (v.unwrap_or(pg_sys::Datum::null()), v.is_none())).unzip();
            pg_sys::tuplestore_putvalues(store, columns, values.as_mut_ptr(), nulls.as_mut_ptr());
        }
    }
    Ok(())
}
