//! Signals around the start of threads: a thread inherits what is blocked when it starts, and the
//! server's handlers must never run in a thread of ours.

use std::cell::Cell;
use std::mem::MaybeUninit;

thread_local! {
    static BEFORE: Cell<Option<libc::sigset_t>> = const { Cell::new(None) };
}

/// Blocks all signals in this thread, until [`unblock`].
pub fn block() {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: the sets are written before they are read.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        BEFORE.set(Some(before.assume_init()));
    }
}

/// Restores what was blocked before [`block`].
pub fn unblock() {
    if let Some(before) = BEFORE.take() {
        // SAFETY: a set that the system wrote.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    }
}
