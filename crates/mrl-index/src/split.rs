//! A list that has grown too long becomes two; one that has lost most of its rows is written anew.
//!
//! Rows keep their codes, which name the frame that they were made against. The new lists are written
//! where nobody sees them; one change of at most four pages then makes them live and retires the old one.
//! After a crash before it the new pages belong to nothing, and vacuum takes them back. A row never moves into
//! a list that existed before: vacuum, which walks lists by rising ids, would miss it.

use half::f16;
use mrl_kernels as kernels;
use mrl_memory::OutOfMemory;

use crate::build::MOST_LISTS;
use crate::chain::{Member, free, pages_of, read_members, write_list};
use crate::directory::Directory;
use crate::encode::{coarse_of, narrowed};
use crate::insert::SLOTS_BEFORE_SPLIT;
use crate::meta::{self, ENTRIES_ON_PAGE, Entry, FIRST_LIST, META_BLOCK, Meta, State};
use crate::page::{self, Block, Kind, ListId, NONE, damaged};
use crate::shape::Shape;
use crate::store::{Change, ListLock, MOST_PAGES, PageStore};

/// Retired lists whose pages a split takes back first: as many as it makes, so that a growing index
/// reuses what its own splits left.
const RECYCLED_A_SPLIT: usize = 2;
/// The smaller part of a split has at least this share of the rows; else the cut goes through the median.
const LEAST_SHARE: f64 = 0.2;

/// Splits a list that is due to be split. False where there was nothing to do or another one adds
/// lists at this moment.
pub fn split<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
) -> Result<bool, S::Error> {
    replace(store, directory, list, 2)
}

/// Writes a list that has lost most of its rows anew.
pub fn rewrite<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
) -> Result<bool, S::Error> {
    replace(store, directory, list, 1)
}

fn replace<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
    parts: usize,
) -> Result<bool, S::Error> {
    let Some(_directory_lock) = store.lock_directory(false)? else { return Ok(false) };
    let newer = directory.refreshed(store)?;
    let directory = newer.as_ref().unwrap_or(directory);
    recycle(store, directory, RECYCLED_A_SPLIT)?;
    let newer = directory.refreshed(store)?;
    let directory = newer.as_ref().unwrap_or(directory);
    let _list_lock = store.lock_list(list, ListLock::Exclusive)?;
    let Some(old) = directory.entries.get(list as usize).copied() else { return Ok(false) };
    if old.state != State::Live || list < FIRST_LIST {
        return Ok(false);
    }
    if parts == 2 && directory.live_lists().len() >= MOST_LISTS {
        return Ok(false);
    }
    let members = read_members(store, directory, list, old.head)?;
    let shape = &directory.encoder.shape;
    let due = SLOTS_BEFORE_SPLIT << old.patience.min(16);
    if parts == 2 && members.len() < due / 2 {
        // Most of its rows are dead or have gone: there is room again.
        return Ok(false);
    }
    let cut = if parts == 1 {
        Some(Cut::whole(members, old))
    } else {
        cut(store, directory, list, members)?
    };
    let Some(cut) = cut else {
        let mut change = store.change()?;
        let block =
            directory.meta.directory_block(list).ok_or(damaged(META_BLOCK, "no such list"))?;
        let place = change.lock(block)?;
        let entry = Entry { patience: old.patience.saturating_add(1), ..old };
        entry.write(change.body_mut(place), list);
        bump_epoch(&mut change, &directory.meta)?;
        change.commit()?;
        return Ok(false);
    };
    let Some(mut meta) = with_room(store, &directory.meta, cut.parts.len())? else {
        return Ok(false);
    };
    let mut entries = Vec::new();
    for (part, frame) in cut.parts.into_iter().zip(cut.frames) {
        let id = meta.next_list + entries.len() as ListId;
        let (head, (frame_block, frame_place)) = match frame {
            Frame::Kept(block, place) => {
                let frame = directory.frame(store, list)?;
                (write_list(store, directory, id, &frame, part)?, (block, place))
            }
            Frame::New(frame) => (
                write_list(store, directory, id, &frame, part)?,
                write_frame(store, &mut meta, shape, &frame)?,
            ),
        };
        entries.push(Entry {
            head,
            frame_block,
            frame_place,
            state: State::Live,
            patience: 0,
            retired: 0,
        });
    }
    make_live(store, meta, list, old, &entries)?;
    Ok(true)
}

/// The parts that a list falls into, and their frames.
struct Cut {
    parts: Vec<Vec<Member>>,
    frames: Vec<Frame>,
}

enum Frame {
    Kept(Block, u16),
    New(Vec<f16>),
}

impl Cut {
    fn whole(members: Vec<Member>, old: Entry) -> Self {
        Self { parts: vec![members], frames: vec![Frame::Kept(old.frame_block, old.frame_place)] }
    }
}

/// Two parts of a list by k-means with two centres on what the codes say about the vectors; nothing where
/// the rows are all alike.
fn cut<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
    members: Vec<Member>,
) -> Result<Option<Cut>, S::Error> {
    const ROUNDS: usize = 6;
    let encoder = &directory.encoder;
    let mut frames: Vec<(ListId, Vec<f16>)> = Vec::new();
    let mut vectors: Vec<Vec<f32>> = Vec::new();
    mrl_memory::reserve(&mut vectors, members.len())?;
    for member in &members {
        store.check_interrupts()?;
        if let Some(copy) = &member.row.copy {
            vectors.push(meta::halfs(copy).iter().map(|x| x.to_f32()).collect());
            continue;
        }
        let known = frames.iter().position(|(id, _)| *id == member.frame);
        let known = match known {
            Some(known) => known,
            None => {
                frames.push((member.frame, directory.frame(store, member.frame)?));
                frames.len() - 1
            }
        };
        vectors.push(encoder.decode(&member.row.record, &frames[known].1));
    }
    let width = encoder.coarse_dimensions;
    let coarse: Vec<Vec<f16>> = mrl_memory::collect(
        vectors.iter().map(|vector| coarse_of(&vector[..width], encoder.metric)),
    )?;
    let mean = |of: &dyn Fn(usize) -> bool| -> Option<Vec<f32>> {
        let mut sums = vec![0f64; width];
        let mut count = 0.0;
        for i in (0..coarse.len()).filter(|i| of(*i)) {
            kernels::add_to_sums(&coarse[i], &mut sums);
            count += 1.0;
        }
        (count > 0.0).then(|| sums.iter().map(|x| (x / count) as f32).collect())
    };
    // The first two centres: the row farthest from one of the rows, and the row farthest from that.
    let farthest = |from: &[f16]| -> usize {
        let distance = |i: &usize| kernels::squared_l2(&coarse[*i], from);
        (0..coarse.len()).max_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0)
    };
    let Some(start) = coarse.get(list as usize % coarse.len().max(1)) else { return Ok(None) };
    let one = farthest(start);
    let two = farthest(&coarse[one]);
    // Codes of equal vectors are equal, so nothing but rounding lies between them.
    if kernels::squared_l2(&coarse[one], &coarse[two]) < 1e-6 {
        return Ok(None);
    }
    // The half of the rows that lies nearer to each: the two themselves may lie apart from all others.
    let mut centres = [coarse[one].clone(), coarse[two].clone()];
    let mut second = halves(&coarse, &centres)?;
    for _ in 0..ROUNDS {
        store.check_interrupts()?;
        for (side, centre) in centres.iter_mut().enumerate() {
            if let Some(mean) = mean(&|i| second[i] == (side == 1)) {
                *centre = narrowed(&mean);
            }
        }
        for (side, row) in second.iter_mut().zip(&coarse) {
            *side = kernels::squared_l2(row, &centres[1]) < kernels::squared_l2(row, &centres[0]);
        }
    }
    let count = second.iter().filter(|side| **side).count();
    let share = count.min(second.len() - count) as f64 / second.len() as f64;
    if share < LEAST_SHARE {
        second = halves(&coarse, &centres)?;
    }
    let mut sums = [vec![0f64; encoder.shape.dimensions], vec![0f64; encoder.shape.dimensions]];
    let mut counts = [0usize; 2];
    let mut parts = vec![Vec::new(), Vec::new()];
    for ((member, vector), side) in members.into_iter().zip(&vectors).zip(second) {
        let side = usize::from(side);
        sums[side].iter_mut().zip(vector).for_each(|(sum, x)| *sum += f64::from(*x));
        counts[side] += 1;
        mrl_memory::push(&mut parts[side], member)?;
    }
    let frames = sums.iter().zip(counts).map(|(sum, count)| {
        let mean: Vec<f32> = sum.iter().map(|x| (x / count.max(1) as f64) as f32).collect();
        Frame::New(narrowed(&mean))
    });
    Ok(Some(Cut { parts, frames: frames.collect() }))
}

/// Cuts rows into halves by how much nearer they are to the second centre than to the first.
fn halves(rows: &[Vec<f16>], centres: &[Vec<f16>; 2]) -> Result<Vec<bool>, OutOfMemory> {
    let offset =
        |row: &[f16]| kernels::squared_l2(row, &centres[0]) - kernels::squared_l2(row, &centres[1]);
    let offsets: Vec<f32> = mrl_memory::collect(rows.iter().map(|row| offset(row)))?;
    let mut order: Vec<usize> = mrl_memory::collect(0..rows.len())?;
    order.sort_unstable_by(|a, b| offsets[*a].total_cmp(&offsets[*b]));
    let mut second = mrl_memory::filled(false, rows.len())?;
    for row in &order[rows.len() / 2..] {
        second[*row] = true;
    }
    Ok(second)
}

/// The meta page's content with directory pages for so many lists more; nothing where there can't be.
fn with_room<S: PageStore>(store: &S, meta: &Meta, lists: usize) -> Result<Option<Meta>, S::Error> {
    let mut meta = meta.clone();
    while meta.next_list as usize + lists > meta.directory.len() * ENTRIES_ON_PAGE {
        if !meta.has_room_for_a_directory_page() {
            return Ok(None);
        }
        let mut change = store.change()?;
        let place = change.lock(META_BLOCK)?;
        let (new, block) = change.allocate()?;
        page::format(change.body_mut(new), Kind::Directory, 0);
        meta.directory.push(block);
        meta.write(change.body_mut(place));
        change.commit()?;
    }
    Ok(Some(meta))
}

/// Writes a frame where there is room; it counts once `meta` is written.
fn write_frame<S: PageStore>(
    store: &S,
    meta: &mut Meta,
    shape: &Shape,
    frame: &[f16],
) -> Result<(Block, u16), S::Error> {
    let mut change = store.change()?;
    let place = if meta.frames_block == NONE || meta.frames_used >= shape.frames_on_page() {
        let (place, block) = change.allocate()?;
        page::format(change.body_mut(place), Kind::Frames, 0);
        (meta.frames_block, meta.frames_used) = (block, 0);
        place
    } else {
        let place = change.lock(meta.frames_block)?;
        page::expect(change.body(place), meta.frames_block, Kind::Frames, 0)?;
        place
    };
    meta::write_frame(change.body_mut(place), meta.frames_used, frame);
    change.commit()?;
    meta.frames_used += 1;
    Ok((meta.frames_block, meta.frames_used as u16 - 1))
}

/// The change that counts: new lists live, the old one retired, the epoch up.
fn make_live<S: PageStore>(
    store: &S,
    mut meta: Meta,
    list: ListId,
    old: Entry,
    entries: &[Entry],
) -> Result<(), S::Error> {
    let retired = Entry { state: State::Retired, retired: store.stamp(), ..old };
    let first = meta.next_list;
    let children = entries.iter().enumerate().map(|(i, entry)| (first + i as ListId, *entry));
    let all: Vec<_> = std::iter::once((list, retired)).chain(children).collect();
    let mut change = store.change()?;
    let meta_place = change.lock(META_BLOCK)?;
    let mut places: Vec<(Block, usize)> = Vec::with_capacity(MOST_PAGES);
    for (id, entry) in all {
        let block = meta.directory_block(id).ok_or(damaged(META_BLOCK, "no such list"))?;
        let known = places.iter().find(|(of, _)| *of == block).map(|(_, place)| *place);
        let place = match known {
            Some(place) => place,
            None => {
                let place = change.lock(block)?;
                page::expect(change.body(place), block, Kind::Directory, 0)?;
                places.push((block, place));
                place
            }
        };
        entry.write(change.body_mut(place), id);
    }
    meta.next_list += entries.len() as ListId;
    meta.epoch += 1;
    meta.write(change.body_mut(meta_place));
    change.commit()
}

fn bump_epoch<C: Change>(change: &mut C, meta: &Meta) -> Result<(), C::Error> {
    let place = change.lock(META_BLOCK)?;
    Meta { epoch: meta.epoch + 1, ..meta.clone() }.write(change.body_mut(place));
    Ok(())
}

/// Takes the pages of retired lists back, of at most `most` lists that no scan can read any more. Called under
/// the directory's lock.
pub fn recycle<S: PageStore>(
    store: &S,
    directory: &Directory,
    most: usize,
) -> Result<usize, S::Error> {
    let past = |entry: &Entry| entry.state == State::Retired && store.is_past(entry.retired);
    let lists = directory.entries.iter().enumerate().filter(|(_, entry)| past(entry)).take(most);
    let mut meta = directory.meta.clone();
    let mut recycled = 0;
    for (list, entry) in lists {
        let list = list as ListId;
        let pages = pages_of(store, &directory.encoder.shape, list, entry.head)?;
        // First the entry: after a crash the pages belong to nothing, and vacuum finds them.
        let mut change = store.change()?;
        let block = meta.directory_block(list).ok_or(damaged(META_BLOCK, "no such list"))?;
        let place = change.lock(block)?;
        Entry { state: State::Gone, ..*entry }.write(change.body_mut(place), list);
        bump_epoch(&mut change, &meta)?;
        change.commit()?;
        meta.epoch += 1;
        free(store, list, &pages)?;
        recycled += 1;
    }
    Ok(recycled)
}
