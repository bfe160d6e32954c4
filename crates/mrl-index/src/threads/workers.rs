//! Threads for work on many vectors: how many, and what is called around their start.
//!
//! Whoever embeds this crate may have something to do before a thread starts (a server blocks signals,
//! so that none is ever delivered to a thread of ours), may know whether the system has room for one, and may want the
//! work to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread::{self, Builder, Scope};

/// A thread's stack, and as much again. What a thread's own variables need the C library allocates at
/// their first use, and ends the process where it can't.
const THREAD_BYTES: usize = 4 * 1024 * 1024;

/// Where and how work is done in parallel.
pub struct Workers {
    /// How many threads are wanted; of those of [`Workers::map`] the calling one is one.
    pub threads: usize,
    /// Called in the calling thread before threads start.
    pub before_start: fn(),
    /// And after, before they begin to work.
    pub after_start: fn(),
    /// Whether the system would map so many bytes more. An allocation tells less: it may come out of what the process
    /// has been given before, which a thread's stack can't.
    pub has_room: fn(usize) -> bool,
    /// Asked in the calling thread between pieces of work.
    pub stop: Box<dyn Fn() -> bool>,
}

impl Workers {
    /// No threads, no stop.
    pub fn single() -> Self {
        Self {
            threads: 1,
            before_start: || (),
            after_start: || (),
            has_room: |_| true,
            stop: Box::new(|| false),
        }
    }

    /// Computes `count` results, piece after piece of at most `stride`, each told its first one's number; the calling
    /// thread takes part, so that it can ask whether to stop. Nothing where it was told to, or there is no memory.
    pub fn map<T: Send + Clone + Default>(
        &self,
        count: usize,
        stride: usize,
        compute: impl Fn(usize, &mut [T]) + Sync,
    ) -> Option<Vec<T>> {
        let mut results = mrl_memory::filled(T::default(), count).ok()?;
        let stopped = AtomicBool::new(false);
        // Whoever is free takes the next piece: of the threads wanted fewer may have started.
        let pieces = Mutex::new(results.chunks_mut(stride).enumerate());
        let run = |stop: &dyn Fn() -> bool| {
            loop {
                if stop() || mrl_memory::is_short() {
                    stopped.store(true, Ordering::Relaxed);
                    return;
                }
                let piece = pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((piece, results)) = piece else { return };
                compute(piece * stride, results);
            }
        };
        thread::scope(|scope| {
            // An error of the caller's own that unwinds from its `stop` ends the others' work too.
            let _guard = StopOthers(&stopped);
            let wanted = self.threads.clamp(1, count.div_ceil(stride).max(1));
            self.start(scope, wanted - 1, || run(&|| stopped.load(Ordering::Relaxed)));
            run(&*self.stop);
        });
        (!stopped.load(Ordering::Relaxed)).then_some(results)
    }

    /// Starts as many threads for a piece of work as are wanted and there is memory for; returns how many.
    pub fn start<'scope>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        wanted: usize,
        work: impl FnOnce() + Send + Clone + 'scope,
    ) -> usize {
        let mut started = 0;
        // None works before all have started: work takes memory.
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock();
        (self.before_start)();
        while started < wanted {
            let (gate, work) = (gate.clone(), work.clone());
            let when_open = move || {
                drop(gate.lock());
                work();
            };
            if !(self.has_room)(THREAD_BYTES) || !start_one(scope, when_open) {
                break;
            }
            started += 1;
        }
        (self.after_start)();
        drop(closed);
        started
    }
}

fn start_one<'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() + Send + 'scope,
) -> bool {
    if mrl_memory::reserve(&mut Vec::<u8>::new(), THREAD_BYTES).is_err() {
        return false;
    }
    let running = Arc::new(Barrier::new(2));
    let there = running.clone();
    let started = Builder::new().spawn_scoped(scope, move || {
        there.wait();
        work();
    });
    // Until its variables are there nobody else takes the memory.
    if started.is_ok() {
        running.wait();
    }
    started.is_ok()
}

struct StopOthers<'a>(&'a AtomicBool);

impl Drop for StopOthers<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn without_room_no_thread_starts() {
        let workers = Workers { threads: 3, has_room: |_| false, ..Workers::single() };
        let started = thread::scope(|scope| workers.start(scope, 2, || unreachable!()));
        assert_eq!(started, 0);
        let own = thread::current().id();
        let found = workers.map(10, 3, |_, results| results.fill(Some(thread::current().id())));
        assert_eq!(found, Some(vec![Some(own); 10]));
    }

    #[test]
    fn results_come_in_order_whatever_the_threads() {
        for threads in [1, 2, 3, 8] {
            let workers = Workers { threads, ..Workers::single() };
            for count in [0, 1, 7, 100] {
                let expected: Vec<usize> = (0..count).map(|i| i * i).collect();
                let squares = |first: usize, results: &mut [usize]| {
                    results.iter_mut().zip(first..).for_each(|(result, i)| *result = i * i);
                };
                assert_eq!(workers.map(count, 4, squares), Some(expected));
            }
        }
    }

    /// The C library ends the process where a thread that starts finds no memory, so no other may take it meanwhile.
    #[test]
    fn none_works_before_all_have_started() {
        static WORKED: AtomicUsize = AtomicUsize::new(0);
        static BEFORE: AtomicUsize = AtomicUsize::new(usize::MAX);
        let workers = Workers {
            after_start: || BEFORE.store(WORKED.load(Ordering::Relaxed), Ordering::Relaxed),
            ..Workers::single()
        };
        let started = thread::scope(|scope| {
            workers.start(scope, 20, || {
                WORKED.fetch_add(1, Ordering::Relaxed);
            })
        });
        assert_eq!((started, BEFORE.load(Ordering::Relaxed)), (20, 0));
        assert_eq!(WORKED.load(Ordering::Relaxed), 20);
    }

    #[test]
    fn it_stops_when_asked() {
        let workers = Workers { threads: 2, stop: Box::new(|| true), ..Workers::single() };
        assert_eq!(workers.map(1000, 10, |_, _: &mut [usize]| ()), None);
    }
}
