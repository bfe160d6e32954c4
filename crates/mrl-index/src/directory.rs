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
        let mut directory =
            Self { meta, encoder, entries: vec![], coarse: vec![], live: vec![], bias: vec![] };
        directory.fill(store)?;
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
        let mut directory = self.clone();
        directory.meta = meta;
        directory.fill(store)?;
        Ok(Some(directory))
    }

    /// Reads the entries, and the frames of lists that were not there before.
    fn fill<S: PageStore>(&mut self, store: &S) -> Result<(), S::Error> {
        let mut entries = Vec::with_capacity(self.meta.next_list as usize);
        for page in 0..self.meta.directory.len() {
            let block = self.meta.directory[page];
            let body = store.read(block)?;
            let first = page * meta::ENTRIES_ON_PAGE;
            let end = (self.meta.next_list as usize).min(first + meta::ENTRIES_ON_PAGE);
            for list in first..end {
                entries.push(Entry::read(&body, block, list as ListId)?);
            }
        }
        let width = self.meta.coarse_dimensions;
        let (mut coarse, mut live, mut bias) = (Vec::new(), Vec::new(), Vec::new());
        let mut known = self.live.iter().copied().enumerate().peekable();
        for (list, entry) in entries.iter().enumerate().skip(FIRST_LIST as usize) {
            let list = list as ListId;
            if entry.state != State::Live {
                continue;
            }
            while known.next_if(|(_, other)| *other < list).is_some() {}
            let start = coarse.len();
            match known.next_if(|(_, other)| *other == list) {
                Some((i, _)) => coarse.extend_from_slice(&self.coarse[i * width..][..width]),
                None => {
                    store.check_interrupts()?;
                    let frame = self.read_frame(store, entry)?;
                    coarse.extend(coarse_of(&widened(&frame[..width]), self.meta.metric));
                }
            }
            bias.push(match self.meta.metric {
                Metric::Euclidean => kernels::squared_norm(&coarse[start..]) / 2.0,
                _ => 0.0,
            });
            live.push(list);
        }
        (self.entries, self.coarse, self.live, self.bias) = (entries, coarse, live, bias);
        Ok(())
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

    pub fn live_lists(&self) -> &[ListId] {
        &self.live
    }

    /// The live list nearest to a vector's coarse form, nothing where there is no list.
    pub fn nearest(&self, coarse: &[f16]) -> Option<ListId> {
        self.ranked(coarse, 1).first().map(|(_, list)| *list)
    }

    /// The `count` live lists nearest to the coarse form of a vector, or of a query, which may have
    /// fewer dimensions; the nearest first.
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
