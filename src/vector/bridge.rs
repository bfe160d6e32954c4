//! The bridge to pgvector's `vector`, for the extension `pg_mrl_pgvector`.
//!
//! `halfvec` needs none: its values are `mrlvec` values, so the operators' own functions serve it.
//! A `vector` lies as follows, and is rounded to a `mrlvec` before anything else:
//!
//! ```text
//! offset 0   4 bytes  varlena header (length of the whole)
//! offset 4   i16      dimensions n
//! offset 6   i16      unused
//! offset 8   n ×  4   IEEE 754 single, native endian
//! ```

use half::f16;
use mrl_vector::{VectorError, check_dimensions, convert, distance};
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;

use crate::server::call::{Call, FromSql};
use crate::server::error::SqlError;
use crate::vector::datum::{NewVector, Vector};

const HEADER_BYTES: usize = 8;

/// The components of a pgvector `vector`, rounded to halfs.
struct Rounded(Vec<f16>);

impl FromSql for Rounded {
    unsafe fn from_sql(datum: pg_sys::Datum) -> Result<Self, SqlError> {
        // SAFETY: by contract a varlena value; flat after detoasting, of `bytes` bytes, read only
        // after the length that it names has been checked against them.
        let singles: &[f32] = unsafe {
            let flat = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
            let bytes = pgrx::varlena::varsize_4b(flat);
            let start = flat.cast::<u8>();
            let dimensions = if bytes < HEADER_BYTES { 0 } else { *start.add(4).cast::<i16>() };
            if dimensions < 0 || bytes != HEADER_BYTES + 4 * dimensions as usize {
                return Err(SqlError::new(
                    Code::ERRCODE_DATA_CORRUPTED,
                    "stored vector is damaged",
                ));
            }
            std::slice::from_raw_parts(start.add(HEADER_BYTES).cast(), dimensions as usize)
        };
        check_dimensions(singles.len())?;
        let halfs: Result<_, VectorError> = (1..)
            .zip(singles)
            .map(|(position, single)| convert::component_from_f64(f64::from(*single), position))
            .collect();
        Ok(Self(halfs?))
    }
}

/// Applies `distance` to a `mrlvec` and a `vector`, in whichever order they came.
fn mixed<T>(
    call: &Call,
    vector_is_left: bool,
    distance: impl Fn(&[f16], &[f16]) -> T,
) -> Result<T, SqlError> {
    if vector_is_left {
        let (left, right) = (call.get::<Rounded>(0)?, call.get::<Vector>(1)?);
        Ok(distance(&left.0, &right))
    } else {
        let (left, right) = (call.get::<Vector>(0)?, call.get::<Rounded>(1)?);
        Ok(distance(&left, &right.0))
    }
}

sql_function! {
    /// `vector → mrlvec`
    fn vector_to_mrlvec(call) -> NewVector {
        Ok(NewVector::from_components(&call.get::<Rounded>(0)?.0)?)
    }

    fn mrlvec_vector_negative_inner_product(call) -> f64 {
        mixed(call, false, distance::negative_inner_product)
    }

    fn vector_mrlvec_negative_inner_product(call) -> f64 {
        mixed(call, true, distance::negative_inner_product)
    }

    fn mrlvec_vector_cosine_distance(call) -> f64 {
        mixed(call, false, distance::cosine_distance)
    }

    fn vector_mrlvec_cosine_distance(call) -> f64 {
        mixed(call, true, distance::cosine_distance)
    }

    fn mrlvec_vector_l2_distance(call) -> f64 {
        Ok(mixed(call, false, distance::l2_distance)??)
    }

    fn vector_mrlvec_l2_distance(call) -> f64 {
        Ok(mixed(call, true, distance::l2_distance)??)
    }

    fn mrlvec_vector_l1_distance(call) -> f64 {
        Ok(mixed(call, false, distance::l1_distance)??)
    }

    fn vector_mrlvec_l1_distance(call) -> f64 {
        Ok(mixed(call, true, distance::l1_distance)??)
    }
}
