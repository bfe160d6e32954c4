//! `sum` and `avg`. Their state is an array of double precision (see `mrl_vector::sums`), so that
//! parallel workers hand it over without a format of our own.

use mrl_vector::sums;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;

use crate::server::array::new_array;
use crate::server::call::{Call, FromSql, IntoSql};
use crate::server::error::SqlError;
use crate::vector::datum::{NewVector, Vector};

/// An aggregate's state, an array `[count, sum, …]`. Derefs to its numbers.
struct State(*mut pg_sys::ArrayType);

impl State {
    /// Where the numbers start in a one-dimensional array without NULLs: behind header, length
    /// and lower bound, at a multiple of 8.
    const DATA: usize = (size_of::<pg_sys::ArrayType>() + 2 * size_of::<i32>()).next_multiple_of(8);

    fn new(numbers: impl Iterator<Item = f64>) -> Result<Self, SqlError> {
        new_array(pg_sys::FLOAT8OID, numbers.map(IntoSql::into_sql)).map(Self)
    }

    /// Whether no vector has been added yet.
    fn is_initial(&self) -> bool {
        self.len() == 1
    }

    /// This state to be changed in place: itself within an aggregate, which owns it, else a copy.
    fn into_own(self, call: &Call) -> Result<Self, SqlError> {
        if call.is_aggregate_step() { Ok(self) } else { Self::new(self.iter().copied()) }
    }
}

impl FromSql for State {
    unsafe fn from_sql(datum: pg_sys::Datum) -> Result<Self, SqlError> {
        // SAFETY: by contract an array; flat after detoasting, so it starts with its header, and
        // the length of a one-dimensional array stands behind that.
        unsafe {
            let array: *mut pg_sys::ArrayType =
                pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast();
            let sound = (*array).ndim == 1
                && (*array).dataoffset == 0
                && (*array).elemtype == pg_sys::FLOAT8OID
                && *array.add(1).cast::<i32>() >= 1;
            if !sound {
                return Err(SqlError::new(Code::ERRCODE_DATA_EXCEPTION, "expected state array"));
            }
            Ok(Self(array))
        }
    }
}

impl std::ops::Deref for State {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        // SAFETY: `from_sql` and `new_array` give a one-dimensional array without NULLs.
        unsafe {
            let length = *self.0.add(1).cast::<i32>() as usize;
            std::slice::from_raw_parts(self.0.cast::<u8>().add(Self::DATA).cast(), length)
        }
    }
}

impl std::ops::DerefMut for State {
    fn deref_mut(&mut self) -> &mut [f64] {
        // SAFETY: as in `deref`; the array is this value's own.
        unsafe {
            let length = *self.0.add(1).cast::<i32>() as usize;
            std::slice::from_raw_parts_mut(self.0.cast::<u8>().add(Self::DATA).cast(), length)
        }
    }
}

impl IntoSql for State {
    fn into_sql(self) -> Option<pg_sys::Datum> {
        self.0.into_sql()
    }
}

sql_function! {
    fn mrlvec_accum(call) -> State {
        let (state, vector) = (call.get::<State>(0)?, call.get::<Vector>(1)?);
        if state.is_initial() {
            let first = vector.iter().map(|x| x.to_f64());
            return State::new(std::iter::once(1.0).chain(first));
        }
        let mut state = state.into_own(call)?;
        sums::accumulate(&mut state, &vector)?;
        Ok(state)
    }

    fn mrlvec_combine(call) -> State {
        let (state, other) = (call.get::<State>(0)?, call.get::<State>(1)?);
        if state.is_initial() {
            return State::new(other.iter().copied());
        }
        let mut state = state.into_own(call)?;
        if !other.is_initial() {
            sums::combine(&mut state, &other)?;
        }
        Ok(state)
    }

    /// NULL where nothing was added, as SQL's own aggregates.
    fn mrlvec_sum(call) -> Option<NewVector> {
        finish(&call.get::<State>(0)?, sums::sum)
    }

    fn mrlvec_avg(call) -> Option<NewVector> {
        finish(&call.get::<State>(0)?, sums::average)
    }
}

type Finish = fn(&[f64], &mut [half::f16]) -> Result<(), mrl_vector::VectorError>;

fn finish(state: &State, finish: Finish) -> Result<Option<NewVector>, SqlError> {
    if state.is_initial() {
        return Ok(None);
    }
    Ok(Some(NewVector::build(state.len() - 1, |out| finish(state, out))?))
}
