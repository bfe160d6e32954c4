//! Scans against the exact answer.

mod common;

use std::collections::BTreeSet;

use common::*;
use half::f16;
use mrl_index::pages::meta::Metric;
use mrl_index::scan::{Epsilon, Probes, Rounds, Steering};

const METRICS: [Metric; 3] = [Metric::InnerProduct, Metric::Cosine, Metric::Euclidean];
const EXACT: Steering = Steering {
    probes: Probes::All,
    epsilon: Epsilon::Exact,
    rounds: mrl_index::scan::Rounds::Relaxed,
    wanted: mrl_index::scan::Wanted::All,
    no_funnel: false,
    most_reranked: None,
};

fn queries(rows: &[Vec<f16>], count: usize, dimensions: Option<usize>) -> Vec<Vec<f16>> {
    let mut random = Random(17);
    (0..count)
        .map(|_| {
            let mut query = rows[random.below(rows.len())].clone();
            for x in &mut query {
                *x = f16::from_f32(x.to_f32() + 0.02 * random.normal());
            }
            query.truncate(dimensions.unwrap_or(1 + random.below(query.len())));
            query
        })
        .collect()
}

/// Exact settings give the exact answer, for queries of any dimension, with or without copies.
#[test]
fn exact_settings_give_the_exact_answer() {
    for metric in METRICS {
        for (dimensions, copies) in
            [(5, false), (64, true), (100, false), (384, false), (384, true)]
        {
            let unit = metric == Metric::InnerProduct;
            let vectors = clustered(1500, dimensions, unit, 1);
            let rows = numbered(vectors.clone());
            let (store, directory) = built(&rows, &plan(dimensions, metric, copies), 7);
            let asked = (metric == Metric::Euclidean).then_some(dimensions);
            for query in queries(&vectors, 10, asked) {
                let (found, counters) = first(&store, &directory, &rows, &query, EXACT, 20);
                let distances = |tids: &[u64]| -> Vec<f64> {
                    tids.iter().map(|tid| distance(metric, &rows[tid], &query)).collect()
                };
                let expected = nearest(&rows, metric, &query, 20);
                assert_eq!(distances(&found), distances(&expected), "{metric:?} {dimensions}");
                assert_eq!(counters.rows_reranked, 1500);
            }
        }
    }
}

/// A scan that compares all rows before it returns the first asks for interrupts all the while.
#[test]
fn whoever_compares_rows_can_be_stopped() {
    let vectors = clustered(5000, 20, true, 3);
    let rows = numbered(vectors.clone());
    let (store, directory) = built(&rows, &plan(20, Metric::InnerProduct, false), 4);
    let before = store.interrupts_checked();
    first(&store, &directory, &rows, &vectors[0], EXACT, 1);
    assert!(store.interrupts_checked() - before >= 5000);
}

/// The defaults find nearly all of the ten nearest; a scan that goes on finds every row, once.
#[test]
fn defaults_find_the_nearest_and_a_scan_goes_on_to_the_last_row() {
    for metric in METRICS {
        let vectors = clustered(20_000, 96, metric == Metric::InnerProduct, 2);
        let rows = numbered(vectors.clone());
        let (store, directory) = built(&rows, &plan(96, metric, false), 40);
        let (mut hits, mut reranked) = (0, 0);
        for query in queries(&vectors, 100, Some(96)) {
            let (found, counters) =
                first(&store, &directory, &rows, &query, Steering::default(), 10);
            let expected = nearest(&rows, metric, &query, 10);
            hits += expected.iter().filter(|tid| found.contains(tid)).count();
            reranked += counters.rows_reranked;
        }
        assert!(hits >= 950, "{metric:?}: {hits} of 1000");
        assert!(reranked < 100 * 400, "{metric:?}: {reranked}");
        let query = &queries(&vectors, 1, Some(96))[0];
        let (found, _) = first(&store, &directory, &rows, query, Steering::default(), usize::MAX);
        assert_eq!(found.len(), rows.len(), "{metric:?}");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>().len(), rows.len());
    }
}

/// Who lets no more than so many rows be compared exactly gets those of them that come in order.
#[test]
fn a_limit_of_compared_rows_keeps_a_strict_order() {
    let vectors = clustered(6000, 24, true, 9);
    let rows = numbered(vectors.clone());
    let (store, directory) = built(&rows, &plan(24, Metric::InnerProduct, false), 8);
    for most in [0, 1, 50, 500] {
        let (probes, most_reranked) = (Probes::Lists(1), Some(most));
        let steering =
            Steering { probes, most_reranked, rounds: Rounds::Strict, ..Steering::default() };
        for query in queries(&vectors, 20, None) {
            let (found, counters) = first(&store, &directory, &rows, &query, steering, usize::MAX);
            assert!(counters.rows_reranked <= most && found.len() as u64 <= most);
            assert_eq!(found.is_empty(), most == 0);
            let far = |tid: &u64| distance(Metric::InnerProduct, &rows[tid], &query);
            assert!(found.is_sorted_by(|a, b| far(a) <= far(b) + 1e-6), "{most}");
        }
    }
}

/// Under L2 a short row may lie in a list of long ones, whose terms are known to a few digits.
#[test]
fn rows_of_very_different_lengths_come_in_order() {
    for dimensions in [16, 100] {
        let mut random = Random(5);
        let mut draw = |length: f32| -> Vec<f16> {
            let scale = length / (dimensions as f32).sqrt();
            (0..dimensions).map(|_| f16::from_f32(scale * random.normal())).collect()
        };
        let vectors: Vec<_> = (0..3000).map(|i| draw(10f32.powi(i % 4))).collect();
        let asked = [draw(0.0), draw(0.1), draw(10.0)];
        let rows = numbered(vectors);
        let (store, directory) = built(&rows, &plan(dimensions, Metric::Euclidean, false), 2);
        let epsilon = Epsilon::Deviations(4.0);
        let steering =
            Steering { probes: Probes::All, epsilon, no_funnel: true, ..Steering::default() };
        for query in asked {
            let (found, counters) = first(&store, &directory, &rows, &query, steering, 20);
            assert_eq!(found, nearest(&rows, Metric::Euclidean, &query, 20), "{dimensions}");
            assert!(counters.rows_reranked < 3000);
        }
    }
}

/// Rows whose leading dimensions are all zero, or all dimensions, are as many as go on from a round, and no reason to
/// lose the nearest.
#[test]
fn rows_of_zeros_do_not_crowd_out_the_nearest() {
    let (count, dimensions, asked) = (20_000, 100, 64);
    let clustered = clustered(count, dimensions, true, 4);
    for (metric, zeros) in
        [(Metric::InnerProduct, dimensions), (Metric::InnerProduct, asked), (Metric::Cosine, asked)]
    {
        let mut vectors = clustered.clone();
        vectors.iter_mut().step_by(20).for_each(|row| row[..zeros].fill(f16::ZERO));
        let rows = numbered(vectors.clone());
        let (store, directory) = built(&rows, &plan(dimensions, metric, false), 14);
        let others: Vec<_> = vectors.into_iter().filter(|row| row[0] != f16::ZERO).collect();
        let mut hits = 0;
        for query in queries(&others, 40, Some(asked)) {
            let (found, counters) =
                first(&store, &directory, &rows, &query, Steering::default(), 10);
            let expected = nearest(&rows, metric, &query, 10);
            hits += expected.iter().filter(|tid| found.contains(tid)).count();
            assert!(counters.rows_reranked < 600, "{metric:?}: {}", counters.rows_reranked);
        }
        assert!(hits >= 360, "{metric:?}, {zeros}: {hits} of 400");
    }
}

/// Where the nearest rows stand out, fewer are looked at than where many are about as near.
#[test]
fn an_easy_query_scores_fewer_rows() {
    let vectors = clustered(30_000, 96, true, 6);
    let rows = numbered(vectors.clone());
    let (store, directory) = built(&rows, &plan(96, Metric::InnerProduct, false), 20);
    let mut random = Random(8);
    let mut far = || -> Vec<f16> { (0..96).map(|_| f16::from_f32(random.normal())).collect() };
    let (mut easy, mut hard) = (Vec::new(), Vec::new());
    for query in queries(&vectors, 40, Some(96)) {
        easy.push(first(&store, &directory, &rows, &query, Steering::default(), 10).1.codes_scored);
        hard.push(first(&store, &directory, &rows, &far(), Steering::default(), 10).1.codes_scored);
    }
    easy.sort_unstable();
    hard.sort_unstable();
    assert!(2 * easy[20] < hard[20], "{} and {}", easy[20], hard[20]);
}

/// Who counts more deviations of an error is shown more blocks and more rows, and loses fewer.
#[test]
fn more_deviations_look_into_more_blocks() {
    let vectors = clustered(30_000, 96, true, 6);
    let rows = numbered(vectors.clone());
    let (store, directory) = built(&rows, &plan(96, Metric::InnerProduct, false), 20);
    let done = |deviations: f32| -> (u64, u64, usize) {
        let epsilon = Epsilon::Deviations(deviations);
        let (mut scored, mut reranked, mut hits) = (0, 0, 0);
        for query in queries(&vectors, 40, Some(96)) {
            let steering = Steering { epsilon, ..Steering::default() };
            let (found, counters) = first(&store, &directory, &rows, &query, steering, 10);
            let expected = nearest(&rows, Metric::InnerProduct, &query, 10);
            scored += counters.codes_scored;
            reranked += counters.rows_reranked;
            hits += expected.iter().filter(|tid| found.contains(tid)).count();
        }
        (scored, reranked, hits)
    };
    let (few, many) = (done(1.0), done(6.0));
    assert!(5 * few.0 < 4 * many.0 && few.1 < many.1 && few.2 < many.2, "{few:?}, {many:?}");
}

/// Who goes on through a tenth of the rows has all of them scored a few times, not again for each few more.
#[test]
fn a_long_scan_scores_each_row_a_few_times() {
    const ROWS: usize = 30_000;
    let vectors = clustered(ROWS, 96, true, 6);
    let rows = numbered(vectors.clone());
    let (store, directory) = built(&rows, &plan(96, Metric::InnerProduct, false), 20);
    for query in queries(&vectors, 5, Some(96)) {
        let steering = Steering::default();
        let (found, counters) = first(&store, &directory, &rows, &query, steering, ROWS / 10);
        assert_eq!(found.len(), ROWS / 10);
        assert!(counters.codes_scored <= 4 * ROWS as u64, "{counters:?}");
    }
}

/// Many equal rows: all of them come, each once.
#[test]
fn equal_rows_all_come() {
    let vectors = vec![clustered(1, 64, true, 1)[0].clone(); 5000];
    let rows = numbered(vectors.clone());
    let (store, directory) = built(&rows, &plan(64, Metric::InnerProduct, false), 4);
    let (found, _) = first(&store, &directory, &rows, &vectors[0], Steering::default(), usize::MAX);
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), rows.into_keys().collect());
}

/// Who asks for ten rows near to a vector that very many share does not wait until all of them have been compared.
#[test]
fn equal_rows_are_not_all_compared() {
    let mut vectors = clustered(10_000, 64, true, 1);
    let shared = vectors[0].clone();
    vectors.extend(std::iter::repeat_n(shared.clone(), 20_000));
    let rows = numbered(vectors);
    for (metric, probes) in [(Metric::InnerProduct, Probes::Auto), (Metric::Euclidean, Probes::All)]
    {
        let (store, directory) = built(&rows, &plan(64, metric, false), 20);
        let steering = Steering { probes, ..Steering::default() };
        for query in queries(std::slice::from_ref(&shared), 5, Some(64)) {
            let (found, counters) = first(&store, &directory, &rows, &query, steering, 10);
            let far = |tid: &u64| distance(metric, &rows[tid], &query);
            let expected = nearest(&rows, metric, &query, 10);
            assert!(found.iter().zip(&expected).all(|(a, b)| far(a) == far(b)));
            assert!(counters.rows_reranked < 3000, "{counters:?}");
        }
    }
}

/// A list of more rows than are arranged together has each of them once.
#[test]
fn one_long_list() {
    let vectors = clustered(20_000, 12, true, 7);
    let rows = numbered(vectors.clone());
    let (store, directory) = built(&rows, &plan(12, Metric::InnerProduct, false), 1);
    let (found, _) = first(&store, &directory, &rows, &vectors[0], Steering::default(), usize::MAX);
    assert_eq!(found.len(), 20_000);
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>().len(), 20_000);
}

/// No row, one row, a zero vector.
#[test]
fn small_indexes() {
    for metric in METRICS {
        for count in [0, 1, 2] {
            let rows = numbered(clustered(count, 10, true, 4));
            let (store, directory) = built(&rows, &plan(10, metric, false), 1);
            let query = vec![f16::ONE; 10];
            for steering in [EXACT, Steering::default()] {
                let (found, _) = first(&store, &directory, &rows, &query, steering, 10);
                assert_eq!(found, nearest(&rows, metric, &query, 10));
            }
        }
        let mut rows = numbered(clustered(10, 10, true, 4));
        rows.insert(1 << 40, vec![f16::ZERO; 10]);
        let (store, directory) = built(&rows, &plan(10, metric, false), 1);
        let query = vec![f16::ONE; 10];
        let (found, _) = first(&store, &directory, &rows, &query, EXACT, 20);
        assert_eq!(found, nearest(&rows, metric, &query, 20), "{metric:?}");
    }
}

/// Vectors around few centres, that differ from them in all dimensions alike: none stands out among a query's neighbours,
/// and errors of estimates are as large as what tells them apart. As many rows go on as may be among the nearest.
#[test]
fn rows_that_may_be_among_the_nearest_go_on() {
    let (count, asked, dimensions) = (8000, 60, 192);
    let mut random = Random(9);
    let centres: Vec<Vec<f32>> =
        (0..16).map(|_| (0..dimensions).map(|_| random.normal()).collect()).collect();
    let mut vectors: Vec<Vec<f16>> = (0..count + asked)
        .map(|i| {
            let row: Vec<f32> = centres[i % 16].iter().map(|x| x + 0.7 * random.normal()).collect();
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.iter().map(|x| f16::from_f32(x / length)).collect()
        })
        .collect();
    let queries = vectors.split_off(count);
    let rows = numbered(vectors);
    let (store, directory) = built(&rows, &plan(dimensions, Metric::InnerProduct, false), 5);
    let recall = |deviations| {
        let mut found = 0;
        for query in &queries {
            let nearest = nearest(&rows, Metric::InnerProduct, query, 10);
            let steering = Steering { epsilon: deviations, ..Steering::default() };
            let (tids, counters) = first(&store, &directory, &rows, query, steering, 10);
            assert!(counters.rows_reranked < 4000 / 2, "{counters:?}");
            found += tids.iter().filter(|tid| nearest.contains(tid)).count();
        }
        found as f64 / (10 * queries.len()) as f64
    };
    let by_default = recall(Epsilon::Auto);
    assert!(by_default >= 0.97, "{by_default}");
    assert!(recall(Epsilon::Deviations(4.0)) >= 0.99);
}
