//! Where a scan's time goes, without a server: queries over vectors in memory, with recall and counts.
//!
//! ```text
//! cargo bench -p mrl-index -- [--grown] [--short]               100,000 synthetic rows of 384 dimensions
//! cargo bench -p mrl-index -- vectors.npy [ROWS A LIST] [PROBES …]    halfs, one row a vector; the first
//!                                                               1,000 are kept out, 200 of them are queries
//! ```
//!
//! `--grown` inserts the rows one by one into an empty index; `--short` asks with queries of 64 dimensions.

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Instant;

use common::*;
use half::f16;
use mrl_index::build::ROWS_A_LIST;
use mrl_index::pages::meta::Metric;
use mrl_index::pages::store::{Failure, PageStore};
use mrl_index::scan::{Epsilon, Probes, Reranker, Scan, Steering};

const QUERIES: usize = 200;
const KEPT_OUT: usize = 1000;
const WANTED: usize = 10;

/// Knows all vectors, in the order of their TIDs.
struct Memory<'a> {
    vectors: &'a [Vec<f16>],
    query: &'a [f16],
    /// When the scan first asked for one.
    first_asked: Option<Instant>,
}

impl Reranker for Memory<'_> {
    type Error = Failure;
    fn row(&mut self, tid: u64) -> Result<Option<f64>, Failure> {
        self.first_asked.get_or_insert_with(Instant::now);
        self.vector(&self.vectors[index_of(tid)]).map(Some)
    }
    fn vector(&mut self, vector: &[f16]) -> Result<f64, Failure> {
        Ok(-f64::from(product(vector, self.query)))
    }
}

/// The inner product with a row, or with its prefix of length 1.
fn product(row: &[f16], query: &[f16]) -> f32 {
    let prefix = &row[..query.len()];
    let length =
        if row.len() == query.len() { 1.0 } else { mrl_kernels::squared_norm(prefix).sqrt() };
    mrl_kernels::dot(prefix, query) / length
}

/// The inverse of [`numbered`].
fn index_of(tid: u64) -> usize {
    (tid >> 16) as usize * 50 + (tid & 0xffff) as usize - 1
}

/// The rows of a NumPy file of halfs.
fn read_npy(path: &str) -> Vec<Vec<f16>> {
    let bytes = std::fs::read(path).expect("the file of vectors can be read");
    let header_bytes = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + header_bytes]).expect("a NumPy file");
    assert!(header.contains("'<f2'") && header.contains("False"), "halfs, row after row: {header}");
    let shape = header.split(['(', ')']).nth(1).expect("a shape");
    let dimensions: usize = shape.split(',').nth(1).expect("two axes").trim().parse().unwrap();
    let halfs = bytes[10 + header_bytes..].as_chunks().0;
    let halfs: Vec<f16> = halfs.iter().map(|half| f16::from_le_bytes(*half)).collect();
    halfs.chunks_exact(dimensions).map(<[f16]>::to_vec).collect()
}

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let mut vectors = match arguments.first() {
        Some(path) => read_npy(path),
        None => clustered(100_000 + KEPT_OUT, 384, true, 1),
    };
    let rows = vectors.split_off(KEPT_OUT);
    let dimensions = rows[0].len();
    let number = |i: usize, default| arguments.get(i).map_or(default, |text| text.parse().unwrap());
    let lists = rows.len().div_ceil(number(1, ROWS_A_LIST));
    let mut plan = plan(dimensions, Metric::InnerProduct, false);
    plan.coarse_dimensions = dimensions.min(384);
    let start = Instant::now();
    let has = |option: &str| std::env::args().any(|argument| argument == option);
    let (store, directory) = match has("--grown") {
        true => grown(&numbered(rows.clone()), &plan),
        false => built(&numbered(rows.clone()), &plan, lists),
    };
    println!(
        "{} rows in {} lists, {:.1} bytes a row, {:.1} s",
        rows.len(),
        directory.live_lists().len(),
        f64::from(store.page_count().unwrap()) * 8192.0 / rows.len() as f64,
        start.elapsed().as_secs_f64()
    );

    let asked = if has("--short") { 64 } else { dimensions };
    let queries: Vec<&[f16]> = vectors.iter().take(QUERIES).map(|row| &row[..asked]).collect();
    let truth: Vec<f32> = queries.iter().map(|query| tenth_best(&rows, query)).collect();
    let mut settings = vec![("default".to_string(), Steering::default())];
    for probes in arguments.iter().skip(2) {
        let lists = Probes::Lists(probes.parse().unwrap());
        settings
            .push((format!("{probes} lists"), Steering { probes: lists, ..Steering::default() }));
    }
    let all = Steering { probes: Probes::All, ..Steering::default() };
    settings.push(("all lists".into(), all));
    settings.push(("all, no funnel".into(), Steering { no_funnel: true, ..all }));
    settings.push(("all, exact".into(), Steering { epsilon: Epsilon::Exact, ..all }));
    for (label, steering) in settings {
        let (mut scored, mut finished, mut reranked, mut found) = (0, 0, 0, 0);
        let (mut times, mut times_to_rerank) = (Vec::new(), Vec::new());
        for (query, truth) in queries.iter().zip(&truth) {
            let mut reranker = Memory { vectors: &rows, query, first_asked: None };
            let start = Instant::now();
            let mut scan = Scan::new(directory.clone(), query, steering);
            let mut nearest = Vec::with_capacity(WANTED);
            while nearest.len() < WANTED {
                match scan.next(&store, &mut reranker).unwrap() {
                    Some(tid) => nearest.push(tid),
                    None => break,
                }
            }
            times.push(start.elapsed().as_secs_f64() * 1e6);
            let to_rerank = reranker.first_asked.map(|asked| asked - start);
            times_to_rerank.extend(to_rerank.map(|time| time.as_secs_f64() * 1e6));
            let near = |tid: &u64| product(&rows[index_of(*tid)], query) >= *truth;
            found += nearest.iter().filter(|tid| near(tid)).count();
            scored += scan.counters.codes_scored;
            finished += scan.counters.codes_finished;
            reranked += scan.counters.rows_reranked;
        }
        let middle = |times: &mut Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let each = |count| count / QUERIES as u64;
        println!(
            "{label:15} recall {:.4}, {:7.1} µs p50, {:7.1} to the first row's exact distance; {} scored, {} finished, {} reranked",
            found as f64 / (QUERIES * WANTED) as f64,
            middle(&mut times),
            middle(&mut times_to_rerank),
            each(scored),
            each(finished),
            each(reranked),
        );
    }
}

/// The tenth greatest inner product.
fn tenth_best(rows: &[Vec<f16>], query: &[f16]) -> f32 {
    let mut products: Vec<f32> = rows.iter().map(|row| product(row, query)).collect();
    *products.select_nth_unstable_by(WANTED - 1, |a, b| b.total_cmp(a)).1
}
