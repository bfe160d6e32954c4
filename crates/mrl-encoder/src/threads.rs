//! Keeps the libraries below from starting threads.
//!
//! Depends on rayon only. candle's matrix product hands its parts to rayon's *current* pool; on a
//! thread that belongs to none that is the global one, which starts a thread a core on first use,
//! with whatever signal mask the caller has: forbidden inside a server process. So each
//! thread that computes first becomes the only member of a pool of its own. Its parts then run one
//! after another on the thread itself, the global pool is never made, and a call from a second
//! thread can't wait for the first.
//!
//! candle has a second pool, of its own making, behind element-wise operations on 65,536 elements
//! and more; nothing reaches that one because [`crate::ops`] does all element-wise work.
//! `tests/no_threads.rs` watches both.

use std::cell::Cell;

use crate::error::{EncoderError, Result};

thread_local! {
    static IS_MEMBER: Cell<bool> = const { Cell::new(false) };
}

/// Makes the calling thread the sole member of a pool of its own, once a thread. A thread that a
/// caller has already put into a pool stays in that one.
pub(crate) fn confine_to_this_thread() -> Result<()> {
    if IS_MEMBER.get() {
        return Ok(());
    }
    if rayon::current_thread_index().is_none() {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .use_current_thread()
            .build()
            .map_err(|error| EncoderError::Backend(error.to_string()))?;
        // Membership lasts as long as the thread, and rayon keeps the pool's memory (some
        // kilobytes) for it; dropping the handle would only mark the pool as terminated.
        std::mem::forget(pool);
    }
    IS_MEMBER.set(true);
    Ok(())
}
