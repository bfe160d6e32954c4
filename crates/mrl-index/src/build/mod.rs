//! An index of many vectors at once: centres from a sample, then each row put to its list, and all of them written
//! (module `builder`).

mod builder;
mod rows_waiting;
pub mod spill;

use half::f16;
use mrl_memory::OutOfMemory;

use crate::clusters::kmeans::{self, Rows};
use crate::lists::directory::Directory;
use crate::lists::encode::{Encoder, coarse_of, narrowed};
use crate::lists::frame::Frame;
use crate::pages::group::Tid;
use crate::pages::meta::{FIRST_LIST, Meta, Metric};
use crate::pages::page::{ListId, NONE};
use crate::pages::rows::Row;
use crate::pages::store::PageStore;
use crate::threads::workers::Workers;
pub use builder::Builder;
use spill::MemorySpill;

/// Rows that a list of a fresh index has on average: more lists cost space (partly filled pages, 16 KB
/// a list at least), fewer make a query score more summaries.
pub const ROWS_A_LIST: usize = 1600;
/// Leading dimensions by which rows are put into lists.
const COARSE_DIMENSIONS: usize = 384;
/// The most lists that an index has.
pub const MOST_LISTS: usize = 65_536;

/// What an index is to be.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// A random number that names the storage.
    pub build: u64,
    /// What the rotations are drawn from, and the vectors with which the search for centres begins.
    pub seed: u64,
    /// Of the vectors: 1 to [`MOST_DIMENSIONS`](crate::pages::shape::MOST_DIMENSIONS).
    pub dimensions: usize,
    /// How many leading dimensions lists are chosen by: 1 to all.
    pub coarse_dimensions: usize,
    /// By what rows are compared with a query.
    pub metric: Metric,
    /// Whether it is to keep copies of the vectors, for exact distances.
    pub copies: bool,
}

impl Plan {
    pub(crate) fn meta(&self) -> Meta {
        Meta {
            build: self.build,
            epoch: 1,
            seed: self.seed,
            next_list: FIRST_LIST,
            dimensions: self.dimensions,
            coarse_dimensions: self.coarse_dimensions,
            metric: self.metric,
            copies: self.copies,
            frames_page: NONE,
            frames_used: 0,
            directory: Vec::new(),
        }
    }
}

/// Writes an index without rows: one list, whose frame is zero.
///
/// # Errors
/// What the storage answers; out of memory.
pub fn create_empty<S: PageStore>(store: &S, plan: &Plan) -> Result<(), S::Error> {
    let frames = vec![f16::ZERO; plan.dimensions];
    Builder::new(store, plan, frames, 0, MemorySpill::default(), Workers::single())?.finish()
}

/// How many lists are best for so many rows.
pub fn lists_for(rows: f64) -> usize {
    ((rows / ROWS_A_LIST as f64).round() as usize).clamp(1, MOST_LISTS)
}

/// By how many leading dimensions rows are put into lists where nothing else is said.
pub fn coarse_dimensions_for(dimensions: usize) -> usize {
    dimensions.min(COARSE_DIMENSIONS)
}

/// How many sampled vectors centres are made from: of few lists more each, which makes one build as good as another.
pub fn sample_for(lists: usize) -> usize {
    const LEAST_A_LIST: usize = 64;
    const MOST_A_LIST: usize = 256;
    const ENOUGH: usize = 32_768;
    let enough = (lists * MOST_A_LIST).min(ENOUGH);
    enough.max(lists * LEAST_A_LIST).max(1000)
}

/// The frames (whole centres, one after another) of at most `lists` lists of a sample of vectors; of an
/// empty sample one frame of zeros. Nothing where the workers were told to stop, or there is no memory.
pub fn frames(plan: &Plan, sample: &[f16], lists: usize, workers: &Workers) -> Option<Vec<f16>> {
    let dimensions = plan.dimensions;
    let width = plan.coarse_dimensions;
    let mut coarse = Vec::new();
    mrl_memory::reserve(&mut coarse, sample.len() / dimensions * width).ok()?;
    for vector in sample.chunks_exact(dimensions) {
        coarse.extend(coarse_of(&vector[..width], plan.metric));
    }
    let rows = Rows::new(&coarse, width);
    let spherical = plan.metric != Metric::Euclidean;
    let centres = kmeans::centres(rows, lists, plan.seed, spherical, workers)?;
    let count = centres.len() / width;
    if count == 0 {
        return Some(vec![f16::ZERO; dimensions]);
    }
    let assigned = kmeans::assign(rows, Rows::new(&centres, width), spherical, workers)?;
    let mut sums = mrl_memory::filled(0f64, count * dimensions).ok()?;
    let mut members = mrl_memory::filled(0usize, count).ok()?;
    for (vector, list) in sample.chunks_exact(dimensions).zip(&assigned) {
        let sum = &mut sums[*list as usize * dimensions..][..dimensions];
        mrl_kernels::add_to_sums(vector, sum);
        members[*list as usize] += 1;
    }
    let frames = sums.chunks_exact(dimensions).zip(&members).filter(|(_, members)| **members > 0);
    let mut means = Vec::new();
    mrl_memory::reserve(&mut means, sums.len()).ok()?;
    for (sum, members) in frames {
        let mean: Vec<f32> = sum.iter().map(|x| (x / *members as f64) as f32).collect();
        means.extend(narrowed(&mean));
    }
    Some(means)
}

/// Rows with the lists and codes found for them.
pub type Encoded = Vec<(Tid, ListId, Row)>;

/// Finds lists and codes of vectors; shared by workers.
pub struct Assigner {
    encoder: Encoder,
    frames: Vec<Frame>,
    coarse: Vec<f16>,
    biases: Vec<f32>,
}

impl Assigner {
    /// That of lists with such frames.
    pub(crate) fn new(encoder: &Encoder, frames: &[Frame]) -> Result<Self, OutOfMemory> {
        let (width, metric) = (encoder.coarse_dimensions, encoder.metric);
        let mut coarse = Vec::new();
        mrl_memory::reserve(&mut coarse, frames.len() * width)?;
        for frame in frames {
            coarse.extend(coarse_of(&frame.centre[..width], metric));
        }
        let biases = kmeans::biases(Rows::new(&coarse, width), metric != Metric::Euclidean)?;
        let frames = mrl_memory::collect(frames.iter().cloned())?;
        Ok(Self { encoder: encoder.clone(), frames, coarse, biases })
    }

    /// The rows of some vectors, which lie one after another, one for each TID.
    ///
    /// # Errors
    /// Out of memory.
    pub fn encode(&self, tids: &[Tid], vectors: &[f16]) -> Result<Encoded, OutOfMemory> {
        let dimensions = self.encoder.shape.dimensions;
        let centres = Rows::new(&self.coarse, self.encoder.coarse_dimensions);
        let (mut coarse, mut lists) = (Vec::new(), mrl_memory::filled(0, tids.len())?);
        for vector in vectors.chunks_exact(dimensions) {
            mrl_memory::extend(&mut coarse, &self.encoder.coarse(vector))?;
        }
        let coarse = Rows::new(&coarse, self.encoder.coarse_dimensions);
        kmeans::nearest(coarse, centres, &self.biases, &mut lists);
        let rows = tids.iter().zip(vectors.chunks_exact(dimensions)).zip(lists);
        mrl_memory::collect(rows.map(|((tid, vector), list)| {
            let row = self.encoder.row(vector, &self.frames[list as usize]);
            (*tid, FIRST_LIST + list, row)
        }))
    }
}

/// Builds an index of vectors in memory, in this thread: for tests and benchmarks.
///
/// # Errors
/// What the storage answers; damage, where a page is not what it should be, or a list is full; out of memory.
pub fn build<S: PageStore>(
    store: &S,
    plan: &Plan,
    vectors: &[(Tid, Vec<f16>)],
    lists: usize,
) -> Result<Directory, S::Error> {
    let mut sample = Vec::new();
    let step = (vectors.len() / sample_for(lists)).max(1);
    for (_, vector) in vectors.iter().step_by(step) {
        mrl_memory::extend(&mut sample, vector)?;
    }
    let workers = Workers::single();
    let frames = frames(plan, &sample, lists, &workers)
        .ok_or(OutOfMemory { bytes: size_of_val(&*sample) })?;
    let mut builder =
        Builder::new(store, plan, frames, usize::MAX, MemorySpill::default(), workers)?;
    let assigner = builder.assigner()?;
    for (tid, vector) in vectors {
        builder.add(assigner.encode(&[*tid], vector)?)?;
    }
    builder.finish()?;
    Directory::read(store)
}
