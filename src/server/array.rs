//! SQL arrays: their elements in, new arrays out.

use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;

use crate::server::call::FromSql;
use crate::server::error::SqlError;

/// A one-dimensional SQL array.
pub struct Array {
    flat: *mut pg_sys::ArrayType,
}

impl FromSql for Array {
    unsafe fn from_sql(datum: pg_sys::Datum) -> Result<Self, SqlError> {
        // SAFETY: by contract an array value; detoasting gives a flat one in memory of the call.
        let flat: *mut pg_sys::ArrayType =
            unsafe { pg_sys::pg_detoast_datum(datum.cast_mut_ptr()) }.cast();
        // SAFETY: a flat array starts with its header.
        if unsafe { (*flat).ndim } > 1 {
            return Err(SqlError::new(Code::ERRCODE_DATA_EXCEPTION, "array must be 1-D"));
        }
        Ok(Self { flat })
    }
}

impl Array {
    pub fn element_type(&self) -> pg_sys::Oid {
        // SAFETY: a flat array starts with its header.
        unsafe { (*self.flat).elemtype }
    }

    /// How many elements it has.
    pub fn count(&self) -> usize {
        // SAFETY: a flat array's header tells its one length, if it has one.
        unsafe {
            match (*self.flat).ndim {
                0 => 0,
                _ => *self.flat.add(1).cast::<i32>() as usize,
            }
        }
    }

    /// The elements in order; `None` is NULL. They point into the array.
    pub fn elements(&self) -> Result<Vec<Option<pg_sys::Datum>>, SqlError> {
        let layout = TypeLayout::of(self.element_type());
        let mut values: *mut pg_sys::Datum = std::ptr::null_mut();
        let mut nulls: *mut bool = std::ptr::null_mut();
        let mut count = 0;
        // SAFETY: the array is flat, the layout is its element type's; the server allocates
        // `count` values and flags, which are read before they are freed.
        unsafe {
            pg_sys::deconstruct_array(
                self.flat,
                self.element_type(),
                layout.length.into(),
                layout.by_value,
                layout.alignment,
                &mut values,
                &mut nulls,
                &mut count,
            );
            let elements = (0..count as usize).map(|i| (!*nulls.add(i)).then(|| *values.add(i)));
            let elements = mrl_memory::collect(elements);
            if count > 0 {
                pg_sys::pfree(values.cast());
                pg_sys::pfree(nulls.cast());
            }
            Ok(elements?)
        }
    }

    /// The elements, none of which may be NULL.
    pub fn elements_without_nulls(&self) -> Result<Vec<pg_sys::Datum>, SqlError> {
        let elements = self.elements()?;
        if elements.iter().any(Option::is_none) {
            return Err(SqlError::new(
                Code::ERRCODE_NULL_VALUE_NOT_ALLOWED,
                "array must not contain nulls",
            ));
        }
        Ok(mrl_memory::collect(elements.into_iter().flatten())?)
    }
}

/// A new one-dimensional array in the current memory context; `None` is NULL.
pub fn new_array(
    element_type: pg_sys::Oid,
    elements: impl IntoIterator<Item = Option<pg_sys::Datum>>,
) -> Result<*mut pg_sys::ArrayType, SqlError> {
    let (mut values, mut nulls) = (Vec::new(), Vec::new());
    for element in elements {
        mrl_memory::push(&mut values, element.unwrap_or(pg_sys::Datum::null()))?;
        mrl_memory::push(&mut nulls, element.is_none())?;
    }
    if values.is_empty() {
        // SAFETY: allocates an array without elements.
        return Ok(unsafe { pg_sys::construct_empty_array(element_type) });
    }
    let layout = TypeLayout::of(element_type);
    let (mut lengths, mut lower_bounds) = ([values.len() as i32], [1]);
    // SAFETY: as many values as flags, of the type whose layout is given; all are copied.
    let array = unsafe {
        pg_sys::construct_md_array(
            values.as_mut_ptr(),
            nulls.as_mut_ptr(),
            1,
            lengths.as_mut_ptr(),
            lower_bounds.as_mut_ptr(),
            element_type,
            layout.length.into(),
            layout.by_value,
            layout.alignment,
        )
    };
    Ok(array)
}

/// How values of a type lie in memory.
struct TypeLayout {
    length: i16,
    by_value: bool,
    alignment: std::ffi::c_char,
}

impl TypeLayout {
    fn of(type_oid: pg_sys::Oid) -> Self {
        let mut layout = Self { length: 0, by_value: false, alignment: 0 };
        // SAFETY: fills in three variables of ours from the catalog.
        unsafe {
            pg_sys::get_typlenbyvalalign(
                type_oid,
                &mut layout.length,
                &mut layout.by_value,
                &mut layout.alignment,
            );
        }
        layout
    }
}
