//! What writing and running the fuzz targets found, each once: it stays mended.

mod common;

use std::sync::mpsc;
use std::time::Duration;

use common::*;
use half::f16;
use mrl_index::codes::block::ROWS;
use mrl_index::info::info;
use mrl_index::insert::{insert, insert_reference};
use mrl_index::lists::directory::Directory;
use mrl_index::pages::group::{self, MOST_REFERENCES};
use mrl_index::pages::memory::MemoryStore;
use mrl_index::pages::meta::{FIRST_LIST, META_PAGE, Metric, NULLS};
use mrl_index::pages::page::{self, Body, PageNumber};
use mrl_index::pages::store::{Failure, PageStore};
use mrl_index::scan::{Epsilon, Probes, Steering};

/// Does a piece of work that damage might keep from ever ending.
fn ends<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(Duration::from_secs(20)).expect("the work panics or has no end")
}

/// An index of one list, and its list's head.
fn one_list(rows: usize) -> (MemoryStore, Directory, PageNumber) {
    let rows = numbered(clustered(rows, 8, true, 1));
    let (store, directory) = built(&rows, &plan(8, Metric::InnerProduct, false), 1);
    let head = directory.entries[FIRST_LIST as usize].head;
    (store, (*directory).clone(), head)
}

fn change(store: &MemoryStore, page: PageNumber, change: impl FnOnce(&mut Body)) {
    let mut body = *store.read(page).unwrap();
    change(&mut body);
    store.write(Some(page), &body).unwrap();
}

/// A scale that is no number makes a score that is none: the row is looked at all the same.
#[test]
fn a_row_with_a_score_that_is_no_number_comes_with_exact_settings() {
    let rows = numbered(clustered(40, 64, true, 3));
    let (store, directory) = built(&rows, &plan(64, Metric::InnerProduct, false), 1);
    let head = directory.entries[FIRST_LIST as usize].head;
    let shape = &directory.encoder.shape;
    let rows_page =
        group::Group::new(&store.read(head).unwrap(), head, FIRST_LIST, shape).unwrap().row_page(0);
    // The scale of layer 0 of the first row of the first block.
    let scale = mrl_index::pages::shape::ROW_PAGE_START
        + ROWS * (shape.row.bytes - shape.row.record_bytes() + shape.row.code_bytes(0));
    change(&store, rows_page, |body| page::put(body, scale, &half::bf16::NAN.to_le_bytes()));
    let query = vec![half::f16::ONE; 64];
    for epsilon in [Epsilon::Exact, Epsilon::Auto] {
        let steering = Steering { probes: Probes::All, epsilon, ..Steering::default() };
        let (found, _) = first(&store, &directory, &rows, &query, steering, usize::MAX);
        assert_eq!(found.len(), 40);
    }
}

fn problem<T>(result: Result<T, Failure>) -> Option<String> {
    result.err().map(|failure| failure.to_string())
}

#[test]
fn what_an_index_consists_of_is_counted_to_an_end() {
    let found = ends(|| {
        let (store, _, head) = one_list(100);
        change(&store, head, |body| page::set_next(body, head));
        (problem(info(&store)), format!("block {head}: a chain of pages has no end"))
    });
    assert_eq!(found.0, Some(found.1));
}

#[test]
fn a_search_for_an_equal_row_ends() {
    let found = ends(|| {
        let (store, directory, head) = one_list(100);
        change(&store, head, |body| page::set_next(body, head));
        let vector = vec![f16::ONE; 8];
        let inserted = insert(&store, &directory, 1 << 40 | 1, &vector, true);
        (problem(inserted), format!("block {head}: a chain of pages has no end"))
    });
    assert_eq!(found.0, Some(found.1));
}

#[test]
fn a_search_for_a_free_slot_ends() {
    let found = ends(|| {
        let group_rows = one_list(1).1.encoder.shape.group_rows;
        let (store, directory, head) = one_list(group_rows);
        change(&store, head, |body| {
            group::set_open(body, head);
            group::set_next_open(body, head);
        });
        let vector = vec![f16::ONE; 8];
        let inserted = insert(&store, &directory, 1 << 40 | 1, &vector, false);
        (problem(inserted), format!("block {head}: a stack of groups has no end"))
    });
    assert_eq!(found.0, Some(found.1));
}

#[test]
fn a_search_for_room_for_a_reference_ends() {
    let found = ends(|| {
        let (store, directory, _) = one_list(1);
        for tid in 1..=MOST_REFERENCES as u64 {
            insert_reference(&store, &directory, NULLS, tid).unwrap();
        }
        let head = directory.entries[NULLS as usize].head;
        let open = {
            let body = store.read(head).unwrap();
            group::Group::new(&body, head, NULLS, &directory.encoder.shape).unwrap().references()
        };
        change(&store, open, |body| group::set_references_next_open(body, open));
        let inserted = insert_reference(&store, &directory, NULLS, 1 << 40 | 1);
        (problem(inserted), format!("block {open}: a stack of references has no end"))
    });
    assert_eq!(found.0, Some(found.1));
}

/// A session knows the directory; then the meta page says that the vectors have other dimensions.
#[test]
fn a_directory_is_not_brought_up_to_date_across_dimensions() {
    let (store, directory, _) = one_list(100);
    for dimensions in [9_u16, 200] {
        change(&store, META_PAGE, |body| page::put(body, 44, &dimensions.to_le_bytes()));
        let newer = directory.refreshed(&store).unwrap().unwrap();
        let dimensions = usize::from(dimensions);
        assert_eq!(newer.encoder.shape.dimensions, dimensions);
        // Whatever it finds in pages of another shape.
        let _ = insert(&store, &newer, 1 << 40 | 1, &vec![f16::ONE; dimensions], true);
    }
}

/// A row may have no distance at some dimensions only: its prefix is zero. It comes last.
#[test]
fn rows_without_a_distance_come_last() {
    let one_at = |place: usize| -> Vec<f16> {
        (0..8).map(|i| f16::from_f32(if i == place { 1.0 } else { 0.0 })).collect()
    };
    let rows = numbered((0..8).map(one_at).collect());
    let (store, directory) = built(&rows, &plan(8, Metric::Cosine, false), 1);
    let exact = Steering { probes: Probes::All, epsilon: Epsilon::Exact, ..Steering::default() };
    let query = [1.0, 0.5, 0.25].map(f16::from_f32);
    let (found, _) = first(&store, &directory, &rows, &query, exact, 8);
    let tids: Vec<u64> = rows.into_keys().collect();
    assert_eq!(found[..3], tids[..3]);
    assert_eq!(found.len(), 8);
}
