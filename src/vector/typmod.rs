//! The length in `mrlvec(n)`, and the planner's help in not checking it twice.

use mrl_vector::MAX_DIMENSIONS;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;

use crate::server::catalog::type_is_named;
use crate::server::error::SqlError;

/// What a planner support function answers where it cannot help: a null pointer, which is not
/// SQL's NULL.
const NO_HELP: pg_sys::Datum = pg_sys::Datum::null();

sql_function! {
    /// Reads `(n)` in a type name.
    fn mrlvec_typmod_in(call) -> i32 {
        let mut count = 0;
        // SAFETY: the server passes an array of cstring; it checks that they are integers.
        let modifiers = unsafe {
            let array: *mut pg_sys::ArrayType = call.get(0)?;
            let first = pg_sys::ArrayGetIntegerTypmods(pg_sys::pg_detoast_datum(array.cast()).cast(), &mut count);
            std::slice::from_raw_parts(first, count as usize)
        };
        let refuse = |message: String| Err(SqlError::new(Code::ERRCODE_INVALID_PARAMETER_VALUE, message));
        match *modifiers {
            [n] if n < 1 => refuse("dimensions for type mrlvec must be at least 1".into()),
            [n] if n as usize > MAX_DIMENSIONS => {
                refuse(format!("dimensions for type mrlvec cannot exceed {MAX_DIMENSIONS}"))
            }
            [n] => Ok(n),
            _ => refuse("invalid type modifier".into()),
        }
    }

    /// The planner support function of the length coercion `mrlvec(mrlvec, integer, boolean)`.
    ///
    /// Where the argument is known to have the length that is asked for, the coercion is replaced
    /// by a relabelling, so that ALTER TABLE … TYPE does not rewrite the table.
    fn mrlvec_support(call) -> pg_sys::Datum {
        let request: *mut pg_sys::Node = call.get(0)?;
        // SAFETY: the planner passes a node whose tag says which request it is, with a call of the
        // function that this one is declared to support.
        unsafe {
            if (*request).type_ != pg_sys::NodeTag::T_SupportRequestSimplify {
                return Ok(NO_HELP);
            }
            let call = (*request.cast::<pg_sys::SupportRequestSimplify>()).fcall;
            let argument = |i| -> *mut pg_sys::Node { (*(*(*call).args).elements.add(i)).ptr_value.cast() };
            let (source, typmod) = (argument(0), argument(1));
            if (*typmod).type_ != pg_sys::NodeTag::T_Const {
                return Ok(NO_HELP);
            }
            let typmod = typmod.cast::<pg_sys::Const>();
            let wanted = (*typmod).constvalue.value() as i32;
            let known = !(*typmod).constisnull && (wanted < 0 || known_dimensions(source) == Some(wanted));
            Ok(if known { pg_sys::relabel_to_typmod(source, wanted).into() } else { NO_HELP })
        }
    }
}

/// How many dimensions an expression of type `mrlvec` is known to have, if that is known.
///
/// A cast from `halfvec` is a relabelling whose own modifier is −1; the length stands beneath it.
///
/// # Safety
/// `expression` is an expression node.
unsafe fn known_dimensions(expression: *mut pg_sys::Node) -> Option<i32> {
    // SAFETY: the node's tag says what it is.
    unsafe {
        let own = pg_sys::exprTypmod(expression);
        if own >= 0 {
            return Some(own);
        }
        if (*expression).type_ != pg_sys::NodeTag::T_RelabelType {
            return None;
        }
        let beneath = (*expression.cast::<pg_sys::RelabelType>()).arg.cast::<pg_sys::Node>();
        // The bridge alone makes halfvec, whose modifier means what ours means, binary-coercible
        // to mrlvec; asking for the name guards against a cast that a user has made.
        let dimensions = pg_sys::exprTypmod(beneath);
        let is_halfvec = type_is_named(pg_sys::exprType(beneath), c"halfvec");
        (dimensions >= 0 && is_halfvec).then_some(dimensions)
    }
}
