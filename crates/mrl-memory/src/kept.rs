//! What is kept for later, as much of it as so many bytes take: then what was used the longest ago goes first.

use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

/// Values by their keys.
pub struct Kept<K, T> {
    values: HashMap<K, (Rc<T>, u64)>,
    turn: u64,
}

impl<K, T> Default for Kept<K, T> {
    fn default() -> Self {
        Self { values: HashMap::new(), turn: 0 }
    }
}

impl<K: Copy + Eq + Hash, T> Kept<K, T> {
    /// That of a key.
    pub fn get(&mut self, key: K) -> Option<Rc<T>> {
        self.turn += 1;
        let (value, used) = self.values.get_mut(&key)?;
        *used = self.turn;
        Some(value.clone())
    }

    /// Keeps one for a key, in the place of its former one. All of them are to take `most` bytes, as `bytes` tells:
    /// they may have grown since they came.
    pub fn keep(&mut self, key: K, value: Rc<T>, most: usize, bytes: impl Fn(&T) -> usize) {
        self.turn += 1;
        self.values.insert(key, (value, self.turn));
        let mut all: usize = self.values.values().map(|(value, _)| bytes(value)).sum();
        while all > most && self.values.len() > 1 {
            let oldest = self.values.iter().min_by_key(|(_, (_, used))| *used);
            let Some(oldest) = oldest.map(|(key, _)| *key) else { break };
            if let Some((value, _)) = self.values.remove(&oldest) {
                all -= bytes(&value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_the_longest_ago_goes_first() {
        let mut kept: Kept<u32, usize> = Kept::default();
        for key in 1..=4 {
            kept.keep(key, Rc::new(10), 40, |bytes| *bytes);
        }
        assert!(kept.get(1).is_some());
        kept.keep(5, Rc::new(20), 40, |bytes| *bytes);
        let there: Vec<u32> = (1..=5).filter(|key| kept.get(*key).is_some()).collect();
        assert_eq!(there, [1, 4, 5]);
        // One that is too large by itself stays alone.
        kept.keep(6, Rc::new(100), 40, |bytes| *bytes);
        assert!(kept.get(6).is_some() && kept.get(5).is_none());
    }
}
