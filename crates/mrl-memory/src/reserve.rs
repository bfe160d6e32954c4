//! The reserve, and the allocator that turns to it.
//!
//! It lies in the library's own zeroed memory: it is there as soon as the library is, nobody else can get it,
//! and the system gives it pages only where it is written to. It is handed out in chunks, of which a table says
//! whether they are in use; that the search for free ones takes microseconds matters to nobody.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::OutOfMemory;

/// What work may take, all its threads together, between two questions whether memory is short.
pub const RESERVE_BYTES: usize = 2 * 1024 * 1024;
/// The most for one request: one that the reserve meets leaves as much again for the error's own way out.
pub const MOST_BYTES: usize = RESERVE_BYTES / 2;

const CHUNK_BYTES: usize = 256;
const CHUNKS: usize = RESERVE_BYTES / CHUNK_BYTES;

#[repr(align(4096))]
struct Reserve(UnsafeCell<[MaybeUninit<u8>; RESERVE_BYTES]>);

// SAFETY: its bytes are only ever accessed by those to whom `take` gave them.
unsafe impl Sync for Reserve {}

static RESERVE: Reserve = Reserve(UnsafeCell::new([MaybeUninit::uninit(); RESERVE_BYTES]));
/// Which chunks are in use.
static IN_USE: Mutex<[bool; CHUNKS]> = Mutex::new([false; CHUNKS]);
/// How many.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// The size of the request that the system refused last.
static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// Whether something lies in the reserve: the system has refused memory, and what it was for is still there.
#[inline]
pub fn is_short() -> bool {
    COUNT.load(Ordering::Relaxed) != 0
}

/// An error where memory is short: to be asked in every loop that allocates.
#[inline]
pub fn check() -> Result<(), OutOfMemory> {
    if is_short() { Err(refused()) } else { Ok(()) }
}

#[cold]
fn refused() -> OutOfMemory {
    OutOfMemory { bytes: REFUSED.load(Ordering::Relaxed) }
}

fn table() -> MutexGuard<'static, [bool; CHUNKS]> {
    // Nothing that holds the lock panics.
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start() -> *mut u8 {
    RESERVE.0.get().cast()
}

#[inline]
fn holds(pointer: *mut u8) -> bool {
    (pointer as usize).wrapping_sub(start() as usize) < RESERVE_BYTES
}

/// Memory from the reserve, for a request that the system refused; null where it is too large or there is
/// too little left.
#[cold]
fn take(layout: Layout) -> *mut u8 {
    REFUSED.store(layout.size(), Ordering::Relaxed);
    if layout.size() > MOST_BYTES || layout.align() > CHUNK_BYTES {
        return ptr::null_mut();
    }
    let wanted = layout.size().div_ceil(CHUNK_BYTES);
    let mut table = table();
    let mut free = 0;
    for end in 1..=CHUNKS {
        free = if table[end - 1] { 0 } else { free + 1 };
        if free == wanted {
            let first = end - wanted;
            table[first..end].fill(true);
            COUNT.fetch_add(wanted, Ordering::Relaxed);
            return start().wrapping_add(first * CHUNK_BYTES);
        }
    }
    ptr::null_mut()
}

#[cold]
fn give_back(pointer: *mut u8, layout: Layout) {
    let first = (pointer as usize - start() as usize) / CHUNK_BYTES;
    let count = layout.size().div_ceil(CHUNK_BYTES);
    table()[first..first + count].fill(false);
    COUNT.fetch_sub(count, Ordering::Relaxed);
}

/// An allocator, the system's where nothing else is said, that turns to the reserve where that one fails.
pub struct Allocator<A = System>(A);

impl<A> Allocator<A> {
    pub const fn new(inner: A) -> Self {
        Self(inner)
    }
}

// SAFETY: memory comes from the inner allocator, which keeps the contract, or from the reserve: chunks that are
// nobody else's, aligned to their size, until they are given back. Nothing in it panics.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Allocator<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        let pointer = unsafe { self.0.alloc(layout) };
        if pointer.is_null() { take(layout) } else { pointer }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        let pointer = unsafe { self.0.alloc_zeroed(layout) };
        if !pointer.is_null() {
            return pointer;
        }
        let pointer = take(layout);
        if !pointer.is_null() {
            // SAFETY: so many bytes are the caller's from now on.
            unsafe { pointer.write_bytes(0, layout.size()) };
        }
        pointer
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if holds(pointer) {
            give_back(pointer, layout);
        } else {
            // SAFETY: the caller's contract; what does not lie in the reserve is the inner allocator's.
            unsafe { self.0.dealloc(pointer, layout) };
        }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !holds(pointer) {
            // SAFETY: the caller's contract, as in `dealloc`.
            let moved = unsafe { self.0.realloc(pointer, layout, size) };
            if !moved.is_null() {
                return moved;
            }
        }
        // SAFETY: the caller's contract.
        unsafe { self.move_over(pointer, layout, size) }
    }
}

impl<A: GlobalAlloc> Allocator<A> {
    /// Moves to new memory what lies in the reserve, or what the inner allocator could not resize.
    ///
    /// # Safety
    /// As of `realloc`.
    #[cold]
    unsafe fn move_over(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the size, rounded up to the alignment, is no overflow by `realloc`'s contract.
        let layout_after = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the size is not 0 by contract.
        let moved = unsafe { self.alloc(layout_after) };
        if !moved.is_null() {
            // SAFETY: both have so many bytes; the former ones are given up by contract.
            unsafe {
                moved.copy_from_nonoverlapping(pointer, layout.size().min(size));
                self.dealloc(pointer, layout);
            }
        }
        moved
    }
}
