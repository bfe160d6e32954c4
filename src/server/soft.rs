//! Errors that a caller wants to be told of instead of raised: of the values that input functions are given
//! (`pg_input_is_valid`, `COPY … (ON_ERROR ignore)`; release 16 and later, `nodes/miscnodes.h`).

use pgrx::pg_sys;

use crate::server::error::SqlError;

#[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
pub use before::save;
#[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
pub use since::save;

/// Releases that know only errors that are raised.
#[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
mod before {
    use super::*;

    /// Gives the error back.
    ///
    /// # Safety
    /// None.
    pub unsafe fn save(_: *mut pg_sys::Node, error: SqlError) -> Option<SqlError> {
        Some(error)
    }
}

#[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
mod since {
    use std::ffi::{CStr, c_char, c_int};

    use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;

    use super::*;

    /// The server's functions, several of which are called behind one guard.
    mod unguarded {
        use pgrx::pg_sys;

        use super::{c_char, c_int};

        // SAFETY: the server's own functions, as the headers of its releases declare them.
        unsafe extern "C-unwind" {
            pub fn errsave_start(context: *mut pg_sys::Node, domain: *const c_char) -> bool;
            pub fn errsave_finish(
                context: *mut pg_sys::Node,
                file: *const c_char,
                line: c_int,
                function: *const c_char,
            );
            pub fn errcode(code: c_int) -> c_int;
            pub fn errmsg(format: *const c_char, ...) -> c_int;
            pub fn errdetail(format: *const c_char, ...) -> c_int;
            pub fn errhint(format: *const c_char, ...) -> c_int;
        }
    }

    /// Leaves the error with a caller who has given a context for it, if it is one of the input; else gives it back.
    ///
    /// # Safety
    /// The context is that of a running call.
    pub unsafe fn save(context: *mut pg_sys::Node, error: SqlError) -> Option<SqlError> {
        const AS_IT_IS: &CStr = c"%s";
        // SAFETY: by contract; every node begins with its tag.
        let wants_it = unsafe {
            !context.is_null() && (*context).type_ == pg_sys::NodeTag::T_ErrorSaveContext
        };
        if !wants_it || !error.is_of_input() {
            return Some(error);
        }
        let (code, texts) = error.into_server_encoding();
        let [message, detail, hint] = &texts;
        // SAFETY: the context is one for errors, so the server raises none but for want of memory, which unwinds from
        // the guard; it copies the texts.
        unsafe {
            pg_guard_ffi_boundary(|| {
                if !unguarded::errsave_start(context, std::ptr::null()) {
                    return;
                }
                unguarded::errcode(code as c_int);
                if let Some(message) = message {
                    unguarded::errmsg(AS_IT_IS.as_ptr(), message.as_ptr());
                }
                if let Some(detail) = detail {
                    unguarded::errdetail(AS_IT_IS.as_ptr(), detail.as_ptr());
                }
                if let Some(hint) = hint {
                    unguarded::errhint(AS_IT_IS.as_ptr(), hint.as_ptr());
                }
                let nowhere = c"".as_ptr();
                unguarded::errsave_finish(context, nowhere, 0, nowhere);
            });
        }
        None
    }
}
