//! A list that has grown too long becomes two; one that has lost most of its rows is written anew.
//!
//! Rows keep their codes, which name the frame that they were made against. The new lists are written
//! where nobody sees them; one change of at most four pages then makes them live and retires the old one.
//! After a crash before it the new pages belong to nothing, and vacuum takes them back. A row never moves into
//! a list that existed before: vacuum, which walks lists by rising ids, would miss it.

use half::f16;
use mrl_kernels as kernels;

use crate::block::ROWS;
use crate::build::MOST_LISTS;
use crate::directory::Directory;
use crate::encode::{Row, coarse_of, narrowed};
use crate::group::{self, Group, RowEntry, Tid};
use crate::insert::{GROUPS_BEFORE_SPLIT, put_row};
use crate::meta::{self, ENTRIES_ON_PAGE, Entry, FIRST_LIST, META_BLOCK, Meta, State};
use crate::page::{self, Block, Kind, ListId, NONE, damaged};
use crate::scan::read_references;
use crate::shape::Shape;
use crate::store::{Change, ListLock, MOST_PAGES, PageStore};

/// Retired lists whose pages a split takes back first: as many as it makes, so that a growing index
/// reuses what its own splits left.
const RECYCLED_A_SPLIT: usize = 2;
/// The smaller part of a split has at least this share of the rows; else the cut goes through the median.
const LEAST_SHARE: f64 = 0.2;

/// A row of a list, with all its TIDs.
struct Member {
    row: Row,
    frame: ListId,
    tids: Vec<Tid>,
}

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
    let due = GROUPS_BEFORE_SPLIT * shape.group_rows << old.patience.min(16);
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
        let head = write_list(store, shape, id, part)?;
        let (frame_block, frame_place) = match frame {
            Frame::Kept(block, place) => (block, place),
            Frame::New(frame) => write_frame(store, &mut meta, shape, &frame)?,
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

/// Reads all rows of a list, under its lock.
fn read_members<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
    head: Block,
) -> Result<Vec<Member>, S::Error> {
    let shape = &directory.encoder.shape;
    let newest = Group::new(&*store.read(head)?, head, list, shape)?.references();
    let mut references = read_references(store, list, newest)?;
    references.sort_unstable();
    let mut members = Vec::new();
    let (mut block, mut left) = (head, store.block_count()?);
    while block != NONE {
        store.check_interrupts()?;
        left = left.checked_sub(1).ok_or(damaged(block, "a chain of pages has no end"))?;
        let body = store.read(block)?;
        let group = Group::new(&body, block, list, shape)?;
        for index in 0..group.blocks() {
            let rows = group.block(index);
            let mut live = rows.live();
            while live != 0 {
                let in_block = live.trailing_zeros() as usize;
                live &= live - 1;
                let slot = index * ROWS + in_block;
                if slot >= shape.group_rows {
                    return Err(damaged(block, "a row lies beyond its group").into());
                }
                let row_block = group.row_page(slot / shape.rows_on_page);
                let page = store.read(row_block)?;
                page::expect(&page, row_block, Kind::Rows, list)?;
                let entry = RowEntry::of(&page, slot, shape);
                let mut tids = vec![entry.tid()];
                if let Some(number) = group.reference_number(slot) {
                    let first = references.partition_point(|(row, _)| *row < number);
                    let own = references[first..].iter().take_while(|(row, _)| *row == number);
                    tids.extend(own.map(|(_, tid)| *tid));
                }
                let code = entry.code().to_vec();
                drop(page);
                let copy = match shape.keeps_copies() {
                    false => None,
                    true => {
                        let copy_block = group.copy_page(slot / shape.copies_on_page);
                        let page = store.read(copy_block)?;
                        page::expect(&page, copy_block, Kind::Copies, list)?;
                        Some(group::copy_of(&page, slot, shape).to_vec())
                    }
                };
                let row = Row { leading: rows.leading(in_block), entry: code, copy };
                members.push(Member { row, frame: rows.frame(), tids });
            }
        }
        block = page::next(&body);
    }
    Ok(members)
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
    let mut vectors = Vec::with_capacity(members.len());
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
        let mut bytes = vec![0; group_tid_bytes()];
        bytes.extend_from_slice(&member.row.entry);
        vectors.push(encoder.decode(&member.row.leading, RowEntry(&bytes), &frames[known].1));
    }
    let width = encoder.coarse_dimensions;
    let coarse: Vec<Vec<f16>> = vectors
        .iter()
        .map(|vector: &Vec<f32>| coarse_of(&vector[..width], encoder.metric))
        .collect();
    let mean = |of: &dyn Fn(usize) -> bool| -> Option<Vec<f32>> {
        let mut sums = vec![0f64; width];
        let chosen: Vec<_> = (0..coarse.len()).filter(|i| of(*i)).collect();
        chosen.iter().for_each(|i| kernels::add_to_sums(&coarse[*i], &mut sums));
        let count = chosen.len() as f64;
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
    let mut centres = [coarse[one].clone(), coarse[two].clone()];
    let mut second = vec![false; coarse.len()];
    for _ in 0..ROUNDS {
        store.check_interrupts()?;
        for (side, row) in second.iter_mut().zip(&coarse) {
            *side = kernels::squared_l2(row, &centres[1]) < kernels::squared_l2(row, &centres[0]);
        }
        for (side, centre) in centres.iter_mut().enumerate() {
            if let Some(mean) = mean(&|i| second[i] == (side == 1)) {
                *centre = narrowed(&mean);
            }
        }
    }
    let count = second.iter().filter(|side| **side).count();
    let share = count.min(second.len() - count) as f64 / second.len() as f64;
    if share < LEAST_SHARE {
        let offset = |row: &[f16]| kernels::dot(row, &centres[1]) - kernels::dot(row, &centres[0]);
        let offsets: Vec<f32> = coarse.iter().map(|row| offset(row)).collect();
        let mut order: Vec<usize> = (0..coarse.len()).collect();
        order.sort_unstable_by(|a, b| offsets[*a].total_cmp(&offsets[*b]));
        for (rank, row) in order.into_iter().enumerate() {
            second[row] = 2 * rank >= coarse.len();
        }
    }
    let mut sums = [vec![0f64; encoder.shape.dimensions], vec![0f64; encoder.shape.dimensions]];
    let mut counts = [0usize; 2];
    let mut parts = vec![Vec::new(), Vec::new()];
    for ((member, vector), side) in members.into_iter().zip(&vectors).zip(second) {
        let side = usize::from(side);
        sums[side].iter_mut().zip(vector).for_each(|(sum, x)| *sum += f64::from(*x));
        counts[side] += 1;
        parts[side].push(member);
    }
    let frames = sums.iter().zip(counts).map(|(sum, count)| {
        let mean: Vec<f32> = sum.iter().map(|x| (x / count.max(1) as f64) as f32).collect();
        Frame::New(narrowed(&mean))
    });
    Ok(Some(Cut { parts, frames: frames.collect() }))
}

const fn group_tid_bytes() -> usize {
    crate::shape::TID_BYTES
}

/// Writes a list's chain, unlinked; returns its head.
fn write_list<S: PageStore>(
    store: &S,
    shape: &Shape,
    list: ListId,
    mut members: Vec<Member>,
) -> Result<Block, S::Error> {
    // A block has rows of one frame: together they fill blocks.
    members.sort_by_key(|member| member.frame);
    let mut references: Vec<(u16, Tid)> = Vec::new();
    let mut rows = members
        .into_iter()
        .flat_map(|member| {
            let Member { row, frame, tids } = member;
            let mut tids = tids.into_iter();
            tids.next().map(|tid| (row, frame, tid, tids.collect::<Vec<_>>()))
        })
        .peekable();
    let mut pending: Vec<(Row, ListId, Tid, Vec<Tid>)> = Vec::new();
    let (mut newest, mut ordinal) = (NONE, 0);
    loop {
        store.check_interrupts()?;
        // One group: its page first, then row by row; each page is logged as often as it changes, so
        // rows are put in by the pageful.
        let mut change = store.change()?;
        let (place, block) = change.allocate()?;
        group::format_group(change.body_mut(place), list, ordinal, shape);
        page::set_next(change.body_mut(place), newest);
        group::set_open(change.body_mut(place), block);
        change.commit()?;
        let mut slot = 0;
        let mut last_frame = None;
        let mut is_full = false;
        while pending.first().is_some() || rows.peek().is_some() {
            let mut change = store.change()?;
            let place = change.lock(block)?;
            let page_index = slot / shape.rows_on_page;
            let mut pages = PagesOfRow::default();
            while let Some((row, frame, tid, others)) = pending.pop().or_else(|| rows.next()) {
                if last_frame != Some(frame) {
                    slot = slot_after(slot);
                    last_frame = Some(frame);
                }
                if slot >= shape.group_rows {
                    is_full = true;
                    pending.push((row, frame, tid, others));
                    break;
                }
                if slot / shape.rows_on_page != page_index || !pages.has_room(slot, shape) {
                    pending.push((row, frame, tid, others));
                    break;
                }
                pages.put(&mut change, place, slot, tid, &row, frame, shape)?;
                let number = u16::try_from(ordinal * shape.group_rows + slot);
                for other in others {
                    match number {
                        Ok(number) => {
                            references.push((number, other));
                            group::set_marks(change.body_mut(place), slot, true, true, shape);
                        }
                        Err(_) => pending.insert(0, (row.clone(), frame, other, vec![])),
                    }
                }
                slot += 1;
            }
            change.commit()?;
            if is_full {
                break;
            }
        }
        newest = block;
        ordinal += 1;
        if pending.is_empty() && rows.peek().is_none() {
            break;
        }
    }
    link_references(store, list, newest, &references)?;
    Ok(newest)
}

/// The first slot of the next block, unless a block begins here.
fn slot_after(slot: usize) -> usize {
    slot.next_multiple_of(ROWS)
}

/// The pages of a group that one change has already taken.
#[derive(Default)]
struct PagesOfRow {
    rows: Option<usize>,
    copies: Option<(usize, usize)>,
}

impl PagesOfRow {
    /// Whether a row's pages are among those of this change, or may still come in.
    fn has_room(&self, slot: usize, shape: &Shape) -> bool {
        !shape.keeps_copies()
            || self.copies.is_none_or(|(index, _)| index == slot / shape.copies_on_page)
    }

    #[allow(clippy::too_many_arguments)]
    fn put<C: Change>(
        &mut self,
        change: &mut C,
        place: usize,
        slot: usize,
        tid: Tid,
        row: &Row,
        frame: ListId,
        shape: &Shape,
    ) -> Result<(), C::Error> {
        match self.rows {
            None => {
                put_row(change, place, slot, tid, row, frame, shape)?;
                // The group's page is the first of the change, so these are the next two.
                self.rows = Some(place + 1);
                self.copies = row.copy.is_some().then(|| (slot / shape.copies_on_page, place + 2));
            }
            Some(rows) => {
                group::store_leading(change.body_mut(place), slot, &row.leading, frame, shape);
                group::store_entry(change.body_mut(rows), slot, row, tid, shape);
                if let (Some((_, copies)), Some(copy)) = (self.copies, &row.copy) {
                    group::store_copy(change.body_mut(copies), slot, copy, shape);
                }
            }
        }
        Ok(())
    }
}

fn link_references<S: PageStore>(
    store: &S,
    list: ListId,
    head: Block,
    references: &[(u16, Tid)],
) -> Result<(), S::Error> {
    let mut newest = NONE;
    for some in references.chunks(group::MOST_REFERENCES) {
        let mut change = store.change()?;
        let (new, block) = change.allocate()?;
        group::format_references(change.body_mut(new), list);
        page::set_next(change.body_mut(new), newest);
        group::set_all_references(change.body_mut(new), some);
        let place = change.lock(head)?;
        let open = if some.len() < group::MOST_REFERENCES { block } else { NONE };
        group::set_references(change.body_mut(place), block, open);
        change.commit()?;
        newest = block;
    }
    Ok(())
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
        free(store, &pages)?;
        recycled += 1;
    }
    Ok(recycled)
}

/// Makes pages free.
pub fn free<S: PageStore>(store: &S, pages: &[Block]) -> Result<(), S::Error> {
    for some in pages.chunks(MOST_PAGES) {
        store.check_interrupts()?;
        let mut change = store.change()?;
        for block in some {
            let place = change.lock(*block)?;
            page::format(change.body_mut(place), Kind::Free, 0);
        }
        change.commit()?;
        for block in some {
            store.offer(*block)?;
        }
    }
    Ok(())
}

/// All pages of a list.
pub fn pages_of<S: PageStore>(
    store: &S,
    shape: &Shape,
    list: ListId,
    head: Block,
) -> Result<Vec<Block>, S::Error> {
    let mut pages = Vec::new();
    let (mut block, mut left) = (head, store.block_count()?);
    let mut references = NONE;
    while block != NONE {
        store.check_interrupts()?;
        left = left.checked_sub(1).ok_or(damaged(block, "a chain of pages has no end"))?;
        let body = store.read(block)?;
        let group = Group::new(&body, block, list, shape)?;
        if block == head {
            references = group.references();
        }
        pages.push(block);
        let others = (0..shape.row_pages).map(|i| group.row_page(i));
        let others = others.chain((0..shape.copy_pages).map(|i| group.copy_page(i)));
        pages.extend(others.filter(|other| *other != NONE));
        block = page::next(&body);
    }
    let mut block = references;
    while block != NONE {
        left = left.checked_sub(1).ok_or(damaged(block, "a chain of pages has no end"))?;
        let body = store.read(block)?;
        page::expect(&body, block, Kind::References, list)?;
        pages.push(block);
        block = page::next(&body);
    }
    Ok(pages)
}
