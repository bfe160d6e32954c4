//! `amvalidate`: whether an operator class is one that the access method can use.

use pgrx::PgLogLevel;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;

use crate::server::error::SqlError;

#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn amvalidate(class: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups by OID; tuples are released.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::CLAOID as i32,
            pg_sys::Datum::from(class),
        );
        if tuple.is_null() {
            SqlError::new(Code::ERRCODE_UNDEFINED_OBJECT, format!("no operator class {class}"))
                .raise();
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_opclass>();
        let (family, input) = ((*form).opcfamily, (*form).opcintype);
        pg_sys::ReleaseSysCache(tuple);
        let mut problems = Vec::new();
        if pg_sys::get_opfamily_proc(family, input, input, 1) == pg_sys::InvalidOid {
            problems.push("support function 1 is missing".to_owned());
        }
        let operator = pg_sys::get_opfamily_member(family, input, input, 1);
        if operator == pg_sys::InvalidOid {
            problems.push("operator 1 is missing".to_owned());
        } else {
            if pg_sys::get_op_opfamily_strategy(operator, family) != 0 {
                problems.push("operator 1 is not for ordering".to_owned());
            }
            let procedure = pg_sys::get_opcode(operator);
            if pg_sys::get_func_rettype(procedure) != pg_sys::FLOAT8OID {
                problems.push("operator 1 does not return double precision".to_owned());
            }
        }
        for number in numbers_of(pg_sys::SysCacheIdentifier::AMOPSTRATEGY as i32, family, |row| {
            (*row.cast::<pg_sys::FormData_pg_amop>()).amopstrategy
        }) {
            problems.push(format!("operator {number} is not known"));
        }
        for number in numbers_of(pg_sys::SysCacheIdentifier::AMPROCNUM as i32, family, |row| {
            (*row.cast::<pg_sys::FormData_pg_amproc>()).amprocnum
        }) {
            problems.push(format!("support function {number} is not known"));
        }
        for problem in &problems {
            pgrx::ereport!(
                PgLogLevel::INFO,
                Code::ERRCODE_INVALID_OBJECT_DEFINITION,
                format!("operator class {class} of access method mrl: {problem}")
            );
        }
        problems.is_empty()
    }
}

/// The numbers other than 1 that rows of a family have in a catalog, whose list is that of a cache.
///
/// # Safety
/// `number` reads the cache's kind of row.
unsafe fn numbers_of(
    cache: i32,
    family: pg_sys::Oid,
    number: unsafe fn(*mut std::ffi::c_char) -> i16,
) -> Vec<i16> {
    // SAFETY: by contract; the list is released after its rows were looked at.
    unsafe {
        let nothing = pg_sys::Datum::null();
        let list =
            pg_sys::SearchSysCacheList(cache, 1, pg_sys::Datum::from(family), nothing, nothing);
        let rows = (*list).members.as_slice((*list).n_members as usize);
        let numbers = rows.iter().map(|row| number(pg_sys::GETSTRUCT(&raw mut (**row).tuple)));
        let others = numbers.filter(|number| *number != 1).collect();
        pg_sys::ReleaseCatCacheList(list);
        others
    }
}
