//! SQL `text` as UTF-8, whatever the database's encoding is, and back.

use std::borrow::Cow;
use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;

use crate::server::call::{FromSql, IntoSql};
use crate::server::error::SqlError;

/// An SQL text in UTF-8. Borrowed from the server's memory where that holds UTF-8 already.
pub struct Text(Cow<'static, str>);

impl std::ops::Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl FromSql for Text {
    unsafe fn from_sql(datum: pg_sys::Datum) -> Result<Self, SqlError> {
        // SAFETY: by contract a text value; detoasting gives a flat one that lives as long as the
        // call's memory context, which outlives every Rust value of the call.
        let bytes: &'static [u8] = unsafe {
            let flat = pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr());
            pgrx::varlena::varlena_to_byte_slice(flat)
        };
        utf8_from_server(bytes).map(Self)
    }
}

impl IntoSql for &str {
    fn into_sql(self) -> Option<pg_sys::Datum> {
        let length = i32::try_from(self.len()).ok()?;
        // SAFETY: pointer and length are those of one slice; both functions copy it or return
        // their argument.
        unsafe {
            let converted = pg_sys::pg_any_to_server(
                self.as_ptr().cast(),
                length,
                pg_sys::pg_enc::PG_UTF8 as i32,
            );
            if converted.cast_const() == self.as_ptr().cast() {
                return pg_sys::cstring_to_text_with_len(converted, length).into_sql();
            }
            pg_sys::cstring_to_text(converted).into_sql()
        }
    }
}

impl IntoSql for String {
    fn into_sql(self) -> Option<pg_sys::Datum> {
        self.as_str().into_sql()
    }
}

/// `bytes` in the database's encoding as UTF-8. What can't be converted is the server's own error.
///
/// The `'static` is that of the call: see [`Text`].
pub fn utf8_from_server(bytes: &'static [u8]) -> Result<Cow<'static, str>, SqlError> {
    let utf8 = pg_sys::pg_enc::PG_UTF8 as i32;
    // SAFETY: reads a variable that is set once when the session connects.
    let encoding = unsafe { pg_sys::GetDatabaseEncoding() };
    let converted = if encoding == utf8 {
        bytes
    } else {
        let length = i32::try_from(bytes.len()).map_err(|_| not_utf8())?;
        // SAFETY: pointer and length are those of one slice. The server returns its argument, or
        // a NUL-terminated copy in the current memory context.
        unsafe {
            let start = bytes.as_ptr().cast();
            let converted = pg_sys::pg_server_to_any(start, length, utf8);
            if converted.cast_const() == start {
                bytes
            } else {
                CStr::from_ptr(converted).to_bytes()
            }
        }
    };
    std::str::from_utf8(converted).map(Cow::Borrowed).map_err(|_| not_utf8())
}

fn not_utf8() -> SqlError {
    SqlError::new(Code::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE, "text cannot be converted to UTF-8")
}
