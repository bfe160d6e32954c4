//! The allocator over a system that has no memory. One test in one thread: the reserve is the process's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::{BinaryHeap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};

use mrl_memory::{
    Allocator, MOST_BYTES, OutOfMemory, RESERVE_BYTES, add, append, check, collect, extend, filled,
    insert, is_short, push, reserve,
};

/// The system's allocator, until it is told to have nothing.
struct Limited;

static HAS_NOTHING: AtomicBool = AtomicBool::new(false);

// SAFETY: the system's allocator, or null.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match HAS_NOTHING.load(Ordering::Relaxed) {
            true => std::ptr::null_mut(),
            // SAFETY: the caller's contract.
            false => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(pointer, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Allocator<Limited> = Allocator::new(Limited);

fn without_memory<T>(work: impl FnOnce() -> T) -> T {
    HAS_NOTHING.store(true, Ordering::Relaxed);
    let result = work();
    HAS_NOTHING.store(false, Ordering::Relaxed);
    result
}

#[test]
fn the_reserve() {
    assert!(!is_short());
    assert_eq!(check(), Ok(()));

    // What is small succeeds, and is told.
    let mut held = vec![1u8; 100];
    let boxed = without_memory(|| Box::new(7u64));
    assert!(is_short());
    assert_eq!(check(), Err(OutOfMemory { bytes: 8 }));
    drop(boxed);
    assert!(!is_short());

    // What the system gave moves into the reserve when it grows, within it, and back.
    without_memory(|| held.resize(1000, 2));
    assert!(is_short());
    without_memory(|| held.resize(100_000, 3));
    assert_eq!((held[99], held[999], held[99_999]), (1, 2, 3));
    held.resize(200_000, 4);
    assert!(!is_short());
    assert_eq!((held[99], held[999], held[99_999], held[199_999]), (1, 2, 3, 4));
    without_memory(|| held.shrink_to(10));
    assert!(!is_short() || held.len() == 200_000);
    drop(held);
    assert!(!is_short());

    // Zeroed memory is, wherever it comes from.
    drop(without_memory(|| vec![255u8; 10_000]));
    let zeroed = without_memory(|| vec![0u8; 10_000]);
    assert!(is_short() && zeroed.iter().all(|byte| *byte == 0));
    drop(zeroed);

    // All of it can be had, piece by piece, and is whole again, in whichever order it is freed.
    let layout = Layout::from_size_align(1000, 256).unwrap();
    for step in [1, 3] {
        // SAFETY: a layout of some bytes; what was allocated is freed once.
        let mut pieces: Vec<*mut u8> = (0..RESERVE_BYTES / 1024)
            .map(|_| without_memory(|| unsafe { ALLOCATOR.alloc(layout) }))
            .collect();
        assert!(
            pieces.iter().all(|piece| !piece.is_null() && (*piece as usize).is_multiple_of(256))
        );
        // SAFETY: as above.
        assert!(without_memory(|| unsafe { ALLOCATOR.alloc(layout) }).is_null());
        pieces.rotate_left(step);
        let (first, second): (Vec<_>, Vec<_>) =
            pieces.into_iter().enumerate().partition(|(i, _)| i % step == 0);
        for (_, piece) in first.into_iter().chain(second) {
            // SAFETY: as above.
            unsafe { ALLOCATOR.dealloc(piece, layout) };
        }
        assert!(!is_short());
    }

    // What is large, or aligned as no chunk is, is refused.
    for (size, align) in [(MOST_BYTES + 1, 8), (8, 4096)] {
        let layout = Layout::from_size_align(size, align).unwrap();
        // SAFETY: a layout of some bytes.
        assert!(without_memory(|| unsafe { ALLOCATOR.alloc(layout) }).is_null());
        assert!(!is_short());
    }

    // Who can be told is told, whatever the size; and nothing of theirs stays in the reserve.
    for count in [1000usize, 10_000, MOST_BYTES, usize::MAX / 16] {
        let bytes = count * 8;
        assert_eq!(without_memory(|| filled(0u64, count)), Err(OutOfMemory { bytes }));
        assert_eq!(
            without_memory(|| reserve(&mut Vec::<u64>::new(), count)),
            Err(OutOfMemory { bytes })
        );
    }
    assert!(without_memory(|| push(&mut Vec::new(), 1u8)).is_err());
    assert_eq!(without_memory(|| extend(&mut vec![], &[1u8; 50])), Err(OutOfMemory { bytes: 50 }));
    assert!(without_memory(|| collect(0..100)).is_err());
    assert!(without_memory(|| add(&mut BinaryHeap::new(), 1)).is_err());
    assert!(without_memory(|| append(&mut String::new(), "ü")).is_err());
    let mut map = HashMap::new();
    assert!(without_memory(|| insert(&mut map, 1, 2)).is_err());
    drop(map);
    assert!(!is_short());
    let mut made = 0;
    let strings = (0..100).map(|i| {
        made += 1;
        HAS_NOTHING.store(i >= 10, Ordering::Relaxed);
        i.to_string()
    });
    let strings = collect(strings);
    HAS_NOTHING.store(false, Ordering::Relaxed);
    assert!(strings.is_err());
    assert_eq!(made, 11, "the first string that lies in the reserve ends it");
    assert!(!is_short());

    // Where there is memory they are what Vec's own are.
    let mut vector = filled(1, 2).unwrap();
    push(&mut vector, 2).unwrap();
    extend(&mut vector, &[3, 4]).unwrap();
    assert_eq!(vector, [1, 1, 2, 3, 4]);
    assert_eq!(collect(vector.iter().map(|x| x * 2)).unwrap(), [2, 2, 4, 6, 8]);

    let mut text = String::new();
    append(&mut text, "ü").unwrap();
    append(&mut text, "bung").unwrap();
    assert_eq!(text, "übung");
    let mut heap = BinaryHeap::new();
    let mut map = HashMap::new();
    for number in [2, 3, 2] {
        add(&mut heap, number).unwrap();
        insert(&mut map, number, heap.len()).unwrap();
    }
    assert_eq!(heap.into_sorted_vec(), [2, 2, 3]);
    assert_eq!((map[&2], map[&3]), (3, 2));

    // Threads take from it at once.
    let found: Vec<bool> = std::thread::scope(|scope| {
        let work = || {
            (0..1000u32).all(|i| {
                let numbers = vec![i; 300];
                numbers.iter().all(|number| *number == i)
            })
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        HAS_NOTHING.store(true, Ordering::Relaxed);
        let found = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        HAS_NOTHING.store(false, Ordering::Relaxed);
        found
    });
    assert_eq!(found, [true; 4]);
    drop(found);
    assert!(!is_short());
}
