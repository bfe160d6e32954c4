//! The nearest rows, one after another.
//!
//! A scan works in *rounds*. A round probes some lists: the summary of each block in them is scored, and the
//! rows of the best blocks are (the funnel), which gives of each an estimate and the deviation of its error.
//! The best of these rows wait, the greatest estimate plus `epsilon` deviations first, for their
//! exact distance; a row is returned when its exact distance is not beaten by anything that waits.
//! When so many rows were asked for that more of the others could have been among them, the next round
//! probes more lists and looks into more blocks of the former ones, at the rows that have not gone on.
//! So a scan can go on to the last row; what waits and what has been compared stays in memory, some bytes a row.
//!
//! Rows without distances come last: vectors of zeros under cosine, then NULLs.

pub(crate) mod order;
mod plan;
mod probed;
pub mod query;
mod queue;
mod ranking;
mod round;
mod seen;
mod steering;
mod tuning;

use std::collections::BinaryHeap;
use std::rc::Rc;

use half::f16;

use crate::build::ROWS_A_LIST;
use crate::codes::block::ROWS;
use crate::lists::directory::Directory;
use crate::lists::tail::Tail;
use crate::pages::group::{Group, Tid};
use crate::pages::meta::{META_PAGE, NULLS, ZEROS, halfs};
use crate::pages::page::{self, Kind, NONE, damaged};
use crate::pages::references::read_references;
use crate::pages::rows::{self, Rows};
use crate::pages::store::PageStore;
use crate::pages::walk::Chain;
use plan::Plan;
use probed::{Known, Probed, Search};
use query::Query;
use queue::{Exact, Queue, Waiting};
use ranking::Ranking;
use round::{GoOn, Rest, Round};
pub use steering::{Epsilon, Probes, Rounds, Steering, Wanted};

/// What a scan has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Rounds begun.
    pub rounds: u64,
    /// Lists looked into, each counted once.
    pub lists_probed: u64,
    /// Rows whose codes were scored, those of later rounds again.
    pub codes_scored: u64,
    /// TIDs, of rows and their references, that went on to wait for their exact distances.
    pub codes_finished: u64,
    /// Those of them whose exact distances were asked for.
    pub rows_reranked: u64,
}

/// Who knows exact distances.
pub trait Reranker {
    /// What can go wrong on the way to a distance.
    type Error;
    /// Tells that a row may be asked for before long, or returned: where it lies can be found out ahead. A hint, of any
    /// TID.
    fn prefetch_place(&mut self, _tid: Tid) {}
    /// Tells that a row whose place has been asked for is likely to be returned next. A hint, of any TID.
    fn prefetch_start(&mut self, _tid: Tid) {}
    /// Of how many rows it is to be told at once: more keep the processor's memory from the first; storage takes more.
    fn rows_at_once(&self) -> usize {
        8
    }
    /// Tells that some rows will soon be asked for. A hint, of any TIDs.
    fn prefetch(&mut self, _tids: impl Iterator<Item = Tid>) {}
    /// The distance of the row that a TID leads to; nothing where it leads to no row that the query sees.
    /// # Errors
    /// What keeps it from the row, or from the distance.
    fn row(&mut self, tid: Tid) -> Result<Option<f64>, Self::Error>;
    /// The distance of a vector of the index's dimensions: a row's copy.
    /// # Errors
    /// What keeps it from the distance.
    fn vector(&mut self, vector: &[f16]) -> Result<f64, Self::Error>;
}

/// About how many lists the first round of a scan probes of so many, where nothing else is said.
pub fn probes_for(lists: usize) -> usize {
    tuning::rows_seen(lists, false).div_ceil(ROWS_A_LIST).min(lists)
}

/// Lists whose first pages are looked up at once, ahead of their turn.
const LISTS_AT_ONCE: usize = 32;

/// What comes after the vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Vectors,
    Zeros,
    Nulls,
    End,
}

/// The memory that a scan works in. A next scan that has it from a former one spares the system's work of giving it.
#[derive(Default)]
pub struct Workspace(Round);

impl Workspace {
    /// What is worth keeping between scans: the later rounds of one with a filter need some megabytes.
    const MOST_BYTES: usize = 8 << 20;
}

/// One scan of an index.
pub struct Scan {
    directory: Rc<Directory>,
    query: Rc<Query>,
    steering: Steering,
    /// The nearest lists first, all of them once later rounds need them; those before `probed.len()` have been probed.
    ranking: Ranking,
    probed: Vec<Probed>,
    known: Known,
    /// About how many rows the latest round has scored, were all queries alike.
    scored: usize,
    /// Whether there are rows not yet looked at.
    more: bool,
    /// Rows that may be returned before the next round.
    quota: u64,
    returned: u64,
    last: Option<Exact>,
    waiting: Queue,
    /// What of the latest round has not gone on, where some of it may be among the nearest.
    rest: Option<Rest>,
    /// Of how many rows that come next the reranker has been told.
    prefetched: usize,
    exact: BinaryHeap<Exact>,
    phase: Phase,
    tail: Option<Tail>,
    workspace: Workspace,
    /// What it has done so far.
    pub counters: Counters,
}

impl Scan {
    /// A scan for the rows nearest to a vector of 1 to the index's dimensions.
    pub fn new(directory: Rc<Directory>, vector: &[f16], steering: Steering) -> Self {
        Self::with_workspace(directory, vector, steering, Workspace::default())
    }

    /// The same in the memory of a scan that has ended.
    pub fn with_workspace(
        directory: Rc<Directory>,
        vector: &[f16],
        steering: Steering,
        workspace: Workspace,
    ) -> Self {
        let query = Rc::new(Query::new(&directory.encoder, vector, || directory.middle()));
        let phase = match steering.wanted {
            Wanted::OnlyNull => Phase::Nulls,
            _ => Phase::Vectors,
        };
        let mut scan = Self {
            directory,
            query,
            steering,
            ranking: Ranking::default(),
            probed: Vec::new(),
            known: Known::default(),
            scored: 0,
            more: true,
            quota: 0,
            returned: 0,
            last: None,
            waiting: Queue::default(),
            rest: None,
            prefetched: 0,
            exact: BinaryHeap::new(),
            phase,
            tail: None,
            workspace,
            counters: Counters::default(),
        };
        if phase == Phase::Nulls {
            scan.begin_tail(Phase::Nulls);
        }
        scan
    }

    /// Its memory, for the next scan.
    pub fn into_workspace(self) -> Workspace {
        let is_large = self.workspace.0.bytes() > Workspace::MOST_BYTES;
        // What is kept must not lie in the reserve.
        if is_large || mrl_memory::is_short() { Workspace::default() } else { self.workspace }
    }

    /// The TID of the next row; nothing after the last.
    /// # Errors
    /// What the storage or the reranker answers; damage, where a page is not what it should be; out of memory.
    pub fn next<S: PageStore>(
        &mut self,
        store: &S,
        reranker: &mut impl Reranker<Error = S::Error>,
    ) -> Result<Option<Tid>, S::Error> {
        if let Some(best) = self.exact.peek() {
            reranker.prefetch_start(best.tid());
        }
        while self.phase == Phase::Vectors {
            if self.is_round_due() {
                self.round(store, reranker)?;
                continue;
            }
            let bound = self.waiting.best().or(self.rest.map(|rest| rest.upper));
            if let Some(best) = self.exact.peek()
                && bound.is_none_or(|bound| self.query.score_of(best.distance()) >= bound)
            {
                let best = *best;
                self.exact.pop();
                let comes_late = self.last.is_some_and(|last| best.is_nearer_than(last));
                if self.steering.rounds == Rounds::Strict && comes_late {
                    continue;
                }
                self.last = Some(best);
                self.returned += 1;
                if let Some(next) = self.exact.peek() {
                    reranker.prefetch_place(next.tid());
                }
                return Ok(Some(best.tid()));
            }
            match self.waiting.pop(|| store.check_interrupts())? {
                Some(waiting) => self.rerank(store, reranker, waiting)?,
                None if self.rest.is_some() => self.go_on(store)?,
                None if self.steering.rounds == Rounds::One || self.is_limit_reached() => {
                    self.begin_tail(Phase::End);
                }
                None => self.begin_tail(Phase::Zeros),
            }
        }
        self.next_of_tail(store)
    }

    fn rerank<S: PageStore>(
        &mut self,
        store: &S,
        reranker: &mut impl Reranker<Error = S::Error>,
        waiting: Waiting,
    ) -> Result<(), S::Error> {
        store.check_interrupts()?;
        self.counters.rows_reranked += 1;
        let (entries, shape) = (&self.directory.entries, &self.directory.encoder.shape);
        if waiting.copy == NONE {
            if shape.keeps_copies() {
                let head = entries[waiting.list as usize].head;
                return Err(damaged(head, "a page of copies is not there").into());
            }
            if self.prefetched == 0 {
                self.prefetched = reranker.rows_at_once().max(1);
                let others = 0..self.prefetched - 1;
                let later = others.map_while(|others| self.waiting.later(others));
                reranker.prefetch([waiting.tid].into_iter().chain(later.map(|later| later.tid)));
                // What leads to those after them is there by the time they are prefetched.
                let after = self.prefetched - 1..2 * self.prefetched - 1;
                let after = after.map_while(|others| self.waiting.later(others));
                after.for_each(|later| reranker.prefetch_place(later.tid));
            }
            self.prefetched -= 1;
        }
        if self.is_limit_reached() {
            self.waiting.clear();
            self.rest = None;
        }
        let distance = match waiting.copy {
            NONE => reranker.row(waiting.tid)?,
            copies => {
                let body = store.read(copies)?;
                page::check(&body, copies, Kind::Copies, waiting.list)?;
                let slot = usize::from(waiting.slot);
                let copy = halfs(rows::copy_of(&body, slot, shape));
                drop(body);
                Some(reranker.vector(&copy)?)
            }
        };
        if let Some(distance) = distance {
            mrl_memory::add(&mut self.exact, Exact::new(distance, waiting.tid))?;
        }
        Ok(())
    }

    /// Whether as many rows have been compared exactly as may be: those that have been are returned.
    fn is_limit_reached(&self) -> bool {
        self.steering.most_reranked.is_some_and(|most| self.counters.rows_reranked >= most)
    }

    /// Whether rows not yet looked at must be, before the next row is returned.
    fn is_round_due(&self) -> bool {
        if self.is_limit_reached() {
            return false;
        }
        if self.counters.rounds == 0 {
            return true;
        }
        let used_up = self.waiting.is_empty() && self.exact.is_empty() && self.rest.is_none();
        self.more && self.steering.rounds != Rounds::One && (used_up || self.returned >= self.quota)
    }

    fn round<S: PageStore>(
        &mut self,
        store: &S,
        reranker: &mut impl Reranker<Error = S::Error>,
    ) -> Result<(), S::Error> {
        let (directory, query) = (self.directory.clone(), self.query.clone());
        let search = Search { store, directory: &directory, query: &query };
        let (former, number) = (self.probed.len(), self.counters.rounds);
        let plan = Plan::of(self.steering, number, &directory, &query, former);
        self.counters.rounds += 1;
        self.look_into_lists(&search, &plan)?;
        let probed = self.probed.len();
        self.counters.lists_probed += (probed - former) as u64;
        let round = &mut self.workspace.0;
        let seen = round.seen.rows();
        self.scored = plan.rows(seen, self.scored);
        let choice = plan.choice(self.scored);
        let before = plan.finished(choice.most, plan.is_complete(probed, seen, choice.most));
        let (mut scored, further) = round.score_first(&search, choice, before)?;
        if let Some(further) = further {
            // Most of them will be asked for; meanwhile where they lie is found out.
            round.best_of_first(further).for_each(|tid| reranker.prefetch_place(tid));
            scored += round.score_further(&search, further)?;
        }
        self.counters.codes_scored += scored;
        let scored = scored as usize;
        let is_complete = plan.is_complete(probed, seen, scored);
        self.quota = self.returned + plan.returned(scored, is_complete);
        let most = plan.finished(scored, is_complete);
        let most_rows = most.saturating_mul(tuning::MOST_GO_ON);
        self.take_on(&search, GoOn { rows: most, most: most_rows, epsilon: plan.epsilon() })
    }

    /// Lets more rows of the latest round go on, whose scores are there: of those that have, all have been compared, and
    /// none that was found is better than others may be.
    fn go_on<S: PageStore>(&mut self, store: &S) -> Result<(), S::Error> {
        let Some(rest) = self.rest else { return Ok(()) };
        let (directory, query) = (self.directory.clone(), self.query.clone());
        let search = Search { store, directory: &directory, query: &query };
        self.take_on(&search, rest.next)
    }

    /// The best rows of the latest round wait.
    fn take_on<S: PageStore>(&mut self, search: &Search<S>, go_on: GoOn) -> Result<(), S::Error> {
        let round = &mut self.workspace.0;
        let (waiting, rest) = round.finish(search, &self.known, &mut self.probed, go_on)?;
        self.rest = rest;
        self.counters.codes_finished += waiting.len() as u64;
        let has_more = self.probed.iter().any(Probed::has_more);
        self.more = self.probed.len() < search.directory.live_lists().len() || has_more;
        self.waiting.add(waiting, || search.store.check_interrupts())?;
        self.prefetched = 0;
        Ok(())
    }

    /// Sees the blocks of the lists of former rounds that have rows left, and then those of new lists.
    fn look_into_lists<S: PageStore>(
        &mut self,
        search: &Search<S>,
        plan: &Plan,
    ) -> Result<(), S::Error> {
        let &Search { store, directory, .. } = search;
        let round = &mut self.workspace.0;
        round.clear();
        self.ranking.reach(search, plan.likely_lists())?;
        let former = self.probed.len();
        let again = (0..former).filter(|place| self.probed[*place].has_more());
        let places = mrl_memory::collect(again.chain(former..plan.lists))?;
        for (i, place) in places.iter().copied().enumerate() {
            if i.is_multiple_of(LISTS_AT_ONCE) {
                let ahead = places.iter().skip(i).take(LISTS_AT_ONCE);
                let lists = ahead.filter_map(|place| self.ranking.get(*place));
                lists.for_each(|list| directory.prefetch_head(store, list));
            }
            if place == self.probed.len() {
                if round.seen.rows() >= plan.enough_rows {
                    break;
                }
                self.ranking.reach(search, place + 1)?;
                let Some(list) = self.ranking.get(place) else { break };
                mrl_memory::push(&mut self.probed, Probed::new(list))?;
            }
            let following = places.get(i + 1).and_then(|place| self.ranking.get(*place));
            let (known, probed) = (&mut self.known, &mut self.probed[place]);
            let summarised = plan.needs_summaries();
            round.seen.look_into(search, known, place, probed, summarised, following)?;
        }
        Ok(())
    }

    fn begin_tail(&mut self, phase: Phase) {
        self.phase = phase;
        self.tail = match phase {
            Phase::Zeros => Some(Tail::of(ZEROS)),
            Phase::Nulls => Some(Tail::of(NULLS)),
            Phase::Vectors | Phase::End => None,
        };
    }

    fn next_of_tail<S: PageStore>(&mut self, store: &S) -> Result<Option<Tid>, S::Error> {
        while let Some(tail) = &mut self.tail {
            let found = tail.next(store, &self.directory)?;
            if found.is_some() {
                return Ok(found);
            }
            self.begin_tail(match (self.phase, self.steering.wanted) {
                (Phase::Zeros, Wanted::All) => Phase::Nulls,
                _ => Phase::End,
            });
        }
        Ok(None)
    }
}

/// Every TID of the rows that are wanted, each once, in the table's order: for a query whose distances are all NULL.
/// # Errors
/// What the storage answers; damage, where a page is not what it should be; out of memory.
pub fn every_tid<S: PageStore>(
    store: &S,
    directory: &Directory,
    wanted: Wanted,
) -> Result<Vec<Tid>, S::Error> {
    let shape = &directory.encoder.shape;
    let (mut tids, mut bytes) = (Vec::new(), Vec::new());
    let vectors = directory.live_lists().iter().copied().chain([ZEROS]);
    let vectors = vectors.filter(|_| wanted != Wanted::OnlyNull);
    for list in vectors.chain([NULLS].into_iter().filter(|_| wanted != Wanted::NotNull)) {
        let entry = directory.entries.get(list as usize);
        let head = entry.ok_or(damaged(META_PAGE, "no such list"))?.head;
        let chain = Chain { list, head };
        let newest = chain.newest_references(store, shape)?;
        let references = read_references(store, list, newest)?;
        mrl_memory::reserve(&mut tids, references.len())?;
        tids.extend(references.into_iter().map(|(_, tid)| tid));
        let mut groups = chain.groups();
        while let Some((page, body)) = groups.next(store)? {
            let group = Group::new(&body, page, list, shape)?;
            for index in 0..group.blocks() {
                let live = group.live(index);
                if live == 0 {
                    continue;
                }
                rows::read_block(store, group, index, &mut bytes)?;
                let rows = Rows::new(&bytes, shape);
                for row in (0..ROWS).filter(|row| live >> row & 1 == 1) {
                    mrl_memory::push(&mut tids, rows.tid(row))?;
                }
            }
        }
    }
    tids.sort_unstable();
    tids.dedup();
    Ok(tids)
}
