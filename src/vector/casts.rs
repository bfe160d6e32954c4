//! Casts: to another length, from and to arrays, to bit strings.
//!
//! A cast from another type to `mrlvec(n)` is two: to `mrlvec`, then to the length. So truncation
//! is written once, and every source truncates where the user wrote the cast.

use half::f16;
use mrl_vector::{VectorError, check_dimensions, check_expected_dimensions, convert, text};
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;

use crate::server::array::{Array, new_array};
use crate::server::bits::NewBitString;
use crate::server::call::IntoSql;
use crate::server::error::SqlError;
use crate::vector::datum::{NewVector, Vector};

/// A length as a cast gets it: `None` where the target type has none.
fn declared(typmod: i32) -> Option<usize> {
    usize::try_from(typmod).ok()
}

sql_function! {
    /// `mrlvec → mrlvec(n)`: truncates where the user wrote the cast, checks on assignment.
    fn mrlvec_to_mrlvec(call) -> pg_sys::Datum {
        let vector = call.get::<Vector>(0)?;
        let truncated = match declared(call.get(1)?) {
            Some(dimensions) if dimensions != vector.len() => {
                if !call.get::<bool>(2)? {
                    check_expected_dimensions(dimensions, vector.len())?;
                }
                if dimensions > vector.len() {
                    let found = vector.len();
                    return Err(VectorError::UnexpectedDimensions { expected: dimensions, found }.into());
                }
                NewVector::build(dimensions, |out| convert::truncate(&vector, out))?.into_sql()
            }
            _ => vector.into_sql(),
        };
        Ok(truncated.unwrap_or(pg_sys::Datum::null()))
    }

    /// `integer[]`, `real[]`, `double precision[]`, `numeric[]` → `mrlvec`
    fn array_to_mrlvec(call) -> NewVector {
        let array = call.get::<Array>(0)?;
        // Before it is taken apart, which takes several times its bytes.
        check_dimensions(array.count())?;
        let elements = array.elements_without_nulls()?;
        let read = reader(array.element_type())?;
        Ok(NewVector::build(elements.len(), |out| {
            for (position, (out, element)) in (1..).zip(out.iter_mut().zip(elements)) {
                *out = read(element, position)?;
            }
            Ok(())
        })?)
    }

    fn mrlvec_to_float4_array(call) -> *mut pg_sys::ArrayType {
        let vector = call.get::<Vector>(0)?;
        let datum = |x: &f16| Some(pg_sys::Datum::from(x.to_f32().to_bits()));
        new_array(pg_sys::FLOAT4OID, vector.iter().map(datum))
    }

    fn mrlvec_to_float8_array(call) -> *mut pg_sys::ArrayType {
        let vector = call.get::<Vector>(0)?;
        new_array(pg_sys::FLOAT8OID, vector.iter().map(|x| x.to_f64().into_sql()))
    }

    /// `mrlvec → bit(n)`: the signs of the first n components; on assignment of all, and no fewer.
    fn mrlvec_to_bit(call) -> NewBitString {
        let vector = call.get::<Vector>(0)?;
        let dimensions = declared(call.get(1)?).unwrap_or(vector.len());
        if !call.get::<bool>(2)? {
            check_expected_dimensions(dimensions, vector.len())?;
        }
        signs(&vector, dimensions)
    }

    /// `mrlvec → varbit`: all signs; of `varbit(n)` the first n where the user wrote the cast.
    fn mrlvec_to_varbit(call) -> NewBitString {
        let vector = call.get::<Vector>(0)?;
        let most = declared(call.get(1)?).unwrap_or(vector.len());
        if vector.len() > most && !call.get::<bool>(2)? {
            return Err(SqlError::new(
                Code::ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
                format!("bit string too long for type bit varying({most})"),
            ));
        }
        signs(&vector, most.min(vector.len()))
    }

    /// `binary_quantize(mrlvec)`: all signs.
    fn mrlvec_binary_quantize(call) -> NewBitString {
        let vector = call.get::<Vector>(0)?;
        signs(&vector, vector.len())
    }
}

type Reader = unsafe fn(pg_sys::Datum) -> f64;

/// How an element of an array of numbers becomes a component, given its position from 1.
fn reader(
    element_type: pg_sys::Oid,
) -> Result<impl Fn(pg_sys::Datum, usize) -> Result<f16, VectorError>, SqlError> {
    let number: Option<Reader> = match element_type {
        pg_sys::INT4OID => Some(|datum| f64::from(datum.value() as i32)),
        pg_sys::FLOAT4OID => Some(|datum| f64::from(f32::from_bits(datum.value() as u32))),
        pg_sys::FLOAT8OID => Some(|datum| f64::from_bits(datum.value() as u64)),
        pg_sys::NUMERICOID => None,
        _ => return Err(SqlError::new(Code::ERRCODE_DATA_EXCEPTION, "unsupported array type")),
    };
    Ok(move |datum, position| match number {
        // SAFETY: the array's element type says what the value is.
        Some(number) => convert::component_from_f64(unsafe { number(datum) }, position),
        None => numeric_component(datum, position),
    })
}

/// A `numeric` goes through its decimal text, which is exact, and is rounded once.
fn numeric_component(datum: pg_sys::Datum, position: usize) -> Result<f16, VectorError> {
    // SAFETY: the array's element type is numeric; its output is a NUL-terminated string.
    let printed = unsafe {
        pgrx::direct_function_call::<&std::ffi::CStr>(pg_sys::numeric_out, &[Some(datum)])
    };
    text::parse_component(printed.unwrap_or_default().to_bytes(), position)
}

/// The signs of the first `dimensions` components as a new bit string.
fn signs(vector: &[f16], dimensions: usize) -> Result<NewBitString, SqlError> {
    // Before room is made for as many as were asked for.
    let mut packed = mrl_memory::filled(0, dimensions.min(vector.len()).div_ceil(8))?;
    convert::signs(vector, dimensions, &mut packed)?;
    Ok(NewBitString::new(&packed, dimensions))
}
