//! What a scan costs, for the planner.
//!
//! Before its first row a scan ranks the lists, scores the codes of those that it probes, and reads
//! some hundred rows of the table; then each further row costs about a random read of the table, and
//! scoring that grows with the number of rows asked for. Without ORDER BY there is no scan but for NULLs.

use pgrx::pg_sys;

/// Rows read for exact distances before the first row is returned.
const RERANKED_FIRST: f64 = 100.0;
/// Codes scored for what one call of an operator costs: a byte shuffle scores 32 at once.
const CODES_AN_OPERATOR: f64 = 25.0;

#[pgrx::pg_guard]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C-unwind" fn amcostestimate(
    root: *mut pg_sys::PlannerInfo,
    path: *mut pg_sys::IndexPath,
    loop_count: f64,
    startup: *mut pg_sys::Cost,
    total: *mut pg_sys::Cost,
    selectivity: *mut pg_sys::Selectivity,
    correlation: *mut f64,
    pages: *mut f64,
) {
    // SAFETY: the server passes its own nodes and places for the results. Nothing of the index is read:
    // it may be a hypothetical one.
    unsafe {
        let orders = (*path).indexorderbys;
        let conditions = (*path).indexclauses;
        *correlation = 0.0;
        let by_several = !orders.is_null() && (*orders).length > 1;
        if by_several || (orders.is_null() && !only_nulls(conditions)) {
            // No scan without an order, nor by two distances: ties of the first would not come by the second.
            *startup = f64::INFINITY;
            *total = f64::INFINITY;
            *selectivity = 0.0;
            *pages = 0.0;
            #[cfg(feature = "pg18")]
            {
                (*path).path.disabled_nodes = 2;
            }
            return;
        }
        let mut costs = pg_sys::GenericCosts::default();
        pg_sys::genericcostestimate(root, path, loop_count, &mut costs);
        *selectivity = costs.indexSelectivity;
        let index = &*(*path).indexinfo;
        let rows = index.tuples.max(1.0);
        let operator = pg_sys::cpu_operator_cost;
        *pages = costs.numIndexPages;
        if orders.is_null() {
            *startup = operator;
            *total = operator + rows * costs.indexSelectivity * operator;
            return;
        }
        let lists = mrl_index::build::lists_for(rows) as f64;
        let probed = (mrl_index::scan::probes_for(lists as usize) as f64 / lists).min(1.0);
        let scoring = |share: f64| rows * share * operator / CODES_AN_OPERATOR;
        let first = RERANKED_FIRST.min(rows) * 4.0 * operator;
        *startup = lists * operator / 4.0 + scoring(probed) + first;
        // All rows: every list is scored a few times, every row scored exactly and sorted by a heap.
        *total = *startup + scoring(4.0) + rows * *selectivity * 8.0 * operator;
    }
}

/// Whether the only condition is IS NULL, which is answered without an order.
///
/// # Safety
/// A list of the planner's IndexClause nodes.
unsafe fn only_nulls(clauses: *mut pg_sys::List) -> bool {
    // SAFETY: by contract.
    unsafe {
        if clauses.is_null() || (*clauses).length != 1 {
            return false;
        }
        let clause = (*(*clauses).elements).ptr_value.cast::<pg_sys::IndexClause>();
        let expression = (*(*clause).rinfo).clause;
        (*expression).type_ == pg_sys::NodeTag::T_NullTest
            && (*expression.cast::<pg_sys::NullTest>()).nulltesttype
                == pg_sys::NullTestType::IS_NULL
    }
}
