//! Vectors that grow where there is memory, and else say so.

use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::hash::Hash;

use crate::check;

/// Memory that was not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    /// How much was asked for.
    pub bytes: usize,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "out of memory: failed on a request of {} bytes", self.bytes)
    }
}

impl std::error::Error for OutOfMemory {}

/// Makes room for so many elements more. An error too where the room is part of the reserve: that is for
/// those who can't be told. Who keeps the vector for long then has to give it up.
#[cold]
pub fn reserve<T>(vector: &mut Vec<T>, more: usize) -> Result<(), OutOfMemory> {
    let bytes = vector.len().saturating_add(more).saturating_mul(size_of::<T>());
    vector.try_reserve(more).map_err(|_| OutOfMemory { bytes })?;
    check()
}

#[inline]
pub fn push<T>(vector: &mut Vec<T>, element: T) -> Result<(), OutOfMemory> {
    if vector.len() == vector.capacity() {
        reserve(vector, 1)?;
    }
    vector.push(element);
    Ok(())
}

#[inline]
pub fn extend<T: Copy>(vector: &mut Vec<T>, elements: &[T]) -> Result<(), OutOfMemory> {
    if vector.capacity() - vector.len() < elements.len() {
        reserve(vector, elements.len())?;
    }
    vector.extend_from_slice(elements);
    Ok(())
}

/// Adds to a text.
pub fn append(text: &mut String, more: &str) -> Result<(), OutOfMemory> {
    if text.capacity() - text.len() < more.len() {
        let bytes = text.len().saturating_add(more.len());
        text.try_reserve(more.len()).map_err(|_| OutOfMemory { bytes })?;
        check()?;
    }
    text.push_str(more);
    Ok(())
}

/// Adds to a heap.
#[inline]
pub fn add<T: Ord>(heap: &mut BinaryHeap<T>, element: T) -> Result<(), OutOfMemory> {
    if heap.len() == heap.capacity() {
        let bytes = (heap.len() + 1).saturating_mul(size_of::<T>());
        heap.try_reserve(1).map_err(|_| OutOfMemory { bytes })?;
        check()?;
    }
    heap.push(element);
    Ok(())
}

/// Adds to a map, or replaces.
#[inline]
pub fn insert<K: Eq + Hash, V>(
    map: &mut HashMap<K, V>,
    key: K,
    value: V,
) -> Result<(), OutOfMemory> {
    if map.len() == map.capacity() {
        let bytes = (map.len() + 1).saturating_mul(size_of::<(K, V)>());
        map.try_reserve(1).map_err(|_| OutOfMemory { bytes })?;
        check()?;
    }
    map.insert(key, value);
    Ok(())
}

/// A vector of equal elements.
pub fn filled<T: Clone>(element: T, count: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut vector = Vec::new();
    reserve(&mut vector, count)?;
    vector.resize(count, element);
    Ok(vector)
}

/// What an iterator gives. What its elements allocate themselves is small, each by itself.
pub fn collect<T>(elements: impl IntoIterator<Item = T>) -> Result<Vec<T>, OutOfMemory> {
    let elements = elements.into_iter();
    let mut vector = Vec::new();
    reserve(&mut vector, elements.size_hint().0)?;
    for element in elements {
        push(&mut vector, element)?;
        if std::mem::needs_drop::<T>() {
            check()?;
        }
    }
    Ok(vector)
}
