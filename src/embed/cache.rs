//! Embeddings of texts that this session has embedded, so that one text embedded for many rows of
//! a statement costs one forward pass.
//!
//! An entry keeps the full vector: another `dim` of the same text costs no second pass. The memory
//! is bounded by `mrl.cache_size`; the entry unused for the longest time goes first.

use std::cell::{Ref, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use half::f16;
use mrl_encoder::{Embedding, EncoderError};

/// What was asked: model, task prefix, text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key<'a> {
    pub model: &'a str,
    pub prefix: Option<&'a str>,
    pub text: &'a str,
}

/// What was answered.
pub struct Cached {
    embedding: Embedding,
    /// The text was longer than the model reads.
    pub truncated: bool,
    /// The leading components as they were last asked for: a statement asks for the same of them, row
    /// after row.
    leading: RefCell<Vec<f16>>,
}

impl Cached {
    pub fn new(embedding: Embedding, truncated: bool) -> Self {
        Self { embedding, truncated, leading: RefCell::default() }
    }

    /// The first `dimensions` components, scaled to length 1.
    pub fn leading(&self, dimensions: usize) -> Result<Ref<'_, [f16]>, EncoderError> {
        if self.leading.borrow().len() != dimensions {
            *self.leading.borrow_mut() = self.embedding.truncate(dimensions)?;
        }
        Ok(Ref::map(self.leading.borrow(), Vec::as_slice))
    }

    /// Memory that it takes at most: the vector before and after the model's layer norm, and halfs.
    fn bytes(&self) -> usize {
        let full = self.embedding.full();
        size_of::<Self>() + 2 * size_of_val(full) + size_of::<f16>() * full.len()
    }
}

struct Entry {
    model: Box<str>,
    prefix: Option<Box<str>>,
    text: Box<str>,
    value: Rc<Cached>,
    bytes: usize,
    last_used: u64,
}

impl Entry {
    fn key(&self) -> Key<'_> {
        Key { model: &self.model, prefix: self.prefix.as_deref(), text: &self.text }
    }
}

/// The cache. Keyed by the key's hash; of two keys with equal hashes the later one stays.
#[derive(Default)]
pub struct Cache {
    entries: HashMap<u64, Entry>,
    /// The hash of each by its last use.
    order: BTreeMap<u64, u64>,
    hasher: RandomState,
    bytes: usize,
    uses: u64,
}

impl Cache {
    /// The answer, if it is among those that are kept in `limit` bytes.
    pub fn get(&mut self, key: Key, limit: usize) -> Option<Rc<Cached>> {
        self.shrink(limit);
        self.uses += 1;
        let hash = self.hasher.hash_one(key);
        let entry = self.entries.get_mut(&hash)?;
        if entry.key() != key {
            return None;
        }
        self.order.remove(&entry.last_used);
        self.order.insert(self.uses, hash);
        entry.last_used = self.uses;
        Some(Rc::clone(&entry.value))
    }

    /// Keeps an answer if it fits into `limit` bytes, at the cost of the ones unused longest.
    pub fn insert(&mut self, key: Key, value: Rc<Cached>, limit: usize) {
        let texts = key.model.len() + key.prefix.map_or(0, str::len) + key.text.len();
        let bytes = texts + value.bytes() + size_of::<Entry>();
        self.shrink(limit.saturating_sub(bytes));
        if bytes > limit {
            return;
        }
        let mut text = String::new();
        // Without memory to keep it the answer is given all the same.
        if mrl_memory::append(&mut text, key.text).is_err() {
            return;
        }
        let entry = Entry {
            model: key.model.into(),
            prefix: key.prefix.map(Into::into),
            text: text.into(),
            value,
            bytes,
            last_used: self.uses,
        };
        let hash = self.hasher.hash_one(key);
        self.remove(hash);
        if mrl_memory::insert(&mut self.entries, hash, entry).is_err() {
            return;
        }
        self.order.insert(self.uses, hash);
        self.bytes += bytes;
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn shrink(&mut self, limit: usize) {
        while self.bytes > limit {
            let Some((_, hash)) = self.order.first_key_value() else { return };
            self.remove(*hash);
        }
    }

    fn remove(&mut self, hash: u64) {
        if let Some(entry) = self.entries.remove(&hash) {
            self.order.remove(&entry.last_used);
            self.bytes -= entry.bytes;
        }
    }
}
