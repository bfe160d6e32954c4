//! Damaged pages: whatever works on them gives an error that names a page, or works, and ends.
#![no_main]

use std::cell::OnceCell;
use std::rc::Rc;

use arbitrary::Arbitrary;
use half::f16;
use libfuzzer_sys::fuzz_target;
use mrl_fuzz::distances::{Exact, Rows, Vector};
use mrl_fuzz::store::WatchedStore;
use mrl_fuzz::vectors::{Question, Style, vector};
use mrl_fuzz::world::{Deed, EXACT, RoughSteering, World};
use mrl_fuzz::{Few, Kind, Many};
use mrl_index::check::check;
use mrl_index::info::info;
use mrl_index::insert::{Inserted, insert, insert_reference, list_without_distances};
use mrl_index::lists::directory::Directory;
use mrl_index::pages::group::Tid;
use mrl_index::pages::memory::MemoryStore;
use mrl_index::pages::meta::{FIRST_LIST, Metric};
use mrl_index::pages::page::{BODY_BYTES, Body, PageNumber};
use mrl_index::pages::store::{Failure, PageStore};
use mrl_index::scan::{Scan, Steering, Wanted, every_tid};
use mrl_index::split::{rewrite, split};
use mrl_index::vacuum::{bulk_delete, clean_up};

/// A vector that a split is told of a row, which it may be or not.
fn any_vector(tid: Tid, dimensions: usize) -> Vec<f16> {
    vec![f16::from_f32((tid % 5) as f32 - 2.0); dimensions]
}

#[derive(Arbitrary, Debug)]
struct Input {
    index: u8,
    damages: Few<Damaging>,
    /// Whether the session has read the directory before the damage came.
    knows_directory: bool,
    works: Many<Work, 8>,
}

/// What happens to a page.
#[derive(Arbitrary, Debug)]
enum Damaging {
    /// A byte anywhere.
    Byte {
        page: u8,
        offset: u16,
        value: u8,
    },
    /// A pointer to a page leads to another.
    Pointer {
        page: u8,
        place: u8,
        to: u8,
    },
    /// A number among those that a page begins with.
    Leading {
        page: u8,
        place: u8,
        number: Number,
    },
    /// A number anywhere.
    Inner {
        page: u8,
        offset: u16,
        number: Number,
    },
    /// Another page's content, as a lost or misplaced write leaves it.
    Copied {
        from: u8,
        to: u8,
    },
    Zeros {
        page: u8,
    },
    /// The second half lacks: a torn write.
    Torn {
        page: u8,
        from: u8,
        offset: u16,
    },
}

/// Numbers that pages have.
#[derive(Arbitrary, Debug, Clone, Copy)]
enum Number {
    Small(u8),
    Short(u16),
    Any(u32),
    Sum(i8),
}

/// What is done with the index.
#[derive(Arbitrary, Debug)]
enum Work {
    Scan { question: Question, steering: RoughSteering },
    ScanExactly { question: Question },
    Insert { style: Style, seed: u16, unchanged: bool, count: u8 },
    InsertNull,
    Delete { each: u8 },
    CleanUp,
    Check,
    Info,
    EveryTid,
    Split { list: u8 },
    Rewrite { list: u8 },
    Refresh,
}

/// Rows asked for: pages that lead in circles have more.
const MOST_ROWS: usize = 2000;

thread_local! {
    static INDEXES: [OnceCell<MemoryStore>; Kind::COUNT as usize] = const {
        [const { OnceCell::new() }; Kind::COUNT as usize]
    };
}

/// A sound index with everything that one may have: several lists of several groups, references, a
/// retired list, one that is gone, free pages, rows without vectors.
fn sound(number: u8) -> MemoryStore {
    let number = number % Kind::COUNT;
    INDEXES.with(|indexes| {
        indexes[usize::from(number)].get_or_init(|| make(Kind::numbered(number))).clone()
    })
}

fn make(kind: Kind) -> MemoryStore {
    let dimensions = kind.plan().dimensions;
    let vectors = (0..500).map(|seed| vector(Style::Clustered, seed, dimensions)).collect();
    let mut world = World::built(kind, vectors, 2);
    let insert = |style, seed, count| Deed::Insert { style, seed, count };
    for deed in [
        Deed::Split { list: 0 },
        Deed::Rewrite { list: 1 },
        insert(Style::Clustered, 500, 60),
        insert(Style::Clustered, 560, 60),
        Deed::UpdateUnchanged { first: 0, count: 60 },
        Deed::UpdateUnchanged { first: 0, count: 60 },
        Deed::CleanUp,
        Deed::InsertNulls { count: 20 },
        insert(Style::Zero, 0, 20),
        Deed::DeleteShare { seed: 1, share: 40 },
        Deed::Vacuum,
        insert(Style::Equal, 0, 40),
        Deed::UpdateUnchanged { first: 300, count: 40 },
        Deed::Rewrite { list: 0 },
        Deed::Rewrite { list: 2 },
    ] {
        world.does(&deed);
    }
    world.verify();
    world.into_pages()
}

impl Number {
    fn of(self, old: u32) -> u32 {
        match self {
            Self::Small(number) => number.into(),
            Self::Short(number) => number.into(),
            Self::Any(number) => number,
            Self::Sum(difference) => old.wrapping_add_signed(difference.into()),
        }
    }
}

fn damage(pages: &MemoryStore, damaging: &Damaging) {
    let count = pages.page_count().expect("pages");
    let page_of = |number: u8| PageNumber::from(number) % count;
    let read = |number: u8| -> Body {
        *pages.read_any(page_of(number)).expect("a page").expect("a sound one")
    };
    let number_at = |body: &mut Body, offset: usize, number: Number| {
        let bytes: &mut [u8; 4] = body[offset..].first_chunk_mut().expect("four bytes");
        *bytes = number.of(u32::from_le_bytes(*bytes)).to_le_bytes();
    };
    let (page, body) = match *damaging {
        Damaging::Byte { page, offset, value } => {
            let mut body = read(page);
            body[usize::from(offset) % BODY_BYTES] = value;
            (page, body)
        }
        Damaging::Pointer { page, place, to } => {
            let mut body = read(page);
            let offset = 12 + 4 * (usize::from(place) % 16);
            body[offset..offset + 4].copy_from_slice(&page_of(to).to_le_bytes());
            (page, body)
        }
        Damaging::Leading { page, place, number } => {
            let mut body = read(page);
            number_at(&mut body, 2 * (usize::from(place) % 64), number);
            (page, body)
        }
        Damaging::Inner { page, offset, number } => {
            let mut body = read(page);
            number_at(&mut body, usize::from(offset) % (BODY_BYTES - 3), number);
            (page, body)
        }
        Damaging::Copied { from, to } => (to, read(from)),
        Damaging::Zeros { page } => (page, [0; BODY_BYTES]),
        Damaging::Torn { page, from, offset } => {
            let mut body = read(page);
            let start = usize::from(offset) % BODY_BYTES;
            body[start..].copy_from_slice(&read(from)[start..]);
            (page, body)
        }
    };
    pages.write(Some(page_of(page)), &body).expect("a page");
}

fuzz_target!(|input: Input| {
    let pages = sound(input.index);
    let known = input.knows_directory.then(|| {
        let directory = Directory::read(&pages).expect("a sound directory");
        Rc::new(directory)
    });
    for damaging in &input.damages.0 {
        damage(&pages, damaging);
    }
    pages.tick();
    let store = WatchedStore::new(pages);
    let mut session = Session { store, directory: known };
    for work in &input.works.0 {
        session.store.begin_work();
        if let Err(failure) = session.does(work) {
            assert!(!failure.to_string().is_empty());
        }
    }
    for work in [Work::Check, Work::Info, Work::Delete { each: 3 }, Work::CleanUp] {
        session.store.begin_work();
        let _ = session.does(&work);
    }
});

struct Session {
    store: WatchedStore,
    directory: Option<Rc<Directory>>,
}

impl Session {
    /// The directory that the session has, or else the one there is.
    fn directory(&mut self) -> Result<Rc<Directory>, Failure> {
        if let Some(known) = &self.directory {
            return Ok(known.clone());
        }
        let directory = Rc::new(Directory::read(&self.store)?);
        self.directory = Some(directory.clone());
        Ok(directory)
    }

    fn does(&mut self, work: &Work) -> Result<(), Failure> {
        match *work {
            Work::Scan { question, steering } => self.scan(question, steering.steering())?,
            Work::ScanExactly { question } => self.scan(question, EXACT)?,
            Work::Insert { style, seed, unchanged, count } => {
                for i in 0..u16::from(count % 32) {
                    self.store.begin_work();
                    let seed = seed.wrapping_add(i);
                    let dimensions = self.directory()?.meta.dimensions;
                    self.insert(Some(vector(style, seed, dimensions)), unchanged)?;
                }
            }
            Work::InsertNull => self.insert(None, false)?,
            Work::Delete { each } => {
                bulk_delete(&self.store, &mut |tid| tid % (u64::from(each) + 1) == 0)?;
            }
            Work::CleanUp => {
                clean_up(&self.store)?;
            }
            Work::Check => {
                check(&self.store, &mut |_| Ok(()))?;
            }
            Work::Info => {
                info(&self.store)?;
            }
            Work::EveryTid => {
                let directory = self.directory()?;
                every_tid(&self.store, &directory, Wanted::All)?;
            }
            Work::Split { list } => {
                let directory = self.directory()?;
                let dimensions = directory.meta.dimensions;
                split(
                    &self.store,
                    &directory,
                    FIRST_LIST + u32::from(list % 8),
                    false,
                    &mut |tid| Ok(Some(any_vector(tid, dimensions))),
                )?;
            }
            Work::Rewrite { list } => {
                let directory = self.directory()?;
                rewrite(&self.store, &directory, FIRST_LIST + u32::from(list % 8))?;
            }
            Work::Refresh => self.refresh()?,
        }
        Ok(())
    }

    fn refresh(&mut self) -> Result<(), Failure> {
        let directory = self.directory()?;
        if let Some(newer) = directory.refreshed(&self.store)? {
            self.directory = Some(Rc::new(newer));
        }
        Ok(())
    }

    fn scan(&mut self, question: Question, steering: Steering) -> Result<(), Failure> {
        let directory = self.directory()?;
        let meta = &directory.meta;
        let query = question.query(meta.dimensions, meta.metric == Metric::Euclidean);
        let mut scan = Scan::new(directory.clone(), &query, steering);
        // Some rows are enough: a damaged TID leads to any row or to none.
        let query = Rc::new(Vector::new(query));
        let rows: Rows = (1..50).map(|tid| (tid, Some(query.clone()))).collect();
        let mut exact = Exact { metric: meta.metric, query: &query, rows: &rows };
        for _ in 0..MOST_ROWS {
            if scan.next(&self.store, &mut exact)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn insert(&mut self, vector: Option<Vec<f16>>, unchanged: bool) -> Result<(), Failure> {
        const TID: u64 = 1 << 40 | 1;
        let directory = self.directory()?;
        let (store, halfs) = (&self.store, vector.as_deref());
        if let Some(list) = list_without_distances(&directory, halfs) {
            return insert_reference(store, &directory, list, TID);
        }
        match insert(store, &directory, TID, halfs.unwrap_or_default(), unchanged)? {
            Inserted::Full(list) | Inserted::Overfull(list) => {
                let dimensions = directory.meta.dimensions;
                let mut vectors = |tid| Ok(Some(any_vector(tid, dimensions)));
                split(store, &directory, list, false, &mut vectors).map(drop)
            }
            Inserted::Stale => self.refresh(),
            Inserted::Done => Ok(()),
        }
    }
}
