//! Where a scan's time goes, without a server: a query's rounds over 100,000 rows of 384 dimensions in
//! memory. `cargo bench -p mrl-index`.

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::time::Instant;

use common::*;
use half::f16;
use mrl_index::meta::Metric;
use mrl_index::page::Damage;
use mrl_index::scan::{Epsilon, Probes, Reranker, Scan, Steering};

/// Answers at once: the scan's own time is what counts.
struct Instantly;

impl Reranker for Instantly {
    type Error = Damage;
    fn row(&mut self, tid: u64) -> Result<Option<f64>, Damage> {
        Ok(Some(tid as f64 * 1e-9 - 1.0))
    }
    fn vector(&mut self, _: &[f16]) -> Result<f64, Damage> {
        Ok(-1.0)
    }
}

fn main() {
    let rows = numbered(clustered(100_000, 384, true, 1));
    let (store, directory) = built(&rows, &plan(384, Metric::InnerProduct, false), 80);
    let queries = clustered(100, 384, true, 1);
    for (label, steering) in [
        ("8 lists", Steering { probes: Probes::Lists(8), ..Steering::default() }),
        (
            "8 lists, no funnel",
            Steering { probes: Probes::Lists(8), no_funnel: true, ..Steering::default() },
        ),
        ("all lists", Steering { probes: Probes::All, ..Steering::default() }),
        (
            "all lists, no funnel",
            Steering { probes: Probes::All, no_funnel: true, ..Steering::default() },
        ),
        (
            "all lists, exact",
            Steering { probes: Probes::All, epsilon: Epsilon::Exact, ..Steering::default() },
        ),
    ] {
        let (start, mut scored, mut finished) = (Instant::now(), 0, 0);
        for query in &queries {
            let mut scan = Scan::new(directory.clone(), query, steering);
            black_box(scan.next(&store, &mut Instantly).ok());
            scored += scan.counters.codes_scored;
            finished += scan.counters.codes_finished;
        }
        let nanoseconds = start.elapsed().as_nanos() as f64;
        println!(
            "{label:24} {:8.1} µs a query, {:6.2} ns a code scored, {} scored, {} finished",
            nanoseconds / 1e3 / queries.len() as f64,
            nanoseconds / scored as f64,
            scored / 100,
            finished / 100
        );
    }
}
