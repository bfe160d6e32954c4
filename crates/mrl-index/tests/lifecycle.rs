//! Random inserts, updates, deletes, vacuums and splits against a model.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use common::*;
use half::f16;
use mrl_index::build::{Plan, create_empty};
use mrl_index::check::check;
use mrl_index::info::info;
use mrl_index::insert::{Inserted, insert, insert_reference, list_without_distances};
use mrl_index::lists::directory::Directory;
use mrl_index::pages::group::Tid;
use mrl_index::pages::memory::MemoryStore;
use mrl_index::pages::meta::Metric;
use mrl_index::pages::store::{ListLock, PageStore};
use mrl_index::scan::Steering;
use mrl_index::split::chain::read_members;
use mrl_index::split::split;
use mrl_index::vacuum::{bulk_delete, clean_up};
use mrl_memory::push;

/// An index and what should be in it.
struct Pair {
    store: MemoryStore,
    directory: Rc<Directory>,
    model: BTreeMap<Tid, Vec<f16>>,
    next: Tid,
}

impl Pair {
    fn new(plan: &Plan) -> Self {
        let store = MemoryStore::new();
        create_empty(&store, plan).unwrap();
        let directory = Rc::new(Directory::read(&store).unwrap());
        Self { store, directory, model: BTreeMap::new(), next: 1 }
    }

    fn refresh(&mut self) {
        if let Some(newer) = self.directory.refreshed(&self.store).unwrap() {
            self.directory = Rc::new(newer);
        }
    }

    fn insert(&mut self, vector: Option<Vec<f16>>, unchanged: bool) -> Tid {
        let tid = self.next;
        self.next += if self.next & 0xffff == 50 { 0x10000 - 49 } else { 1 };
        loop {
            self.refresh();
            if let Some(list) = list_without_distances(&self.directory, vector.as_deref()) {
                insert_reference(&self.store, &self.directory, list, tid).unwrap();
                break;
            }
            match insert(&self.store, &self.directory, tid, vector.as_ref().unwrap(), unchanged)
                .unwrap()
            {
                Inserted::Done => break,
                Inserted::Stale => continue,
                Inserted::Full(list) | Inserted::Overfull(list) => {
                    // Of one row in three the vector is not at hand, of another in three it is another row's.
                    let model = &self.model;
                    let mut vectors = |tid: Tid| match tid % 3 {
                        0 => Ok(None),
                        1 => Ok(model.values().next().cloned()),
                        _ => Ok(model.get(&tid).cloned()),
                    };
                    split(&self.store, &self.directory, list, false, &mut vectors).unwrap();
                    break;
                }
            }
        }
        self.model.insert(tid, vector.unwrap_or_default());
        tid
    }

    fn delete(&mut self, dead: &BTreeSet<Tid>) {
        let deleted = bulk_delete(&self.store, &mut |tid| dead.contains(&tid)).unwrap();
        self.model.retain(|tid, _| !dead.contains(tid));
        assert_eq!(deleted.kept, self.model.len() as u64);
        self.store.tick();
        clean_up(&self.store).unwrap();
    }

    fn verify(&mut self) {
        let mut found = Vec::new();
        assert_eq!(
            check(&self.store, &mut |tid| push(&mut found, tid)).unwrap(),
            Vec::<String>::new()
        );
        found.sort_unstable();
        assert_eq!(found, self.model.keys().copied().collect::<Vec<_>>());
        self.refresh();
        let query = vec![f16::ONE; self.directory.meta.dimensions];
        let (found, _) = first(
            &self.store,
            &self.directory,
            &self.model,
            &query,
            Steering::default(),
            usize::MAX,
        );
        let returned: BTreeSet<Tid> = found.iter().copied().collect();
        assert_eq!(returned.len(), found.len(), "a row comes twice");
        assert_eq!(returned, self.model.keys().copied().collect());
    }
}

/// Everything at random; after each stage the index is sound and has the model's rows.
#[test]
fn random_lives() {
    for (seed, metric, dimensions, copies) in [
        (1, Metric::InnerProduct, 384, false),
        (2, Metric::Cosine, 8, false),
        (3, Metric::Euclidean, 70, true),
        (4, Metric::Cosine, 384, true),
    ] {
        let mut random = Random(seed);
        let mut pair = Pair::new(&plan(dimensions, metric, copies));
        let vectors = clustered(12_000, dimensions, metric == Metric::InnerProduct, seed);
        let mut fresh = vectors.into_iter();
        for stage in 0..6 {
            for _ in 0..1500 {
                let vector = match random.below(20) {
                    0 => None,
                    1 => Some(vec![f16::ZERO; dimensions]),
                    _ => fresh.next(),
                };
                pair.insert(vector, false);
            }
            // Updates that leave the vector as it was: a new TID, the old one dead.
            let keys: Vec<Tid> = pair.model.keys().copied().collect();
            let mut dead = BTreeSet::new();
            for tid in keys {
                match random.below(4) {
                    0 => {
                        let vector = pair.model[&tid].clone();
                        pair.insert((!vector.is_empty()).then_some(vector), true);
                        dead.insert(tid);
                    }
                    1 if stage % 2 == 1 => {
                        dead.insert(tid);
                    }
                    _ => {}
                }
            }
            pair.verify_with(&dead);
            pair.delete(&dead);
            pair.verify();
        }
        assert!(info(&pair.store).unwrap().lists > 1, "no list was split");
    }
}

impl Pair {
    /// Before vacuum the dead are still there, and are still found.
    fn verify_with(&mut self, _dead: &BTreeSet<Tid>) {
        self.verify();
    }
}

/// Updates that leave the vectors as they were take little space, and vacuum gives it back.
#[test]
fn unchanged_updates_take_little_space() {
    let mut pair = Pair::new(&plan(384, Metric::InnerProduct, false));
    for vector in clustered(10_000, 384, true, 5) {
        pair.insert(Some(vector), false);
    }
    pair.store.tick();
    clean_up(&pair.store).unwrap();
    let fresh = pair.store.page_count().unwrap();
    let mut after_one = 0;
    for round in 0..10 {
        let rows: Vec<(Tid, Vec<f16>)> = pair.model.iter().map(|(t, v)| (*t, v.clone())).collect();
        let mut dead = BTreeSet::new();
        for (tid, vector) in rows {
            pair.insert(Some(vector), true);
            dead.insert(tid);
        }
        if round == 0 {
            after_one = pair.store.page_count().unwrap();
        }
        pair.delete(&dead);
    }
    pair.verify();
    let bytes_an_update = f64::from(after_one - fresh) * 8192.0 / 10_000.0;
    assert!(bytes_an_update <= 16.0, "{bytes_an_update} bytes an update");
    let growth = f64::from(pair.store.page_count().unwrap()) / f64::from(fresh);
    assert!(growth <= 1.3, "grown to {growth}");
}

/// A list of equal vectors can't be split, and says so less and less often.
#[test]
fn equal_vectors_are_not_split() {
    let mut pair = Pair::new(&plan(64, Metric::InnerProduct, false));
    let vector = clustered(1, 64, true, 9).remove(0);
    for _ in 0..20_000 {
        pair.insert(Some(vector.clone()), false);
    }
    pair.verify();
    assert_eq!(info(&pair.store).unwrap().lists, 1);
}

/// Rows whose vectors a split finds at hand come to be encoded against the centres of their own lists; others keep what
/// they have, whatever vector is handed over in place of theirs.
#[test]
fn a_split_encodes_rows_anew_where_it_finds_their_vectors() {
    let vectors = clustered(6000, 100, true, 4);
    let others = clustered(6000, 100, true, 5);
    let rows = numbered(vectors.clone());
    let strangers = numbered(others);
    // Of lists that are cut together most rows keep a code against another's centre.
    for (at_hand, least, most) in
        [(Some(&rows), 1.0, 1.0), (None, 0.05, 0.8), (Some(&strangers), 0.05, 0.8)]
    {
        let store = MemoryStore::new();
        create_empty(&store, &plan(100, Metric::InnerProduct, false)).unwrap();
        let mut directory = Directory::read(&store).unwrap();
        for (tid, vector) in &rows {
            if let Inserted::Full(list) | Inserted::Overfull(list) =
                insert(&store, &directory, *tid, vector, false).unwrap()
            {
                let mut vectors = |tid: Tid| Ok(at_hand.and_then(|rows| rows.get(&tid).cloned()));
                assert!(split(&store, &directory, list, false, &mut vectors).unwrap());
                directory = directory.refreshed(&store).unwrap().unwrap();
            }
        }
        let (mut own, mut all) = (0, 0);
        for list in directory.live_lists() {
            let chain = directory.chain(*list);
            for member in read_members(&store, &directory, chain, usize::MAX, &|_| true).unwrap() {
                let frame = directory.frame(&store, member.frame).unwrap();
                let expected = directory.encoder.row(&rows[&member.tids[0]], &frame);
                assert_eq!(member.row, expected, "a code of another vector");
                own += usize::from(member.frame == *list);
                all += 1;
            }
        }
        assert_eq!(all, rows.len());
        let share = own as f64 / all as f64;
        assert!(
            (least..=most).contains(&share),
            "{share} are encoded against their lists' own centres"
        );
    }
}

/// A list that nobody splits is due to be, and then too long.
#[test]
fn a_list_is_full_and_then_overfull() {
    let store = MemoryStore::new();
    create_empty(&store, &plan(16, Metric::InnerProduct, false)).unwrap();
    let directory = Directory::read(&store).unwrap();
    // With the first row of each block it is told how long the list is.
    let mut told = vec![];
    for (tid, vector) in &numbered(clustered(3200, 16, true, 3)) {
        let inserted = insert(&store, &directory, *tid, vector, false).unwrap();
        if inserted != Inserted::Done {
            let slots = info(&store).unwrap().slots;
            told.push((slots, inserted));
        }
    }
    let list = directory.live_lists()[0];
    let overfull = told.iter().position(|(_, inserted)| *inserted == Inserted::Overfull(list));
    let (full, overfull) = told.split_at(overfull.expect("a list that is too long"));
    assert!(
        full.iter().all(|told| (2177..=2720).contains(&told.0) && told.1 == Inserted::Full(list))
    );
    assert!(overfull.iter().all(|told| told.0 > 2720 && told.1 == Inserted::Overfull(list)));
    assert!(full.len() == 17 && overfull.len() > 10, "{told:?}");
}

/// An insert that would wait for the directory doesn't wait for who cleans up.
#[test]
fn a_split_that_waits_does_not_wait_for_a_clean_up() {
    let mut pair = Pair::new(&plan(32, Metric::InnerProduct, false));
    for vector in clustered(1500, 32, true, 8) {
        pair.insert(Some(vector), false);
    }
    let list = pair.directory.live_lists()[0];
    let made = |pair: &Pair| Directory::read(&pair.store).unwrap().meta.next_list;
    let before = made(&pair);
    for cleans_up in [true, false] {
        pair.store.clean_up_by_another(cleans_up);
        let is_split = split(&pair.store, &pair.directory, list, true, &mut |_| Ok(None)).unwrap();
        assert_eq!(is_split, !cleans_up);
        assert_eq!(made(&pair) > before, !cleans_up);
    }
}

/// A list for whose vectors a split has no room is cut by what a sample of them and the codes say, once they differ.
#[test]
fn a_long_list_is_cut_by_its_codes() {
    // Of so many dimensions, with copies, 10,800 rows take all the room.
    let (dimensions, rows, others) = (4000, 12_000, 600);
    let plan = Plan { coarse_dimensions: 384, ..plan(dimensions, Metric::InnerProduct, true) };
    let placeholder = vec![f16::from_f32(1.0 / 64.0); dimensions];
    let others_apart = clustered(others, dimensions, true, 4);
    let vector = |i: usize| match i % (rows / others) {
        0 => others_apart[i / (rows / others)].clone(),
        _ => placeholder.clone(),
    };
    let rows = numbered((0..rows).map(vector).collect());
    let (built_store, built_directory) = built(&rows, &plan, 1);
    // A list of an index that began empty has no centre.
    let grown_store = MemoryStore::new();
    create_empty(&grown_store, &plan).unwrap();
    let grown_directory = Rc::new(Directory::read(&grown_store).unwrap());
    for (tid, vector) in &rows {
        insert(&grown_store, &grown_directory, *tid, vector, false).unwrap();
    }
    for (store, directory) in [(built_store, built_directory), (grown_store, grown_directory)] {
        let list = directory.live_lists()[0];
        assert!(split(&store, &directory, list, false, &mut |_| Ok(None)).unwrap());
        let lists = mrl_index::info::lists(&store).unwrap();
        let smaller = lists.iter().map(|list| list.rows).min().unwrap();
        assert!(lists.len() == 2 && (1..=others as u64).contains(&smaller), "{lists:?}");
        let mut found = Vec::new();
        let problems = check(&store, &mut |tid| push(&mut found, tid)).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        found.sort_unstable();
        assert!(found.iter().eq(rows.keys()));
    }
}

/// Where rows' vectors are not in memory they keep their codes, and lists their rows' many frames: the lists are as
/// long as others, and no attempt is made to split one that is not due.
#[test]
fn lists_grow_as_long_without_vectors() {
    const ROWS: usize = 60_000;
    for dimensions in [24, 128] {
        let rows = numbered(clustered(ROWS, dimensions, true, 1));
        let store = MemoryStore::new();
        create_empty(&store, &plan(dimensions, Metric::InnerProduct, false)).unwrap();
        let mut directory = Directory::read(&store).unwrap();
        let (mut splits, mut futile) = (0, 0);
        for (tid, vector) in &rows {
            if let Inserted::Full(list) | Inserted::Overfull(list) =
                insert(&store, &directory, *tid, vector, false).unwrap()
            {
                store.tick();
                match split(&store, &directory, list, false, &mut |_| Ok(None)).unwrap() {
                    true => splits += 1,
                    false => futile += 1,
                }
                directory = directory.refreshed(&store).unwrap().unwrap_or(directory);
            }
        }
        let lists = directory.live_lists().len();
        let bytes = store.page_count().unwrap() as usize * 8192 / ROWS;
        assert_eq!(futile, 0, "{splits} splits");
        assert!(ROWS / lists > 1200, "{lists} lists");
        assert!(bytes < 2 * directory.encoder.shape.row.bytes, "{bytes} bytes a row");
        assert!(check(&store, &mut |_| Ok(())).unwrap().is_empty());
    }
}

/// While a split works rows go on coming into its lists, and new TIDs of rows that it has read: all are in the new
/// ones.
#[test]
fn rows_come_while_a_split_works() {
    let mut pair = Pair::new(&plan(64, Metric::InnerProduct, false));
    let mut fresh = clustered(40_000, 64, true, 8).into_iter();
    for vector in fresh.by_ref().take(12_000) {
        pair.insert(Some(vector), false);
    }
    let (mut came, mut splits) = (0, 0);
    while splits < 6 {
        pair.refresh();
        let Pair { store, directory, model, next } = &mut pair;
        let mut add = |vector: Vec<f16>, unchanged| {
            let tid = *next;
            *next += 0x10000;
            let inserted = insert(store, directory, tid, &vector, unchanged).unwrap();
            assert_ne!(inserted, Inserted::Stale);
            (inserted, tid, vector)
        };
        let (inserted, tid, vector) = add(fresh.next().unwrap(), false);
        model.insert(tid, vector);
        let (Inserted::Full(list) | Inserted::Overfull(list)) = inserted else { continue };
        store.tick();
        let (mut asked, mut more) = (0, BTreeMap::new());
        let mut vectors = |of: Tid| {
            asked += 1;
            // Nobody may insert any more once the split has but a few rows to fetch.
            let may_insert = store.try_lock_list(list, ListLock::Shared).unwrap().is_some();
            if asked % 10 == 0 && may_insert {
                let (_, tid, vector) = match model.get(&of) {
                    Some(vector) if asked % 20 == 0 => add(vector.clone(), true),
                    _ => add(fresh.next().unwrap(), false),
                };
                more.insert(tid, vector);
            }
            let vector = model.get(&of).or(more.get(&of));
            Ok(vector.filter(|_| of >> 16 & 3 != 0).cloned())
        };
        splits += usize::from(split(store, directory, list, false, &mut vectors).unwrap());
        came += more.len();
        model.append(&mut more);
        pair.verify();
    }
    assert!(came > 2000, "only {came} rows came while splits worked");
}

/// Where lists that are nearly full lie side by side one split makes room in all of them.
#[test]
fn a_split_makes_as_many_lists_as_its_rows_need() {
    let vectors = clustered(12_000, 64, true, 3);
    let mut rows = numbered(vectors);
    let mut more = rows.split_off(&(120 << 16));
    let (store, directory) = built(&rows, &plan(64, Metric::InnerProduct, false), 3);
    assert_eq!(directory.live_lists().len(), 3);
    while let Some((tid, vector)) = more.pop_first() {
        let inserted = insert(&store, &directory, tid, &vector, false).unwrap();
        rows.insert(tid, vector);
        if let Inserted::Full(list) | Inserted::Overfull(list) = inserted {
            let mut vectors = |tid: Tid| Ok(rows.get(&tid).cloned());
            assert!(split(&store, &directory, list, false, &mut vectors).unwrap());
            break;
        }
    }
    let lists = info(&store).unwrap().lists as usize;
    assert!(rows.len() > 6000 && rows.len() <= 1400 * lists, "{} rows, {lists} lists", rows.len());
}

/// A row does not wait for the nearest list while another holds that; an update finds it where it is.
#[test]
fn an_insert_takes_the_next_list_while_the_nearest_is_held() {
    let mut pair = Pair::new(&plan(64, Metric::InnerProduct, false));
    for vector in clustered(15_000, 64, true, 5) {
        pair.insert(Some(vector), false);
    }
    pair.verify();
    let vector = clustered(1, 64, true, 6).remove(0);
    let coarse = pair.directory.encoder.coarse(&vector);
    let ranked = pair.directory.ranked(&coarse, 4).into_iter().map(|(_, list)| list);
    let [first, second, third, fourth] = ranked.collect::<Vec<_>>()[..] else {
        panic!("fewer than four lists")
    };
    let has = |pair: &Pair, list, tid| {
        let chain = pair.directory.chain(list);
        let members =
            read_members(&pair.store, &pair.directory, chain, usize::MAX, &|_| true).unwrap();
        members.into_iter().any(|member| member.tids.contains(&tid))
    };
    for (held, expected) in [
        (vec![], first),
        (vec![first], second),
        (vec![first, second], third),
        // Further ones an update does not look into: it waits.
        (vec![first, second, third], first),
        (vec![second, fourth], first),
    ] {
        pair.store.hold(&held);
        let tid = pair.insert(Some(vector.clone()), false);
        pair.store.hold(&[]);
        let updated = pair.insert(Some(vector.clone()), true);
        assert!(has(&pair, expected, tid), "with {held:?} held");
        assert!([first, second, third].into_iter().any(|list| has(&pair, list, updated)));
        assert!(!has(&pair, fourth, updated));
        pair.delete(&BTreeSet::from([tid, updated]));
    }
    // An update that leaves the vector waits for none either: it gets a code of its own.
    pair.insert(Some(vector.clone()), false);
    pair.store.hold(&[first]);
    let updated = pair.insert(Some(vector.clone()), true);
    pair.store.hold(&[]);
    assert!(!has(&pair, first, updated) && has(&pair, second, updated));
    pair.verify();
}

/// A flipped bit anywhere is an error or goes unnoticed; nothing panics or hangs.
#[test]
fn damage_is_an_error_or_goes_unnoticed() {
    let mut random = Random(3);
    let vectors = clustered(2000, 96, true, 6);
    let mut errors = 0;
    for _ in 0..300 {
        let rows = numbered(vectors.clone());
        let (store, directory) = built(&rows, &plan(96, Metric::InnerProduct, false), 4);
        let page = random.below(store.page_count().unwrap() as usize) as u32;
        store.damage(page, random.below(400), 1 << random.below(8));
        let query = vectors[random.below(vectors.len())].clone();
        let mut scan = mrl_index::scan::Scan::new(directory, &query, Steering::default());
        let mut exact = Exact { metric: Metric::InnerProduct, query: &query, rows: &rows };
        loop {
            match scan.next(&store, &mut exact) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => {
                    errors += 1;
                    break;
                }
            }
        }
        errors += usize::from(bulk_delete(&store, &mut |tid| tid % 7 == 0).is_err());
        errors += usize::from(clean_up(&store).is_err());
        errors += usize::from(check(&store, &mut |_| Ok(())).is_err());
    }
    assert!(errors > 10, "only {errors} of the damages were seen");
}
