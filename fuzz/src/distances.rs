//! Exact distances, and who knows them.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;

use half::f16;
use mrl_index::lists::encode::widened;
use mrl_index::pages::group::Tid;
use mrl_index::pages::meta::Metric;
use mrl_index::pages::store::Failure;
use mrl_index::scan::Reranker;

/// A table's vector.
pub struct Vector {
    pub halfs: Vec<f16>,
    /// The same as singles: a run asks for the distances of thousands of rows.
    singles: Vec<f32>,
}

impl Vector {
    pub fn new(halfs: Vec<f16>) -> Self {
        let singles = widened(&halfs);
        Self { halfs, singles }
    }

    pub fn is_zero(&self) -> bool {
        self.singles.iter().all(|x| *x == 0.0)
    }

    /// The distance that SQL's operators give, in f64.
    pub fn distance(&self, metric: Metric, query: &Self) -> f64 {
        distance(metric, &self.singles, &query.singles)
    }
}

fn distance(metric: Metric, row: &[f32], query: &[f32]) -> f64 {
    let (mut dot, mut row_squared, mut query_squared, mut apart) = (0.0, 0.0, 0.0, 0.0);
    for (a, b) in row.iter().zip(query) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        dot += a * b;
        row_squared += a * a;
        query_squared += b * b;
        apart += (a - b) * (a - b);
    }
    match metric {
        Metric::InnerProduct if query.len() < row.len() && row_squared > 0.0 => {
            -dot / row_squared.sqrt()
        }
        Metric::InnerProduct => -dot,
        Metric::Cosine => 1.0 - dot / (row_squared.sqrt() * query_squared.sqrt()),
        Metric::Euclidean => apart.sqrt(),
    }
}

/// The rows of a table; `None`: a row whose vector is NULL.
pub type Rows = BTreeMap<Tid, Option<Rc<Vector>>>;

/// The server's order: zeros are equal, and what is not a number comes last.
pub fn order(a: f64, b: f64) -> Ordering {
    a.is_nan().cmp(&b.is_nan()).then(a.partial_cmp(&b).unwrap_or(Ordering::Equal))
}

/// Knows the vectors of some rows; of no others there is a row.
pub struct Exact<'a> {
    pub metric: Metric,
    pub query: &'a Vector,
    pub rows: &'a Rows,
}

impl Reranker for Exact<'_> {
    type Error = Failure;

    fn row(&mut self, tid: Tid) -> Result<Option<f64>, Failure> {
        let row = self.rows.get(&tid);
        Ok(row.map(|row| match row {
            Some(row) => row.distance(self.metric, self.query),
            // Only after damage: a row of a vector's list without one.
            None => f64::NAN,
        }))
    }

    fn vector(&mut self, vector: &[f16]) -> Result<f64, Failure> {
        Ok(distance(self.metric, &widened(vector), &self.query.singles))
    }
}
