//! Builds with more rows than their memory has room for.

mod common;

use std::collections::BTreeSet;

use common::*;
use mrl_index::build::spill::MemorySpill;
use mrl_index::build::{Builder, frames};
use mrl_index::check::check;
use mrl_index::codes::records::wide;
use mrl_index::lists::directory::Directory;
use mrl_index::pages::group::Group;
use mrl_index::pages::memory::MemoryStore;
use mrl_index::pages::meta::Metric;
use mrl_index::pages::walk::Chain;
use mrl_index::threads::workers::Workers;

/// How far the rows of a block lie from their mean, on the average over blocks.
fn mean_spread(store: &MemoryStore) -> f32 {
    let directory = Directory::read(store).unwrap();
    let (shape, mut room) = (&directory.encoder.shape, Vec::new());
    let (mut sum, mut count) = (0.0, 0);
    for list in directory.live_lists() {
        let head = directory.entries[*list as usize].head;
        let mut groups = Chain { list: *list, head }.groups();
        while let Some((page, body)) = groups.next(store).unwrap() {
            let group = Group::new(&body, page, *list, shape).unwrap();
            for block in 0..group.blocks() {
                let summaries = group.summaries(block / shape.summary_lanes, &mut room);
                sum += wide(summaries.spreads()[block % shape.summary_lanes]);
                count += 1;
            }
        }
    }
    sum / count as f32
}

/// With memory for a tenth of the rows the index is whole, and blocks are as good as with all of it: they are formed of
/// all rows of a list.
#[test]
fn a_build_with_little_memory() {
    for copies in [false, true] {
        let rows = numbered(clustered(12_000, 40, true, 5));
        let plan = plan(40, Metric::InnerProduct, copies);
        let sample: Vec<_> = rows.values().take(2000).flatten().copied().collect();
        let frames = frames(&plan, &sample, 24, &Workers::single()).unwrap();
        let built = |memory| {
            let store = MemoryStore::new();
            let (spill, workers) = (MemorySpill::default(), Workers::single());
            let frames = frames.clone();
            let mut builder = Builder::new(&store, &plan, frames, memory, spill, workers).unwrap();
            let assigner = builder.assigner().unwrap();
            for (tid, vector) in &rows {
                builder.add(assigner.encode(&[*tid], vector).unwrap()).unwrap();
            }
            builder.finish().unwrap();
            store
        };
        let store = built(if copies { 120_000 } else { 40_000 });
        let (little, ample) = (mean_spread(&store), mean_spread(&built(usize::MAX)));
        assert!((little / ample - 1.0).abs() < 0.01, "{little} instead of {ample}");
        let mut found = BTreeSet::new();
        let mut visit = |tid| {
            found.insert(tid);
            Ok(())
        };
        let problems = check(&store, &mut visit).unwrap();
        assert_eq!(problems, Vec::<String>::new());
        assert!(found.iter().eq(rows.keys()));
    }
}
