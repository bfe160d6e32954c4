//! The access method's table of callbacks, and what it says about itself.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

use crate::index::{build, cost, insert, options, scan, vacuum, validate};

/// The phases of a build, as `pg_stat_progress_create_index` numbers them from 2 on (1 is the server's).
#[derive(Clone, Copy)]
pub enum Phase {
    Sampling = 2,
    Centres = 3,
    Loading = 4,
    Writing = 5,
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn ambuildphasename(phase: i64) -> *mut c_char {
    let name: Option<&CStr> = match phase {
        1 => Some(c"initializing"),
        2 => Some(c"sampling table"),
        3 => Some(c"performing k-means"),
        4 => Some(c"loading tuples"),
        5 => Some(c"writing lists"),
        _ => None,
    };
    name.map_or(std::ptr::null_mut(), |name| name.as_ptr().cast_mut())
}

/// What SQL can ask of a column of an index: that rows come by distance.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn amproperty(
    _index: pg_sys::Oid,
    column: i32,
    property: pg_sys::IndexAMProperty::Type,
    _name: *const c_char,
    result: *mut bool,
    _is_null: *mut bool,
) -> bool {
    let is_answered = column > 0 && property == pg_sys::IndexAMProperty::AMPROP_DISTANCE_ORDERABLE;
    if is_answered {
        // SAFETY: the server passes a place for the answer.
        unsafe { *result = true };
    }
    is_answered
}

sql_function! {
    /// The handler of `CREATE ACCESS METHOD mrl`.
    fn mrl_handler(_call) -> *mut pg_sys::IndexAmRoutine {
        // SAFETY: a zeroed node of the server's, in the current memory context.
        let routine = unsafe {
            let routine = pg_sys::palloc0(size_of::<pg_sys::IndexAmRoutine>())
                .cast::<pg_sys::IndexAmRoutine>();
            (*routine).type_ = pg_sys::NodeTag::T_IndexAmRoutine;
            &mut *routine
        };
        routine.amstrategies = 0;
        routine.amsupport = 1;
        routine.amcanorderbyop = true;
        // ORDER BY without WHERE needs it; so every row has to be in the index, NULLs too.
        routine.amoptionalkey = true;
        routine.amsearchnulls = true;
        routine.amusemaintenanceworkmem = false;
        routine.amparallelvacuumoptions = pg_sys::VACUUM_OPTION_PARALLEL_BULKDEL as u8;
        routine.amkeytype = pg_sys::InvalidOid;
        routine.ambuild = Some(build::ambuild);
        routine.ambuildempty = Some(build::ambuildempty);
        routine.aminsert = Some(insert::aminsert);
        routine.ambulkdelete = Some(vacuum::ambulkdelete);
        routine.amvacuumcleanup = Some(vacuum::amvacuumcleanup);
        routine.amcostestimate = Some(cost::amcostestimate);
        routine.amoptions = Some(options::amoptions);
        routine.amproperty = Some(amproperty);
        routine.ambuildphasename = Some(ambuildphasename);
        routine.amvalidate = Some(validate::amvalidate);
        routine.ambeginscan = Some(scan::ambeginscan);
        routine.amrescan = Some(scan::amrescan);
        routine.amgettuple = Some(scan::amgettuple);
        routine.amendscan = Some(scan::amendscan);
        Ok(routine)
    }
}
