//! Rows without distances, as many as there may be: read and cleaned beside those that add some.

mod common;

use std::cell::Cell;
use std::collections::BTreeSet;

use common::*;
use half::f16;
use mrl_index::check::check;
use mrl_index::insert::{Inserted, insert, insert_reference};
use mrl_index::pages::group::{MOST_REFERENCES, Tid};
use mrl_index::pages::meta::{FIRST_LIST, Metric, NULLS};
use mrl_index::pages::store::PageStore;
use mrl_index::scan::{Scan, Steering, Wanted};
use mrl_index::split::split;
use mrl_index::vacuum::{Deleted, bulk_delete, clean_up};

fn tid(number: u64) -> Tid {
    number << 16 | 1
}

/// Four pages of them, and a bit.
const NULL_ROWS: u64 = 4 * MOST_REFERENCES as u64 + 10;

/// Who inserts is let in while vacuum asks which rows are dead: of a table most of which waits for its vectors that
/// takes long.
#[test]
fn rows_come_while_dead_ones_are_taken_out() {
    let rows = numbered(clustered(50, 8, true, 1));
    let (store, directory) = built(&rows, &plan(8, Metric::InnerProduct, false), 1);
    let add = |number| insert_reference(&store, &directory, NULLS, tid(number)).unwrap();
    (1000..1000 + NULL_ROWS).for_each(add);
    let asked = Cell::new(0u64);
    let mut is_dead = |asked_for: Tid| {
        if asked_for >= tid(1000) {
            asked.set(asked.get() + 1);
            if asked.get().is_multiple_of(7) {
                add(1_000_000 + asked.get());
            }
        }
        (tid(1000)..tid(1_000_000)).contains(&asked_for) && asked_for >> 16 & 1 == 0
    };
    let deleted = bulk_delete(&store, &mut is_dead).unwrap();
    let Deleted { removed, kept } = deleted;
    assert_eq!(removed, NULL_ROWS / 2);
    let added = asked.get() / 7;
    assert!(added > 500 && kept >= 50 + NULL_ROWS / 2, "{added} came, {kept} were kept");
    let mut tids = BTreeSet::new();
    let problems = check(&store, &mut |tid| {
        tids.insert(tid);
        Ok(())
    });
    assert_eq!(problems.unwrap(), [""; 0]);
    let living = (1000..1000 + NULL_ROWS).filter(|number| number % 2 == 1).map(tid);
    let came = (1..=added).map(|i| tid(1_000_000 + 7 * i));
    let expected: BTreeSet<Tid> = rows.keys().copied().chain(living).chain(came).collect();
    assert_eq!(tids, expected);
    // Their places are used again before pages are added.
    let before = store.page_count().unwrap();
    (2_000_000..2_000_000 + NULL_ROWS / 2 - 600).for_each(add);
    assert_eq!(store.page_count().unwrap(), before);
}

/// A scan takes a page at a time, and meets every row that was there when it began, whatever happens meanwhile.
#[test]
fn a_scan_meets_all_while_others_come_and_go() {
    let rows = numbered(clustered(50, 8, true, 1));
    let (store, directory) = built(&rows, &plan(8, Metric::InnerProduct, false), 1);
    let add = |number| insert_reference(&store, &directory, NULLS, tid(number)).unwrap();
    (1000..1000 + NULL_ROWS).for_each(add);
    let query = vec![f16::ZERO; 8];
    let steering = Steering { wanted: Wanted::OnlyNull, ..Steering::default() };
    let mut scan = Scan::new(directory.clone(), &query, steering);
    let mut exact = Exact { metric: Metric::InnerProduct, query: &query, rows: &rows };
    let mut found = Vec::new();
    while let Some(next) = scan.next(&store, &mut exact).unwrap() {
        found.push(next);
        if found.len() == 100 || found.len() == 3000 {
            // Dead to this scan too.
            bulk_delete(&store, &mut |tid| tid >> 16 >= 1000 && (tid >> 16) % 10 == 3).unwrap();
            clean_up(&store).unwrap();
            let first = 1_000_000 * found.len() as u64;
            (first..first + 2 * MOST_REFERENCES as u64).for_each(add);
        }
    }
    let unique: BTreeSet<Tid> = found.iter().copied().collect();
    assert_eq!(unique.len(), found.len(), "some came twice");
    let expected = (1000..1000 + NULL_ROWS).filter(|number| number % 10 != 3).map(tid);
    let missing: Vec<_> = expected.filter(|tid| !unique.contains(tid)).collect();
    assert_eq!(missing, [0; 0]);
}

/// A list of equal rows so long that a split could not hold it in memory is not read for one: it waits until it is as
/// long again.
#[test]
fn a_list_too_long_for_memory_is_left_as_it_is() {
    const DIMENSIONS: usize = 4000;
    // More than 256 MB, with all that a split knows of each.
    const EQUAL_ROWS: usize = 20_000;
    let vector: Vec<f16> = clustered(1, DIMENSIONS, true, 1).concat();
    let rows = numbered(vec![vector.clone(); EQUAL_ROWS]);
    let (store, directory) = built(&rows, &plan(DIMENSIONS, Metric::InnerProduct, false), 1);
    let full = (1..200).find(|i| {
        let inserted = insert(&store, &directory, tid(1_000_000 + i), &vector, false).unwrap();
        matches!(inserted, Inserted::Full(_) | Inserted::Overfull(_))
    });
    assert!(full.is_some());
    assert!(!split(&store, &directory, FIRST_LIST, false, &mut |_| Ok(None)).unwrap());
    let patience =
        directory.refreshed(&store).unwrap().unwrap().entries[FIRST_LIST as usize].patience;
    assert_eq!(patience, 4, "20,000 rows are more than 8 times 2,176, and less than 16 times");
    // What has lost most of its rows is written anew however long it was.
    let is_dead = |tid: Tid| tid >> 16 > 10;
    bulk_delete(&store, &mut { is_dead }).unwrap();
    clean_up(&store).unwrap();
    let written = directory.refreshed(&store).unwrap().unwrap();
    assert_ne!(written.live_lists(), directory.live_lists());
}

/// One as long whose rows differ is split.
#[test]
fn a_long_list_of_different_rows_is_split() {
    const DIMENSIONS: usize = 4000;
    let vectors = clustered(16_800, DIMENSIONS, true, 1);
    let vector = vectors[0].clone();
    let rows = numbered(vectors);
    let (store, directory) = built(&rows, &plan(DIMENSIONS, Metric::InnerProduct, false), 1);
    let full = (1..200).find(|i| {
        let inserted = insert(&store, &directory, tid(1_000_000 + i), &vector, false).unwrap();
        matches!(inserted, Inserted::Full(_) | Inserted::Overfull(_))
    });
    assert!(full.is_some());
    assert!(split(&store, &directory, FIRST_LIST, false, &mut |_| Ok(None)).unwrap());
    assert_eq!(directory.refreshed(&store).unwrap().unwrap().live_lists().len(), 2);
}
