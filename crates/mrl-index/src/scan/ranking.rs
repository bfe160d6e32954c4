//! The lists in the order in which a scan looks into them, as far as it has come to.

use crate::pages::page::ListId;
use crate::pages::store::PageStore;
use crate::scan::probed::Search;

/// The lists nearest to a query, the nearest first.
#[derive(Debug, Default)]
pub(crate) struct Ranking(Vec<ListId>);

impl Ranking {
    /// Ranks `count` lists at least, or all that there are.
    pub fn reach<S: PageStore>(
        &mut self,
        search: &Search<S>,
        count: usize,
    ) -> Result<(), S::Error> {
        let &Search { store, directory, query } = search;
        let all = directory.live_lists().len();
        if self.0.len() >= count.min(all) {
            return Ok(());
        }
        let coarse = directory.encoder.coarse(&query.vector);
        if self.0.is_empty() {
            let nearest = directory.ranked_by_codes(store, query, &coarse, count)?;
            self.0 = mrl_memory::collect(nearest.into_iter().map(|(_, list)| list))?;
        }
        if self.0.len() < count.min(all) {
            // A scan that goes on comes to all of them.
            let mut former = mrl_memory::collect(self.0.iter().copied())?;
            former.sort_unstable();
            let ranked = directory.ranked(&coarse, all).into_iter().map(|(_, list)| list);
            let others = ranked.filter(|list| former.binary_search(list).is_err());
            self.0.extend(mrl_memory::collect(others)?);
        }
        Ok(())
    }

    /// The list at a place, if it is ranked.
    pub fn get(&self, place: usize) -> Option<ListId> {
        self.0.get(place).copied()
    }
}
