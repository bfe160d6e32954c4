//! Work on an index in a process that gets no memory from some allocation on, the first, the second and so on:
//! it ends with an error, or well; never with the process; and the index is sound afterwards.
//!
//! One test in one thread: the allocator is the process's.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use common::*;
use half::f16;
use mrl_index::build::{Plan, build, create_empty, frames};
use mrl_index::check::check;
use mrl_index::info::info;
use mrl_index::insert::{Inserted, insert, insert_reference};
use mrl_index::lists::directory::Directory;
use mrl_index::pages::group::Tid;
use mrl_index::pages::memory::MemoryStore;
use mrl_index::pages::meta::{Metric, NULLS};
use mrl_index::pages::page::BODY_BYTES;
use mrl_index::pages::store::Failure;
use mrl_index::scan::{Scan, Steering, Wanted, every_tid};
use mrl_index::split::split;
use mrl_index::threads::workers::Workers;
use mrl_index::vacuum::{bulk_delete, clean_up};
use mrl_memory::{Allocator, OutOfMemory, is_short, push};

/// The system's allocator, until so many more allocations have been made. Pages are not counted: here they
/// are the disk.
struct Limited;

static LEFT: AtomicI64 = AtomicI64::new(i64::MAX);

// SAFETY: the system's allocator, or null.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let is_page = (BODY_BYTES..=BODY_BYTES + 16).contains(&layout.size());
        if !is_page && LEFT.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(pointer, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Allocator<Limited> = Allocator::new(Limited);

/// Does work with memory for one allocation, two, and so on, each time a few more, until it ends well; calls
/// `after` each time. Returns what the work that ended well did and how many did not.
fn until_it_ends_well<T>(
    mut work: impl FnMut() -> Result<T, Failure>,
    mut after: impl FnMut(),
) -> (T, usize) {
    let (mut allocations, mut failures) = (0, 0);
    loop {
        LEFT.store(allocations, Ordering::Relaxed);
        let result = work();
        LEFT.store(i64::MAX, Ordering::Relaxed);
        match result {
            Ok(value) => return (value, failures),
            Err(Failure::OutOfMemory(_)) => failures += 1,
            Err(Failure::Damage(damage)) => panic!("after {allocations} allocations: {damage}"),
        }
        // A thread that has ended may give back what is its own a moment later.
        let start = Instant::now();
        while is_short() {
            assert!(start.elapsed().as_secs() < 10, "something is left in the reserve");
            std::thread::yield_now();
        }
        after();
        allocations += allocations / 8 + 1;
    }
}

/// The TIDs in an index that nothing is wrong with.
fn sound(store: &MemoryStore) -> BTreeSet<Tid> {
    let mut tids = Vec::new();
    assert_eq!(check(store, &mut |tid| push(&mut tids, tid)).unwrap(), Vec::<String>::new());
    tids.into_iter().collect()
}

const ROWS: Tid = 6000;
const PAGES: usize = 100_000;

fn tid(number: Tid) -> Tid {
    (number / 50) << 16 | (number % 50 + 1)
}

/// The inverse.
fn number_of(tid: Tid) -> usize {
    ((tid >> 16) * 50 + (tid & 0xffff) - 1) as usize
}

#[test]
fn no_memory() {
    for (dimensions, metric, copies) in
        [(256, Metric::InnerProduct, false), (96, Metric::Euclidean, true)]
    {
        let plan = plan(dimensions, metric, copies);
        let vectors = clustered(ROWS as usize, dimensions, true, 5);
        centres(&plan, &vectors);
        builds(&plan, &vectors);
        grows_and_shrinks(&plan, &vectors);
    }
}

/// Scans of the rows inserted, to the end, and of all TIDs.
fn scans(store: &MemoryStore, plan: &Plan, vectors: &[Vec<f16>]) {
    let rows = (0..).map(tid).zip(vectors.iter().cloned()).collect();
    let query = &vectors[7];
    let directory = Rc::new(Directory::read(store).unwrap());
    let work = || {
        let mut exact = Exact { metric: plan.metric, query, rows: &rows };
        let mut scan = Scan::new(directory.clone(), query, Steering::default());
        let mut found = 0;
        while scan.next(store, &mut exact)?.is_some() {
            found += 1;
        }
        Ok(found)
    };
    let (found, failures) = until_it_ends_well(work, || ());
    assert_eq!(found, vectors.len());
    assert!(failures > 20);
    let (tids, failures) = until_it_ends_well(|| every_tid(store, &directory, Wanted::All), || ());
    assert_eq!(tids.len(), vectors.len());
    assert!(failures > 5);
}

/// The centres of a build, by threads.
fn centres(plan: &Plan, vectors: &[Vec<f16>]) {
    let sample: Vec<f16> = vectors.concat();
    let expected = frames(plan, &sample, 10, &Workers::single()).unwrap();
    let workers = Workers { threads: 3, ..Workers::single() };
    let work = || frames(plan, &sample, 10, &workers).ok_or(OutOfMemory { bytes: 0 }.into());
    let (found, failures) = until_it_ends_well(work, || ());
    assert_eq!(found, expected);
    assert!(failures > 5);
}

fn builds(plan: &Plan, vectors: &[Vec<f16>]) {
    let vectors: Vec<_> = (0..).map(tid).zip(vectors.iter().cloned()).collect();
    let mut last = None;
    let work = || {
        // The storage's own table, which is no memory of the index's.
        let left = LEFT.swap(i64::MAX, Ordering::Relaxed);
        let store = last.insert(MemoryStore::with_room(PAGES));
        LEFT.store(left, Ordering::Relaxed);
        build(store, plan, &vectors, 5).map(drop)
    };
    let ((), failures) = until_it_ends_well(work, || ());
    assert!(failures > 20);
    assert_eq!(last.map(|store| sound(&store).len()), Some(vectors.len()));
}

fn grows_and_shrinks(plan: &Plan, vectors: &[Vec<f16>]) {
    let store = MemoryStore::with_room(PAGES);
    create_empty(&store, plan).unwrap();
    let mut rows = BTreeSet::new();
    let (mut lists_split, mut failures) = (0, 0);
    for (tid, vector) in (0..).map(tid).zip(vectors) {
        let mut add = || -> Result<(), Failure> {
            let directory = Directory::read(&store)?;
            if let Inserted::Full(list) | Inserted::Overfull(list) =
                insert(&store, &directory, tid, vector, false)?
            {
                lists_split += usize::from(split(&store, &directory, list, false, &mut |_| {
                    Ok(Some(vector.clone()))
                })?);
            }
            Ok(())
        };
        if rows.len() % 400 != 0 {
            add().unwrap();
            rows.insert(tid);
            continue;
        }
        let mut allocations = 0;
        while !rows.contains(&tid) {
            LEFT.store(allocations, Ordering::Relaxed);
            let added = add();
            LEFT.store(i64::MAX, Ordering::Relaxed);
            assert!(!is_short());
            assert!(matches!(added, Ok(()) | Err(Failure::OutOfMemory(_))), "{added:?}");
            failures += usize::from(added.is_err());
            let found = sound(&store);
            // The row of an insert that failed may be there: its transaction would be rolled back.
            if added.is_ok() || found.contains(&tid) {
                rows.insert(tid);
            }
            assert_eq!(found, rows);
            allocations += allocations / 8 + 1;
        }
    }
    assert!(failures > 20 && lists_split > 0, "{failures} failures, {lists_split} splits");
    assert_eq!(sound(&store), rows);
    scans(&store, plan, vectors);
    // Splits by themselves.
    let directory = Directory::read(&store).unwrap();
    let list = directory.live_lists()[0];
    let (_, failures) = until_it_ends_well(
        || {
            split(&store, &Directory::read(&store)?, list, false, &mut |tid| {
                Ok(vectors.get(number_of(tid)).cloned())
            })
        },
        || assert_eq!(sound(&store), rows),
    );
    assert!(failures > 5);
    // Rows without vectors, and their end.
    for number in ROWS..ROWS + 3000 {
        insert_reference(&store, &Directory::read(&store).unwrap(), NULLS, tid(number)).unwrap();
        rows.insert(tid(number));
    }
    let (_, failures) = until_it_ends_well(|| info(&store), || ());
    assert!(failures > 5);
    let find = || {
        let mut tids = Vec::new();
        let problems = check(&store, &mut |tid| push(&mut tids, tid))?;
        assert_eq!(problems, Vec::<String>::new());
        Ok(tids.len())
    };
    let (found, failures) = until_it_ends_well(find, || ());
    assert_eq!(found, rows.len());
    assert!(failures > 20);
    let is_dead = |tid: Tid| !tid.is_multiple_of(7);
    let (_, failures) = until_it_ends_well(
        || bulk_delete(&store, &mut |tid| is_dead(tid)),
        || {
            assert!(
                sound(&store).is_superset(&rows.iter().copied().filter(|t| !is_dead(*t)).collect())
            )
        },
    );
    assert!(failures > 5);
    rows.retain(|tid| !is_dead(*tid));
    assert_eq!(sound(&store), rows);
    store.tick();
    let (_, failures) = until_it_ends_well(|| clean_up(&store), || assert_eq!(sound(&store), rows));
    assert!(failures > 5);
    assert_eq!(sound(&store), rows);
}
