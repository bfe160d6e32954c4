//! How the rows of one list, or of several together, are cut into the parts that become lists: by k-means on what
//! their codes say about the vectors.

use half::f16;
use mrl_kernels as kernels;
use mrl_memory::OutOfMemory;

use crate::chain::Member;
use crate::directory::Directory;
use crate::encode::{coarse_of, narrowed, widened};
use crate::insert::SLOTS_BEFORE_SPLIT;
use crate::meta::{self, Entry};
use crate::page::{Block, ListId};
use crate::store::PageStore;
use crate::vectors::{Vectors, vector_of};

/// The smaller part of a split has at least this share of the rows; else the cut goes through the median. Of a cut of
/// several lists a part has at least this share of what it would have if all were equal.
const LEAST_SHARE: f64 = 0.2;
/// Components of rows that are cut at once.
const MOST_COMPONENTS: usize = 8 << 20;
/// A part of a cut of several lists has at most so many times the rows that it would have if all were equal: larger
/// ones would soon be split again.
const MOST_SHARE: f64 = 1.2;
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
    Kept(Block, u16),
    New(Vec<f16>),
}

impl Cut {
    pub fn whole(members: Vec<Member>, old: Entry) -> Self {
        Self {
            parts: vec![members.into_iter().map(|member| (member, None)).collect()],
            frames: vec![Frame::Kept(old.frame_block, old.frame_place)],
        }
    }
}

/// Rows that are cut, with what their codes say about their vectors, and with what lists are chosen by.
#[derive(Default)]
pub(crate) struct Pool {
    members: Vec<Member>,
    vectors: Vec<Vec<f32>>,
    /// The vectors themselves, where they are at hand.
    exact: Vec<Option<Vec<f16>>>,
    coarse: Vec<Vec<f16>>,
    /// How many of them are of the list that is split: the first ones.
    own: usize,
}

impl Pool {
    pub fn add<S: PageStore>(
        &mut self,
        store: &S,
        directory: &Directory,
        members: Vec<Member>,
        vectors: &mut Vectors<S::Error>,
    ) -> Result<(), S::Error> {
        let encoder = &directory.encoder;
        let mut frames: Vec<(ListId, Vec<f16>)> = Vec::new();
        let mut exact = Vec::new();
        mrl_memory::reserve(&mut exact, members.len())?;
        for member in &members {
            store.check_interrupts()?;
            if !frames.iter().any(|(id, _)| *id == member.frame) {
                frames.push((member.frame, directory.frame(store, member.frame)?));
            }
            exact.push(match &member.row.copy {
                Some(copy) => Some(meta::halfs(copy)),
                None => vector_of(vectors, encoder, member, frame_of(&frames, member))?,
            });
        }
        // Equal vectors of which some are known and some are guessed from their codes must not look different.
        if exact.iter().flatten().count() < exact.len() / 2 {
            exact.fill(None);
        }
        mrl_memory::reserve(&mut self.members, members.len())?;
        mrl_memory::reserve(&mut self.vectors, members.len())?;
        mrl_memory::reserve(&mut self.exact, members.len())?;
        mrl_memory::reserve(&mut self.coarse, members.len())?;
        if self.members.is_empty() {
            self.own = members.len();
        }
        for (member, exact) in members.into_iter().zip(exact) {
            store.check_interrupts()?;
            let vector = match &exact {
                Some(exact) => widened(exact),
                None => encoder.decode(&member.row.record, frame_of(&frames, &member)),
            };
            self.coarse.push(coarse_of(&vector[..encoder.coarse_dimensions], encoder.metric));
            self.vectors.push(vector);
            self.exact.push(exact);
            self.members.push(member);
        }
        Ok(())
    }

    /// What of a row's vector decides on the list, of those rows whose vectors are at hand if there are any.
    fn surest(&self) -> Result<Vec<&Vec<f16>>, OutOfMemory> {
        let known = self.coarse.iter().zip(&self.exact).filter(|(_, exact)| exact.is_some());
        let known = mrl_memory::collect(known.map(|(coarse, _)| coarse))?;
        if known.is_empty() { mrl_memory::collect(&self.coarse) } else { Ok(known) }
    }

    pub fn is_large(&self, dimensions: usize) -> bool {
        self.members.len() * dimensions > MOST_COMPONENTS / 2
    }

    pub fn leave_own(&mut self) {
        self.members.truncate(self.own);
        self.vectors.truncate(self.own);
        self.exact.truncate(self.own);
        self.coarse.truncate(self.own);
    }

    /// Moves centres to the means of the rows that are nearest to them, some rounds long: of each row the nearest
    /// centre then.
    fn rounds<S: PageStore>(
        &self,
        store: &S,
        centres: &mut [Vec<f16>],
    ) -> Result<Vec<usize>, S::Error> {
        let stride = self.coarse.len().div_ceil(SAMPLE).max(1);
        let sample: Vec<&Vec<f16>> = mrl_memory::collect(self.coarse.iter().step_by(stride))?;
        for _ in 0..ROUNDS {
            store.check_interrupts()?;
            let sides = nearest(&sample, centres)?;
            for (side, centre) in centres.iter_mut().enumerate() {
                if let Some(mean) = mean(&sample, |i| sides.get(i) == Some(&side)) {
                    *centre = narrowed(&mean);
                }
            }
        }
        Ok(nearest(&self.coarse, centres)?)
    }

    /// The sides of all rows, as many as there are centres; nothing where the parts would differ too much.
    pub fn sides<S: PageStore>(
        &self,
        store: &S,
        mut centres: Vec<Vec<f16>>,
    ) -> Result<Option<Vec<usize>>, S::Error> {
        let mut sides = self.rounds(store, &mut centres)?;
        let equal = sides.len() as f64 / centres.len() as f64;
        balance(&self.coarse, &centres, &mut sides, (MOST_SHARE * equal) as usize + 1)?;
        let mut counts = vec![0; centres.len()];
        sides.iter().for_each(|side| counts[*side] += 1);
        let least = (LEAST_SHARE * equal) as usize;
        let fits = |count: &usize| (least..SLOTS_BEFORE_SPLIT * 9 / 10).contains(count);
        Ok(counts.iter().all(fits).then_some(sides))
    }

    /// The sides of the rows of the list that is split alone, of two.
    pub fn own_sides<S: PageStore>(
        &self,
        store: &S,
        halves: &[Vec<f16>; 2],
    ) -> Result<Vec<usize>, S::Error> {
        let mut centres = halves.clone();
        let sides = self.rounds(store, &mut centres)?;
        let second = sides.iter().sum::<usize>();
        let share = second.min(sides.len() - second) as f64 / sides.len() as f64;
        if share < LEAST_SHARE {
            return Ok(equal_halves(&self.coarse, &centres)?);
        }
        Ok(sides)
    }

    /// The parts, and as their frames the means of their vectors.
    pub fn cut(self, sides: Vec<usize>, dimensions: usize) -> Result<Cut, OutOfMemory> {
        let parts = sides.iter().max().map_or(0, |last| last + 1);
        let mut sums = vec![vec![0f64; dimensions]; parts];
        let mut cut: Vec<Vec<_>> = (0..parts).map(|_| Vec::new()).collect();
        let rows = self.members.into_iter().zip(self.exact).zip(&self.vectors);
        for ((row, vector), side) in rows.zip(sides) {
            sums[side].iter_mut().zip(vector).for_each(|(sum, x)| *sum += f64::from(*x));
            mrl_memory::push(&mut cut[side], row)?;
        }
        let frames = sums.iter().zip(&cut).map(|(sum, part)| {
            let count = part.len().max(1) as f64;
            let mean: Vec<f32> = sum.iter().map(|x| (x / count) as f32).collect();
            Frame::New(narrowed(&mean))
        });
        Ok(Cut { frames: frames.collect(), parts: cut })
    }
}

/// The frame of a row, of some that are known.
fn frame_of<'f>(frames: &'f [(ListId, Vec<f16>)], member: &Member) -> &'f [f16] {
    frames.iter().find(|(id, _)| *id == member.frame).map_or(&[], |(_, frame)| frame)
}

/// The means of the two halves of a list between its most distant rows; nothing where its rows are all alike.
pub(crate) fn first_centres<S: PageStore>(
    store: &S,
    pool: &Pool,
    list: ListId,
) -> Result<Option<[Vec<f16>; 2]>, S::Error> {
    store.check_interrupts()?;
    let coarse = &pool.surest()?;
    // The row farthest from one of the rows, and the row farthest from that.
    let farthest = |from: &[f16]| -> usize {
        let distance = |i: &usize| kernels::squared_l2(coarse[*i], from);
        (0..coarse.len()).max_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0)
    };
    let Some(start) = coarse.get(list as usize % coarse.len().max(1)) else { return Ok(None) };
    let one = farthest(start);
    let two = farthest(coarse[one]);
    // Codes of equal vectors are equal, so nothing but rounding lies between them.
    if kernels::squared_l2(coarse[one], coarse[two]) < 1e-6 {
        return Ok(None);
    }
    // The half of the rows that lies nearer to each: the two themselves may lie apart from all others.
    let centres = [coarse[one].clone(), coarse[two].clone()];
    let sides = equal_halves(coarse, &centres)?;
    let half = |side: usize, centre: &Vec<f16>| {
        mean(coarse, |i| sides[i] == side).map_or(centre.clone(), |mean| narrowed(&mean))
    };
    Ok(Some([half(0, &centres[0]), half(1, &centres[1])]))
}

/// The mean of some rows, where there are any.
fn mean(rows: &[impl AsRef<[f16]>], is_one: impl Fn(usize) -> bool) -> Option<Vec<f32>> {
    let mut sums = vec![0f64; rows.first()?.as_ref().len()];
    let mut count = 0.0;
    for (_, row) in rows.iter().enumerate().filter(|(i, _)| is_one(*i)) {
        kernels::add_to_sums(row.as_ref(), &mut sums);
        count += 1.0;
    }
    (count > 0.0).then(|| sums.iter().map(|x| (x / count) as f32).collect())
}

/// Of each row the nearest centre.
fn nearest(rows: &[impl AsRef<[f16]>], centres: &[Vec<f16>]) -> Result<Vec<usize>, OutOfMemory> {
    mrl_memory::collect(rows.iter().map(|row| {
        let distances = centres.iter().map(|centre| kernels::squared_l2(row.as_ref(), centre));
        let nearest = distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
        nearest.map_or(0, |(side, _)| side)
    }))
}

/// Moves rows out of parts that have more than `most`, the largest part first, those that lose the least by it.
fn balance(
    rows: &[Vec<f16>],
    centres: &[Vec<f16>],
    sides: &mut [usize],
    most: usize,
) -> Result<(), OutOfMemory> {
    let mut counts = vec![0; centres.len()];
    sides.iter().for_each(|side| counts[*side] += 1);
    for _ in 0..centres.len() {
        let too_large = (0..centres.len()).filter(|side| counts[*side] > most);
        let Some(full) = too_large.max_by_key(|side| counts[*side]) else { break };
        // Of each of its rows: what it loses, and the nearest part that has room.
        let mut moves = Vec::new();
        mrl_memory::reserve(&mut moves, counts[full])?;
        for (i, row) in rows.iter().enumerate().filter(|(i, _)| sides[*i] == full) {
            let own = kernels::squared_l2(row, &centres[full]);
            let with_room = (0..centres.len()).filter(|side| counts[*side] < most);
            let lost = with_room.map(|side| (kernels::squared_l2(row, &centres[side]) - own, side));
            if let Some((lost, side)) = lost.min_by(|a, b| a.0.total_cmp(&b.0)) {
                moves.push((lost, i, side));
            }
        }
        moves.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        for (_, i, side) in moves {
            if counts[full] > most && counts[side] < most {
                (sides[i], counts[full], counts[side]) = (side, counts[full] - 1, counts[side] + 1);
            }
        }
    }
    Ok(())
}

/// Cuts rows into halves by how much nearer they are to the second centre than to the first: 1 for the second.
fn equal_halves(
    rows: &[impl AsRef<[f16]>],
    centres: &[Vec<f16>; 2],
) -> Result<Vec<usize>, OutOfMemory> {
    let offset =
        |row: &[f16]| kernels::squared_l2(row, &centres[0]) - kernels::squared_l2(row, &centres[1]);
    let offsets: Vec<f32> = mrl_memory::collect(rows.iter().map(|row| offset(row.as_ref())))?;
    let mut order: Vec<usize> = mrl_memory::collect(0..rows.len())?;
    order.sort_unstable_by(|a, b| offsets[*a].total_cmp(&offsets[*b]));
    let mut sides = mrl_memory::filled(0, rows.len())?;
    for row in &order[rows.len() / 2..] {
        sides[*row] = 1;
    }
    Ok(sides)
}
