//! What the check says of damage that a test has done, each kind once: a check that finds nothing proves nothing.

mod common;

use std::rc::Rc;

use common::*;
use mrl_index::check::check;
use mrl_index::codes::block::ROWS;
use mrl_index::insert::{insert, insert_reference};
use mrl_index::lists::directory::Directory;
use mrl_index::pages::group::{self, Group, Tid};
use mrl_index::pages::memory::MemoryStore;
use mrl_index::pages::meta::{FIRST_LIST, META_PAGE, Meta, Metric, NULLS};
use mrl_index::pages::page::{self, Body, Damage, Kind, PageNumber, Problem};
use mrl_index::pages::shape::{GROUP_FRAMES, ROW_PAGE_START};
use mrl_index::pages::store::PageStore;
use mrl_index::pages::walk::Steps;

/// An index of 500 rows in two lists, with some NULLs, that is sound.
struct Sound {
    store: MemoryStore,
    directory: Rc<Directory>,
}

impl Sound {
    fn new() -> Self {
        let rows = numbered(clustered(500, 64, true, 3));
        let (store, directory) = built(&rows, &plan(64, Metric::InnerProduct, false), 2);
        for tid in 0..5 {
            insert_reference(&store, &directory, NULLS, (1000 + tid) << 16 | 1).unwrap();
        }
        let sound = Self { store, directory };
        assert_eq!(sound.problems(), [""; 0]);
        sound
    }

    fn head(&self, list: u32) -> PageNumber {
        self.directory.entries[list as usize].head
    }

    /// The first page of rows of the first list.
    fn rows_page(&self) -> PageNumber {
        let (head, shape) = (self.head(FIRST_LIST), &self.directory.encoder.shape);
        let body = self.store.read(head).unwrap();
        Group::new(&body, head, FIRST_LIST, shape).unwrap().row_page(0)
    }

    fn change(&self, page: PageNumber, change: impl FnOnce(&mut Body)) {
        let mut body = *self.store.read(page).unwrap();
        change(&mut body);
        self.store.write(Some(page), &body).unwrap();
    }

    fn problems(&self) -> Vec<String> {
        check(&self.store, &mut |_| Ok(())).unwrap()
    }

    /// That the check says just this.
    #[track_caller]
    fn says(&self, expected: &str) {
        assert_eq!(self.problems(), [expected]);
    }
}

#[test]
fn every_tid_is_told() {
    let sound = Sound::new();
    let mut tids: Vec<Tid> = Vec::new();
    check(&sound.store, &mut |tid| mrl_memory::push(&mut tids, tid)).unwrap();
    tids.sort_unstable();
    let rows = numbered(clustered(500, 64, true, 3)).into_keys();
    let nulls = (0..5).map(|tid| (1000 + tid) << 16 | 1);
    let mut expected: Vec<Tid> = rows.chain(nulls).collect();
    expected.sort_unstable();
    assert_eq!(tids, expected);
}

#[test]
fn a_tid_that_is_there_twice() {
    let sound = Sound::new();
    let twice = *numbered(clustered(500, 64, true, 3)).keys().next().unwrap();
    insert_reference(&sound.store, &sound.directory, NULLS, twice).unwrap();
    let (page, offset) = (twice >> 16, twice & 0xffff);
    let found = sound.problems();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with(&format!("TID ({page},{offset}) is there twice, once in list ")),
        "{found:?}"
    );
}

#[test]
fn a_tid_without_an_offset() {
    let sound = Sound::new();
    insert_reference(&sound.store, &sound.directory, NULLS, 7 << 16).unwrap();
    sound.says("list 0 has a TID without an offset");
}

#[test]
fn a_page_of_two_owners() {
    let sound = Sound::new();
    let shape = &sound.directory.encoder.shape;
    let (head, rows) = (sound.head(FIRST_LIST), sound.rows_page());
    // One of its row pages is there for a second time.
    sound.change(head, |body| {
        let group = Group::new(body, head, FIRST_LIST, shape).unwrap();
        let free = (1..shape.row_pages).find(|page| group.row_page(*page) == page::NONE).unwrap();
        group::set_row_page(body, free, rows, shape);
    });
    sound.says(&format!("block {rows} is used twice"));
}

#[test]
fn a_frame_of_a_list_that_never_was() {
    let sound = Sound::new();
    let head = sound.head(FIRST_LIST);
    sound.change(head, |body| group::set_frame(body, 0, 77));
    let found = sound.problems();
    assert!(found.iter().all(|problem| problem.ends_with("its frame is list 77")), "{found:?}");
    assert!(found.len() > 200, "{}", found.len());
}

#[test]
fn a_gap_among_frames() {
    let sound = Sound::new();
    let head = sound.head(FIRST_LIST);
    sound.change(head, |body| page::put(body, GROUP_FRAMES + 8, &FIRST_LIST.to_le_bytes()));
    sound.says(&format!("block {head} has a gap among its frames"));
}

#[test]
fn frames_that_are_not_counted() {
    let sound = Sound::new();
    let newest = sound.directory.meta.frames_page;
    sound.change(META_PAGE, |body| {
        let meta = Meta::read(body).unwrap();
        Meta { frames_used: meta.frames_used - 1, ..meta }.write(body);
    });
    sound.says(&format!("block {newest} has frames beyond the 1 that are counted"));
}

#[test]
fn a_factor_that_is_no_number() {
    let sound = Sound::new();
    let shape = &sound.directory.encoder.shape;
    // The scale of layer 0 of the first row of the first block.
    let before = shape.row.bytes - shape.row.record_bytes() + shape.row.code_bytes(0);
    let scale = ROW_PAGE_START + ROWS * before;
    let nothing = half::bf16::NAN.to_le_bytes();
    sound.change(sound.rows_page(), |body| page::put(body, scale, &nothing));
    let head = sound.head(FIRST_LIST);
    sound.says(&format!("block {head}, row 0: a factor is no number"));
}

#[test]
fn stacks_that_leave_their_chains() {
    let sound = Sound::new();
    let (head, nulls) = (sound.head(FIRST_LIST), sound.head(NULLS));
    sound.change(head, |body| group::set_open(body, META_PAGE));
    sound.says("list 2: its stack of open groups is broken");
    let sound = Sound::new();
    let newest = {
        let body = sound.store.read(nulls).unwrap();
        Group::new(&body, nulls, NULLS, &sound.directory.encoder.shape).unwrap().references()
    };
    sound.change(nulls, |body| group::set_references(body, newest, META_PAGE));
    sound.says("list 0: its stack of open references is broken");
}

/// Of other formats, other kinds, other lists.
#[test]
fn pages_that_are_something_else() {
    let sound = Sound::new();
    let head = sound.head(FIRST_LIST);
    let damage = |problem| Damage { page: head, problem };
    let problem_of = |change: fn(&mut Body)| {
        let mut body = *sound.store.read(head).unwrap();
        change(&mut body);
        page::check(&body, head, Kind::Group, FIRST_LIST).err()
    };
    assert_eq!(problem_of(|_| ()), None);
    assert_eq!(problem_of(|body| body[0] ^= 1), Some(damage(Problem::Foreign)));
    let newer = |body: &mut Body| page::put(body, 4, &(page::VERSION + 1).to_le_bytes());
    assert_eq!(problem_of(newer), Some(damage(Problem::Version(page::VERSION + 1))));
    let text = damage(Problem::Version(9)).to_string();
    assert_eq!(
        text,
        format!("block {head} has format version 9; this library reads version {}", page::VERSION)
    );
    assert_eq!(
        problem_of(|body| body[6] = Kind::Rows as u8),
        Some(damage(Problem::Kind(Kind::Group)))
    );
    let other = |body: &mut Body| page::put(body, 8, &9u32.to_le_bytes());
    assert_eq!(problem_of(other), Some(damage(Problem::List(FIRST_LIST))));
}

/// A frame's page is read while those of the row are locked: it must not be one of them.
#[test]
fn a_frame_on_a_page_that_the_insert_has_locked() {
    let sound = Sound::new();
    let mut directory = (*sound.directory).clone();
    // The rows that are there are of the frame of the other list, which is said to lie on their group's page.
    let (head, other) = (sound.head(FIRST_LIST), FIRST_LIST + 1);
    // Each block has a place to take.
    let shape = &directory.encoder.shape.clone();
    sound.change(head, |body| {
        let blocks = Group::new(body, head, FIRST_LIST, shape).unwrap().blocks();
        (0..blocks).for_each(|block| group::set_live(body, block * ROWS, false, shape));
        group::set_frame(body, 0, other);
    });
    directory.entries[other as usize].frame_page = head;
    let vector = sound.directory.centre(&sound.store, FIRST_LIST).unwrap();
    let inserted = insert(&sound.store, &directory, 1 << 40 | 1, &vector, false).err();
    let problem = Problem::Content("two pointers lead to one page");
    assert_eq!(inserted, Some(Damage { page: head, problem }.into()));
}

/// A chain that leads back is left after little more than its pages, not after as many as the index has: who walks it
/// keeps what is on them.
#[test]
fn circles_are_left_soon() {
    let store = MemoryStore::new();
    for length in [1, 2, 3, 7, 100] {
        for before in [0, 1, 5, 64] {
            let mut steps = Steps::default();
            let page = |step: u32| match step {
                step if step < before => 1000 + step,
                step => (step - before) % length,
            };
            let taken = (0..).take_while(|step| steps.step(&store, page(*step)).is_ok()).count();
            let most = 3 * (length + before) as usize;
            assert!(taken <= most, "{taken} steps, {before} before a circle of {length}");
            assert!(taken >= (before + length) as usize);
        }
    }
}

/// Groups of a list are told apart by 16 bits.
#[test]
fn a_list_ends_where_its_groups_cannot_be_told_apart() {
    assert_eq!(group::ordinal(5, 65_535), Ok(65_535));
    let full = group::ordinal(5, 65_536).unwrap_err();
    assert_eq!((full.problem, full.to_string()), (Problem::Full(5), "list 5 is full".into()));
}
