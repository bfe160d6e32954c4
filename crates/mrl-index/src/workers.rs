//! Threads for work on many vectors: how many, and what is called around their start.
//!
//! Whoever embeds this crate may have something to do before a thread starts (a server blocks signals,
//! so that none is ever delivered to a thread of ours) and may want the work to stop.

use std::sync::atomic::{AtomicBool, Ordering};

/// Where and how work is done in parallel.
pub struct Workers {
    pub threads: usize,
    /// Called in the calling thread before threads start, and after.
    pub before_start: fn(),
    pub after_start: fn(),
    /// Asked in the calling thread between pieces of work.
    pub stop: Box<dyn Fn() -> bool>,
}

impl Workers {
    /// No threads, no stop.
    pub fn single() -> Self {
        Self { threads: 1, before_start: || (), after_start: || (), stop: Box::new(|| false) }
    }

    /// Computes `count` results, piece after piece of at most `stride`; the calling thread takes part, so
    /// that it can ask whether to stop. Nothing where it was told to.
    pub fn map<T: Send + Clone + Default>(
        &self,
        count: usize,
        stride: usize,
        compute: impl Fn(usize) -> T + Sync,
    ) -> Option<Vec<T>> {
        let mut results = vec![T::default(); count];
        let threads = self.threads.clamp(1, count.div_ceil(stride).max(1));
        let share = count.div_ceil(threads).max(1);
        let stopped = AtomicBool::new(false);
        let run = |first: usize, results: &mut [T], stop: &dyn Fn() -> bool| {
            for (piece, results) in results.chunks_mut(stride).enumerate() {
                if stop() {
                    stopped.store(true, Ordering::Relaxed);
                    return;
                }
                for (i, result) in results.iter_mut().enumerate() {
                    *result = compute(first + piece * stride + i);
                }
            }
        };
        let mut shares = results.chunks_mut(share);
        let own = shares.next().unwrap_or_default();
        std::thread::scope(|scope| {
            (self.before_start)();
            for (i, results) in shares.enumerate() {
                let (run, stopped) = (&run, &stopped);
                scope.spawn(move || {
                    run((i + 1) * share, results, &|| stopped.load(Ordering::Relaxed));
                });
            }
            (self.after_start)();
            run(0, own, &*self.stop);
        });
        (!stopped.load(Ordering::Relaxed)).then_some(results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whatever_the_threads() {
        for threads in [1, 2, 3, 8] {
            let workers = Workers { threads, ..Workers::single() };
            for count in [0, 1, 7, 100] {
                let expected: Vec<usize> = (0..count).map(|i| i * i).collect();
                assert_eq!(workers.map(count, 4, |i| i * i), Some(expected));
            }
        }
    }

    #[test]
    fn it_stops_when_asked() {
        let workers = Workers { threads: 2, stop: Box::new(|| true), ..Workers::single() };
        assert_eq!(workers.map(1000, 10, |i| i), None);
    }
}
