//! An index and what should be in it.

use std::collections::BTreeSet;
use std::rc::Rc;

use arbitrary::Arbitrary;
use half::f16;
use mrl_index::build::{build, create_empty};
use mrl_index::check::check;
use mrl_index::info::info;
use mrl_index::insert::{Inserted, insert, insert_reference, list_without_distances};
use mrl_index::lists::directory::Directory;
use mrl_index::pages::group::Tid;
use mrl_index::pages::memory::MemoryStore;
use mrl_index::pages::meta::{FIRST_LIST, Metric};
use mrl_index::pages::page::ListId;
use mrl_index::pages::store::Failure;
use mrl_index::scan::{Epsilon, Probes, Rounds, Scan, Steering, Wanted, every_tid};
use mrl_index::split::{rewrite, split};
use mrl_index::vacuum::{bulk_delete, clean_up};

use crate::Kind;
use crate::distances::{Exact, Rows, Vector, order};
use crate::store::{WatchedStore, is_crash};
use crate::vectors::{Question, Random, Style, vector};

/// Settings under which a scan's answer is the exact one.
pub const EXACT: Steering = Steering {
    probes: Probes::All,
    epsilon: Epsilon::Exact,
    rounds: Rounds::Relaxed,
    wanted: Wanted::All,
    no_funnel: false,
    most_reranked: None,
};

/// The most rows that a run adds: beyond, runs get slow and find nothing new.
const MOST_ADDED: usize = 2000;

/// What happens to an index.
#[derive(Arbitrary, Debug)]
pub enum Deed {
    /// Some new rows.
    Insert {
        style: Style,
        seed: u16,
        count: u8,
    },
    /// Hundreds of new rows.
    Fill {
        style: Style,
        seed: u16,
        hundreds: u8,
    },
    /// Rows without a vector.
    InsertNulls {
        count: u8,
    },
    /// New versions of rows, of which the server says that the vector is the same.
    UpdateUnchanged {
        first: u16,
        count: u8,
    },
    /// The same of most rows.
    UpdateMost {
        seed: u16,
    },
    /// New versions with other vectors.
    Update {
        first: u16,
        count: u8,
        style: Style,
        seed: u16,
    },
    Delete {
        first: u16,
        count: u8,
    },
    /// About so many of 256 rows.
    DeleteShare {
        seed: u16,
        share: u8,
    },
    Vacuum,
    CleanUp,
    Split {
        list: u8,
    },
    Rewrite {
        list: u8,
    },
    /// Goes on with the directory that the session has, although it may be out of date.
    KeepDirectory {
        keep: bool,
    },
    /// A scan begins, is asked for some rows, and goes on while other things happen.
    BeginScan {
        question: Question,
        exact: bool,
        count: u8,
    },
    GoOn {
        count: u8,
    },
    EndScan,
    /// The index is asked for everything, exactly.
    Ask {
        question: Question,
    },
    /// It is asked with other settings.
    AskRoughly {
        question: Question,
        steering: RoughSteering,
    },
    /// The server is killed after so many changes more, and started again.
    Crash {
        commits: u8,
    },
    Verify,
}

/// Any settings.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub struct RoughSteering {
    lists: u8,
    deviations: u8,
    rounds: u8,
    no_funnel: bool,
    most_reranked: Option<u8>,
}

impl RoughSteering {
    pub fn steering(self) -> Steering {
        let rounds = [Rounds::Relaxed, Rounds::Strict, Rounds::One];
        Steering {
            probes: match self.lists {
                0..=63 => Probes::Auto,
                64..=127 => Probes::All,
                lists => Probes::Lists(usize::from(lists - 128)),
            },
            epsilon: match self.deviations {
                0..=127 => Epsilon::Auto,
                tenths => Epsilon::Deviations(f32::from(tenths - 128) / 10.0),
            },
            rounds: rounds[usize::from(self.rounds) % rounds.len()],
            no_funnel: self.no_funnel,
            most_reranked: self.most_reranked.map(u64::from),
            ..Steering::default()
        }
    }
}

/// A scan that has not come to its end.
struct Running {
    scan: Scan,
    query: Vector,
    exact: bool,
    /// The rows that it sees.
    rows: Rows,
    found: Vec<Tid>,
}

pub struct World {
    store: WatchedStore,
    directory: Rc<Directory>,
    keep_directory: bool,
    rows: Rows,
    /// Dead, and in the index.
    dead: BTreeSet<Tid>,
    /// Dead; a crash left open whether they are in the index.
    doubtful: BTreeSet<Tid>,
    /// TIDs that may be used again.
    free: Vec<Tid>,
    next: Tid,
    most: usize,
    running: Option<Running>,
    has_crashed: bool,
}

impl World {
    pub fn empty(kind: Kind) -> Self {
        let pages = MemoryStore::new();
        create_empty(&pages, &kind.plan()).expect("an empty index");
        Self::of(pages, Rows::new())
    }

    /// An index built over some rows.
    pub fn built(kind: Kind, vectors: Vec<Vec<f16>>, lists: usize) -> Self {
        let plan = kind.plan();
        let pages = MemoryStore::new();
        // Rows of zeros have no place in a list under cosine.
        let vectors = vectors.into_iter().map(Vector::new);
        let vectors = vectors.filter(|v| plan.metric != Metric::Cosine || !v.is_zero());
        let vectors: Vec<(Tid, Vector)> = (0..).map(numbered).zip(vectors).collect();
        let halfs: Vec<(Tid, Vec<f16>)> =
            vectors.iter().map(|(tid, vector)| (*tid, vector.halfs.clone())).collect();
        build(&pages, &plan, &halfs, lists).expect("a built index");
        let rows = vectors.into_iter().map(|(tid, vector)| (tid, Some(Rc::new(vector))));
        Self::of(pages, rows.collect())
    }

    fn of(pages: MemoryStore, rows: Rows) -> Self {
        let store = WatchedStore::new(pages);
        let directory = Rc::new(Directory::read(&store).expect("a directory"));
        Self {
            store,
            directory,
            keep_directory: false,
            next: rows.len() as Tid,
            most: rows.len() + MOST_ADDED,
            rows,
            dead: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            free: vec![],
            running: None,
            has_crashed: false,
        }
    }

    /// The pages, for those who do something else with them.
    pub fn into_pages(self) -> MemoryStore {
        self.store.pages
    }

    /// How many live lists of vectors there are.
    pub fn lists(&mut self) -> usize {
        self.refresh();
        self.directory.live_lists().len()
    }

    pub fn does(&mut self, deed: &Deed) {
        match *deed {
            Deed::Insert { style, seed, count } => {
                self.insert_many(style, seed, usize::from(count) % 64)
            }
            Deed::Fill { style, seed, hundreds } => {
                self.insert_many(style, seed, 100 * (usize::from(hundreds) % 5));
            }
            Deed::InsertNulls { count } => {
                for _ in 0..count % 32 {
                    self.insert(None, false);
                }
            }
            Deed::UpdateUnchanged { first, count } => {
                for tid in self.some(first, count) {
                    self.update(tid, None);
                }
            }
            Deed::UpdateMost { seed } => {
                let mut random = Random(seed.into());
                let tids: Vec<Tid> = self.rows.keys().copied().collect();
                for tid in tids.into_iter().filter(|_| random.below(4) > 0) {
                    self.update(tid, None);
                }
            }
            Deed::Update { first, count, style, seed } => {
                for (i, tid) in (0..).zip(self.some(first, count)) {
                    let dimensions = self.directory.meta.dimensions;
                    let vector = vector(style, seed.wrapping_add(i), dimensions);
                    self.update(tid, Some(Rc::new(Vector::new(vector))));
                }
            }
            Deed::Delete { first, count } => {
                for tid in self.some(first, count) {
                    self.delete(tid);
                }
            }
            Deed::DeleteShare { seed, share } => {
                let mut random = Random(seed.into());
                let tids: Vec<Tid> = self.rows.keys().copied().collect();
                for tid in tids.into_iter().filter(|_| random.below(256) < share.into()) {
                    self.delete(tid);
                }
            }
            Deed::Vacuum => self.vacuum(),
            Deed::CleanUp => self.clean_up(),
            Deed::Split { list } => self.replace(list, true),
            Deed::Rewrite { list } => self.replace(list, false),
            Deed::KeepDirectory { keep } => self.keep_directory = keep,
            Deed::BeginScan { question, exact, count } => {
                self.end_scan();
                self.begin_scan(question, if exact { EXACT } else { Steering::default() }, exact);
                self.go_on(count.into());
            }
            Deed::GoOn { count } => self.go_on(count.into()),
            Deed::EndScan => self.end_scan(),
            Deed::Ask { question } => {
                self.end_scan();
                self.begin_scan(question, EXACT, true);
                self.end_scan();
            }
            Deed::AskRoughly { question, steering } => self.ask_roughly(question, steering),
            // Soon: most work takes few changes, and between any two of them it has to hold.
            Deed::Crash { commits } => self.store.crash_after(Some(u64::from(commits % 16))),
            Deed::Verify => self.verify(),
        }
    }

    fn refresh(&mut self) {
        self.store.begin_work();
        if let Some(newer) = self.directory.refreshed(&self.store).expect("a directory") {
            self.directory = Rc::new(newer);
        }
    }

    /// The value; nothing where the server was killed meanwhile. It then has been started again.
    fn survived<T>(&mut self, result: Result<T, Failure>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(failure) if is_crash(&failure) => {
                self.store.crash_after(None);
                self.running = None;
                self.has_crashed = true;
                self.store.begin_work();
                self.directory = Rc::new(Directory::read(&self.store).expect("a directory"));
                None
            }
            Err(failure) => panic!("{failure}"),
        }
    }

    /// Some of the rows.
    fn some(&self, first: u16, count: u8) -> Vec<Tid> {
        let first = usize::from(first) % self.rows.len().max(1);
        self.rows.keys().copied().skip(first).take(usize::from(count) % 64).collect()
    }

    fn insert_many(&mut self, style: Style, seed: u16, count: usize) {
        for i in 0..count {
            let seed = seed.wrapping_add(i as u16);
            let vector = vector(style, seed, self.directory.meta.dimensions);
            self.insert(Some(Rc::new(Vector::new(vector))), false);
        }
    }

    /// Adds a row; whether it is there.
    fn insert(&mut self, vector: Option<Rc<Vector>>, unchanged: bool) -> bool {
        if self.rows.len() + self.dead.len() + self.doubtful.len() >= self.most {
            return false;
        }
        let tid = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            numbered(self.next - 1)
        });
        if !self.keep_directory {
            self.refresh();
        }
        let mut full = None;
        loop {
            self.store.begin_work();
            let (store, directory) = (&self.store, &self.directory);
            let halfs = vector.as_deref().map(|vector| vector.halfs.as_slice());
            if let Some(list) = list_without_distances(directory, halfs) {
                let inserted = insert_reference(store, directory, list, tid);
                if self.survived(inserted).is_none() {
                    self.doubtful.insert(tid);
                    return false;
                }
                break;
            }
            let inserted = insert(store, directory, tid, halfs.unwrap_or_default(), unchanged);
            match self.survived(inserted) {
                Some(Inserted::Done) => break,
                Some(Inserted::Stale) => {
                    let epoch = self.directory.meta.epoch;
                    self.refresh();
                    assert_ne!(self.directory.meta.epoch, epoch, "stale, and nothing newer");
                }
                Some(Inserted::Full(list) | Inserted::Overfull(list)) => {
                    full = Some(list);
                    break;
                }
                None => {
                    self.doubtful.insert(tid);
                    return false;
                }
            }
        }
        self.rows.insert(tid, vector);
        if let Some(list) = full {
            self.store.begin_work();
            let done = self.split(list);
            self.survived(done);
        }
        true
    }

    /// Of one row in four the vector is not at hand, of another in four it is another row's.
    fn split(&self, list: ListId) -> Result<bool, Failure> {
        let vector = |row: Option<&Option<Rc<Vector>>>| Some(row?.as_ref()?.halfs.clone());
        let mut vectors = |tid: Tid| match tid % 4 {
            0 => Ok(None),
            1 => Ok(vector(self.rows.values().next())),
            _ => Ok(vector(self.rows.get(&tid))),
        };
        split(&self.store, &self.directory, list, false, &mut vectors)
    }

    /// A new version of a row; with the same vector where no other is given.
    fn update(&mut self, tid: Tid, vector: Option<Rc<Vector>>) {
        let unchanged = vector.is_none();
        let Some(old) = self.rows.get(&tid) else { return };
        let vector = vector.or_else(|| old.clone());
        if self.insert(vector, unchanged) {
            self.delete(tid);
        }
    }

    fn delete(&mut self, tid: Tid) {
        self.rows.remove(&tid);
        self.dead.insert(tid);
    }

    fn vacuum(&mut self) {
        self.refresh();
        // Rows that a scan still sees stay.
        let seen =
            |tid: &Tid| self.running.as_ref().is_some_and(|scan| scan.rows.contains_key(tid));
        let all = self.dead.iter().chain(&self.doubtful).copied();
        let dead: BTreeSet<Tid> = all.filter(|tid| !seen(tid)).collect();
        self.store.begin_work();
        let deleted = bulk_delete(&self.store, &mut |tid| dead.contains(&tid));
        match self.survived(deleted) {
            Some(deleted) => {
                let was_certain = self.doubtful.is_subset(&dead);
                self.dead.retain(|tid| !dead.contains(tid));
                self.doubtful.retain(|tid| !dead.contains(tid));
                if was_certain {
                    let expected = self.rows.len() + self.dead.len();
                    assert_eq!(deleted.kept, expected as u64, "rows that vacuum has kept");
                }
                self.free.extend(dead);
            }
            None => {
                // The scans that saw some of them have ended with the server.
                self.doubtful.extend(dead.iter());
                self.dead.retain(|tid| !dead.contains(tid));
            }
        }
    }

    fn clean_up(&mut self) {
        if self.running.is_none() {
            self.store.pages.tick();
        }
        self.store.begin_work();
        let swept = clean_up(&self.store);
        if let Some(swept) = self.survived(swept)
            && !self.has_crashed
        {
            let expected = self.rows.len() + self.dead.len();
            assert_eq!(swept.rows, expected as u64, "rows that a clean-up has seen");
        }
    }

    fn replace(&mut self, list: u8, by_two: bool) {
        if !self.keep_directory {
            self.refresh();
        }
        let list =
            FIRST_LIST + u32::from(list) % (self.directory.entries.len() as u32 - FIRST_LIST);
        self.store.begin_work();
        let done = match by_two {
            true => self.split(list),
            false => rewrite(&self.store, &self.directory, list),
        };
        self.survived(done);
    }

    fn begin_scan(&mut self, question: Question, steering: Steering, exact: bool) {
        self.refresh();
        let meta = &self.directory.meta;
        let query = question.query(meta.dimensions, meta.metric == Metric::Euclidean);
        let scan = Scan::new(self.directory.clone(), &query, steering);
        let query = Vector::new(query);
        let rows = self.rows.clone();
        self.running = Some(Running { scan, query, exact, rows, found: vec![] });
    }

    /// Asks the running scan for so many rows.
    fn go_on(&mut self, count: usize) {
        let Some(mut running) = self.running.take() else { return };
        self.store.begin_work();
        let metric = self.directory.meta.metric;
        let Running { scan, query, rows, found, .. } = &mut running;
        let mut exact = Exact { metric, query, rows };
        for _ in 0..count {
            match scan.next(&self.store, &mut exact) {
                // What the scan's query doesn't see is the server's to pass over.
                Ok(Some(tid)) => found.extend(rows.contains_key(&tid).then_some(tid)),
                Ok(None) => break,
                Err(failure) => panic!("{failure}"),
            }
        }
        self.running = Some(running);
    }

    /// Lets the running scan come to its end: it has found each of its rows once.
    fn end_scan(&mut self) {
        self.go_on(usize::MAX);
        let Some(running) = self.running.take() else { return };
        let Running { query, exact, rows, found, .. } = running;
        let distinct: BTreeSet<Tid> = found.iter().copied().collect();
        assert_eq!(distinct.len(), found.len(), "a row comes twice");
        assert!(distinct.iter().eq(rows.keys()), "rows are missing");
        if exact {
            let metric = self.directory.meta.metric;
            let ranks: Vec<_> =
                found.iter().map(|tid| rank(metric, rows[tid].as_deref(), &query)).collect();
            let in_order = ranks.is_sorted_by(|a, b| a.0.cmp(&b.0).then(order(a.1, b.1)).is_le());
            assert!(in_order, "rows come in another order than that of their distances");
        }
    }

    fn ask_roughly(&mut self, question: Question, rough: RoughSteering) {
        self.end_scan();
        let steering = rough.steering();
        self.begin_scan(question, steering, false);
        self.go_on(usize::MAX);
        let Some(running) = self.running.take() else { return };
        let found = running.found;
        let distinct: BTreeSet<Tid> = found.iter().copied().collect();
        assert_eq!(distinct.len(), found.len(), "a row comes twice");
        if steering.rounds == Rounds::Relaxed && steering.most_reranked.is_none() {
            assert!(distinct.iter().eq(running.rows.keys()), "rows are missing");
        }
    }

    /// That the index is sound and has the rows that it should have, each once.
    pub fn verify(&mut self) {
        self.store.begin_work();
        let mut found = Vec::new();
        let mut visit = |tid| {
            found.push(tid);
            Ok(())
        };
        let problems = check(&self.store, &mut visit).expect("a sound index");
        assert_eq!(problems, Vec::<String>::new());
        found.sort_unstable();
        let certain: BTreeSet<Tid> = self.rows.keys().chain(&self.dead).copied().collect();
        found.retain(|tid| !self.doubtful.contains(tid));
        assert!(found.iter().eq(&certain), "the index has other rows than it should have");
        self.refresh();
        self.store.begin_work();
        let mut all = every_tid(&self.store, &self.directory, Wanted::All).expect("a sound index");
        all.retain(|tid| !self.doubtful.contains(tid));
        assert!(all.iter().eq(&certain), "the index lists other rows than it should have");
        let info = info(&self.store).expect("a sound index");
        if !self.has_crashed {
            let counted = info.rows + info.references + info.nulls + info.zeros;
            assert_eq!(counted, certain.len() as u64, "the index counts other rows");
        }
    }

    /// Ends everything; vacuums, takes all pages back that nobody needs, verifies.
    pub fn finish(&mut self) {
        self.end_scan();
        self.store.crash_after(None);
        self.verify();
        self.vacuum();
        assert!(self.dead.is_empty() && self.doubtful.is_empty());
        // What a crash left behind is gone now.
        self.has_crashed = false;
        self.clean_up();
        self.verify();
        self.begin_scan(Question::PLAIN, EXACT, true);
        self.end_scan();
    }
}

/// A row's place in the order: those with distances by them, then those of zeros, then NULLs.
fn rank(metric: Metric, row: Option<&Vector>, query: &Vector) -> (u8, f64) {
    match row {
        None => (2, 0.0),
        Some(row) if metric == Metric::Cosine && row.is_zero() => (1, 0.0),
        Some(row) => (0, row.distance(metric, query)),
    }
}

/// TIDs as a table gives them: page and offset.
fn numbered(row: Tid) -> Tid {
    (row / 50) << 16 | (row % 50 + 1)
}
