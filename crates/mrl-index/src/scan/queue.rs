//! The rows of a scan that wait for their exact distances, and those that have them.

use std::cmp::{Ordering, Reverse};

use mrl_memory::OutOfMemory;

use crate::pages::group::Tid;
use crate::pages::page::{ListId, PageNumber};
use crate::scan::order;

/// A row that waits for its exact distance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub upper: f32,
    pub tid: Tid,
    /// Where the index keeps its vector; [`NONE`](crate::pages::page::NONE) where it keeps none.
    pub copy: PageNumber,
    pub slot: u16,
    pub list: ListId,
}

impl Waiting {
    /// Whose turn comes last is the least.
    fn by_turn(&self, other: &Self) -> Ordering {
        self.upper.total_cmp(&other.upper).then(other.tid.cmp(&self.tid))
    }
}

/// A row with its exact distance. The greatest is the nearest; of equally near ones the first TID.
///
/// One number, so that a heap of them compares without branches: the complement of the distance's place in the order of
/// SQL, then of the TID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Exact(u128);

impl Exact {
    pub fn new(distance: f64, tid: Tid) -> Self {
        // As in SQL a distance that is no number, whatever its sign bit, is the farthest.
        let key = if distance.is_nan() { i64::MAX } else { order::wide_key(distance) };
        Self(!(u128::from(key as u64 ^ 1 << 63) << 64 | u128::from(tid)))
    }

    pub fn distance(&self) -> f64 {
        order::wide_number((((!self.0) >> 64) as u64 ^ 1 << 63) as i64)
    }

    pub fn tid(&self) -> Tid {
        !self.0 as Tid
    }

    /// By the distances alone.
    pub fn is_nearer_than(&self, other: Self) -> bool {
        self.0 >> 64 > other.0 >> 64
    }
}

/// The rows that wait: the best few in order, the others as they come until somebody asks for more. Most of them are
/// never asked for, and a heap of all would cost more than their scores did.
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

    /// Rows that wait as well. Between steps that take long where there are millions `pause` is called, which may end
    /// the work.
    pub fn add<E: From<OutOfMemory>>(
        &mut self,
        waiting: Vec<Waiting>,
        pause: impl Fn() -> Result<(), E>,
    ) -> Result<(), E> {
        let former = std::mem::replace(&mut self.far, waiting);
        mrl_memory::reserve(&mut self.far, former.len() + self.near.len())?;
        self.far.extend(former);
        self.far.append(&mut self.near);
        self.sort(Self::FIRST, pause)
    }

    /// Puts so many of the best in order, where none is; those that are equal by their TIDs, as they lie in the table.
    fn sort<E: From<OutOfMemory>>(
        &mut self,
        count: usize,
        pause: impl Fn() -> Result<(), E>,
    ) -> Result<(), E> {
        pause()?;
        let count = count.min(self.far.len());
        let from_below = self.far.len() - count;
        let mut places: Vec<u64> = Vec::new();
        if from_below == 0 {
            mrl_memory::reserve(&mut places, count)?;
            self.near = std::mem::take(&mut self.far);
        } else {
            // The scores alone, which are a sixth of the rows' bytes, tell who is near, unless too many are equal.
            let uppers = self.far.iter().map(|waiting| order::key(waiting.upper));
            let mut uppers = mrl_memory::collect(uppers)?;
            pause()?;
            let (_, bar, _) = uppers.select_nth_unstable(from_below);
            let bar = order::number(*bar);
            pause()?;
            let is_near = |waiting: &Waiting| waiting.upper.total_cmp(&bar).is_ge();
            let near = self.far.iter().filter(|waiting| is_near(waiting)).count();
            let are_equal = near > 2 * count;
            let near = if are_equal { count } else { near };
            mrl_memory::reserve(&mut places, near)?;
            mrl_memory::reserve(&mut self.near, near)?;
            pause()?;
            if are_equal {
                self.far.select_nth_unstable_by(from_below, Waiting::by_turn);
                self.near.extend(self.far.drain(from_below..));
            } else {
                self.near.extend(self.far.extract_if(.., |waiting| is_near(waiting)));
            }
        }
        // Scores with their places are in order sooner than rows are. Then these are moved, each to where it belongs.
        places.extend(self.near.iter().enumerate().map(|(place, waiting)| {
            let key = order::key(waiting.upper) as u32 ^ 1 << 31;
            u64::from(key) << 32 | place as u64
        }));
        pause()?;
        places.sort_unstable();
        pause()?;
        for start in 0..places.len() {
            let mut to = start;
            loop {
                let from = places[to] as u32 as usize;
                places[to] = to as u64;
                if from == start {
                    break;
                }
                self.near.swap(to, from);
                to = from;
            }
        }
        let is_equal = |a: &Waiting, b: &Waiting| a.upper.total_cmp(&b.upper).is_eq();
        for equal in self.near.chunk_by_mut(is_equal).filter(|equal| equal.len() > 1) {
            equal.sort_unstable_by_key(|waiting| Reverse(waiting.tid));
        }
        Ok(())
    }

    /// The row that will be asked for after so many others, where it is known.
    pub fn later(&self, others: usize) -> Option<&Waiting> {
        self.near.len().checked_sub(others + 1).map(|i| &self.near[i])
    }

    pub fn best(&self) -> Option<f32> {
        self.near.last().map(|waiting| waiting.upper)
    }

    /// The row whose turn it is. `pause` as in [`Queue::add`].
    pub fn pop<E: From<OutOfMemory>>(
        &mut self,
        pause: impl Fn() -> Result<(), E>,
    ) -> Result<Option<Waiting>, E> {
        let best = self.near.pop();
        if self.near.is_empty() {
            // Who has asked for so many asks for many more.
            self.sort(Self::MOST, pause)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn never() -> Result<(), OutOfMemory> {
        Ok(())
    }

    /// Rows come in turn, however many wait, and are asked for, and how often others join them.
    #[test]
    fn the_best_come_first_and_equal_ones_by_their_tids() {
        let mut random = Random::new(4);
        for count in [0, 1, 63, 64, 65, 300, Queue::MOST + 3] {
            let mut queue = Queue::default();
            let mut drawn = |count: usize| -> Vec<Waiting> {
                let mut upper = || [f32::INFINITY, -1.5, (random.next() >> 58) as f32];
                let row = |tid| Waiting {
                    upper: upper()[tid % 3],
                    tid: tid as u64,
                    copy: 0,
                    slot: 0,
                    list: 0,
                };
                (0..count).map(row).collect()
            };
            let mut all = drawn(count);
            queue.add(all.clone(), never).unwrap();
            for _ in 0..100.min(count) {
                let best = queue.pop(never).unwrap().unwrap();
                let place = all.iter().position(|row| row.tid == best.tid).unwrap();
                let best = all.swap_remove(place);
                assert!(count > 1000 || all.iter().all(|row| row.by_turn(&best).is_lt()));
            }
            let more = drawn(count.min(500));
            all.extend(&more);
            queue.add(more, never).unwrap();
            all.sort_by(Waiting::by_turn);
            while let Some(row) = queue.pop(never).unwrap() {
                assert!(all.pop().unwrap().by_turn(&row).is_eq(), "{count}");
            }
            assert!(all.is_empty() && queue.is_empty());
        }
    }
}
