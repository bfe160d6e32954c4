//! Many TIDs of a table, each once: for whoever compares an index with itself or with its table.
//!
//! Rows lie close together in a table, so a bit each in words of 64 neighbouring TIDs takes a fraction of the memory of
//! a set of numbers, and is given back in no time: a statement that is cancelled ends soon, however many rows it has
//! met.

use std::collections::BTreeMap;

use crate::pages::group::Tid;

/// A set of TIDs.
#[derive(Debug, Clone, Default)]
pub struct Tids {
    /// Of the TIDs from 64 · the key on, bit by bit, those that are in it.
    words: BTreeMap<u64, u64>,
}

impl Tids {
    /// Puts a TID in; whether it was not there.
    pub fn insert(&mut self, tid: Tid) -> bool {
        let (word, bit) = (self.words.entry(tid / 64).or_default(), 1 << (tid % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Whether a TID is there.
    pub fn contains(&self, tid: Tid) -> bool {
        self.words.get(&(tid / 64)).is_some_and(|word| word >> (tid % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_set(tids in prop::collection::vec((0u64..3, 0u64..200), 0..300)) {
            let (mut set, mut model) = (Tids::default(), BTreeSet::new());
            for (block, offset) in tids {
                let tid = block << 16 | offset;
                prop_assert_eq!(set.insert(tid), model.insert(tid));
            }
            for tid in (0..3).flat_map(|block| (0..260).map(move |offset| block << 16 | offset)) {
                prop_assert_eq!(set.contains(tid), model.contains(&tid));
            }
        }
    }
}
