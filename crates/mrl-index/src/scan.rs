//! The nearest rows, one after another.
//!
//! A scan works in *rounds*. A round probes some lists: of each row in them layer 0 is scored, and the best
//! few go on (the funnel); of these the later layers are scored too, which gives an estimate and the
//! deviation of its error. They wait, the greatest estimate plus `epsilon` deviations first, for their
//! exact distance; a row is returned when its exact distance is not beaten by anything that waits.
//! When so many rows were asked for that more of the others could have been among them, the next round
//! probes more lists and lets more rows of the former ones on, those that come right after the ones
//! already taken. So a scan can go on to the last row with bounded memory for what waits.
//!
//! Rows without distances come last: vectors of zeros under cosine, then NULLs.

use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;

use half::f16;

use crate::block::ROWS;
use crate::directory::Directory;
use crate::group::{self, Group, RowEntry, Tid};
use crate::meta::{META_BLOCK, NULLS, ZEROS, halfs};
use crate::page::{self, Block, Kind, ListId, NONE, damaged};
use crate::query::Query;
use crate::queue::{Exact, Queue, Waiting};
use crate::round::{Known, NO_BAR, Round, read_references};
use crate::store::{PageStore, Steps};

/// How many lists the first round probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Probes {
    #[default]
    Auto,
    All,
    Lists(usize),
}

/// How many deviations of an estimate's error count.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Epsilon {
    #[default]
    Auto,
    /// Every row is scored exactly.
    Exact,
    Deviations(f32),
}

/// What happens after the first round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rounds {
    /// A nearer row found in a later round comes late.
    #[default]
    Relaxed,
    /// It is left out.
    Strict,
    /// There is none.
    One,
}

/// Which rows are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wanted {
    #[default]
    All,
    NotNull,
    OnlyNull,
}

/// How to scan.
#[derive(Debug, Clone, Copy, Default)]
pub struct Steering {
    pub probes: Probes,
    pub epsilon: Epsilon,
    pub rounds: Rounds,
    pub wanted: Wanted,
    /// Score all layers of every row (to measure what the funnel saves).
    pub no_funnel: bool,
    /// The most rows to score exactly; `None` for no limit.
    pub most_reranked: Option<u64>,
}

/// What a scan has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub rounds: u64,
    pub lists_probed: u64,
    pub codes_scored: u64,
    pub codes_finished: u64,
    pub rows_reranked: u64,
}

/// Who knows exact distances.
pub trait Reranker {
    type Error;
    /// Tells that a row will soon be asked for. A hint, of any TID.
    fn expect(&mut self, _tid: Tid) {}
    /// The distance of the row that a TID leads to; nothing where it leads to no row that the query sees.
    fn row(&mut self, tid: Tid) -> Result<Option<f64>, Self::Error>;
    /// The distance of a vector.
    fn vector(&mut self, vector: &[f16]) -> Result<f64, Self::Error>;
}

/// The constants that decide between speed and recall; measured in docs/performance.md.
mod tuning {
    /// Lists that the first round probes of `lists`.
    pub fn probes(lists: usize) -> usize {
        // Nearly a constant: of more lists each is smaller in extent, and lies nearer to what it is near to.
        let wanted = 28.0 + 0.5 * (lists as f64).sqrt();
        (wanted as usize).min(lists.max(1))
    }
    /// Rows that go on from layer 0 in the first round, of `rows` probed, where layer 0 has `share` of the
    /// query's squared length: the more it says, the fewer have to.
    pub fn funnel(rows: usize, share: f32) -> usize {
        ((rows as f32 * 0.2 * (1.0 - share) * (1.0 - share)) as usize).max(400)
    }
    /// Deviations of an estimate's error.
    pub const EPSILON: f32 = 2.0;
    /// Of the rows that went on, one in so many may be returned before the next round: in the first round,
    /// and in later ones, of whose rows fewer come out of place.
    pub const RETURNED_SHARE: usize = 64;
    pub const RETURNED_SHARE_LATER: usize = 32;
    /// But so many in any case.
    pub const LEAST_RETURNED: usize = 20;
    /// By what the lists and the rows that go on grow from round to round.
    pub const MORE_LISTS: usize = 2;
    pub const MORE_ROWS: usize = 2;
}
/// How many lists the first round of a scan probes of so many, where nothing else is said.
pub fn probes_for(lists: usize) -> usize {
    tuning::probes(lists)
}

/// Rows that a reranker is told of ahead of their turn.
const ROWS_EXPECTED: usize = 8;

/// A list that has been probed, and how far its rows have gone on.
#[derive(Debug, Clone, Copy)]
struct Probed {
    list: ListId,
    /// Rows with this score by layer 0 or a better one have gone on.
    taken_to: Option<f32>,
    /// Whether rows remain.
    more: bool,
}

/// What comes after the vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Vectors,
    Zeros,
    Nulls,
    End,
}

/// One scan of an index.
pub struct Scan {
    directory: Rc<Directory>,
    query: Query,
    steering: Steering,
    /// All lists, the nearest first; those before `probed.len()` have been probed.
    ranked: Vec<ListId>,
    probed: Vec<Probed>,
    known: Known,
    funnel: usize,
    /// Whether there are rows not yet looked at.
    more: bool,
    /// Rows that may be returned before the next round.
    quota: u64,
    returned: u64,
    last: f64,
    waiting: Queue,
    /// Whether the reranker knows which rows come next.
    expected: bool,
    exact: BinaryHeap<Exact>,
    phase: Phase,
    tail: VecDeque<Tid>,
    tail_next: Block,
    pub counters: Counters,
}

impl Scan {
    /// A scan for the rows nearest to a vector of 1 to the index's dimensions.
    pub fn new(directory: Rc<Directory>, vector: &[f16], steering: Steering) -> Self {
        let query = Query::new(&directory.encoder, vector);
        let coarse = directory.encoder.coarse(vector);
        let lists = directory.live_lists().len();
        let ranked = directory.ranked(&coarse, lists).into_iter().map(|(_, list)| list).collect();
        let phase = match steering.wanted {
            Wanted::OnlyNull => Phase::Nulls,
            _ => Phase::Vectors,
        };
        let mut scan = Self {
            directory,
            query,
            steering,
            ranked,
            probed: Vec::new(),
            known: Known::default(),
            funnel: 0,
            more: true,
            quota: 0,
            returned: 0,
            last: f64::NEG_INFINITY,
            waiting: Queue::default(),
            expected: false,
            exact: BinaryHeap::new(),
            phase,
            tail: VecDeque::new(),
            tail_next: NONE,
            counters: Counters::default(),
        };
        if phase == Phase::Nulls {
            scan.begin_tail(Phase::Nulls);
        }
        scan
    }

    /// The next row.
    pub fn next<S: PageStore>(
        &mut self,
        store: &S,
        reranker: &mut impl Reranker<Error = S::Error>,
    ) -> Result<Option<Tid>, S::Error> {
        while self.phase == Phase::Vectors {
            if self.is_round_due() {
                self.round(store)?;
                continue;
            }
            let bound = self.waiting.best();
            if let Some(best) = self.exact.peek()
                && bound.is_none_or(|bound| self.query.score_of(best.distance) >= bound)
            {
                let best = *best;
                self.exact.pop();
                if self.steering.rounds == Rounds::Strict && best.distance < self.last {
                    continue;
                }
                self.last = best.distance;
                self.returned += 1;
                return Ok(Some(best.tid));
            }
            match self.waiting.pop()? {
                Some(waiting) => self.rerank(store, reranker, waiting)?,
                None => self.begin_tail(match self.steering.rounds {
                    Rounds::One => Phase::End,
                    _ => Phase::Zeros,
                }),
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
        self.counters.rows_reranked += 1;
        if waiting.copy == NONE {
            // The first of a round are asked for all at once, then each in its turn.
            let first = if self.expected { ROWS_EXPECTED } else { 1 };
            self.expected = true;
            for others in first - 1..ROWS_EXPECTED {
                self.waiting.later(others).iter().for_each(|later| reranker.expect(later.tid));
            }
        }
        if self.steering.most_reranked.is_some_and(|most| self.counters.rows_reranked >= most) {
            self.waiting.clear();
            self.steering.rounds = Rounds::One;
        }
        let distance = match waiting.copy {
            NONE => reranker.row(waiting.tid)?,
            block => {
                let body = store.read(block)?;
                if page::kind(&body, block)? != Kind::Copies {
                    return Err(damaged(block, "not a page of copies").into());
                }
                let slot = usize::from(waiting.slot);
                let copy = halfs(group::copy_of(&body, slot, &self.directory.encoder.shape));
                drop(body);
                Some(reranker.vector(&copy)?)
            }
        };
        if let Some(distance) = distance {
            mrl_memory::add(&mut self.exact, Exact { distance, tid: waiting.tid })?;
        }
        Ok(())
    }

    /// Whether rows not yet looked at must be, before the next row is returned.
    fn is_round_due(&self) -> bool {
        if self.counters.rounds == 0 {
            return true;
        }
        let used_up = self.waiting.is_empty() && self.exact.is_empty();
        self.more && self.steering.rounds != Rounds::One && (used_up || self.returned >= self.quota)
    }

    fn round<S: PageStore>(&mut self, store: &S) -> Result<(), S::Error> {
        let all = self.ranked.len();
        let first = self.counters.rounds == 0;
        let lists = match self.steering.probes {
            _ if !first => self.probed.len().max(1) * tuning::MORE_LISTS,
            Probes::All => all,
            Probes::Lists(lists) => lists,
            // A shorter query tells less about which lists are near, and scores their rows for less.
            Probes::Auto if self.query.vector.len() < self.directory.meta.coarse_dimensions => {
                2 * tuning::probes(all)
            }
            Probes::Auto => tuning::probes(all),
        };
        let new = lists.min(all).saturating_sub(self.probed.len());
        let before = self.probed.len();
        let added = self.ranked[before..before + new].iter();
        self.probed.extend(added.map(|list| Probed { list: *list, taken_to: None, more: true }));
        self.counters.rounds += 1;
        self.counters.lists_probed += new as u64;
        let everything = self.steering.epsilon == Epsilon::Exact || self.steering.no_funnel;
        self.funnel = match () {
            () if everything => usize::MAX / 4,
            // How many rows the lists have is known once they are scored.
            () if first => 0,
            () => self.funnel * tuning::MORE_ROWS,
        };
        let directory = self.directory.clone();
        let mut round = Round::default();
        let mut lists = self.probed.iter().filter(|probed| probed.more).peekable();
        while let Some(Probed { list, taken_to, .. }) = lists.next() {
            let head = |probed: &&Probed| directory.entries[probed.list as usize].head;
            let following = lists.peek().map_or(NONE, head);
            let (query, known) = (&self.query, &mut self.known);
            round.score_list(store, &directory, query, known, *list, *taken_to, following)?;
        }
        self.counters.codes_scored += round.scored;
        if self.funnel == 0 {
            self.funnel = tuning::funnel(round.scored as usize, self.query.leading_share());
        }
        let returned_share = match first {
            true => tuning::RETURNED_SHARE,
            false => tuning::RETURNED_SHARE_LATER,
        };
        self.quota =
            self.returned + (self.funnel / returned_share).max(tuning::LEAST_RETURNED) as u64;
        let bar = round.bar(self.funnel);
        for probed in self.probed.iter_mut().filter(|probed| probed.more) {
            probed.taken_to = Some(probed.taken_to.map_or(bar, |before| before.min(bar)));
            probed.more = bar != NO_BAR;
        }
        self.more = self.probed.len() < all || self.probed.iter().any(|list| list.more);
        let chosen = round.at_least(bar)?;
        self.counters.codes_finished += chosen.len() as u64;
        let epsilon = match self.steering.epsilon {
            Epsilon::Auto => tuning::EPSILON,
            Epsilon::Deviations(epsilon) => epsilon,
            Epsilon::Exact => f32::INFINITY,
        };
        let waiting =
            round.finish(store, &directory, &self.query, &self.known, &chosen, epsilon)?;
        self.waiting.add(waiting)?;
        self.expected = false;
        Ok(())
    }

    fn begin_tail(&mut self, phase: Phase) {
        self.phase = phase;
        self.tail_next = NONE;
        self.tail.clear();
        let list = match phase {
            Phase::Zeros => ZEROS,
            Phase::Nulls => NULLS,
            _ => return,
        };
        // The newest page is named by the head, which is read when the first row is asked for.
        self.tail_next = self.directory.entries[list as usize].head;
    }

    fn next_of_tail<S: PageStore>(&mut self, store: &S) -> Result<Option<Tid>, S::Error> {
        loop {
            if let Some(tid) = self.tail.pop_front() {
                return Ok(Some(tid));
            }
            let list = match self.phase {
                Phase::Zeros => ZEROS,
                Phase::Nulls => NULLS,
                _ => return Ok(None),
            };
            if self.tail_next == NONE {
                self.begin_tail(match (self.phase, self.steering.wanted) {
                    (Phase::Zeros, Wanted::All) => Phase::Nulls,
                    _ => Phase::End,
                });
                continue;
            }
            // All at once: a TID is 8 bytes, and pages change while the scan waits.
            let head = self.tail_next;
            let newest = {
                let body = store.read(head)?;
                Group::new(&body, head, list, &self.directory.encoder.shape)?.references()
            };
            let references = read_references(store, list, newest)?;
            self.tail = mrl_memory::collect(references.into_iter().map(|(_, tid)| tid))?.into();
            self.tail_next = NONE;
        }
    }
}

/// Every TID of an index, in no order: for a query whose distances are all NULL.
pub fn every_tid<S: PageStore>(store: &S, directory: &Directory) -> Result<Vec<Tid>, S::Error> {
    let shape = &directory.encoder.shape;
    let mut tids = Vec::new();
    for list in directory.live_lists().iter().copied().chain([ZEROS, NULLS]) {
        let entry = directory.entries.get(list as usize);
        let head = entry.ok_or(damaged(META_BLOCK, "no such list"))?.head;
        let newest = Group::new(&*store.read(head)?, head, list, shape)?.references();
        let references = read_references(store, list, newest)?;
        mrl_memory::reserve(&mut tids, references.len())?;
        tids.extend(references.into_iter().map(|(_, tid)| tid));
        let mut block = head;
        let mut steps = Steps::default();
        while block != NONE {
            steps.step(store, block)?;
            let body = store.read(block)?;
            let group = Group::new(&body, block, list, shape)?;
            for slot in 0..group.rows() {
                if group.block(slot / ROWS).live() >> (slot % ROWS) & 1 == 1 {
                    let rows_block = group.row_page(slot / shape.rows_on_page);
                    let rows = store.read(rows_block)?;
                    page::expect(&rows, rows_block, Kind::Rows, list)?;
                    mrl_memory::push(&mut tids, RowEntry::of(&rows, slot, shape).tid())?;
                }
            }
            block = page::next(&body);
        }
    }
    tids.sort_unstable();
    tids.dedup();
    Ok(tids)
}
