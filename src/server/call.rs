//! How SQL calls a C-language function and what it gets back (PostgreSQL's "Version 1" calling
//! convention, manual section "C-Language Functions").
//!
//! [`sql_function!`] defines the two symbols that the server looks for, `NAME` and `pg_finfo_NAME`. The body sees a
//! [`Call`], takes typed arguments from it and returns a `Result`: an error is raised only here, after every Rust value
//! of the body has been dropped, or left with a caller who asked for that.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::server::error::SqlError;
use crate::server::soft;

/// One call of one function: its arguments and what the server says about the call.
pub struct Call(pg_sys::FunctionCallInfo);

impl Call {
    /// # Safety
    /// `info` is what the server passed to a C-language function, still running.
    #[inline]
    pub unsafe fn new(info: pg_sys::FunctionCallInfo) -> Self {
        Self(info)
    }

    #[inline]
    fn argument(&self, index: usize) -> pg_sys::NullableDatum {
        // SAFETY: by `new` the structure is the server's; `nargs` entries follow it.
        unsafe {
            debug_assert!((index as i16) < (*self.0).nargs);
            *(*self.0).args.as_ptr().add(index)
        }
    }

    #[inline]
    pub fn is_null(&self, index: usize) -> bool {
        self.argument(index).isnull
    }

    /// The argument as a `T`. Its SQL type is what `sql/` declares; it is not NULL (the function
    /// is STRICT, or [`Call::is_null`] was asked).
    #[inline]
    pub fn get<T: FromSql>(&self, index: usize) -> Result<T, SqlError> {
        // SAFETY: the declaration in sql/ gives this argument the type that `T` reads.
        unsafe { T::from_sql(self.argument(index).value) }
    }

    /// The argument as a `T`, or `None` for NULL or where the function has fewer arguments.
    pub fn optional<T: FromSql>(&self, index: usize) -> Result<Option<T>, SqlError> {
        if index >= self.argument_count() || self.is_null(index) {
            return Ok(None);
        }
        self.get(index).map(Some)
    }

    pub fn argument_count(&self) -> usize {
        // SAFETY: as in `argument`.
        unsafe { (*self.0).nargs as usize }
    }

    /// The OID of the function called.
    pub fn function(&self) -> pg_sys::Oid {
        // SAFETY: the server fills `flinfo` for every call that SQL makes.
        unsafe { (*(*self.0).flinfo).fn_oid }
    }

    pub fn info(&self) -> pg_sys::FunctionCallInfo {
        self.0
    }

    /// Whether the function runs as part of an aggregate, and so owns its first argument.
    pub fn is_aggregate_step(&self) -> bool {
        // SAFETY: asks the server about its own call structure.
        unsafe { pg_sys::AggCheckCallContext(self.0, std::ptr::null_mut()) != 0 }
    }

    /// Ends the call: stores whether the result is NULL and hands it over, or raises the error, or leaves it with a
    /// caller who wants to be told of it: then the result is NULL.
    #[inline]
    pub fn finish<T: IntoSql>(self, result: Result<T, SqlError>) -> pg_sys::Datum {
        let datum = match result {
            Ok(value) => value.into_sql(),
            Err(error) => {
                // SAFETY: as in `argument`.
                if let Some(error) = unsafe { soft::save((*self.0).context, error) } {
                    error.raise();
                }
                None
            }
        };
        // SAFETY: as in `argument`.
        unsafe { (*self.0).isnull = datum.is_none() };
        datum.unwrap_or(pg_sys::Datum::null())
    }
}

/// A Rust type that reads an SQL value.
pub trait FromSql: Sized {
    /// # Safety
    /// `datum` is a value, not NULL, of an SQL type that the implementing type stands for, and
    /// lives as long as the call.
    unsafe fn from_sql(datum: pg_sys::Datum) -> Result<Self, SqlError>;
}

/// A Rust type that becomes an SQL value; `None` is NULL.
pub trait IntoSql {
    fn into_sql(self) -> Option<pg_sys::Datum>;
}

impl FromSql for i32 {
    unsafe fn from_sql(datum: pg_sys::Datum) -> Result<Self, SqlError> {
        Ok(datum.value() as i32)
    }
}

impl FromSql for i64 {
    unsafe fn from_sql(datum: pg_sys::Datum) -> Result<Self, SqlError> {
        Ok(datum.value() as i64)
    }
}

impl FromSql for bool {
    unsafe fn from_sql(datum: pg_sys::Datum) -> Result<Self, SqlError> {
        Ok(datum.value() as u8 != 0)
    }
}

/// The `cstring` and `internal` arguments of input and support functions.
impl<T> FromSql for *mut T {
    unsafe fn from_sql(datum: pg_sys::Datum) -> Result<Self, SqlError> {
        Ok(datum.cast_mut_ptr())
    }
}

impl FromSql for &CStr {
    unsafe fn from_sql(datum: pg_sys::Datum) -> Result<Self, SqlError> {
        // SAFETY: a cstring value is a NUL-terminated string that lives as long as the call.
        Ok(unsafe { CStr::from_ptr(datum.cast_mut_ptr()) })
    }
}

impl IntoSql for f64 {
    fn into_sql(self) -> Option<pg_sys::Datum> {
        // float8 is passed by value on every 64-bit server.
        Some(pg_sys::Datum::from(self.to_bits()))
    }
}

impl IntoSql for i32 {
    fn into_sql(self) -> Option<pg_sys::Datum> {
        Some(pg_sys::Datum::from(self))
    }
}

impl IntoSql for u32 {
    fn into_sql(self) -> Option<pg_sys::Datum> {
        Some(pg_sys::Datum::from(self))
    }
}

impl IntoSql for i64 {
    fn into_sql(self) -> Option<pg_sys::Datum> {
        Some(pg_sys::Datum::from(self))
    }
}

impl IntoSql for bool {
    fn into_sql(self) -> Option<pg_sys::Datum> {
        Some(pg_sys::Datum::from(self))
    }
}

impl IntoSql for pg_sys::Datum {
    fn into_sql(self) -> Option<pg_sys::Datum> {
        Some(self)
    }
}

impl<T> IntoSql for *mut T {
    fn into_sql(self) -> Option<pg_sys::Datum> {
        (!self.is_null()).then(|| pg_sys::Datum::from(self))
    }
}

impl<T: IntoSql> IntoSql for Option<T> {
    fn into_sql(self) -> Option<pg_sys::Datum> {
        self.and_then(IntoSql::into_sql)
    }
}

impl IntoSql for () {
    fn into_sql(self) -> Option<pg_sys::Datum> {
        None
    }
}

/// Defines a C-language function that SQL declares under the same name.
///
/// ```ignore
/// sql_function! {
///     /// `vector_dims(mrlvec)`
///     fn mrlvec_dims(call) -> i32 {
///         Ok(call.get::<Vector>(0)?.len() as i32)
///     }
/// }
/// ```
macro_rules! sql_function {
    ($($(#[$documentation:meta])* fn $name:ident($call:ident) -> $result:ty $body:block)+) => {$(
        $(#[$documentation])*
        #[pgrx::pg_guard]
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name(
            info: pgrx::pg_sys::FunctionCallInfo,
        ) -> pgrx::pg_sys::Datum {
            fn body($call: &$crate::server::call::Call) -> Result<$result, $crate::server::error::SqlError> $body
            // SAFETY: the server calls this symbol as its convention says.
            let call = unsafe { $crate::server::call::Call::new(info) };
            let result = body(&call);
            call.finish(result)
        }

        const _: () = {
            #[unsafe(export_name = concat!("pg_finfo_", stringify!($name)))]
            extern "C" fn convention() -> &'static pgrx::pg_sys::Pg_finfo_record {
                static VERSION_1: pgrx::pg_sys::Pg_finfo_record =
                    pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
                &VERSION_1
            }
        };
    )+};
}
