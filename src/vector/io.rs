//! Text and binary input and output.

use std::ffi::CStr;

use mrl_vector::{check_expected_dimensions, text, wire};
use pgrx::pg_sys;

use crate::server::error::SqlError;
use crate::vector::datum::{NewVector, Vector};

/// Checks `found` against the dimensions declared for a column, −1 where none are.
fn check_typmod(typmod: i32, found: usize) -> Result<(), SqlError> {
    match usize::try_from(typmod) {
        Ok(expected) => Ok(check_expected_dimensions(expected, found)?),
        Err(_) => Ok(()),
    }
}

sql_function! {
    fn mrlvec_in(call) -> NewVector {
        let components = text::parse(call.get::<&CStr>(0)?.to_bytes())?;
        check_typmod(call.get(2)?, components.len())?;
        Ok(NewVector::from_components(&components)?)
    }

    fn mrlvec_out(call) -> *mut std::ffi::c_char {
        let mut printed = Vec::new();
        text::write(&call.get::<Vector>(0)?, &mut printed);
        printed.push(0);
        // SAFETY: copies a NUL-terminated string into the current memory context.
        Ok(unsafe { pg_sys::pstrdup(printed.as_ptr().cast()) })
    }

    fn mrlvec_recv(call) -> NewVector {
        let message: *mut pg_sys::StringInfoData = call.get(0)?;
        // SAFETY: the server passes the message; `pq_getmsgbytes` raises 08P01 where fewer bytes
        // are left than asked for, and otherwise points to that many.
        let take = |bytes: usize| unsafe {
            let start = pg_sys::pq_getmsgbytes(message, bytes as i32);
            std::slice::from_raw_parts(start.cast::<u8>(), bytes)
        };
        let header = take(wire::HEADER_BYTES);
        let dimensions = wire::read_header([header[0], header[1], header[2], header[3]])?;
        check_typmod(call.get(2)?, dimensions)?;
        let components = take(2 * dimensions);
        Ok(NewVector::build(dimensions, |out| wire::read_components(components, out))?)
    }

    fn mrlvec_send(call) -> *mut pg_sys::bytea {
        let bytes = wire::write(&call.get::<Vector>(0)?);
        Ok(pgrx::rust_byte_slice_to_bytea(&bytes).into_pg())
    }
}
