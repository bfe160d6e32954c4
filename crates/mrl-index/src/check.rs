//! Whether everything holds that the other modules rely on.

use std::collections::{BTreeMap, BTreeSet};

use mrl_memory::OutOfMemory;

use crate::codes::block::ROWS;
use crate::codes::records::{Records, wide};
use crate::lists::directory::Directory;
use crate::pages::group::{Group, References, Tid};
use crate::pages::meta::{Entry, FIRST_LIST, META_PAGE, State};
use crate::pages::page::{self, Kind, ListId, NONE, PageNumber};
use crate::pages::rows::{self, Rows};
use crate::pages::shape::Shape;
use crate::pages::store::PageStore;
use crate::pages::tids::Tids;
use crate::pages::walk::{Chain, Walk};

/// Takes every TID of an index.
pub type Visit<'a> = &'a mut dyn FnMut(Tid) -> Result<(), OutOfMemory>;

/// Everything that is wrong, as sentences; tells every TID to `visit`. A page that is not what it should be, so that
/// nobody can read on, is an error.
///
/// # Errors
/// What the storage answers; damage, where a page is not what it should be; out of memory.
pub fn check<S: PageStore>(store: &S, visit: Visit) -> Result<Vec<String>, S::Error> {
    let directory = Directory::read(store)?;
    let mut check =
        Check { store, directory, seen: BTreeSet::new(), tids: Tids::default(), problems: vec![] };
    check.page(META_PAGE)?;
    for page in check.directory.meta.directory.clone() {
        check.page(page)?;
    }
    check.frames()?;
    for list in 0..check.directory.entries.len() as ListId {
        store.check_interrupts()?;
        check.list(list, visit)?;
    }
    Ok(check.problems)
}

struct Check<'a, S: PageStore> {
    store: &'a S,
    directory: Directory,
    seen: BTreeSet<PageNumber>,
    tids: Tids,
    problems: Vec<String>,
}

/// A list that is checked.
#[derive(Clone, Copy)]
struct Checked<'s> {
    list: ListId,
    shape: &'s Shape,
    is_live: bool,
}

/// What a list's groups say about its references.
struct Referred {
    /// The newest page of them, and the first with room.
    newest: PageNumber,
    open: PageNumber,
    /// The TIDs of the rows that references can belong to, by the rows' numbers.
    rows: BTreeMap<u16, Tid>,
}

impl<S: PageStore> Check<'_, S> {
    fn problem(&mut self, problem: String) -> Result<(), OutOfMemory> {
        mrl_memory::push(&mut self.problems, problem)?;
        mrl_memory::check()
    }

    fn page(&mut self, page: PageNumber) -> Result<(), OutOfMemory> {
        match self.seen.insert(page) {
            true => Ok(()),
            false => self.problem(format!("block {page} is used twice")),
        }
    }

    fn tid(&mut self, tid: Tid, list: ListId, visit: Visit) -> Result<(), OutOfMemory> {
        visit(tid)?;
        if tid & 0xffff == 0 {
            self.problem(format!("list {list} has a TID without an offset"))?;
        }
        if !self.tids.insert(tid) {
            let (block, offset) = (tid >> 16, tid & 0xffff);
            self.problem(format!("TID ({block},{offset}) is there twice, once in list {list}"))?;
        }
        Ok(())
    }

    /// The pages of frames, and that the next frame takes none's place.
    fn frames(&mut self) -> Result<(), OutOfMemory> {
        let lists = self.directory.entries.iter().skip(FIRST_LIST as usize);
        let pages: BTreeSet<PageNumber> = lists.clone().map(|entry| entry.frame_page).collect();
        let (newest, used) = (self.directory.meta.frames_page, self.directory.meta.frames_used);
        let is_beyond =
            |entry: &Entry| entry.frame_page == newest && usize::from(entry.frame_place) >= used;
        if lists.clone().any(is_beyond) {
            self.problem(format!("block {newest} has frames beyond the {used} that are counted"))?;
        }
        pages.into_iter().filter(|page| *page != NONE).try_for_each(|page| self.page(page))
    }

    fn list(&mut self, list: ListId, visit: Visit) -> Result<(), S::Error> {
        let entry = self.directory.entries[list as usize];
        if list >= FIRST_LIST {
            // That there is one is an error of its own.
            self.directory.centre(self.store, list)?;
        }
        if entry.state == State::Gone {
            return Ok(());
        }
        let shape = self.directory.encoder.shape.clone();
        let checked = Checked { list, shape: &shape, is_live: entry.state == State::Live };
        let referred = self.groups(checked, entry.head, visit)?;
        self.references(checked, &referred, visit)
    }

    /// The groups of a list, with their rows.
    fn groups(
        &mut self,
        checked: Checked,
        head: PageNumber,
        visit: Visit,
    ) -> Result<Referred, S::Error> {
        let (store, list) = (self.store, checked.list);
        let (mut ordinals, mut newest_ordinals) = (BTreeSet::new(), Vec::new());
        let (mut open, mut next_opens) = (NONE, BTreeMap::new());
        let mut referred = Referred { newest: NONE, open: NONE, rows: BTreeMap::new() };
        let mut groups = Chain { list, head }.groups();
        while let Some((page, body)) = groups.next(store)? {
            self.page(page)?;
            let group = Group::new(&body, page, list, checked.shape)?;
            if page == head {
                open = group.open();
                (referred.newest, referred.open) = (group.references(), group.references_open());
            }
            mrl_memory::push(&mut newest_ordinals, group.ordinal())?;
            next_opens.insert(page, group.next_open());
            if !ordinals.insert(group.ordinal()) {
                self.problem(format!("list {list} has two groups {}", group.ordinal()))?;
            }
            // A scan counts them up to the first that is none.
            if group.frames().skip_while(|frame| *frame != 0).any(|frame| frame != 0) {
                self.problem(format!("block {page} has a gap among its frames"))?;
            }
            for other in group.other_pages() {
                self.page(other)?;
            }
            self.rows(checked, page, group, &mut referred.rows, visit)?;
        }
        if newest_ordinals.iter().take(2).max() != ordinals.last() {
            self.problem(format!("list {list}: its newest group is not next to its head"))?;
        }
        self.stack(list, "groups", open, &next_opens)?;
        Ok(referred)
    }

    /// The rows of a group's blocks, and the blocks' summaries.
    fn rows(
        &mut self,
        Checked { list, shape, is_live }: Checked,
        page: PageNumber,
        group: Group,
        numbered: &mut BTreeMap<u16, Tid>,
        visit: Visit,
    ) -> Result<(), S::Error> {
        let (mut bytes, mut room) = (Vec::new(), Vec::new());
        for index in 0..group.blocks() {
            let live = group.live(index);
            if live == 0 {
                continue;
            }
            rows::read_block(self.store, group, index, &mut bytes)?;
            let (first, lane) = (index * ROWS, index % shape.summary_lanes);
            let summaries = group.summaries(index / shape.summary_lanes, &mut room);
            let spread = wide(summaries.spreads()[lane]);
            if !spread.is_finite() || !are_finite(summaries.records, lane, shape) {
                self.problem(format!("block {page}, row {first}: the mean is no number"))?;
            }
            let stored = Rows::new(&bytes, shape);
            for row in (0..ROWS).filter(|row| live >> row & 1 == 1) {
                let slot = first + row;
                if !are_finite(stored.records, row, shape) {
                    self.problem(format!("block {page}, row {slot}: a factor is no number"))?;
                }
                let place = usize::from(stored.frames()[row]);
                let frame = group.frame(place);
                if frame < FIRST_LIST || frame as usize >= self.directory.entries.len() {
                    self.problem(format!("block {page}, row {slot}: its frame is list {frame}"))?;
                }
                let tid = stored.tid(row);
                if shape.keeps_copies() {
                    let copies = group.copy_page_of(slot);
                    page::check(&*self.store.read(copies)?, copies, Kind::Copies, list)?;
                }
                if is_live {
                    self.tid(tid, list, visit)?;
                }
                if let Some(number) = group.reference_number(slot) {
                    numbered.insert(number, tid);
                }
            }
        }
        Ok(())
    }

    /// The references of a list.
    fn references(
        &mut self,
        Checked { list, is_live, .. }: Checked,
        referred: &Referred,
        visit: Visit,
    ) -> Result<(), S::Error> {
        let (store, mut next_opens) = (self.store, BTreeMap::new());
        let mut pages = Walk::starting_at(referred.newest);
        while let Some((page, body)) = pages.next(store)? {
            self.page(page)?;
            let references = References::new(&body, page, list)?;
            next_opens.insert(page, references.next_open());
            let own: Vec<_> = references.iter().collect();
            drop(body);
            for (row, tid) in own {
                // What a crash amid a vacuum leaves, and scans pass over: a reference that has already
                // taken its row's place, or one to a row that is gone. The next vacuum removes them.
                let is_left_over =
                    list >= FIRST_LIST && referred.rows.get(&row).is_none_or(|own| *own == tid);
                if is_live && !is_left_over {
                    self.tid(tid, list, visit)?;
                }
            }
        }
        Ok(self.stack(list, "references", referred.open, &next_opens)?)
    }

    /// That a stack of pages ends and has pages of its chain only.
    fn stack(
        &mut self,
        list: ListId,
        of: &str,
        first: PageNumber,
        next: &BTreeMap<PageNumber, PageNumber>,
    ) -> Result<(), OutOfMemory> {
        let (mut page, mut left) = (first, next.len());
        while page != NONE {
            match (next.get(&page), left) {
                (Some(next), 1..) => (page, left) = (*next, left - 1),
                _ => {
                    return self.problem(format!("list {list}: its stack of open {of} is broken"));
                }
            }
        }
        Ok(())
    }
}

/// Whether a record's factors are numbers.
fn are_finite(records: Records, lane: usize, shape: &Shape) -> bool {
    let mut scales = (0..shape.layers.count()).map(|layer| records.scales(layer)[lane]);
    wide(records.terms()[lane]).is_finite() && scales.all(|scale| wide(scale).is_finite())
}
