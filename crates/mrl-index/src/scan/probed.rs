//! What a scan searches, and what it knows of lists: of those that it has looked into, and in general.

use std::collections::HashMap;

use mrl_memory::OutOfMemory;

use crate::lists::directory::Directory;
use crate::pages::page::ListId;
use crate::pages::references::ByRow;
use crate::pages::shape::Shape;
use crate::pages::store::PageStore;
use crate::scan::query::Query;

/// What is searched, and for what.
pub(crate) struct Search<'a, S> {
    pub store: &'a S,
    pub directory: &'a Directory,
    pub query: &'a Query,
}

impl<'a, S> Search<'a, S> {
    pub fn shape(&self) -> &'a Shape {
        &self.directory.encoder.shape
    }
}

/// What a scan knows of a list that it has looked into.
#[derive(Debug)]
pub(crate) struct Probed {
    pub list: ListId,
    /// The share that its own frame has in its rows' scores, once it is known.
    pub base: Option<f32>,
    /// Of each block of the list, by its number: the rows that have gone on.
    gone: Vec<u32>,
    /// How many rows remain that have not, as the latest round has seen it.
    pub left: usize,
}

impl Probed {
    pub fn new(list: ListId) -> Self {
        Self { list, base: None, gone: Vec::new(), left: 0 }
    }

    /// Whether rows remain that have not gone on.
    pub fn has_more(&self) -> bool {
        self.left > 0
    }

    /// Takes those that have gone on out of the rows of some blocks, from a number on.
    pub fn take_gone(&self, first: usize, rows: &mut [u32]) {
        for (rows, gone) in rows.iter_mut().zip(self.gone.get(first..).unwrap_or_default()) {
            *rows &= !gone;
        }
    }

    /// Those of a block that have gone on.
    pub fn gone(&self, number: usize) -> u32 {
        self.gone.get(number).copied().unwrap_or(0)
    }

    pub fn add_gone(&mut self, number: usize, rows: u32) -> Result<(), OutOfMemory> {
        /// As many blocks as most lists have.
        const AT_ONCE: usize = 64;
        if number >= self.gone.len() {
            let missing = (number + 1 - self.gone.len()).max(AT_ONCE);
            mrl_memory::reserve(&mut self.gone, missing)?;
            self.gone.extend(std::iter::repeat_n(0, missing));
        }
        self.gone[number] |= rows;
        Ok(())
    }
}

/// What a scan knows of lists in general.
#[derive(Default)]
pub(crate) struct Known {
    /// The references of lists that have any.
    pub references: HashMap<ListId, ByRow>,
    /// Each frame's share of its rows' scores.
    bases: HashMap<ListId, f32>,
}

impl Known {
    /// A frame's share of the scores of its rows.
    pub fn base<S: PageStore>(
        &mut self,
        search: &Search<S>,
        frame: ListId,
    ) -> Result<f32, S::Error> {
        if let Some(base) = self.bases.get(&frame) {
            return Ok(*base);
        }
        let base = search.directory.base(search.store, search.query, frame)?;
        mrl_memory::insert(&mut self.bases, frame, base)?;
        Ok(base)
    }
}
