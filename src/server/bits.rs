//! SQL bit strings, `bit(n)` and `bit varying`, as `utils/varbit.h` lays them out:
//!
//! ```text
//! offset 0   4 bytes   varlena header (length of the whole)
//! offset 4   i32       bits n
//! offset 8   ⌈n / 8⌉   bits, most significant first; unused last bits are 0
//! ```

use pgrx::pg_sys;
use pgrx::varlena::{set_varsize_4b, varsize_4b};

use crate::server::call::{FromSql, IntoSql};
use crate::server::error::SqlError;

const HEADER_BYTES: usize = 8;

/// A bit string that SQL passed in.
pub struct BitString {
    bits: usize,
    bytes: &'static [u8],
}

impl BitString {
    pub fn bit_count(&self) -> usize {
        self.bits
    }

    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }
}

impl FromSql for BitString {
    unsafe fn from_sql(datum: pg_sys::Datum) -> Result<Self, SqlError> {
        // SAFETY: by contract a bit string; detoasting gives a flat one that lives as long as the
        // call, with the header's number of bits behind its header.
        unsafe {
            let flat = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
            let start = flat.cast::<u8>();
            let bytes = varsize_4b(flat).saturating_sub(HEADER_BYTES);
            let bits = (*start.add(4).cast::<i32>() as usize).min(8 * bytes);
            Ok(Self { bits, bytes: std::slice::from_raw_parts(start.add(HEADER_BYTES), bytes) })
        }
    }
}

/// A new bit string in the current memory context.
pub struct NewBitString(*mut pg_sys::varlena);

impl NewBitString {
    /// `packed` holds `bits` bits, most significant first, unused last bits 0.
    pub fn new(packed: &[u8], bits: usize) -> Self {
        debug_assert_eq!(packed.len(), bits.div_ceil(8));
        let bytes = HEADER_BYTES + packed.len();
        // SAFETY: allocates header and bits, and fills both.
        unsafe {
            let flat: *mut pg_sys::varlena = pg_sys::palloc0(bytes).cast();
            set_varsize_4b(flat, bytes as i32);
            let start = flat.cast::<u8>();
            start.add(4).cast::<i32>().write(bits as i32);
            start.add(HEADER_BYTES).copy_from_nonoverlapping(packed.as_ptr(), packed.len());
            Self(flat)
        }
    }
}

impl IntoSql for NewBitString {
    fn into_sql(self) -> Option<pg_sys::Datum> {
        self.0.into_sql()
    }
}
