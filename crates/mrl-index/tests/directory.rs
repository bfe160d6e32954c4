//! A copy of the directory is of one moment, whatever changes while it is read.

mod common;

use common::*;
use mrl_index::lists::directory::Directory;
use mrl_index::pages::memory::MemoryStore;
use mrl_index::pages::meta::{META_PAGE, Metric, State};
use mrl_index::split::split;

/// Splits the list that is live and has the least id.
fn split_first(store: &MemoryStore) {
    let directory = Directory::read(store).unwrap();
    let list = directory.live_lists()[0];
    assert!(split(store, &directory, list, false, &mut |_| Ok(None)).unwrap());
}

#[test]
fn a_copy_that_is_read_during_splits_has_all_live_lists() {
    let rows = numbered(clustered(20_000, 16, true, 2));
    let (store, former) = built(&rows, &plan(16, Metric::InnerProduct, false), 10);
    let live = || Directory::read(&store).unwrap().live_lists().to_vec();
    for splits in 1..3 {
        // Between the meta page and the entries.
        store.interrupt(META_PAGE, splits, split_first);
        let read = Directory::read(&store).unwrap();
        assert_eq!(read.live_lists(), live());
        assert!(read.entries.iter().any(|entry| entry.state == State::Retired));
        store.interrupt(META_PAGE, splits, split_first);
        let refreshed = former.refreshed(&store).unwrap().unwrap();
        assert_eq!(refreshed.live_lists(), live());
    }
}
