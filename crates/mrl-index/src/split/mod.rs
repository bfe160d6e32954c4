//! A list that has grown too long becomes two; one that has lost most of its rows is written anew.
//!
//! With a list that is split those next to it are cut anew, and become one more together, or several more where many
//! of them are full: a row went to the list that was the nearest when it came, and where many lists have been split
//! since, that is another. Others go on inserting into all of them until the new lists are written (module `retiring`).
//!
//! Rows whose vectors are at hand (module `vectors`) are encoded anew, against the frame of the list that they come
//! into; the others keep their codes, which name the frame that they were made against. The new lists are written where
//! nobody sees them; one change of at most four pages then makes them live and retires the old ones. After a crash
//! before it the new pages belong to nothing, and vacuum takes them back. A row never moves into a list that existed
//! before: vacuum, which walks lists by rising ids, would miss it.

pub mod chain;
mod cut;
pub(crate) mod patience;
pub(crate) mod recycle;
mod retiring;
pub mod vectors;

use half::f16;
use mrl_kernels as kernels;

use crate::build::MOST_LISTS;
use crate::lists::directory::Directory;
use crate::pages::meta::{self, ENTRIES_ON_PAGE, Entry, FIRST_LIST, META_PAGE, Meta, State};
use crate::pages::page::{self, Kind, ListId, NONE, PageNumber, damaged};
use crate::pages::shape::Shape;
use crate::pages::store::{Change, MOST_PAGES, PageStore};
use chain::{ListWriter, Member};
use cut::{Cut, Frame, Pool, first_centres};
use recycle::recycle;
use retiring::Retiring;
use vectors::{RowVectors, Vectors};

/// Retired lists whose pages a split takes back first: more than it retires, so that a growing index
/// reuses what its own splits left.
const RECYCLED_A_SPLIT: usize = 2 + NEIGHBOURS;
/// Lists that are cut anew with one that is split, and of how many that are near it they are chosen.
const NEIGHBOURS: usize = 6;
const NEAR: usize = 2 * NEIGHBOURS;
/// Rows of a list too long to be looked at as a whole by which it is told whether all are alike.
const SAMPLE: usize = 4096;

/// Splits a list that is due to be split. Rows whose `vectors` are at hand are encoded anew, against the centres of
/// their new lists. False where there was nothing to do, or another one adds lists at this moment and is not to be
/// waited for; who cleans up never is.
///
/// # Errors
/// What the storage or `vectors` answer; damage, where a page is not what it should be; out of memory.
pub fn split<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
    wait: bool,
    vectors: &mut Vectors<S::Error>,
) -> Result<bool, S::Error> {
    replace(store, directory, list, 2, wait, vectors)
}

/// Writes a list that has lost most of its rows anew. False where it stays as it is: another one adds lists at this
/// moment, it is not live any more, or there can be no list more.
///
/// # Errors
/// What the storage answers; damage, where a page is not what it should be; out of memory.
pub fn rewrite<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
) -> Result<bool, S::Error> {
    replace(store, directory, list, 1, false, &mut |_| Ok(None))
}

fn replace<S: PageStore>(
    store: &S,
    directory: &Directory,
    list: ListId,
    parts: usize,
    wait: bool,
    vectors: &mut Vectors<S::Error>,
) -> Result<bool, S::Error> {
    // Before anything is waited for; the newer directory is asked once more.
    if !has_room_for_lists(directory, parts) {
        return Ok(false);
    }
    let not_cleaning = if wait { store.keep_from_cleaning()? } else { None };
    let Some(_directory_lock) = store.lock_directory(not_cleaning.is_some())? else {
        return Ok(false);
    };
    drop(not_cleaning);
    let newer = directory.refreshed(store)?;
    let directory = newer.as_ref().unwrap_or(directory);
    recycle(store, directory, RECYCLED_A_SPLIT)?;
    let newer = directory.refreshed(store)?;
    let directory = newer.as_ref().unwrap_or(directory);
    let mut retiring = Retiring::new(store, directory);
    retiring.lock(list)?;
    let Some(old) = directory.entries.get(list as usize).copied() else { return Ok(false) };
    if old.state != State::Live || list < FIRST_LIST || !has_room_for_lists(directory, parts) {
        return Ok(false);
    }
    let mut known = RowVectors::new(store, directory, vectors);
    let shape = &directory.encoder.shape;
    let slots = patience::slots_of(store, shape, directory.chain(list))?;
    let is_long = parts == 2 && slots > patience::most_slots(shape);
    let has_room = slots <= patience::most_slots_of_codes(shape);
    let halves = match is_long && has_room {
        true => halves_of_long(store, directory, &retiring, &mut known)?,
        false => None,
    };
    if is_long && halves.is_none() {
        patience::wait(store, directory, list, slots)?;
        return Ok(false);
    }
    let members = retiring.read_last()?;
    let due = patience::slots_before_split(old);
    if parts == 2 && members.len() < due / 2 {
        // Most of its rows are dead or have gone: there is room again.
        return Ok(false);
    }
    let cut = match halves {
        Some(halves) => Cut::by_halves(store, members, &halves, &mut known)?,
        None if parts == 1 => Some(Cut::whole(members, old)),
        None => cut(store, directory, members, &mut retiring, &mut known)?,
    };
    let Some(cut) = cut else {
        patience::wait(store, directory, list, slots.max(due))?;
        return Ok(false);
    };
    let Some(mut meta) = with_room(store, &directory.meta, cut.parts.len())? else {
        return Ok(false);
    };
    let (mut writers, mut entries) = (Vec::new(), Vec::new());
    for (part, frame) in cut.parts.into_iter().zip(cut.frames) {
        let id = meta.next_list + entries.len() as ListId;
        let (frame, (frame_page, frame_place)) = match frame {
            Frame::Kept(page, place) => (directory.centre(store, list)?, (page, place)),
            Frame::New(frame) => {
                let written = write_frame(store, &mut meta, &directory.encoder.shape, &frame)?;
                (frame, written)
            }
        };
        writers.push(begin_list(store, directory, id, frame, part)?);
        entries.push(Entry {
            head: NONE,
            frame_page,
            frame_place,
            state: State::Live,
            patience: 0,
            retired: 0,
        });
    }
    add_what_came(store, directory, &mut retiring, &mut known, &mut writers)?;
    for (entry, writer) in entries.iter_mut().zip(writers) {
        entry.head = writer.finish()?;
    }
    make_live(store, meta, &directory.entries, retiring.lists(), &entries)?;
    Ok(true)
}

/// Whether the index can have the lists that may take the place of one, in as many parts, and of those near it.
fn has_room_for_lists(directory: &Directory, parts: usize) -> bool {
    directory.meta.lists_left() >= 2 * (1 + NEIGHBOURS)
        && (parts < 2 || directory.live_lists().len() + 1 + NEIGHBOURS <= MOST_LISTS)
}

/// Begins to write a list of the rows of a part.
fn begin_list<'a, S: PageStore>(
    store: &'a S,
    directory: &'a Directory,
    list: ListId,
    centre: Vec<f16>,
    part: Vec<(Member, Option<Vec<f16>>)>,
) -> Result<ListWriter<'a, S>, S::Error> {
    let frame = crate::lists::frame::Frame::new(&directory.encoder, centre);
    let mut writer = ListWriter::new(store, directory, list, frame)?;
    for (member, vector) in part {
        store.check_interrupts()?;
        add(&mut writer, member, vector)?;
    }
    writer.form_blocks(false)?;
    Ok(writer)
}

/// The centres by which a list is cut that is too long for all that is known of its rows to lie in memory, as a sample
/// tells them; nothing where the rows are alike, as they most often are in so long a list.
fn halves_of_long<S: PageStore>(
    store: &S,
    directory: &Directory,
    retiring: &Retiring<S>,
    known: &mut RowVectors<S>,
) -> Result<Option<[Vec<f16>; 2]>, S::Error> {
    let (encoder, list) = (&directory.encoder, retiring.lists()[0]);
    let mut some = Pool::default();
    some.add(store, encoder, retiring.some_of_last(SAMPLE)?, known)?;
    if first_centres(store, &some, 0, list)?.is_none() {
        return Ok(None);
    }
    // All of them are going to be compared by their codes.
    let mut some = Pool::default();
    some.add_guessed(store, encoder, retiring.some_of_last(SAMPLE)?, known)?;
    some.halves(store, list)
}

/// Cuts the rows of the list that is retiring into two parts, or together with those of some near it, which then
/// retire too, into more than they were; nothing where its rows are all alike.
fn cut<S: PageStore>(
    store: &S,
    directory: &Directory,
    members: Vec<Member>,
    retiring: &mut Retiring<S>,
    known: &mut RowVectors<S>,
) -> Result<Option<Cut>, S::Error> {
    let (encoder, list) = (&directory.encoder, retiring.lists()[0]);
    let (dimensions, most) = (encoder.shape.dimensions, patience::most_slots(&encoder.shape));
    let mut pool = Pool::default();
    pool.add(store, encoder, members, known)?;
    let Some(halves) = first_centres(store, &pool, 0, list)? else { return Ok(None) };
    let mut others = Vec::new();
    for (neighbour, centre) in neighbours(directory, list) {
        if pool.is_large(dimensions) {
            break;
        }
        if patience::slots_of(store, &encoder.shape, directory.chain(neighbour))? > most {
            continue;
        }
        retiring.lock(neighbour)?;
        pool.add(store, encoder, retiring.read_last()?, known)?;
        others.push(centre);
    }
    for other in pool.halved_too() {
        if let Some(halves) = first_centres(store, &pool, other, list)? {
            others[other - 1] = halves.concat();
        }
    }
    let centres = [&halves[..], &others].concat().concat();
    let together = match retiring.lists().len() {
        1 => None,
        _ => pool.sides(store, centres)?,
    };
    let sides = match together {
        Some(sides) => sides,
        None => {
            retiring.leave_others();
            pool.leave_own();
            pool.own_sides(store, &halves)?
        }
    };
    Ok(Some(pool.cut(sides, dimensions)?))
}

/// Adds a row to a list that is being written, encoded anew where its vector is known.
fn add<S: PageStore>(
    writer: &mut ListWriter<S>,
    mut member: Member,
    vector: Option<Vec<f16>>,
) -> Result<(), S::Error> {
    if let Some(vector) = vector {
        writer.encode_again(&mut member, &vector);
    }
    writer.add(member)
}

/// Adds what has come into the retiring lists while their rows were cut and written, until nothing more can come.
fn add_what_came<S: PageStore>(
    store: &S,
    directory: &Directory,
    retiring: &mut Retiring<S>,
    known: &mut RowVectors<S>,
    writers: &mut [ListWriter<S>],
) -> Result<(), S::Error> {
    /// How many rows may still be to be fetched when nobody may insert any more, and after how many turns it is
    /// no longer asked how many there are.
    const FEW: usize = 64;
    const MOST_TURNS: usize = 4;
    let encoder = &directory.encoder;
    let centres: Vec<_> = writers.iter().map(|writer| encoder.coarse(writer.centre())).collect();
    let (mut turns, mut is_closed) = (0, false);
    loop {
        let members = retiring.read_again()?;
        let count = members.len();
        for member in members {
            store.check_interrupts()?;
            let exact = known.exact(&member)?;
            let coarse = match &exact {
                Some(vector) => encoder.coarse(vector),
                None => encoder.coarse(&known.guess(&member)?),
            };
            let distances = centres.iter().map(|centre| kernels::squared_l2(centre, &coarse));
            let nearest = distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
            if let Some(writer) = nearest.and_then(|(place, _)| writers.get_mut(place)) {
                add(writer, member, exact)?;
            }
        }
        if is_closed {
            return Ok(());
        }
        turns += 1;
        if count <= FEW || turns >= MOST_TURNS {
            for writer in writers.iter_mut() {
                writer.form_blocks(false)?;
            }
            retiring.close()?;
            is_closed = true;
        }
    }
}

/// Of the live lists near a list those that were cut the longest ago, as far as they can be retired with it, and their
/// centres in the form that lists are chosen by; none whose rows are alike. The longer ago that was, the more rows of a
/// list are by now nearer to others, or have come since and lie in blocks that nobody arranged.
///
/// None either where many former lists still wait for scans and transactions to end: no page of theirs can be used
/// again, and each list that is cut with another leaves twice as many.
fn neighbours(directory: &Directory, list: ListId) -> Vec<(ListId, Vec<f16>)> {
    /// As many as two splits leave behind, or a part of the live ones.
    const FEW: usize = 2 * (1 + NEIGHBOURS);
    const LIVE_TO_WAITING: usize = 12;
    let waiting = directory.entries.iter().filter(|entry| entry.state == State::Retired).count();
    if waiting > FEW.max(directory.live_lists().len() / LIVE_TO_WAITING) {
        return Vec::new();
    }
    let Some(own) = directory.coarse_of(list) else { return Vec::new() };
    let (mut retired, mut neighbours) = (vec![list], Vec::new());
    let mut near = directory.ranked(own, 1 + NEAR);
    // Ids rise.
    near.sort_unstable_by_key(|(_, list)| *list);
    for (_, other) in near {
        let is_alike = directory.entries[other as usize].patience > 0;
        if neighbours.len() == NEIGHBOURS || other == list || is_alike {
            continue;
        }
        retired.push(other);
        match directory.coarse_of(other) {
            Some(centre) if meta_fits(&directory.meta, &retired) => {
                neighbours.push((other, centre.to_vec()));
            }
            _ => {
                retired.pop();
            }
        }
    }
    neighbours
}

/// Whether the entries of lists that are retired, and of those that take their places, can be written in one change.
fn meta_fits(meta: &Meta, retired: &[ListId]) -> bool {
    // Each is halved at most.
    let new = (0..2 * retired.len() as ListId).map(|i| meta.next_list + i);
    let mut pages: Vec<_> =
        retired.iter().copied().chain(new).map(|list| list as usize / ENTRIES_ON_PAGE).collect();
    pages.sort_unstable();
    pages.dedup();
    pages.len() < MOST_PAGES
}

/// The meta page's content with directory pages for so many lists more; nothing where there can't be.
fn with_room<S: PageStore>(store: &S, meta: &Meta, lists: usize) -> Result<Option<Meta>, S::Error> {
    let mut meta = meta.clone();
    while meta.next_list as usize + lists > meta.directory.len() * ENTRIES_ON_PAGE {
        if !meta.has_room_for_a_directory_page() {
            return Ok(None);
        }
        let mut change = store.change()?;
        let place = change.lock(META_PAGE)?;
        let (new, page) = change.allocate()?;
        page::format(change.body_mut(new), Kind::Directory, 0);
        meta.directory.push(page);
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
) -> Result<(PageNumber, u16), S::Error> {
    let mut change = store.change()?;
    let place = if meta.frames_page == NONE || meta.frames_used >= shape.frames_on_page() {
        let (place, page) = change.allocate()?;
        page::format(change.body_mut(place), Kind::Frames, 0);
        (meta.frames_page, meta.frames_used) = (page, 0);
        place
    } else {
        let place = change.lock(meta.frames_page)?;
        page::check(change.body(place), meta.frames_page, Kind::Frames, 0)?;
        place
    };
    meta::write_frame(change.body_mut(place), meta.frames_used, frame);
    change.commit()?;
    meta.frames_used += 1;
    Ok((meta.frames_page, meta.frames_used as u16 - 1))
}

/// The change that counts: new lists live, the old ones retired, the epoch up.
fn make_live<S: PageStore>(
    store: &S,
    mut meta: Meta,
    former: &[Entry],
    retired: &[ListId],
    entries: &[Entry],
) -> Result<(), S::Error> {
    let mut change = store.change()?;
    let meta_place = change.lock(META_PAGE)?;
    // Whoever reads the former meta page has done so by now, and began before the stamp.
    let stamp = store.stamp();
    let retire = |entry: Entry| Entry { state: State::Retired, retired: stamp, ..entry };
    let gone = retired.iter().map(|list| (*list, retire(former[*list as usize])));
    let first = meta.next_list;
    let new = entries.iter().enumerate().map(|(i, entry)| (first + i as ListId, *entry));
    let all: Vec<_> = gone.chain(new).collect();
    let mut places: Vec<(PageNumber, usize)> = Vec::with_capacity(MOST_PAGES);
    for (id, entry) in all {
        let page = meta.directory_page(id).ok_or(damaged(META_PAGE, "no such list"))?;
        let known = places.iter().find(|(of, _)| *of == page).map(|(_, place)| *place);
        let place = match known {
            Some(place) => place,
            None => {
                let place = change.lock(page)?;
                page::check(change.body(place), page, Kind::Directory, 0)?;
                places.push((page, place));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{Plan, build};
    use crate::pages::memory::MemoryStore;
    use crate::pages::meta::Metric;
    use crate::random::Random;

    const DIMENSIONS: usize = 4;

    /// An index of so many lists, of two rows each.
    fn with_lists(lists: usize) -> Directory {
        let (build_number, seed, metric) = (1, 2, Metric::Euclidean);
        let (dimensions, coarse_dimensions, copies) = (DIMENSIONS, DIMENSIONS, false);
        let plan =
            Plan { build: build_number, seed, dimensions, coarse_dimensions, metric, copies };
        let mut random = Random::new(5);
        let mut draw = || f16::from_f32((random.next() >> 40) as f32 / (1u64 << 24) as f32);
        let rows: Vec<(_, Vec<f16>)> = (0..2 * lists as u64)
            .map(|i| (i << 16 | 1, (0..DIMENSIONS).map(|_| draw()).collect()))
            .collect();
        build(&MemoryStore::new(), &plan, &rows, lists).unwrap()
    }

    #[test]
    fn neighbours_are_those_near_that_were_cut_the_longest_ago() {
        let directory = with_lists(60);
        for list in directory.live_lists().iter().copied() {
            let ranked = directory.ranked(directory.coarse_of(list).unwrap(), 1 + NEAR);
            let mut near: Vec<_> = ranked.iter().map(|(_, other)| *other).collect();
            near.retain(|other| *other != list);
            near.sort_unstable();
            let chosen: Vec<_> = neighbours(&directory, list).into_iter().map(|n| n.0).collect();
            assert_eq!(chosen, near[..NEIGHBOURS]);
        }
    }

    /// Lists next to each other whose entries lie on as many pages as one change can't write: those that fit are cut
    /// with the one that is split.
    #[test]
    fn neighbours_fit_one_change() {
        let directory = with_lists(12 * ENTRIES_ON_PAGE);
        let (mut passed_over, mut found) = (0, 0);
        for list in directory.live_lists().iter().step_by(97).copied() {
            let ranked = directory.ranked(directory.coarse_of(list).unwrap(), 1 + NEAR);
            let mut oldest: Vec<_> = ranked.iter().map(|(_, other)| *other).collect();
            oldest.sort_unstable();
            oldest.truncate(1 + NEIGHBOURS);
            let chosen: Vec<_> = neighbours(&directory, list).into_iter().map(|n| n.0).collect();
            assert!(chosen.len() <= NEIGHBOURS && !chosen.contains(&list));
            assert!(meta_fits(&directory.meta, &[&[list], &chosen[..]].concat()));
            passed_over += usize::from(!meta_fits(&directory.meta, &oldest));
            found += chosen.len();
        }
        let lists = directory.live_lists().len().div_ceil(97);
        assert!(passed_over > lists / 2, "{passed_over} of {lists}: nothing was passed over");
        assert!(found > 2 * lists, "{found} neighbours of {lists} lists");
    }
}
