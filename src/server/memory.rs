//! Memory: what the system refuses is an error of the statement, never the end of the process, for which the
//! server would restart all sessions.
//!
//! Every allocation of the library goes through [`mrl_memory`]'s allocator. What the system refuses it takes from
//! its reserve; our loops ask whether it had to ([`check`]), the index's by `PageStore::check_interrupts`, and
//! raise the error. The server's own memory (`palloc`) raises errors by itself.

use mrl_memory::{Allocator, OutOfMemory};
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;

use crate::server::error::SqlError;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator::new(std::alloc::System);

/// An error where memory is short. Costs a load from memory.
#[inline]
pub fn check() -> Result<(), SqlError> {
    Ok(mrl_memory::check()?)
}

impl From<OutOfMemory> for SqlError {
    fn from(error: OutOfMemory) -> Self {
        Self::new(Code::ERRCODE_OUT_OF_MEMORY, "out of memory")
            .detail(format!("Failed on request of size {} by pg_mrl.", error.bytes))
    }
}
