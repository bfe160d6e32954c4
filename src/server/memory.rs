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

/// Whether the system would give the process so many bytes more of address space, to be written to.
pub fn has_room(bytes: usize) -> bool {
    // SAFETY: a mapping of our own, at an address that the system chooses, and gone before anybody knows it.
    unsafe {
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let mapped = libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0);
        mapped != libc::MAP_FAILED && libc::munmap(mapped, bytes) == 0
    }
}

impl From<OutOfMemory> for SqlError {
    fn from(error: OutOfMemory) -> Self {
        Self::new(Code::ERRCODE_OUT_OF_MEMORY, "out of memory")
            .detail(format!("Failed on request of size {} by pg_mrl.", error.bytes))
    }
}
