//! The constants that decide between speed and recall of a scan; measured in docs/performance.md, chosen in
//! docs/decisions.md.

use crate::build::ROWS_A_LIST;

/// Rows whose blocks' summaries the first round scores where there are so many lists.
pub(crate) fn rows_seen(lists: usize) -> usize {
    // Nearly a constant: of more lists each is smaller in extent, and lies nearer to what it is near to.
    let lists_of_a_build = 22.0 + 0.55 * (lists as f64).sqrt();
    (lists_of_a_build * ROWS_A_LIST as f64) as usize
}
/// The share of the rows seen whose codes are scored in the first round, where layer 0 has the share `leading` of
/// the query's squared length: the more it says, the fewer have to. Of the codes a query reads `part`: the
/// less of each row, the more rows, as blocks are formed by all dimensions.
pub(crate) fn share_scored(part: f64, leading: f32) -> f64 {
    (0.25 * (1.0 - f64::from(leading)) / part).min(1.0)
}
/// The same of a query that has layer 0 alone.
pub(crate) const SHARE_SCORED_OF_LAYER_0: f64 = 0.55;
/// Rows that are scored in any case.
pub(crate) const LEAST_SCORED: usize = 4096;
/// The same of a query that has layer 0 alone: of blocks that were formed by all dimensions a few leading ones
/// tell little, and a row's layer 0 is read in a fraction of the time.
pub(crate) const LEAST_SCORED_OF_LAYER_0: usize = 16_384;
/// With such a share of a longer query's squared length in layer 0 that comes between the summaries, which choose
/// so many times more blocks then, and the codes of the best of these.
pub(crate) const LEADING_ENOUGH: f32 = 0.4;
pub(crate) const LOOKED_AT: usize = 4;
/// Of the rows that would be scored without it: it chooses better than summaries do.
pub(crate) const SHARE_SCORED_BY_LAYER_0: f64 = 0.6;
pub(crate) const LEAST_SCORED_BY_LAYER_0: usize = 1280;
/// Of so many rows that were scored, those that go on.
pub(crate) fn rows_finished(scored: u64, part: f64) -> usize {
    ((scored as f64 * part / 32.0) as usize).max(400)
}
/// Deviations of an estimate's error.
pub(crate) const EPSILON: f32 = 2.0;
/// In later rounds, whose rows are many, and matter less each.
pub(crate) const EPSILON_LATER: f32 = 1.5;
/// Of the rows that were scored, one in so many may be returned before the next round: in the first round,
/// and in later ones, of whose rows fewer come out of place.
pub(crate) const RETURNED_SHARE: u64 = 128;
pub(crate) const RETURNED_SHARE_LATER: u64 = 64;
/// But so many in any case.
pub(crate) const LEAST_RETURNED: u64 = 20;
/// By what the lists and the rows that are scored grow from round to round.
pub(crate) const MORE: usize = 2;
