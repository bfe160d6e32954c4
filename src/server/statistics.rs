//! What the server's statistics count of a relation (`pg_stat_user_indexes`, `pg_statio_user_tables` ...) where its own
//! routines don't come by.

use pgrx::pg_sys;

/// `pgstat_count_index_scan`, a macro of the server's.
///
/// # Safety
/// The relation is open.
pub unsafe fn count_scan(index: pg_sys::Relation) {
    // SAFETY: by contract; the counters are the session's own.
    if let Some(counters) = unsafe { counters(index).as_mut() } {
        #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
        {
            counters.t_numscans += 1;
        }
        #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
        {
            counters.numscans += 1;
        }
    }
}

/// `pgstat_count_buffer_read` and `pgstat_count_buffer_hit`: a page was wanted, and was in a buffer.
///
/// # Safety
/// The relation is open.
#[cfg(not(feature = "pg13"))]
pub unsafe fn count_hit(relation: pg_sys::Relation) {
    // SAFETY: by contract; the counters are the session's own.
    if let Some(counters) = unsafe { counters(relation).as_mut() } {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        {
            counters.t_blocks_fetched += 1;
            counters.t_blocks_hit += 1;
        }
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        {
            counters.blocks_fetched += 1;
            counters.blocks_hit += 1;
        }
    }
}

/// The session's counters of a relation; null where the server doesn't count.
///
/// # Safety
/// The relation is open.
unsafe fn counters(relation: pg_sys::Relation) -> *mut pg_sys::PgStat_TableCounts {
    // SAFETY: by contract.
    unsafe {
        #[cfg(not(any(feature = "pg13", feature = "pg14")))]
        if (*relation).pgstat_info.is_null() && (*relation).pgstat_enabled {
            pg_sys::pgstat_assoc_relation(relation);
        }
        let Some(status) = (*relation).pgstat_info.as_mut() else { return std::ptr::null_mut() };
        #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
        {
            &raw mut status.t_counts
        }
        #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
        {
            &raw mut status.counts
        }
    }
}
