//! What a scan costs, for the planner.
//!
//! Before its first row a scan ranks the lists, scores the codes of those that it probes, and reads
//! some hundred rows of the table; then each further row costs about a random read of the table, and
//! scoring that grows with the number of rows asked for. Without ORDER BY there is no scan but for NULLs.
//!
//! All rows never come cheaper than from a sort, whatever the table is like: they do not come in exact order, and who
//! sets no LIMIT, or groups and ranks by the distance, counts on it.

use pgrx::pg_sys;

/// Rows read for exact distances before the first row is returned.
const RERANKED_FIRST: f64 = 100.0;
/// Codes scored for what one call of an operator costs: a byte shuffle scores 32 at once.
const CODES_AN_OPERATOR: f64 = 25.0;

/// More than any other plan, and finite: the server takes differences.
const NEVER: f64 = 1e30;
/// How many times as much as sorted all rows cost at least.
const DEARER: f64 = 1.25;

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
            *startup = NEVER;
            *total = NEVER;
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
        let all = *startup + scoring(4.0) + rows * *selectivity * 8.0 * operator;
        *total = all.max(DEARER * sorted(&*index.rel, !index.indpred.is_null()));
    }
}

/// What all rows that a query wants of a table cost by a scan and a sort, as the server reckons (`cost_seqscan`,
/// `cost_tuplesort`), but for the conditions and how rows are taken apart, which the scan of an index has to pay too.
/// The rows of a `partial` index another index may find one by one.
fn sorted(table: &pg_sys::RelOptInfo, partial: bool) -> f64 {
    const PAGE_BYTES: f64 = pg_sys::BLCKSZ as f64;
    // What a row has in the sort's memory beside its columns, and how many runs are merged at once at least.
    const ROW_BYTES: f64 = 32.0;
    const MERGED: f64 = 6.0;
    // SAFETY: reads settings; a relation that is planned has a target.
    let (operator, row, sequential, random, memory, width) = unsafe {
        (
            pg_sys::cpu_operator_cost,
            pg_sys::cpu_tuple_cost,
            pg_sys::seq_page_cost,
            pg_sys::random_page_cost,
            f64::from(pg_sys::work_mem) * 1024.0,
            f64::from((*table.reltarget).width),
        )
    };
    let rows = table.rows.max(2.0);
    let whole = f64::from(table.pages) * sequential + table.tuples * row;
    let scan = if partial { whole.min(rows * (random + row)) } else { whole };
    let sort = (2.0 * rows.log2() + 1.0) * rows * operator;
    let bytes = rows * (width + ROW_BYTES);
    // Written and read once in each pass.
    let passes = (bytes / memory).max(1.0).log(MERGED).ceil();
    scan + sort + passes * 2.0 * bytes / PAGE_BYTES * (0.75 * sequential + 0.25 * random)
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
