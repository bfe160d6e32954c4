//! A vector in the server's memory, laid out as pgvector's `halfvec` is:
//!
//! ```text
//! offset 0   4 bytes  varlena header (length of the whole)
//! offset 4   i16      dimensions n
//! offset 6   i16      unused, always 0
//! offset 8   n ×  2   IEEE 754 half, native endian
//! ```

use half::f16;
use mrl_vector::{MAX_DIMENSIONS, VectorError};
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;
use pgrx::varlena::{set_varsize_4b, varatt_is_4b_u, varsize_4b};

use crate::server::call::{FromSql, IntoSql};
use crate::server::error::SqlError;

/// What stands before the components.
#[repr(C)]
struct Header {
    length: [u8; 4],
    dimensions: i16,
    unused: i16,
}

const HEADER_BYTES: usize = size_of::<Header>();
const _: () = assert!(HEADER_BYTES == 8);

/// A vector that SQL passed in, flat and readable in place. Derefs to its components.
pub struct Vector {
    flat: *mut pg_sys::varlena,
    /// `flat` is a copy made by detoasting. It is freed on drop: comparison functions that sorts
    /// call must not leak.
    is_copy: bool,
}

impl Vector {
    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: checked in `from_sql`: flat, aligned to 4, at least a header long.
        unsafe { &*self.flat.cast::<Header>() }
    }
}

impl Vector {
    /// Asks the memory for the first `components` components of the vector of the next row, where
    /// that is likely to lie.
    ///
    /// The server fills a page from its end, so of rows that were inserted one after another the
    /// next one of a sequential scan ends where this one begins. Measured on 200,000 rows of 384
    /// dimensions, most of a scan's time was waiting for memory: the hint takes a third off. Where the
    /// guess is wrong (a text beside the vector, another order) it costs some nanoseconds.
    #[inline]
    pub fn prefetch_next_row(&self, components: usize) {
        /// A row's header and a column or two before the vector.
        const ROW_OVERHEAD_BYTES: usize = 40;
        /// Beyond that the processor has seen which way the scan goes.
        const MOST_BYTES: usize = 4096;
        if self.is_copy {
            return;
        }
        let row_bytes = ROW_OVERHEAD_BYTES + HEADER_BYTES + 2 * self.len();
        let wanted = (ROW_OVERHEAD_BYTES + HEADER_BYTES + 2 * components).min(MOST_BYTES);
        mrl_kernels::prefetch(self.flat.cast::<u8>().wrapping_sub(row_bytes), wanted);
    }
}

impl FromSql for Vector {
    #[inline]
    unsafe fn from_sql(datum: pg_sys::Datum) -> Result<Self, SqlError> {
        let stored: *mut pg_sys::varlena = datum.cast_mut_ptr();
        // SAFETY: by contract a varlena value. A plain one is used where it lies, without a call
        // into the server: this is the inner loop of every scan.
        let vector = unsafe {
            if varatt_is_4b_u(stored) {
                Self { flat: stored, is_copy: false }
            } else {
                Self { flat: pg_sys::pg_detoast_datum(stored), is_copy: true }
            }
        };
        // SAFETY: flat now, so it starts with a four-byte length.
        let bytes = unsafe { varsize_4b(vector.flat) };
        let dimensions = if bytes < HEADER_BYTES { 0 } else { vector.header().dimensions };
        let sound = dimensions > 0 && bytes == HEADER_BYTES + 2 * dimensions as usize;
        if sound { Ok(vector) } else { Err(damaged(bytes, dimensions)) }
    }
}

#[cold]
fn damaged(bytes: usize, dimensions: i16) -> SqlError {
    SqlError::new(Code::ERRCODE_DATA_CORRUPTED, "stored mrlvec is damaged")
        .detail(format!("It has {bytes} bytes and names {dimensions} dimensions."))
}

impl std::ops::Deref for Vector {
    type Target = [f16];

    #[inline]
    fn deref(&self) -> &[f16] {
        let dimensions = self.header().dimensions as usize;
        // SAFETY: `from_sql` checked that so many components follow the header; they are aligned
        // to 2 because the header is 8 bytes and its start aligned to 4.
        unsafe {
            std::slice::from_raw_parts(self.flat.cast::<u8>().add(HEADER_BYTES).cast(), dimensions)
        }
    }
}

impl Drop for Vector {
    #[inline]
    fn drop(&mut self) {
        if self.is_copy {
            // SAFETY: the copy is ours and nothing points into it any more.
            unsafe { pg_sys::pfree(self.flat.cast()) };
        }
    }
}

/// Hands an argument back as the result.
impl IntoSql for Vector {
    fn into_sql(self) -> Option<pg_sys::Datum> {
        let flat = self.flat;
        std::mem::forget(self);
        Some(pg_sys::Datum::from(flat))
    }
}

/// A new vector in the current memory context, on its way out to SQL.
pub struct NewVector(*mut pg_sys::varlena);

impl NewVector {
    /// Allocates `dimensions` components, which are between 1 and the most there may be, and has
    /// `fill` write them.
    pub fn build(
        dimensions: usize,
        fill: impl FnOnce(&mut [f16]) -> Result<(), VectorError>,
    ) -> Result<Self, VectorError> {
        mrl_vector::check_dimensions(dimensions)?;
        const { assert!(MAX_DIMENSIONS <= i16::MAX as usize) };
        let bytes = HEADER_BYTES + 2 * dimensions;
        // SAFETY: `palloc0` gives zeroed memory aligned for anything; zero is a valid half and a
        // valid header.
        let (flat, components) = unsafe {
            let flat: *mut pg_sys::varlena = pg_sys::palloc0(bytes).cast();
            set_varsize_4b(flat, bytes as i32);
            (*flat.cast::<Header>()).dimensions = dimensions as i16;
            let first = flat.cast::<u8>().add(HEADER_BYTES).cast();
            (flat, std::slice::from_raw_parts_mut(first, dimensions))
        };
        fill(components)?;
        Ok(Self(flat))
    }

    pub fn from_components(components: &[f16]) -> Result<Self, VectorError> {
        Self::build(components.len(), |out| {
            out.copy_from_slice(components);
            Ok(())
        })
    }
}

impl IntoSql for NewVector {
    fn into_sql(self) -> Option<pg_sys::Datum> {
        Some(pg_sys::Datum::from(self.0))
    }
}
