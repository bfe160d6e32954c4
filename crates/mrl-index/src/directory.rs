//! The lists of an index: a copy that a session keeps between statements, and how it is brought up
//! to date.

use half::f16;
use mrl_kernels as kernels;

use crate::encode::{Encoder, coarse_of, widened};
use crate::meta::{self, Entry, FIRST_LIST, META_BLOCK, Meta, Metric, State};
use crate::page::{ListId, damaged};
use crate::store::PageStore;

/// A copy of the directory.
#[derive(Debug, Clone)]
pub struct Directory {
    pub meta: Meta,
    pub encoder: Encoder,
    pub entries: Vec<Entry>,
    /// Of each live list, in the order of `live`: what it is chosen by, `width` halfs each.
    coarse: Vec<f16>,
    live: Vec<ListId>,
    /// What is taken off a list's inner product: half its squared length where distances are compared.
    bias: Vec<f32>,
}

impl Directory {
    /// Reads all of it.
    pub fn read<S: PageStore>(store: &S) -> Result<Self, S::Error> {
        let meta = Meta::read(&*store.read(META_BLOCK)?)?;
        let encoder = Encoder::new(&meta);
        let mut directory = Self::empty(meta, encoder);
        directory.fill(store, None)?;
        Ok(directory)
    }

    /// The same, or a newer copy where the index has changed since.
    pub fn refreshed<S: PageStore>(&self, store: &S) -> Result<Option<Self>, S::Error> {
        let meta = Meta::read(&*store.read(META_BLOCK)?)?;
        if meta == self.meta {
            return Ok(None);
        }
        // All that the encoder was made from; only damage changes it within a build.
        let shape = |meta: &Meta| {
            let Meta { build, seed, dimensions, coarse_dimensions, metric, copies, .. } = *meta;
            (build, seed, dimensions, coarse_dimensions, metric, copies)
        };
        if shape(&meta) != shape(&self.meta) {
            return Self::read(store).map(Some);
        }
        let mut directory = Self::empty(meta, self.encoder.clone());
        directory.fill(store, Some(self))?;
        Ok(Some(directory))
    }

    fn empty(meta: Meta, encoder: Encoder) -> Self {
        Self { meta, encoder, entries: vec![], coarse: vec![], live: vec![], bias: vec![] }
    }

    /// Reads the entries, and the frames of lists that the former copy does not have.
    fn fill<S: PageStore>(&mut self, store: &S, former: Option<&Self>) -> Result<(), S::Error> {
        mrl_memory::reserve(&mut self.entries, self.meta.next_list as usize)?;
        for page in 0..self.meta.directory.len() {
            let block = self.meta.directory[page];
            let body = store.read(block)?;
            let first = page * meta::ENTRIES_ON_PAGE;
            let end = (self.meta.next_list as usize).min(first + meta::ENTRIES_ON_PAGE);
            for list in first..end {
                self.entries.push(Entry::read(&body, block, list as ListId)?);
            }
        }
        let width = self.meta.coarse_dimensions;
        let known = former.map_or(&[][..], |former| &former.live);
        let mut known = known.iter().copied().zip(0..).peekable();
        for list in FIRST_LIST..self.entries.len() as ListId {
            let entry = self.entries[list as usize];
            if entry.state != State::Live {
                continue;
            }
            while known.next_if(|(other, _)| *other < list).is_some() {}
            let start = self.coarse.len();
            match (known.next_if(|(other, _)| *other == list), former) {
                (Some((_, i)), Some(former)) => {
                    mrl_memory::extend(&mut self.coarse, &former.coarse[i * width..][..width])?;
                }
                _ => {
                    store.check_interrupts()?;
                    let frame = self.read_frame(store, &entry)?;
                    let coarse = coarse_of(&widened(&frame[..width]), self.meta.metric);
                    mrl_memory::extend(&mut self.coarse, &coarse)?;
                }
            }
            let bias = match self.meta.metric {
                Metric::Euclidean => kernels::squared_norm(&self.coarse[start..]) / 2.0,
                _ => 0.0,
            };
            mrl_memory::push(&mut self.bias, bias)?;
            mrl_memory::push(&mut self.live, list)?;
        }
        // Others keep the copy: none of it may lie in the reserve.
        Ok(mrl_memory::check()?)
    }

    fn read_frame<S: PageStore>(&self, store: &S, entry: &Entry) -> Result<Vec<f16>, S::Error> {
        let body = store.read(entry.frame_block)?;
        let place = usize::from(entry.frame_place);
        Ok(meta::read_frame(&body, entry.frame_block, place, self.meta.dimensions)?)
    }

    /// A list's frame: the centre of its members, whole. Of a list that was ever there.
    pub fn frame<S: PageStore>(&self, store: &S, list: ListId) -> Result<Vec<f16>, S::Error> {
        let entry = self.entries.get(list as usize).filter(|_| list >= FIRST_LIST);
        let entry = entry.ok_or(damaged(META_BLOCK, "rows name a list that is not there"))?;
        self.read_frame(store, entry)
    }

    /// Asks for the memory of what a scan reads of a list first: its frame, and what its blocks are about.
    pub fn expect<S: PageStore>(&self, store: &S, list: ListId) {
        let Some(entry) = self.entries.get(list as usize) else { return };
        let (dimensions, shape) = (self.meta.dimensions, &self.encoder.shape);
        let frame = meta::frame_offset(entry.frame_place.into(), dimensions);
        store.expect(entry.frame_block, frame, 2 * dimensions);
        store.expect(
            entry.head,
            0,
            shape.first_summary + shape.summary_lanes * shape.summary.bytes,
        );
    }

    pub fn live_lists(&self) -> &[ListId] {
        &self.live
    }

    /// What a live list is chosen by.
    pub fn coarse_of(&self, list: ListId) -> Option<&[f16]> {
        let width = self.meta.coarse_dimensions;
        let place = self.live.binary_search(&list).ok()?;
        self.coarse.get(place * width..(place + 1) * width)
    }

    /// The live list nearest to a vector's coarse form, nothing where there is no list.
    pub fn nearest(&self, coarse: &[f16]) -> Option<ListId> {
        self.ranked(coarse, 1).first().map(|(_, list)| *list)
    }

    /// The `count` live lists nearest to the coarse form of a vector, or of a query, which may have
    /// fewer dimensions; the nearest first. (The memory for as many lists as there can be is in the reserve.)
    pub fn ranked(&self, coarse: &[f16], count: usize) -> Vec<(f32, ListId)> {
        let width = self.meta.coarse_dimensions;
        let used = coarse.len().min(width);
        let mut scored: Vec<(f32, ListId)> = Vec::with_capacity(self.live.len());
        for (i, list) in self.live.iter().enumerate() {
            let centre = &self.coarse[i * width..][..used];
            let product = kernels::dot(centre, &coarse[..used]);
            let score = if used == width {
                product - self.bias[i]
            } else {
                // Of a shorter query the centre's prefix is what is compared.
                let squared = kernels::squared_norm(centre);
                if squared > 0.0 { product / squared.sqrt() } else { 0.0 }
            };
            scored.push((score, *list));
        }
        let by_score =
            |a: &(f32, ListId), b: &(f32, ListId)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if count < scored.len() {
            scored.select_nth_unstable_by(count, by_score);
            scored.truncate(count);
        }
        scored.sort_unstable_by(by_score);
        scored
    }
}
