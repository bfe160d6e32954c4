//! What the catalog says of types and columns.

use std::ffi::CStr;

use pgrx::pg_sys;

/// Whether a type's name, without its schema, is `name`.
pub fn type_is_named(type_oid: pg_sys::Oid, name: &CStr) -> bool {
    // SAFETY: a catalog lookup; the row is released after its name has been compared.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::TYPEOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, type_oid.into());
        if tuple.is_null() {
            return false;
        }
        let row = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_type>();
        let found = CStr::from_ptr((*row).typname.data.as_ptr()) == name;
        pg_sys::ReleaseSysCache(tuple);
        found
    }
}

/// The type of this name in a schema; the invalid OID if there is none.
pub fn type_in_schema(name: &CStr, schema: pg_sys::Oid) -> pg_sys::Oid {
    let nothing = pg_sys::Datum::null();
    // SAFETY: a catalog lookup by two keys; the name is NUL-terminated.
    unsafe {
        pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::TYPENAMENSP as i32,
            pg_sys::Anum_pg_type_oid as i16,
            pg_sys::Datum::from(name.as_ptr()),
            schema.into(),
            nothing,
            nothing,
        )
    }
}

/// Whether a relation is an index, not one of a partitioned table, of an access method.
pub fn is_index_of(relation: pg_sys::Oid, method: &CStr) -> bool {
    // SAFETY: a catalog lookup; the row is released after it has been looked at.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::RELOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, relation.into());
        if tuple.is_null() {
            return false;
        }
        let row = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>();
        let is_index = (*row).relkind as u8 == pg_sys::RELKIND_INDEX;
        let of = (*row).relam;
        pg_sys::ReleaseSysCache(tuple);
        is_index && of == pg_sys::get_am_oid(method.as_ptr(), true)
    }
}

/// Whether the current user owns a relation, or has the rights of who does.
pub fn owns_relation(relation: pg_sys::Oid) -> bool {
    // SAFETY: a catalog lookup; of a relation that is not there the server raises an error.
    unsafe {
        let user = pg_sys::GetUserId();
        #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
        let owns = pg_sys::pg_class_ownercheck(relation, user);
        #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
        let owns = pg_sys::object_ownercheck(pg_sys::RelationRelationId, relation, user);
        owns
    }
}

/// A column of a relation or row type, by its number from 1.
///
/// # Safety
/// The descriptor lives as long as `'a` and has such a column.
pub unsafe fn column<'a>(
    descriptor: pg_sys::TupleDesc,
    number: i32,
) -> &'a pg_sys::FormData_pg_attribute {
    // SAFETY: by contract. The columns lie behind their short forms, of which there are as many
    // (`TupleDescAttr`, an inline function of the server's header).
    #[cfg(feature = "pg18")]
    unsafe {
        let short = (&raw const (*descriptor).compact_attrs).cast::<pg_sys::CompactAttribute>();
        let columns = short.add((*descriptor).natts as usize);
        &*columns.cast::<pg_sys::FormData_pg_attribute>().add(number as usize - 1)
    }
    // SAFETY: by contract.
    #[cfg(not(feature = "pg18"))]
    unsafe {
        &*(*descriptor).attrs.as_ptr().add(number as usize - 1)
    }
}
