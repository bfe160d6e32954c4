//! A temporary file of the server's: in the tablespaces and within the limit that are set for such, and gone with the
//! statement, however that ends.

use std::ffi::c_int;

use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;

use crate::server::error::SqlError;

/// A file that is made by the first write.
pub struct TemporaryFile {
    file: *mut pg_sys::BufFile,
    /// What lives as long as the file.
    context: pg_sys::MemoryContext,
    /// Bytes written, and the place that comes next.
    bytes: u64,
    next: u64,
}

impl TemporaryFile {
    /// One that the current memory context outlives.
    pub fn new() -> Self {
        // SAFETY: reads a variable of the session.
        let context = unsafe { pg_sys::CurrentMemoryContext };
        Self { file: std::ptr::null_mut(), context, bytes: 0, next: 0 }
    }

    /// Writes bytes behind all others. Returns where they begin: how many bytes were written before.
    pub fn write(&mut self, bytes: &[u8]) -> Result<u64, SqlError> {
        let place = self.bytes;
        if self.file.is_null() {
            // SAFETY: whoever made this value sees to it that the context lives.
            unsafe {
                let former = pg_sys::MemoryContextSwitchTo(self.context);
                self.file = pg_sys::BufFileCreateTemp(false);
                pg_sys::MemoryContextSwitchTo(former);
            }
        }
        self.seek(place)?;
        // SAFETY: the file is open; the server copies so many bytes.
        unsafe { pg_sys::BufFileWrite(self.file, bytes.as_ptr().cast_mut().cast(), bytes.len()) };
        self.bytes += bytes.len() as u64;
        self.next = self.bytes;
        Ok(place)
    }

    /// Reads as many bytes as there is room for, which were written, from a place on.
    pub fn read(&mut self, place: u64, bytes: &mut [u8]) -> Result<(), SqlError> {
        if self.file.is_null() {
            return Err(lacks(place));
        }
        self.seek(place)?;
        // SAFETY: the file is open; there is room for so many bytes.
        let read =
            unsafe { pg_sys::BufFileRead(self.file, bytes.as_mut_ptr().cast(), bytes.len()) };
        self.next += read as u64;
        if read == bytes.len() { Ok(()) } else { Err(lacks(place)) }
    }

    fn seek(&mut self, place: u64) -> Result<(), SqlError> {
        if place != self.next {
            const SEEK_SET: c_int = 0;
            // SAFETY: the file is open. The server goes on to the file's later parts where the place is in one.
            let failed = unsafe { pg_sys::BufFileSeek(self.file, 0, place as _, SEEK_SET) } != 0;
            if failed {
                return Err(lacks(place));
            }
            self.next = place;
        }
        Ok(())
    }
}

fn lacks(place: u64) -> SqlError {
    let message = format!("could not read from temporary file at byte {place}");
    SqlError::new(Code::ERRCODE_IO_ERROR, message)
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // When an error is on its way the server closes it.
        if !self.file.is_null() && !std::thread::panicking() {
            // SAFETY: opened by us.
            unsafe { pg_sys::BufFileClose(self.file) };
        }
    }
}
