//! Building: a sample of the table for the centres, then one scan of it whose rows threads encode.

use std::ffi::c_void;
use std::sync::Arc;

use half::f16;
use mrl_index::build::spill::Spill;
use mrl_index::build::{self, Assigner, Builder, Plan};
use mrl_index::pages::group::Tid;
use mrl_index::pages::meta::{Metric, NULLS, ZEROS};
use mrl_index::pages::page::ListId;
use mrl_index::threads::channel::{Channel, Closing};
use mrl_index::threads::workers::Workers;
use mrl_memory::OutOfMemory;
use pgrx::pg_sys;

use crate::index::class::{class_of, dimensions_of, keeps_copies};
use crate::index::errors::or_raise;
use crate::index::handler::Phase;
use crate::index::options::options_of;
use crate::index::pages::BufferStore;
use crate::index::tid::tid_of;
use crate::server::call::FromSql;
use crate::server::error::SqlError;
use crate::server::temporary_file::TemporaryFile;
use crate::server::{memory, signals, table};
use crate::vector::datum::Vector;

/// Rows that a thread encodes at once.
const BATCH_ROWS: usize = 256;

#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn ambuild(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
) -> *mut pg_sys::IndexBuildResult {
    // SAFETY: the server's own relations, the index new and empty.
    unsafe {
        let (scanned, indexed) = or_raise(index, build_all(table, index, info));
        let result = pg_sys::palloc0(size_of::<pg_sys::IndexBuildResult>());
        let result = result.cast::<pg_sys::IndexBuildResult>();
        (*result).heap_tuples = scanned;
        (*result).index_tuples = indexed;
        result
    }
}

#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn ambuildempty(index: pg_sys::Relation) {
    // SAFETY: the server's own relation, whose initial fork is empty.
    unsafe {
        let write = || -> Result<(), SqlError> {
            let table = pg_sys::relation_open((*(*index).rd_index).indrelid, 0);
            let plan = plan_of(table, index);
            pg_sys::relation_close(table, 0);
            let store = BufferStore::initial(index);
            build::create_empty(&store, &plan?)?;
            store.log_all()
        };
        or_raise(index, write());
    }
}

/// # Safety
/// Both relations are open.
unsafe fn plan_of(table: pg_sys::Relation, index: pg_sys::Relation) -> Result<Plan, SqlError> {
    // SAFETY: by contract.
    unsafe {
        let options = options_of(index);
        let dimensions = dimensions_of(index)?;
        let mut random = [0u8; 16];
        pg_sys::pg_strong_random(random.as_mut_ptr().cast(), random.len());
        let number = u128::from_le_bytes(random);
        Ok(Plan {
            build: number as u64,
            seed: (number >> 64) as u64,
            dimensions,
            coarse_dimensions: options
                .coarse_dimensions
                .unwrap_or_else(|| build::coarse_dimensions_for(dimensions))
                .min(dimensions),
            metric: class_of(index)?.metric,
            copies: keeps_copies(table, index, &options, dimensions)?,
        })
    }
}

fn enter(phase: Phase) {
    // SAFETY: writes the session's own progress entry.
    unsafe {
        pg_sys::pgstat_progress_update_param(
            pg_sys::PROGRESS_CREATEIDX_SUBPHASE as i32,
            phase as i64,
        );
    }
}

fn workers() -> Workers {
    Workers {
        threads: threads(),
        before_start: signals::block,
        after_start: signals::unblock,
        has_room: memory::has_room,
        stop: Box::new(|| {
            pgrx::check_for_interrupts!();
            false
        }),
    }
}

/// As many as the server would give parallel workers to a build, but no more than there are processors.
fn threads() -> usize {
    // SAFETY: reads a setting.
    let most = unsafe { pg_sys::max_parallel_maintenance_workers }.max(0) as usize;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    most.min(processors)
}

/// # Safety
/// As [`ambuild`].
unsafe fn build_all(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
) -> Result<(f64, f64), SqlError> {
    // SAFETY: by contract, here and below.
    let (plan, options, store) =
        unsafe { (plan_of(table, index)?, options_of(index), BufferStore::new(index)) };
    // SAFETY: reads a setting.
    let memory = unsafe { pg_sys::maintenance_work_mem } as usize * 1024;
    enter(Phase::Sampling);
    // SAFETY: as above.
    let sample = unsafe { Sample::take(table, index, info, &plan, options.lists, memory / 4)? };
    enter(Phase::Centres);
    let workers = workers();
    let frames = build::frames(&plan, &sample.vectors, sample.lists, &workers);
    // Nobody stops the workers: cancels are raised where they are noticed.
    let frames = frames.ok_or(OutOfMemory { bytes: 2 * sample.vectors.len() })?;
    drop(sample);
    enter(Phase::Loading);
    // Beside the rows kept there are pages of lists in work, the scan's and the threads' own.
    let mut builder =
        Builder::new(&store, &plan, frames, memory / 2, TemporaryFile::new(), workers)?;
    let assigner = builder.assigner()?;
    // SAFETY: as above.
    let counted = unsafe { load(table, index, info, &plan, &assigner, &mut builder)? };
    enter(Phase::Writing);
    builder.finish()?;
    // SAFETY: the relation is open.
    if unsafe { table::needs_wal(index) } {
        store.log_all()?;
    }
    Ok(counted)
}

impl Spill for TemporaryFile {
    type Error = SqlError;

    fn write(&mut self, bytes: &[u8]) -> Result<u64, SqlError> {
        TemporaryFile::write(self, bytes)
    }

    fn read(&mut self, place: u64, bytes: &mut [u8]) -> Result<(), SqlError> {
        TemporaryFile::read(self, place, bytes)
    }
}

/// Vectors of some of a table's blocks.
struct Sample {
    vectors: Vec<f16>,
    lists: usize,
}

impl Sample {
    /// Reads blocks from all over the table until there are enough vectors for as many lists as the
    /// table's rows ask for, or until so many bytes are full.
    ///
    /// # Safety
    /// As [`ambuild`].
    unsafe fn take(
        table: pg_sys::Relation,
        index: pg_sys::Relation,
        info: *mut pg_sys::IndexInfo,
        plan: &Plan,
        lists: Option<usize>,
        most_bytes: usize,
    ) -> Result<Self, SqlError> {
        /// Blocks after which the number of rows a block is known well enough.
        const BLOCKS_TO_COUNT: u64 = 200;
        /// Blocks that are read at most, or, where that is more, a tenth of the table's: where most rows wait for their
        /// vectors these are few.
        const BLOCKS_AT_MOST: u64 = 16_384;
        // SAFETY: by contract, here and below.
        let blocks = unsafe {
            pg_sys::RelationGetNumberOfBlocksInFork(table, pg_sys::ForkNumber::MAIN_FORKNUM)
        };
        let mut reader = Reader::<fn(Batch) -> Taken>::new(plan, None);
        let most = most_bytes / (2 * plan.dimensions);
        let (mut read, mut wanted) = (0, usize::MAX);
        // By how many rows the blocks had that were read.
        let count = |rows: usize, read: u64| {
            let rows = rows as f64 / read.max(1) as f64 * f64::from(blocks);
            lists.unwrap_or_else(|| build::lists_for(rows))
        };
        for block in permuted(blocks, plan.seed) {
            let is_long = read > BLOCKS_AT_MOST.max(u64::from(blocks) / 10);
            if reader.rows() >= wanted.min(most) || is_long {
                break;
            }
            // SAFETY: the callback is called with the reader only during the call.
            unsafe {
                table::build_scan(
                    table,
                    index,
                    info,
                    table::Rows::Block(block),
                    Some(read_row::<fn(Batch) -> Taken>),
                    (&raw mut reader).cast(),
                    std::ptr::null_mut(),
                );
            }
            read += 1;
            if read.is_multiple_of(BLOCKS_TO_COUNT) {
                wanted = build::sample_for(count(reader.rows(), read));
            }
        }
        let lists = count(reader.rows(), read);
        let vectors = std::mem::take(&mut reader.batch.vectors);
        let most_lists = (vectors.len() / plan.dimensions).max(1);
        Ok(Self { vectors, lists: lists.min(most_lists) })
    }
}

/// Each number below `count` once, spread over all of them.
fn permuted(count: u32, seed: u64) -> impl Iterator<Item = u32> {
    let count64 = u64::from(count.max(1));
    let divisor = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    // Near the golden ratio, and without a common divisor.
    let near = (count64 as f64 * 0.618) as u64;
    let stride = (near..).find(|step| *step > 0 && divisor(*step, count64) == 1).unwrap_or(1);
    (0..u64::from(count)).map(move |i| ((seed % count64 + i * stride) % count64) as u32)
}

/// Some rows' vectors, one after another, and the rows without distances that came between them.
#[derive(Default)]
struct Batch {
    tids: Vec<Tid>,
    vectors: Vec<f16>,
    references: Vec<(ListId, Tid)>,
}

/// What comes of a batch.
type Taken = Result<(), SqlError>;
type Full<'a> = dyn FnMut(Batch) -> Taken + 'a;

/// What the callback of a table scan fills.
struct Reader<F: FnMut(Batch) -> Taken> {
    dimensions: usize,
    zeros_apart: bool,
    batch: Batch,
    indexed: f64,
    /// Takes each full batch; where there is nothing to take it the batch grows by vectors alone.
    full: Option<F>,
}

impl<F: FnMut(Batch) -> Taken> Reader<F> {
    fn new(plan: &Plan, full: Option<F>) -> Self {
        Self {
            dimensions: plan.dimensions,
            zeros_apart: plan.metric == Metric::Cosine,
            batch: Batch::default(),
            indexed: 0.0,
            full,
        }
    }

    fn rows(&self) -> usize {
        self.batch.tids.len()
    }

    fn add(&mut self, tid: Tid, vector: Option<&[f16]>) -> Result<(), SqlError> {
        memory::check()?;
        self.indexed += 1.0;
        let apart = match vector {
            None => Some(NULLS),
            Some(vector) => {
                mrl_vector::check_expected_dimensions(self.dimensions, vector.len())?;
                let is_zero = || vector.iter().all(|x| x.to_f32() == 0.0);
                (self.zeros_apart && is_zero()).then_some(ZEROS)
            }
        };
        match (apart, vector) {
            (None, Some(vector)) => {
                mrl_memory::push(&mut self.batch.tids, tid)?;
                mrl_memory::extend(&mut self.batch.vectors, vector)?;
            }
            (Some(list), _) if self.full.is_some() => {
                mrl_memory::push(&mut self.batch.references, (list, tid))?;
            }
            _ => {}
        }
        if self.batch.tids.len().max(self.batch.references.len()) >= BATCH_ROWS
            && let Some(full) = &mut self.full
        {
            full(std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn read_row<F: FnMut(Batch) -> Taken>(
    index: pg_sys::Relation,
    tid: pg_sys::ItemPointer,
    values: *mut pg_sys::Datum,
    nulls: *mut bool,
    _alive: bool,
    state: *mut c_void,
) {
    // SAFETY: the server passes a row of one value, and the reader that we gave it.
    unsafe {
        let reader = &mut *state.cast::<Reader<F>>();
        let vector = match *nulls {
            true => Ok(None),
            false => Vector::from_sql(*values).map(Some),
        };
        let added = vector.and_then(|vector| reader.add(tid_of(tid), vector.as_deref()));
        // Here, so that the table is not read to its end.
        or_raise(index, added);
    }
}

/// Scans the table; threads find lists and codes, this one reads and writes.
///
/// # Safety
/// As [`ambuild`].
unsafe fn load(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    plan: &Plan,
    assigner: &Assigner,
    builder: &mut Builder<'_, BufferStore>,
) -> Result<(f64, f64), SqlError> {
    let workers = workers();
    // A queue that is full holds the scan back.
    let (queue, results) = (Channel::<Batch>::new(2 * workers.threads), Channel::new(usize::MAX));
    std::thread::scope(|scope| {
        // However this thread ends, or the last of the others, nobody waits for it any longer.
        let (scanning, encoding) =
            (Closing(&queue), Arc::new((Closing(&queue), Closing(&results))));
        let (batches, encoded) = (&queue, &results);
        let work = move || {
            let _encoding = &encoding;
            while let Some(batch) = batches.receive() {
                // After an error too batches are taken, so that nobody waits.
                encoded.send(assigner.encode(&batch.tids, &batch.vectors));
            }
        };
        let started = workers.start(scope, workers.threads, work);
        let mut full = |mut batch: Batch| -> Result<(), SqlError> {
            for (list, tid) in std::mem::take(&mut batch.references) {
                builder.add_reference(list, tid)?;
            }
            if started == 0 {
                return builder.add(assigner.encode(&batch.tids, &batch.vectors)?);
            }
            queue.send(batch);
            while let Some(encoded) = results.receive_now() {
                builder.add(encoded?)?;
            }
            Ok(())
        };
        let mut reader = Reader::new(plan, Some(&mut full as &mut Full));
        // SAFETY: by contract; the callback is called with the reader only during the call.
        let scanned = unsafe {
            table::build_scan(
                table,
                index,
                info,
                table::Rows::Indexed { progress: true },
                Some(read_row::<&mut Full>),
                (&raw mut reader).cast(),
                std::ptr::null_mut(),
            )
        };
        let Reader { batch, indexed, .. } = reader;
        full(batch)?;
        drop(scanning);
        while let Some(encoded) = results.receive() {
            builder.add(encoded?)?;
        }
        Ok((scanned, indexed))
    })
}
