//! A channel between threads whose waiting takes no memory.
//!
//! The standard library's gives each thread that waits a variable with a destructor. The C library keeps a note of
//! that, and where it finds no memory for the note it ends the process.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Items on their way from some threads to others.
pub struct Channel<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    /// How many there are at a time.
    most: usize,
}

struct State<T> {
    items: VecDeque<T>,
    is_closed: bool,
}

impl<T> Channel<T> {
    /// For so many items at a time, one at least.
    pub fn new(most: usize) -> Self {
        let state = State { items: VecDeque::new(), is_closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), most: most.max(1) }
    }

    /// Waits until there is room. In a closed channel the item is dropped.
    pub fn send(&self, item: T) {
        let mut state = self.state();
        while state.items.len() >= self.most && !state.is_closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !state.is_closed {
            state.items.push_back(item);
            self.changed.notify_all();
        }
    }

    /// The next item; waits for one until the channel is closed and empty.
    pub fn receive(&self) -> Option<T> {
        let mut state = self.state();
        while state.items.is_empty() && !state.is_closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let item = state.items.pop_front();
        self.changed.notify_all();
        item
    }

    /// The next item, if there is one now.
    pub fn receive_now(&self) -> Option<T> {
        let item = self.state().items.pop_front();
        self.changed.notify_all();
        item
    }

    /// No more items come; nobody waits any longer.
    pub fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing that holds the lock panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes a channel when all who hold it are gone, whether they ended well or not.
pub struct Closing<'a, T>(pub &'a Channel<T>);

impl<T> Drop for Closing<'_, T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn items_come_in_order_and_no_more_than_fit_wait() {
        let channel = Channel::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                let _closing = Closing(&channel);
                (0..100).for_each(|i| channel.send(i));
            });
            for i in 0..100 {
                assert_eq!(channel.receive(), Some(i));
                assert!(channel.state().items.len() <= 2);
            }
            assert_eq!((channel.receive(), channel.receive_now()), (None, None));
        });
    }

    #[test]
    fn what_is_left_in_a_closed_channel_is_received() {
        let channel = Channel::new(1);
        channel.send(1);
        channel.close();
        // Nobody would make room.
        channel.send(2);
        assert_eq!((channel.receive_now(), channel.receive()), (Some(1), None));
    }
}
