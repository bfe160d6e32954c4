//! Rows far from the origin under L2: what codes tell of them errs by as much as of rows near to it, and as much as is
//! said.

mod common;

use common::*;
use half::f16;
use mrl_index::build::Plan;
use mrl_index::codes::records::{LANES, Records};
use mrl_index::lists::directory::Directory;
use mrl_index::lists::encode::Encoder;
use mrl_index::lists::frame::Frame;
use mrl_index::lists::summary::{Offset, mean};
use mrl_index::pages::meta::Metric;
use mrl_index::pages::rows::{Rows, store_row};
use mrl_index::scan::query::Query;

/// Vectors about an origin, so many times as far away as they are long, in a direction that is drawn.
fn moved(vectors: &[Vec<f16>], times: f32) -> Vec<Vec<f16>> {
    let dimensions = vectors[0].len();
    let squares = vectors.iter().flatten().map(|x| x.to_f32() * x.to_f32());
    let length = (squares.sum::<f32>() / vectors.len() as f32).sqrt();
    let mut random = Random(3);
    let mut far = || times * length * random.normal() / (dimensions as f32).sqrt();
    let origin: Vec<f32> = (0..dimensions).map(|_| far()).collect();
    let moved = |row: &Vec<f16>| {
        row.iter().zip(&origin).map(|(x, o)| f16::from_f32(x.to_f32() + o)).collect()
    };
    vectors.iter().map(moved).collect()
}

fn l2(dimensions: usize, coarse_dimensions: usize) -> Plan {
    Plan { coarse_dimensions, ..plan(dimensions, Metric::Euclidean, false) }
}

fn centre(rows: &[Vec<f16>]) -> Vec<f16> {
    let mean = |i: usize| rows.iter().map(|row| row[i].to_f64()).sum::<f64>() / rows.len() as f64;
    (0..rows[0].len()).map(|i| f16::from_f64(mean(i))).collect()
}

/// The score of a row, exactly.
fn score(query: &[f16], row: &[f16]) -> f64 {
    let products = query.iter().zip(row).map(|(q, x)| (q.to_f64() - x.to_f64() / 2.0) * x.to_f64());
    products.sum()
}

/// An index of a list, a block of whose rows are encoded, and queries that lie amid the rows.
struct Block {
    directory: Directory,
    frames: [Frame; 2],
    rows: Vec<Vec<f16>>,
    queries: Vec<Vec<f16>>,
    bytes: Vec<u8>,
}

impl Block {
    fn new(dimensions: usize, coarse: usize, times: f32) -> Self {
        let vectors = moved(&clustered(800, dimensions, false, 5), times);
        let numbered = numbered(vectors.clone());
        let (_, directory) = built(&numbered, &l2(dimensions, coarse), 8);
        let directory = Directory::clone(&directory);
        // Every eighth vector is of one cluster.
        let rows: Vec<_> = vectors.iter().step_by(8).take(LANES).cloned().collect();
        let queries = vectors.iter().skip(1).step_by(7).cloned().collect();
        let own = Frame::new(&directory.encoder, centre(&rows[..LANES / 2]));
        let other = Frame::new(&directory.encoder, centre(&vectors));
        let mut block = Self { directory, frames: [own, other], rows, queries, bytes: vec![] };
        block.bytes = vec![0; block.encoder().shape.block_bytes];
        for (i, row) in block.rows.iter().enumerate() {
            let (place, encoder) = (i % 2, &block.directory.encoder);
            let record = encoder.row(row, &block.frames[place]).record;
            store_row(&mut block.bytes, i, 1, place as u8, &record, &encoder.shape);
        }
        block
    }

    fn encoder(&self) -> &Encoder {
        &self.directory.encoder
    }

    fn query(&self, vector: &[f16]) -> Query {
        Query::new(self.encoder(), vector, || self.directory.middle())
    }
}

#[test]
fn rows_err_by_as_much_as_is_said() {
    for (dimensions, coarse) in [(24, 24), (96, 64), (320, 64), (384, 384), (768, 384)] {
        for times in [0.0, 1.0, 3.0, 12.0] {
            let block = Block::new(dimensions, coarse, times);
            let stored = Rows::new(&block.bytes, &block.encoder().shape);
            let (mut errors, mut deviations) = (0.0, 0.0);
            for vector in &block.queries {
                let query = block.query(vector);
                let bases = block.frames.each_ref().map(|frame| query.base(&frame.centre));
                let mut scores = stored.frames().map(|place| bases[usize::from(place)]);
                let mut squared_errors = [0.0; LANES];
                query.score_rows(stored.records, usize::MAX, &mut scores, &mut squared_errors);
                let exact = block.rows.iter().map(|row| score(vector, row));
                errors += exact.zip(scores).map(|(a, b)| (a - f64::from(b)).powi(2)).sum::<f64>();
                deviations += squared_errors.map(f64::from).iter().sum::<f64>();
            }
            let ratio = (errors / deviations).sqrt();
            assert!((0.6..1.2).contains(&ratio), "{dimensions} {coarse} {times}: {ratio}");
        }
    }
}

#[test]
fn means_err_by_as_much_as_near_the_origin() {
    for (dimensions, coarse) in [(24, 24), (96, 64), (384, 384), (768, 384)] {
        let mut near = 0.0;
        for times in [0.0, 3.0, 12.0] {
            let block = Block::new(dimensions, coarse, times);
            let (encoder, [own, other]) = (block.encoder(), &block.frames);
            let shape = &encoder.shape;
            let offset = Offset::new(encoder, &own.centre, &other.centre);
            let offsets = [None, Some(&offset)];
            let mean = mean(Rows::new(&block.bytes, shape), u32::MAX, &offsets, own, shape);
            let mut lanes = vec![0; LANES * shape.summary.bytes];
            shape.summary.store(&mut lanes, 0, LANES, &mean.record);
            let means = Records::new(&lanes, &shape.summary);
            let mut errors = 0.0;
            for vector in &block.queries {
                let (query, mut scores) = (block.query(vector), [0.0; LANES]);
                query.score_means(means, query.base(&own.centre), &mut scores);
                let exact = block.rows.iter().map(|row| score(vector, row)).sum::<f64>();
                errors += (exact / LANES as f64 - f64::from(scores[0])).powi(2);
            }
            let error = (errors / block.queries.len() as f64).sqrt();
            near = if times == 0.0 { error } else { near };
            assert!(error < 2.0 * near, "{dimensions} {coarse} {times}: {error}, near {near}");
        }
    }
}

/// Vectors whose leading dimensions are zero, and that differ in length alone.
#[test]
fn a_record_is_not_that_of_a_longer_vector() {
    let encoder = Encoder::clone(&built(&numbered(vec![]), &l2(128, 128), 1).1.encoder);
    let frame = Frame::new(&encoder, vec![f16::ZERO; 128]);
    let of_length = |x: f32| -> Vec<f16> {
        (0..128).map(|i| f16::from_f32(if i < 64 { 0.0 } else { x })).collect()
    };
    let record = encoder.row(&of_length(1.0), &frame).record;
    assert!(encoder.is_of(&record, &of_length(1.0), &frame));
    assert!(!encoder.is_of(&record, &of_length(2.0), &frame));
}

/// Not many more rows are compared for it either.
#[test]
fn the_nearest_are_found() {
    const ROWS: usize = 8_000;
    for (dimensions, coarse, lists) in
        [(24, 24, Some(8)), (96, 64, Some(80)), (96, 64, None), (320, 64, Some(8))]
    {
        let near = clustered(ROWS, dimensions, false, 11);
        let mut compared_near = 0;
        for times in [0.0, 12.0] {
            let vectors = moved(&near, times);
            let (rows, plan) = (numbered(vectors.clone()), l2(dimensions, coarse));
            let (store, directory) = match lists {
                Some(lists) => built(&rows, &plan, lists),
                None => grown(&rows, &plan),
            };
            let (mut hits, mut compared, mut random) = (0, 0, Random(17));
            for _ in 0..50 {
                let mut query = vectors[random.below(ROWS)].clone();
                for x in &mut query {
                    *x = f16::from_f32(x.to_f32() + 0.02 * random.normal());
                }
                let (found, counters) =
                    first(&store, &directory, &rows, &query, Default::default(), 10);
                let expected = nearest(&rows, Metric::Euclidean, &query, 10);
                hits += expected.iter().filter(|tid| found.contains(tid)).count();
                compared += counters.rows_reranked;
            }
            assert!(hits >= 480, "{dimensions}, {times} times as far: {hits} of 500");
            compared_near = if times == 0.0 { compared } else { compared_near };
            assert!(compared < 3 * compared_near, "{dimensions} {times}: {compared}");
        }
    }
}
