//! The lists of an index: a copy that a session keeps between statements, and how it is brought up
//! to date.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::rc::Rc;

use half::f16;
use mrl_kernels as kernels;

use crate::lists::encode::{Encoder, coarse_of, narrowed};
use crate::lists::frame::Frame;
use crate::lists::list_codes::ListCodes;
use crate::pages::meta::{self, Entry, FIRST_LIST, META_PAGE, Meta, Metric, State};
use crate::pages::page::{ListId, damaged};
use crate::pages::store::PageStore;
use crate::pages::walk::Chain;
use crate::scan::order;
use crate::scan::query::Query;

/// A copy of the directory.
#[derive(Debug, Clone)]
pub struct Directory {
    /// The meta page, of the same moment as the entries.
    pub meta: Meta,
    /// What encodes vectors for this index.
    pub encoder: Encoder,
    /// The entry of each list that was ever made, by its number.
    pub entries: Vec<Entry>,
    /// Of each live list, in the order of `live`: what it is chosen by, `width` halfs each.
    coarse: Vec<f16>,
    live: Vec<ListId>,
    /// What is taken off a list's inner product: half its squared length where distances are compared.
    bias: Vec<f32>,
    /// The length of its frame's leading part, which what it is chosen by is scaled down from; 1 where it is not.
    lengths: Vec<f32>,
    /// Under L2 the other dimensions of all frames that have been read for this copy or those that it came from.
    rest: Sums,
    /// A point amid the rows, and codes of what lists are chosen by, against it. Made when a scan first asks, with
    /// those that an earlier copy had.
    middle: OnceCell<Vec<f16>>,
    codes: OnceCell<Rc<ListCodes>>,
    former_codes: Option<Rc<ListCodes>>,
}

/// Sums of some dimensions of so many vectors.
#[derive(Debug, Clone, Default)]
struct Sums {
    sums: Vec<f64>,
    count: u64,
}

impl Sums {
    fn mean(&self) -> Vec<f32> {
        let count = self.count.max(1) as f64;
        self.sums.iter().map(|sum| (sum / count) as f32).collect()
    }
}

impl Directory {
    /// Reads all of it.
    ///
    /// # Errors
    /// What the storage answers; damage, where a page is not what it should be; out of memory.
    pub fn read<S: PageStore>(store: &S) -> Result<Self, S::Error> {
        let meta = Meta::read(&*store.read(META_PAGE)?)?;
        let directory = Self::of(store, meta)?;
        // What changes lists changes the meta page with them: while it is as it was, the entries are of one moment.
        Ok(directory.refreshed(store)?.unwrap_or(directory))
    }

    /// A newer copy where the index has changed since; nothing where it has not.
    ///
    /// # Errors
    /// What the storage answers; damage, where a page is not what it should be; out of memory.
    pub fn refreshed<S: PageStore>(&self, store: &S) -> Result<Option<Self>, S::Error> {
        let mut newest: Option<Self> = None;
        loop {
            store.check_interrupts()?;
            let former = newest.as_ref().unwrap_or(self);
            match former.read_newer(store)? {
                Some(newer) => newest = Some(newer),
                None => return Ok(newest),
            }
        }
    }

    /// A newer copy where the index has changed since. Of a change that comes while it reads it has a part: it is of
    /// one moment if nothing has changed after it.
    fn read_newer<S: PageStore>(&self, store: &S) -> Result<Option<Self>, S::Error> {
        let meta = Meta::read(&*store.read(META_PAGE)?)?;
        if meta == self.meta {
            return Ok(None);
        }
        // All that the encoder was made from; only damage changes it within a build.
        let shape = |meta: &Meta| {
            let Meta { build, seed, dimensions, coarse_dimensions, metric, copies, .. } = *meta;
            (build, seed, dimensions, coarse_dimensions, metric, copies)
        };
        if shape(&meta) != shape(&self.meta) {
            return Self::of(store, meta).map(Some);
        }
        let mut directory = Self::empty(meta, self.encoder.clone());
        directory.fill(store, Some(self))?;
        Ok(Some(directory))
    }

    fn of<S: PageStore>(store: &S, meta: Meta) -> Result<Self, S::Error> {
        let encoder = Encoder::new(&meta);
        let mut directory = Self::empty(meta, encoder);
        directory.fill(store, None)?;
        Ok(directory)
    }

    fn empty(meta: Meta, encoder: Encoder) -> Self {
        let (entries, coarse, live, bias, lengths) = Default::default();
        let (rest, middle, codes, former_codes) = Default::default();
        Self {
            meta,
            encoder,
            entries,
            coarse,
            live,
            bias,
            lengths,
            rest,
            middle,
            codes,
            former_codes,
        }
    }

    /// About how many bytes it has.
    pub fn bytes(&self) -> usize {
        let lists = self.entries.len() * size_of::<Entry>() + self.live.len() * 12;
        let codes = self.codes.get().map_or(0, |codes| codes.bytes());
        lists + size_of_val(&self.coarse[..]) + codes
    }

    /// Reads the entries, and the frames of lists that the former copy does not have.
    fn fill<S: PageStore>(&mut self, store: &S, former: Option<&Self>) -> Result<(), S::Error> {
        mrl_memory::reserve(&mut self.entries, self.meta.next_list as usize)?;
        for (i, page) in self.meta.directory.iter().copied().enumerate() {
            let body = store.read(page)?;
            let first = i * meta::ENTRIES_ON_PAGE;
            let end = (self.meta.next_list as usize).min(first + meta::ENTRIES_ON_PAGE);
            for list in first..end {
                self.entries.push(Entry::read(&body, page, list as ListId)?);
            }
        }
        let width = self.meta.coarse_dimensions;
        if let Some(former) = former {
            self.former_codes = former.codes.get().or(former.former_codes.as_ref()).cloned();
            if let Some(middle) = former.middle.get() {
                // Whichever it is: what has been encoded against it need not be again.
                self.middle = OnceCell::from(mrl_memory::collect(middle.iter().copied())?);
            }
        }
        self.rest = match former {
            Some(former) => former.rest.clone(),
            None if self.meta.metric == Metric::Euclidean => {
                let sums = mrl_memory::filled(0.0, self.meta.dimensions - width)?;
                Sums { sums, count: 0 }
            }
            None => Sums::default(),
        };
        let known = former.map_or(&[][..], |former| &former.live);
        let mut known = known.iter().copied().zip(0..).peekable();
        for list in FIRST_LIST..self.entries.len() as ListId {
            let entry = self.entries[list as usize];
            if entry.state != State::Live {
                continue;
            }
            while known.next_if(|(other, _)| *other < list).is_some() {}
            let start = self.coarse.len();
            let length = match (known.next_if(|(other, _)| *other == list), former) {
                (Some((_, i)), Some(former)) => {
                    mrl_memory::extend(&mut self.coarse, &former.coarse[i * width..][..width])?;
                    former.lengths[i]
                }
                _ => {
                    store.check_interrupts()?;
                    let centre = self.read_centre(store, &entry)?;
                    let (leading, rest) = centre.split_at(width);
                    let coarse = coarse_of(leading, self.meta.metric);
                    mrl_memory::extend(&mut self.coarse, &coarse)?;
                    if self.meta.metric == Metric::Euclidean {
                        kernels::add_to_sums(rest, &mut self.rest.sums);
                        self.rest.count += 1;
                        1.0
                    } else {
                        kernels::squared_norm(leading).sqrt()
                    }
                }
            };
            mrl_memory::push(&mut self.lengths, length)?;
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

    fn read_centre<S: PageStore>(&self, store: &S, entry: &Entry) -> Result<Vec<f16>, S::Error> {
        let body = store.read(entry.frame_page)?;
        let place = usize::from(entry.frame_place);
        Ok(meta::read_frame(&body, entry.frame_page, place, self.meta.dimensions)?)
    }

    /// A list's frame. Of a list that was ever there.
    ///
    /// # Errors
    /// What the storage answers; damage, where there never was such a list, or a page is not what it should be.
    pub fn frame<S: PageStore>(&self, store: &S, list: ListId) -> Result<Frame, S::Error> {
        Ok(Frame::new(&self.encoder, self.centre(store, list)?))
    }

    /// Its centre alone: the mean of the members that it was made for, whole.
    ///
    /// # Errors
    /// What the storage answers; damage, where there never was such a list, or a page is not what it should be.
    pub fn centre<S: PageStore>(&self, store: &S, list: ListId) -> Result<Vec<f16>, S::Error> {
        let entry = self.entries.get(list as usize).filter(|_| list >= FIRST_LIST);
        let entry = entry.ok_or(damaged(META_PAGE, "rows name a list that is not there"))?;
        self.read_centre(store, entry)
    }

    /// A frame's share in the scores of its rows.
    ///
    /// # Errors
    /// What the storage answers; damage, where there never was such a list, or a page is not what it should be.
    pub fn base<S: PageStore>(
        &self,
        store: &S,
        query: &Query,
        list: ListId,
    ) -> Result<f32, S::Error> {
        if self.has_whole_frames()
            && let Ok(place) = self.live.binary_search(&list)
        {
            return Ok(query.base(self.coarse_at(place)) * self.lengths[place]);
        }
        Ok(query.base(&self.centre(store, list)?))
    }

    /// Whether what lists are chosen by are their whole frames, but for rounding.
    fn has_whole_frames(&self) -> bool {
        self.meta.coarse_dimensions == self.meta.dimensions
    }

    /// Asks for the memory of what a scan reads of a list first: its frame, and what its blocks are about.
    pub fn prefetch<S: PageStore>(&self, store: &S, list: ListId) {
        let Some(entry) = self.entries.get(list as usize) else { return };
        if !self.has_whole_frames() {
            let dimensions = self.meta.dimensions;
            let frame = meta::frame_offset(entry.frame_place.into(), dimensions);
            store.prefetch(entry.frame_page, frame, 2 * dimensions);
        }
        let shape = &self.encoder.shape;
        let summaries = shape.summary_lanes * shape.summary.bytes;
        store.prefetch(entry.head, 0, shape.first_summary + summaries);
    }

    /// Asks for what leads to a list's first page, and for its beginning.
    pub fn prefetch_head<S: PageStore>(&self, store: &S, list: ListId) {
        if let Some(entry) = self.entries.get(list as usize) {
            store.prefetch(entry.head, 0, 1);
        }
    }

    /// The lists that are in use, but for those of rows without distances; their numbers rise.
    pub fn live_lists(&self) -> &[ListId] {
        &self.live
    }

    /// The chain of a list's groups.
    pub fn chain(&self, list: ListId) -> Chain {
        Chain { list, head: self.entries[list as usize].head }
    }

    /// What a live list is chosen by.
    pub fn coarse_of(&self, list: ListId) -> Option<&[f16]> {
        self.live.binary_search(&list).ok().map(|place| self.coarse_at(place))
    }

    fn coarse_at(&self, place: usize) -> &[f16] {
        let width = self.meta.coarse_dimensions;
        &self.coarse[place * width..][..width]
    }

    /// The live list nearest to a vector's coarse form, nothing where there is no list.
    pub fn nearest(&self, coarse: &[f16]) -> Option<ListId> {
        self.ranked(coarse, 1).first().map(|(_, list)| *list)
    }

    /// The `count` live lists nearest to the coarse form of a vector, or of a query, which may have
    /// fewer dimensions; the nearest first. (The memory for as many lists as there can be is in the reserve.)
    pub fn ranked(&self, coarse: &[f16], count: usize) -> Vec<(f32, ListId)> {
        self.ranked_of(0..self.live.len(), coarse, count)
    }

    /// The same where there are many lists more: only those are compared that by their codes are likely to be near.
    pub(crate) fn ranked_by_codes<S: PageStore>(
        &self,
        store: &S,
        query: &Query,
        coarse: &[f16],
        count: usize,
    ) -> Result<Vec<(f32, ListId)>, S::Error> {
        /// So many times `count` are compared.
        const COMPARED: usize = 2;
        /// Below that many lists codes save nothing.
        const LEAST_SAVED: usize = 32;
        let (compared, lists) = (count.saturating_mul(COMPARED), self.live.len());
        if compared.saturating_add(LEAST_SAVED) > lists {
            return Ok(self.ranked(coarse, count));
        }
        let codes = match self.codes.get() {
            Some(codes) => codes,
            None => {
                let (lists, former) =
                    ((&self.live[..], &self.coarse[..]), self.former_codes.as_deref());
                let codes = ListCodes::new(store, &self.encoder, lists, &self.middle(), former)?;
                self.codes.get_or_init(|| Rc::new(codes))
            }
        };
        let shape = &self.encoder.shape;
        let layers = shape.layers.read_by(self.meta.coarse_dimensions);
        let scores = codes.scores::<S>(query, query.base(&self.middle()), layers, shape)?;
        let bar = order::bar(&scores, compared);
        let near = scores.iter().enumerate().filter(|(_, score)| **score >= bar);
        Ok(self.ranked_of(near.map(|(place, _)| place), coarse, count))
    }

    /// A point amid the rows: the mean of what the live lists are chosen by, and under L2 of the other dimensions of
    /// all lists that have been read; else zero there.
    pub fn middle(&self) -> Cow<'_, [f16]> {
        if let Some(middle) = self.middle.get() {
            return Cow::Borrowed(middle);
        }
        let width = self.meta.coarse_dimensions;
        let (mut sums, count) = (vec![0.0; width], self.live.len() as u64);
        self.coarse.chunks_exact(width).for_each(|row| kernels::add_to_sums(row, &mut sums));
        let mut middle = Sums { sums, count }.mean();
        middle.extend(self.rest.mean());
        middle.resize(self.meta.dimensions, 0.0);
        let middle = narrowed(&middle);
        // The directory is kept: none of it may lie in the reserve.
        match mrl_memory::is_short() {
            true => Cow::Owned(middle),
            false => Cow::Borrowed(self.middle.get_or_init(|| middle)),
        }
    }

    /// Of the lists at some places among those that are live.
    fn ranked_of(
        &self,
        places: impl Iterator<Item = usize>,
        coarse: &[f16],
        count: usize,
    ) -> Vec<(f32, ListId)> {
        let width = self.meta.coarse_dimensions;
        let used = coarse.len().min(width);
        let mut scored: Vec<(f32, ListId)> = Vec::with_capacity(self.live.len());
        for i in places {
            let centre = &self.coarse_at(i)[..used];
            let product = kernels::dot(centre, &coarse[..used]);
            let score = if used == width {
                product - self.bias[i]
            } else {
                // Of a shorter query the centre's prefix is what is compared.
                let squared = kernels::squared_norm(centre);
                if squared > 0.0 { product / squared.sqrt() } else { 0.0 }
            };
            scored.push((score, self.live[i]));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Plan;
    use crate::pages::memory::MemoryStore;
    use crate::random::Random;

    /// Codes leave out hardly any of the lists that are the nearest.
    #[test]
    fn codes_tell_which_lists_are_near() {
        const LISTS: usize = 1000;
        let store = MemoryStore::new();
        for metric in [Metric::InnerProduct, Metric::Cosine, Metric::Euclidean] {
            let (build, seed, dimensions, coarse_dimensions) = (1, 2, 192, 128);
            let plan = Plan { build, seed, dimensions, coarse_dimensions, metric, copies: false };
            let meta = plan.meta();
            let mut directory = Directory::empty(meta.clone(), Encoder::new(&meta));
            let mut random = Random::new(4);
            let mut draw = || -> Vec<f32> {
                let uniform = |_| (random.next() >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
                (0..dimensions).map(uniform).collect()
            };
            for list in 0..LISTS {
                let coarse = coarse_of(&narrowed(&draw()[..coarse_dimensions]), metric);
                directory.bias.push(match metric {
                    Metric::Euclidean => kernels::squared_norm(&coarse) / 2.0,
                    _ => 0.0,
                });
                directory.coarse.extend(coarse);
                directory.lengths.push(1.0);
                directory.live.push(FIRST_LIST + list as ListId);
            }
            for asked in [dimensions, 100, 40] {
                if metric == Metric::Euclidean && asked < dimensions {
                    continue;
                }
                let mut found = 0;
                for near_to in 0..50 {
                    let centre = directory.coarse[near_to * coarse_dimensions..].iter();
                    let centre = centre.take(coarse_dimensions).map(|x| x.to_f32());
                    let mut vector = draw();
                    vector.iter_mut().zip(centre).for_each(|(x, c)| *x = 0.1 * *x + c);
                    let vector = narrowed(&vector[..asked]);
                    let query = Query::new(&directory.encoder, &vector, || directory.middle());
                    let coarse = directory.encoder.coarse(&vector);
                    let near = directory.ranked_by_codes(&store, &query, &coarse, 30).unwrap();
                    let exact = directory.ranked(&coarse, 30);
                    assert_eq!(near.len(), exact.len());
                    assert!(near.is_sorted_by(|a, b| a.0 >= b.0));
                    assert_eq!(near[0], exact[0]);
                    found += exact[..10].iter().filter(|list| near.contains(list)).count();
                }
                assert!(found >= 450, "{metric:?}, {asked}: {found} of 500");
            }
        }
    }
}
