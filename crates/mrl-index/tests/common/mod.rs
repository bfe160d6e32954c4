//! What the tests of the whole index share: vectors, exact distances, a reranker that knows them all.

#![allow(dead_code)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use half::f16;
use mrl_index::build::{Plan, build, create_empty};
use mrl_index::insert::{Inserted, insert};
use mrl_index::lists::directory::Directory;
use mrl_index::pages::group::Tid;
use mrl_index::pages::memory::MemoryStore;
use mrl_index::pages::meta::Metric;
use mrl_index::pages::store::Failure;
use mrl_index::scan::{Counters, Reranker, Scan, Steering, Workspace};
use mrl_index::split::split;

/// SplitMix64 and what is made of it.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f32 {
        let (radius, angle) =
            ((-2.0 * self.uniform().ln()).sqrt(), std::f64::consts::TAU * self.uniform());
        (radius * angle.cos()) as f32
    }
}

/// Vectors in clusters, the leading components the stronger; of length 1 where asked.
pub fn clustered(count: usize, dimensions: usize, unit: bool, seed: u64) -> Vec<Vec<f16>> {
    let mut random = Random(seed);
    let scale: Vec<f32> = (0..dimensions).map(|i| (1.0 + i as f32).powf(-0.55)).collect();
    let mut draw =
        |spread: f32| -> Vec<f32> { scale.iter().map(|s| spread * s * random.normal()).collect() };
    let centres: Vec<_> = (0..(count / 100).max(4)).map(|_| draw(1.0)).collect();
    (0..count)
        .map(|i| {
            let noise = draw(0.7);
            let vector: Vec<f32> =
                centres[i % centres.len()].iter().zip(noise).map(|(c, n)| c + n).collect();
            let length = if unit { vector.iter().map(|x| x * x).sum::<f32>().sqrt() } else { 1.0 };
            vector.iter().map(|x| f16::from_f32(x / length)).collect()
        })
        .collect()
}

pub fn plan(dimensions: usize, metric: Metric, copies: bool) -> Plan {
    Plan { build: 7, seed: 3, dimensions, coarse_dimensions: dimensions.min(64), metric, copies }
}

/// The distance that SQL's operators give, in f64.
pub fn distance(metric: Metric, row: &[f16], query: &[f16]) -> f64 {
    let shared = query.len().min(row.len());
    let pairs = || {
        row[..shared].iter().zip(query).map(|(a, b)| (f64::from(a.to_f32()), f64::from(b.to_f32())))
    };
    let dot: f64 = pairs().map(|(a, b)| a * b).sum();
    let row_length = pairs().map(|(a, _)| a * a).sum::<f64>().sqrt();
    let query_length = pairs().map(|(_, b)| b * b).sum::<f64>().sqrt();
    match metric {
        Metric::InnerProduct if query.len() < row.len() => {
            -dot / if row_length > 0.0 { row_length } else { 1.0 }
        }
        Metric::InnerProduct => -dot,
        Metric::Cosine => 1.0 - dot / (row_length * query_length),
        Metric::Euclidean => pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt(),
    }
}

/// Knows every row's vector.
pub struct Exact<'a> {
    pub metric: Metric,
    pub query: &'a [f16],
    pub rows: &'a BTreeMap<Tid, Vec<f16>>,
}

impl Reranker for Exact<'_> {
    type Error = Failure;
    fn row(&mut self, tid: Tid) -> Result<Option<f64>, Failure> {
        Ok(self.rows.get(&tid).map(|row| distance(self.metric, row, self.query)))
    }
    fn vector(&mut self, vector: &[f16]) -> Result<f64, Failure> {
        Ok(distance(self.metric, vector, self.query))
    }
}

thread_local! {
    static WORKSPACE: Cell<Workspace> = Cell::default();
}

/// The first `count` rows of a scan.
pub fn first(
    store: &MemoryStore,
    directory: &Rc<Directory>,
    rows: &BTreeMap<Tid, Vec<f16>>,
    query: &[f16],
    steering: Steering,
    count: usize,
) -> (Vec<Tid>, Counters) {
    let mut exact = Exact { metric: directory.meta.metric, query, rows };
    // The memory of whatever scan came before.
    let workspace = WORKSPACE.take();
    let mut scan = Scan::with_workspace(directory.clone(), query, steering, workspace);
    let mut found = Vec::new();
    while found.len() < count {
        match scan.next(store, &mut exact).unwrap() {
            Some(tid) => found.push(tid),
            None => break,
        }
    }
    let counters = scan.counters;
    WORKSPACE.set(scan.into_workspace());
    (found, counters)
}

/// The nearest rows by their exact distances, ties by TID; those without a distance last.
pub fn nearest(
    rows: &BTreeMap<Tid, Vec<f16>>,
    metric: Metric,
    query: &[f16],
    count: usize,
) -> Vec<Tid> {
    let mut all: Vec<(f64, Tid)> =
        rows.iter().map(|(tid, row)| (distance(metric, row, query), *tid)).collect();
    let nan = |distance: f64| distance.is_nan();
    all.sort_by(|a, b| nan(a.0).cmp(&nan(b.0)).then(a.0.total_cmp(&b.0)).then(a.1.cmp(&b.1)));
    all.into_iter().take(count).map(|(_, tid)| tid).collect()
}

/// An index over rows.
pub fn built(
    rows: &BTreeMap<Tid, Vec<f16>>,
    plan: &Plan,
    lists: usize,
) -> (MemoryStore, Rc<Directory>) {
    let store = MemoryStore::new();
    let vectors: Vec<(Tid, Vec<f16>)> = rows.iter().map(|(tid, row)| (*tid, row.clone())).collect();
    let directory = build(&store, plan, &vectors, lists).unwrap();
    (store, Rc::new(directory))
}

/// An index that began empty, with rows inserted one after another.
pub fn grown(rows: &BTreeMap<Tid, Vec<f16>>, plan: &Plan) -> (MemoryStore, Rc<Directory>) {
    let store = MemoryStore::new();
    create_empty(&store, plan).unwrap();
    let mut directory = Directory::read(&store).unwrap();
    for (tid, vector) in rows {
        if let Inserted::Full(list) | Inserted::Overfull(list) =
            insert(&store, &directory, *tid, vector, false).unwrap()
        {
            store.tick();
            split(&store, &directory, list, false, &mut |tid| Ok(rows.get(&tid).cloned())).unwrap();
            directory = directory.refreshed(&store).unwrap().unwrap_or(directory);
        }
    }
    (store, Rc::new(directory))
}

/// Rows numbered like TIDs: page and offset.
pub fn numbered(vectors: Vec<Vec<f16>>) -> BTreeMap<Tid, Vec<f16>> {
    vectors
        .into_iter()
        .enumerate()
        .map(|(i, vector)| ((i as u64 / 50) << 16 | (i as u64 % 50 + 1), vector))
        .collect()
}
