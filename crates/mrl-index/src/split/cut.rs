//! How the rows of one list, or of several together, are cut into the parts that become lists: by k-means on their
//! vectors where these are at hand, else on what their codes say about them.

use std::cmp::Reverse;
use std::ops::Range;

use half::f16;
use mrl_kernels as kernels;
use mrl_memory::OutOfMemory;

use crate::build::ROWS_A_LIST;
use crate::clusters::kmeans::{self, Rows};
use crate::lists::encode::{Encoder, narrowed};
use crate::pages::meta::Entry;
use crate::pages::page::{ListId, PageNumber};
use crate::pages::store::PageStore;
use crate::split::chain::Member;
use crate::split::patience::SLOTS_BEFORE_SPLIT;
use crate::split::vectors::RowVectors;
use crate::threads::workers::Workers;

/// The smaller part of a split has at least this share of the rows; else the cut goes through the median. Of a cut of
/// several lists a part has at least this share of what it would have if all were equal.
const LEAST_SHARE: f64 = 0.2;
/// A cut of several lists makes one more of them than they were, and more, twice as many at most, for a part to have so
/// many rows in the mean.
const ROWS_OF_A_PART: usize = ROWS_A_LIST * 7 / 8;
/// Components of rows that are cut at once.
const MOST_COMPONENTS: usize = 8 << 20;
/// A part of a cut of several lists has at most so many times the rows that it would have if all were equal: larger
/// ones would soon be split again. The first is for the centres that k-means found. Rows that then have to leave their
/// part take its centre with them, so that it is no longer the nearest to others: each other is for the means of the
/// parts before, when there is less to even out.
const MOST_SHARES: [f64; 3] = [1.2, 1.3, 1.4];
/// And at most so many: with a few more it would be due to be split itself.
const MOST_ROWS: usize = SLOTS_BEFORE_SPLIT * 9 / 10;
/// Rounds of k-means, and about how many of the rows they look at.
const ROUNDS: usize = 9;
const SAMPLE: usize = 5000;

/// The parts that a list falls into, and their frames.
pub(crate) struct Cut {
    /// The rows of each, with their vectors where these are at hand.
    pub parts: Vec<Vec<(Member, Option<Vec<f16>>)>>,
    pub frames: Vec<Frame>,
}

pub(crate) enum Frame {
    Kept(PageNumber, u16),
    New(Vec<f16>),
}

impl Cut {
    pub fn whole(members: Vec<Member>, old: Entry) -> Self {
        Self {
            parts: vec![members.into_iter().map(|member| (member, None)).collect()],
            frames: vec![Frame::Kept(old.frame_page, old.frame_place)],
        }
    }

    /// Two parts, each of the rows that are nearer to one of two centres, by what their codes say; nothing where that
    /// is all of them. One row's vector at a time is in memory.
    pub fn by_halves<S: PageStore>(
        store: &S,
        members: Vec<Member>,
        halves: &[Vec<f16>; 2],
        known: &mut RowVectors<S>,
    ) -> Result<Option<Self>, S::Error> {
        let mut parts = [Vec::new(), Vec::new()];
        let mut sums = [Vec::new(), Vec::new()];
        for member in members {
            store.check_interrupts()?;
            let vector = known.guess(&member)?;
            let coarse = known.coarse(&vector);
            let [first, second] =
                [0, 1].map(|side: usize| kernels::squared_l2(&halves[side], &coarse));
            let side = usize::from(second < first);
            sums[side].resize(vector.len(), 0.0);
            kernels::add_to_sums(&vector, &mut sums[side]);
            mrl_memory::push(&mut parts[side], (member, None))?;
        }
        if parts.iter().any(Vec::is_empty) {
            return Ok(None);
        }
        let frames = sums.iter().zip(&parts).map(|(sum, part)| frame_of(sum, part.len()));
        Ok(Some(Self { frames: frames.collect(), parts: parts.into() }))
    }
}

/// The frame of so many rows: their mean.
fn frame_of(sum: &[f64], count: usize) -> Frame {
    let count = count.max(1) as f64;
    let mean: Vec<f32> = sum.iter().map(|x| (x / count) as f32).collect();
    Frame::New(narrowed(&mean))
}

/// Rows that are cut, with what is known of their vectors, and with what lists are chosen by.
#[derive(Default)]
pub(crate) struct Pool {
    members: Vec<Member>,
    /// The vectors themselves, where enough of them are at hand, else what the rows' codes say about them.
    vectors: Vec<Vec<f16>>,
    is_exact: Vec<bool>,
    /// Vectors that are at hand where too few are: such rows are cut by their codes too, and encoded anew.
    others: Vec<Option<Vec<f16>>>,
    /// What lists are chosen by, `width` components of each.
    coarse: Vec<f16>,
    width: usize,
    /// Where the rows of each list end; the first is the one that is split.
    ends: Vec<usize>,
}

impl Pool {
    /// Adds the rows of a list.
    pub fn add<S: PageStore>(
        &mut self,
        store: &S,
        encoder: &Encoder,
        members: Vec<Member>,
        known: &mut RowVectors<S>,
    ) -> Result<(), S::Error> {
        let mut exact = Vec::new();
        mrl_memory::reserve(&mut exact, members.len())?;
        for member in &members {
            store.check_interrupts()?;
            exact.push(known.exact(member)?);
        }
        // Equal vectors of which some are known and some are guessed from their codes must not look different.
        let by_codes = exact.iter().flatten().count() < exact.len() / 2;
        self.add_known(store, encoder, (members, exact), by_codes, known)
    }

    /// The same, but by what their codes say, whether the vectors are known or not.
    pub fn add_guessed<S: PageStore>(
        &mut self,
        store: &S,
        encoder: &Encoder,
        members: Vec<Member>,
        known: &mut RowVectors<S>,
    ) -> Result<(), S::Error> {
        let nothing = mrl_memory::filled(None, members.len())?;
        self.add_known(store, encoder, (members, nothing), true, known)
    }

    fn add_known<S: PageStore>(
        &mut self,
        store: &S,
        encoder: &Encoder,
        (members, exact): (Vec<Member>, Vec<Option<Vec<f16>>>),
        by_codes: bool,
        known: &mut RowVectors<S>,
    ) -> Result<(), S::Error> {
        self.width = encoder.coarse_dimensions;
        mrl_memory::reserve(&mut self.members, members.len())?;
        mrl_memory::reserve(&mut self.vectors, members.len())?;
        mrl_memory::reserve(&mut self.is_exact, members.len())?;
        mrl_memory::reserve(&mut self.others, members.len())?;
        mrl_memory::reserve(&mut self.coarse, members.len() * self.width)?;
        for (member, exact) in members.into_iter().zip(exact) {
            store.check_interrupts()?;
            let (exact, other) = if by_codes { (None, exact) } else { (exact, None) };
            self.is_exact.push(exact.is_some());
            self.others.push(other);
            let vector = match exact {
                Some(vector) => vector,
                None => known.guess(&member)?,
            };
            self.coarse.extend(encoder.coarse(&vector));
            self.vectors.push(vector);
            self.members.push(member);
        }
        self.ends.push(self.members.len());
        Ok(())
    }

    /// The rows of one of the lists.
    fn rows_of(&self, list: usize) -> Range<usize> {
        let start = list.checked_sub(1).and_then(|former| self.ends.get(former));
        start.copied().unwrap_or(0)..self.ends.get(list).copied().unwrap_or(self.members.len())
    }

    /// Which of the lists beside the first are to be halved too, the largest first, for the parts to have room: where
    /// lists that are due to be split lie side by side, parts of as many rows each would be as full.
    pub fn halved_too(&self) -> Vec<usize> {
        let (lists, parts) = (self.ends.len(), self.members.len().div_ceil(ROWS_OF_A_PART));
        let mut others: Vec<usize> = (1..lists).collect();
        others.sort_by_key(|list| Reverse(self.rows_of(*list).len()));
        others.truncate(parts.saturating_sub(1 + lists));
        others
    }

    /// What lists are chosen by, of all rows.
    fn coarse(&self) -> Rows<'_> {
        Rows::new(&self.coarse, self.width)
    }

    /// What of a row's vector decides on the list, of those of some rows whose vectors are at hand if there are any.
    fn surest(&self, rows: Range<usize>) -> Result<Vec<&[f16]>, OutOfMemory> {
        let coarse = self.coarse();
        let known = rows.clone().filter(|row| self.is_exact[*row]);
        let known = mrl_memory::collect(known.map(|row| coarse.row(row)))?;
        if known.is_empty() {
            mrl_memory::collect(rows.map(|row| coarse.row(row)))
        } else {
            Ok(known)
        }
    }

    pub fn is_large(&self, dimensions: usize) -> bool {
        self.members.len() * dimensions > MOST_COMPONENTS / 2
    }

    pub fn leave_own(&mut self) {
        let own = self.rows_of(0).end;
        self.ends.truncate(1);
        self.members.truncate(own);
        self.vectors.truncate(own);
        self.is_exact.truncate(own);
        self.others.truncate(own);
        self.coarse.truncate(own * self.width);
    }

    /// Centres that have moved to the means of the rows that are nearest to them, some rounds long.
    fn moved<S: PageStore>(&self, store: &S, mut centres: Vec<f16>) -> Result<Vec<f16>, S::Error> {
        let rows = self.coarse();
        let stride = rows.count().div_ceil(SAMPLE).max(1);
        let mut sample = Vec::new();
        mrl_memory::reserve(&mut sample, rows.count().div_ceil(stride) * self.width)?;
        rows.iter().step_by(stride).for_each(|row| sample.extend_from_slice(row));
        let (sample, workers) = (Rows::new(&sample, self.width), Workers::single());
        // Such workers are never told to stop.
        let no_room = OutOfMemory { bytes: size_of::<f64>() * centres.len() };
        for _ in 0..ROUNDS {
            store.check_interrupts()?;
            centres = kmeans::moved(sample, &centres, false, 0.0, &workers).ok_or(no_room)?;
        }
        Ok(centres)
    }

    /// The centres of two parts of the rows, those of one list; nothing where these are all alike.
    pub fn halves<S: PageStore>(
        &self,
        store: &S,
        list: ListId,
    ) -> Result<Option<[Vec<f16>; 2]>, S::Error> {
        let Some(halves) = first_centres(store, self, 0, list)? else { return Ok(None) };
        let centres = self.moved(store, halves.concat())?;
        let (first, second) = centres.split_at(self.width);
        Ok(Some([first.to_vec(), second.to_vec()]))
    }

    /// Of each row the nearest of some centres.
    fn nearest<S: PageStore>(&self, store: &S, centres: Rows) -> Result<Vec<u32>, S::Error> {
        /// Rows between two questions whether to stop.
        const AT_ONCE: usize = 1024;
        let rows = self.coarse();
        let biases = kmeans::biases(centres, false)?;
        let mut sides = mrl_memory::filled(0, rows.count())?;
        for (i, sides) in sides.chunks_mut(AT_ONCE).enumerate() {
            store.check_interrupts()?;
            kmeans::nearest(rows.part(i * AT_ONCE, sides.len()), centres, &biases, sides);
        }
        Ok(sides)
    }

    /// The sides of all rows, as many as there are centres; nothing where the parts would differ too much.
    pub fn sides<S: PageStore>(
        &self,
        store: &S,
        centres: Vec<f16>,
    ) -> Result<Option<Vec<u32>>, S::Error> {
        let rows = self.coarse();
        let parts = centres.len() / self.width;
        let equal = rows.count() as f64 / parts as f64;
        let mut centres = self.moved(store, centres)?;
        let mut sides = Vec::new();
        for (i, share) in MOST_SHARES.into_iter().enumerate() {
            if i > 0 {
                centres = means(rows, self.width, &sides, parts)?;
            }
            let centres = Rows::new(&centres, self.width);
            sides = self.nearest(store, centres)?;
            balance(rows, centres, &mut sides, ((share * equal) as usize + 1).min(MOST_ROWS))?;
        }
        let least = (LEAST_SHARE * equal) as usize;
        let fits = |count: &usize| (least..=MOST_ROWS).contains(count);
        Ok(counts(&sides, parts).iter().all(fits).then_some(sides))
    }

    /// The sides of the rows of the list that is split alone, of two.
    pub fn own_sides<S: PageStore>(
        &self,
        store: &S,
        halves: &[Vec<f16>; 2],
    ) -> Result<Vec<u32>, S::Error> {
        let centres = self.moved(store, halves.concat())?;
        let sides = self.nearest(store, Rows::new(&centres, self.width))?;
        let second = sides.iter().sum::<u32>() as usize;
        let share = second.min(sides.len() - second) as f64 / sides.len() as f64;
        if share < LEAST_SHARE {
            let (first, second) = centres.split_at(self.width);
            return Ok(equal_halves(self.coarse().iter(), [first, second])?);
        }
        Ok(sides)
    }

    /// The parts, and as their frames the means of their vectors.
    pub fn cut(self, sides: Vec<u32>, dimensions: usize) -> Result<Cut, OutOfMemory> {
        let parts = sides.iter().max().map_or(0, |last| *last as usize + 1);
        let mut sums = vec![vec![0f64; dimensions]; parts];
        let mut cut: Vec<Vec<_>> = (0..parts).map(|_| Vec::new()).collect();
        let known = self.vectors.into_iter().zip(self.is_exact).zip(self.others);
        for ((member, ((vector, is_exact), other)), side) in
            self.members.into_iter().zip(known).zip(sides)
        {
            kernels::add_to_sums(&vector, &mut sums[side as usize]);
            mrl_memory::push(
                &mut cut[side as usize],
                (member, is_exact.then_some(vector).or(other)),
            )?;
        }
        let frames = sums.iter().zip(&cut).map(|(sum, part)| frame_of(sum, part.len()));
        Ok(Cut { frames: frames.collect(), parts: cut })
    }
}

/// The means of the two halves of one of the pool's lists between its most distant rows; nothing where its rows are all
/// alike.
pub(crate) fn first_centres<S: PageStore>(
    store: &S,
    pool: &Pool,
    list: usize,
    draw: ListId,
) -> Result<Option<[Vec<f16>; 2]>, S::Error> {
    store.check_interrupts()?;
    let coarse = &pool.surest(pool.rows_of(list))?;
    // The row farthest from one of the rows, and the row farthest from that.
    let farthest = |from: &[f16]| -> usize {
        let distances = coarse.iter().map(|row| kernels::squared_l2(row, from)).enumerate();
        distances.max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(row, _)| row)
    };
    let Some(start) = coarse.get(draw as usize % coarse.len().max(1)) else { return Ok(None) };
    let one = farthest(start);
    let two = farthest(coarse[one]);
    // Codes of equal vectors are equal, so nothing but rounding lies between them, whatever their length.
    let length = kernels::squared_norm(coarse[one]).max(kernels::squared_norm(coarse[two]));
    if kernels::squared_l2(coarse[one], coarse[two]) <= 1e-6 * length {
        return Ok(None);
    }
    // The half of the rows that lies nearer to each: the two themselves may lie apart from all others.
    let sides = equal_halves(coarse.iter().copied(), [coarse[one], coarse[two]])?;
    let half = |side: u32| {
        let rows = coarse.iter().zip(&sides).filter(|(_, of)| **of == side);
        mean(rows.map(|(row, _)| *row), pool.width)
    };
    Ok(Some([half(0), half(1)]))
}

/// The mean of some rows.
fn mean<'r>(rows: impl Iterator<Item = &'r [f16]>, width: usize) -> Vec<f16> {
    let (mut sums, mut count) = (vec![0f64; width], 0.0f64);
    for row in rows {
        kernels::add_to_sums(row, &mut sums);
        count += 1.0;
    }
    let mean: Vec<f32> = sums.iter().map(|sum| (sum / count.max(1.0)) as f32).collect();
    narrowed(&mean)
}

/// The means of the rows on each of some sides, one after another.
fn means(rows: Rows, width: usize, sides: &[u32], count: usize) -> Result<Vec<f16>, OutOfMemory> {
    let mut means = Vec::new();
    for side in 0..count {
        let part = rows.iter().zip(sides).filter(|(_, of)| **of as usize == side);
        mrl_memory::extend(&mut means, &mean(part.map(|(row, _)| row), width))?;
    }
    Ok(means)
}

/// How many rows are on each of some sides.
fn counts(sides: &[u32], count: usize) -> Vec<usize> {
    let mut counts = vec![0; count];
    sides.iter().for_each(|side| counts[*side as usize] += 1);
    counts
}

/// Moves rows out of parts that have more than `most`, the largest part first, those that lose the least by it.
fn balance(rows: Rows, centres: Rows, sides: &mut [u32], most: usize) -> Result<(), OutOfMemory> {
    let mut counts = counts(sides, centres.count());
    for _ in 0..centres.count() {
        let too_large = (0..centres.count()).filter(|side| counts[*side] > most);
        let Some(full) = too_large.max_by_key(|side| counts[*side]) else { break };
        // Of each of its rows: what it loses, and the nearest part that has room.
        let mut moves = Vec::new();
        mrl_memory::reserve(&mut moves, counts[full])?;
        for (i, row) in rows.iter().enumerate().filter(|(i, _)| sides[*i] as usize == full) {
            let distance = |side: usize| kernels::squared_l2(row, centres.row(side));
            let own = distance(full);
            let with_room = (0..centres.count()).filter(|side| counts[*side] < most);
            let lost = with_room.map(|side| (distance(side) - own, side));
            if let Some((lost, side)) = lost.min_by(|a, b| a.0.total_cmp(&b.0)) {
                moves.push((lost, i, side));
            }
        }
        moves.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        for (_, i, side) in moves {
            if counts[full] > most && counts[side] < most {
                sides[i] = side as u32;
                (counts[full], counts[side]) = (counts[full] - 1, counts[side] + 1);
            }
        }
    }
    Ok(())
}

/// Cuts rows into halves by how much nearer they are to the second centre than to the first: 1 for the second.
fn equal_halves<'r>(
    rows: impl Iterator<Item = &'r [f16]>,
    [first, second]: [&[f16]; 2],
) -> Result<Vec<u32>, OutOfMemory> {
    let offset = |row| kernels::squared_l2(row, first) - kernels::squared_l2(row, second);
    let offsets: Vec<f32> = mrl_memory::collect(rows.map(offset))?;
    let mut order: Vec<usize> = mrl_memory::collect(0..offsets.len())?;
    order.sort_unstable_by(|a, b| offsets[*a].total_cmp(&offsets[*b]));
    let mut sides = mrl_memory::filled(0, offsets.len())?;
    for row in &order[order.len() / 2..] {
        sides[*row] = 1;
    }
    Ok(sides)
}
