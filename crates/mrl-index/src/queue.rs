//! The rows of a scan that wait for their exact distances, and those that have them.

use std::cmp::Reverse;

use mrl_memory::OutOfMemory;

use crate::group::Tid;
use crate::order;
use crate::page::{ListId, PageNumber};

/// A row that waits for its exact distance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub upper: f32,
    pub tid: Tid,
    /// Where the index keeps its vector; [`NONE`](crate::page::NONE) where it keeps none.
    pub copy: PageNumber,
    pub slot: u16,
    pub list: ListId,
}

/// A row with its exact distance. The greatest is the nearest; of equally near ones the first TID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Exact {
    /// The distance's place in the order of SQL: one comparison of integers orders most of the rows.
    key: Reverse<i64>,
    tid: Reverse<Tid>,
}

impl Exact {
    pub fn new(distance: f64, tid: Tid) -> Self {
        // As in SQL a distance that is no number, whatever its sign bit, is the farthest.
        let key = if distance.is_nan() { i64::MAX } else { order::wide_key(distance) };
        Self { key: Reverse(key), tid: Reverse(tid) }
    }

    pub fn distance(&self) -> f64 {
        order::wide_number(self.key.0)
    }

    pub fn tid(&self) -> Tid {
        self.tid.0
    }

    /// By the distances alone.
    pub fn is_nearer_than(&self, other: Self) -> bool {
        self.key > other.key
    }
}

/// The rows that wait: the best few in order, the others as they come until somebody asks for more. Most of them are never
/// asked for, and a heap of all would cost more than their scores did.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// In order, the best last.
    near: Vec<Waiting>,
    /// None of them is better than any in `near`.
    far: Vec<Waiting>,
}

impl Queue {
    /// How many are put in order at once, the first time.
    const FIRST: usize = 64;
    /// And at most: meanwhile the server answers no interrupt.
    const MOST: usize = 1 << 20;

    pub fn add(&mut self, waiting: Vec<Waiting>) -> Result<(), OutOfMemory> {
        let former = std::mem::replace(&mut self.far, waiting);
        mrl_memory::reserve(&mut self.far, former.len() + self.near.len())?;
        self.far.extend(former);
        self.far.append(&mut self.near);
        self.sort(Self::FIRST)
    }

    /// Puts so many of the best in order, where none is.
    fn sort(&mut self, count: usize) -> Result<(), OutOfMemory> {
        if count < self.far.len() {
            // The scores alone, which are a sixth of the rows' bytes, tell who is near.
            let uppers = self.far.iter().map(|waiting| order::key(waiting.upper));
            let mut uppers = mrl_memory::collect(uppers)?;
            let from_below = uppers.len() - count;
            let (_, bar, _) = uppers.select_nth_unstable(from_below);
            let bar = order::number(*bar);
            // Before any is taken out: an error must not lose them.
            let is_near = |waiting: &Waiting| waiting.upper.total_cmp(&bar).is_ge();
            let near = self.far.iter().filter(|waiting| is_near(waiting)).count();
            mrl_memory::reserve(&mut self.near, near)?;
            self.near.extend(self.far.extract_if(.., |waiting| is_near(waiting)));
        } else {
            self.near = std::mem::take(&mut self.far);
        }
        // Scores with their places are in order sooner than rows are, and then these by them.
        let place = |(place, waiting): (usize, &Waiting)| {
            let key = order::key(waiting.upper) as u32 ^ 1 << 31;
            u64::from(key) << 32 | place as u64
        };
        let mut places = mrl_memory::collect(self.near.iter().enumerate().map(place))?;
        places.sort_unstable();
        let rows = places.into_iter().map(|place| self.near[place as u32 as usize]);
        self.near = mrl_memory::collect(rows)?;
        Ok(())
    }

    /// The row that will be asked for after so many others, where it is known.
    pub fn later(&self, others: usize) -> Option<&Waiting> {
        self.near.len().checked_sub(others + 1).map(|i| &self.near[i])
    }

    pub fn best(&self) -> Option<f32> {
        self.near.last().map(|waiting| waiting.upper)
    }

    pub fn pop(&mut self) -> Result<Option<Waiting>, OutOfMemory> {
        let best = self.near.pop();
        if self.near.is_empty() {
            // Who has asked for so many asks for many more.
            self.sort(Self::MOST)?;
        }
        Ok(best)
    }

    pub fn is_empty(&self) -> bool {
        self.near.is_empty()
    }

    pub fn clear(&mut self) {
        self.near.clear();
        self.far.clear();
    }
}
