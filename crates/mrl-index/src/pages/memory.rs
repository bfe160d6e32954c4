//! Pages in memory: for tests, fuzzing and benchmarks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::pages::page::{self, BODY_BYTES, Body, ListId, PageNumber, damaged};
use crate::pages::store::{Change, Failure, ListLock, MOST_PAGES, PageStore};

/// Pages in memory, of one thread. Its clock is moved by hand: [`MemoryStore::tick`]; that others hold lists is only
/// said: [`MemoryStore::hold`], [`MemoryStore::clean_up_by_another`]. To wait for a lock would last for ever, and is a
/// panic.
#[derive(Debug, Default, Clone)]
pub struct MemoryStore {
    pages: RefCell<Vec<Rc<Body>>>,
    offered: RefCell<Vec<PageNumber>>,
    now: Cell<u64>,
    held: RefCell<Vec<ListId>>,
    locks: RefCell<Vec<(ListId, ListLock)>>,
    interruption: Cell<Option<Interruption>>,
    cleans_up: Cell<bool>,
    interrupts_checked: Cell<u64>,
}

/// What another does when a page has been read, the next so many times.
#[derive(Debug, Clone, Copy)]
struct Interruption {
    number: PageNumber,
    times: usize,
    deed: fn(&MemoryStore),
}

/// A list's lock.
pub struct MemoryLock<'a> {
    store: &'a MemoryStore,
    lock: (ListId, ListLock),
}

impl Drop for MemoryLock<'_> {
    fn drop(&mut self) {
        let mut locks = self.store.locks.borrow_mut();
        if let Some(place) = locks.iter().position(|lock| *lock == self.lock) {
            locks.swap_remove(place);
        }
    }
}

impl MemoryStore {
    /// A storage without pages.
    pub fn new() -> Self {
        Self::default()
    }

    /// With room for so many pages, and for the locks of a split: their tables grow without new memory.
    pub fn with_room(pages: usize) -> Self {
        let store = Self::default();
        store.pages.borrow_mut().reserve(pages);
        store.offered.borrow_mut().reserve(pages);
        store.locks.borrow_mut().reserve(64);
        store
    }

    /// How often somebody has asked whether to stop.
    pub fn interrupts_checked(&self) -> u64 {
        self.interrupts_checked.get()
    }

    /// Lets every scan that began before end.
    pub fn tick(&self) {
        self.now.set(self.now.get() + 1);
    }

    /// From now on some lists are held by another, who gives them free at once when they are waited for.
    pub fn hold(&self, lists: &[ListId]) {
        *self.held.borrow_mut() = lists.to_vec();
    }

    /// Whether from now on another cleans up, who has the directory's lock, and keeps it.
    pub fn clean_up_by_another(&self, cleans_up: bool) {
        self.cleans_up.set(cleans_up);
    }

    /// The next so many times that a page has been read another does something.
    pub fn interrupt(&self, number: PageNumber, times: usize, deed: fn(&MemoryStore)) {
        self.interruption.set(Some(Interruption { number, times, deed }));
    }

    /// Changes a byte behind everybody's back.
    pub fn damage(&self, number: PageNumber, offset: usize, xor: u8) {
        Rc::make_mut(&mut self.pages.borrow_mut()[number as usize])[offset] ^= xor;
    }

    /// Takes a list's lock where nobody has one that speaks against it.
    fn lock(&self, list: ListId, lock: ListLock) -> Option<MemoryLock<'_>> {
        let against = |other: ListLock| match lock {
            ListLock::Shared => other == ListLock::Exclusive,
            ListLock::Replacing => other != ListLock::Shared,
            // Who replaces the list has it already.
            ListLock::Exclusive => other != ListLock::Replacing,
        };
        let mut locks = self.locks.borrow_mut();
        if locks.iter().any(|(of, other)| *of == list && against(*other)) {
            return None;
        }
        locks.push((list, lock));
        Some(MemoryLock { store: self, lock: (list, lock) })
    }

    fn page(&self, number: PageNumber) -> Result<Rc<Body>, Failure> {
        self.pages
            .borrow()
            .get(number as usize)
            .cloned()
            .ok_or(damaged(number, "there is no such block").into())
    }
}

impl PageStore for MemoryStore {
    type Error = Failure;
    type Page<'a> = Rc<Body>;
    type Change<'a> = MemoryChange<'a>;
    type Lock<'a> = Option<MemoryLock<'a>>;

    fn read(&self, number: PageNumber) -> Result<Rc<Body>, Failure> {
        let page = self.page(number);
        // What the other reads itself is not interrupted.
        if let Some(mut interruption) = self.interruption.take() {
            if interruption.number == number && interruption.times > 0 {
                (interruption.deed)(self);
                interruption.times -= 1;
            }
            self.interruption.set(Some(interruption));
        }
        page
    }

    fn read_any(&self, number: PageNumber) -> Result<Option<Rc<Body>>, Failure> {
        self.page(number).map(Some)
    }

    fn prefetch(&self, number: PageNumber, offset: usize, bytes: usize) {
        if let Some(page) = self.pages.borrow().get(number as usize) {
            mrl_kernels::prefetch(page.as_ptr().wrapping_add(offset), bytes);
        }
    }

    fn change(&self) -> Result<MemoryChange<'_>, Failure> {
        Ok(MemoryChange { store: self, pages: Vec::new() })
    }

    fn page_count(&self) -> Result<u32, Failure> {
        Ok(self.pages.borrow().len() as u32)
    }

    fn write(&self, number: Option<PageNumber>, body: &Body) -> Result<PageNumber, Failure> {
        let mut pages = self.pages.borrow_mut();
        match number {
            Some(number) => pages[number as usize] = Rc::new(*body),
            None => pages.push(Rc::new(*body)),
        }
        Ok(number.unwrap_or(pages.len() as PageNumber - 1))
    }

    fn offer(&self, number: PageNumber) -> Result<(), Failure> {
        self.offered.borrow_mut().push(number);
        Ok(())
    }

    fn publish_offers(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn lock_list(&self, list: ListId, lock: ListLock) -> Result<Self::Lock<'_>, Failure> {
        let taken = self.lock(list, lock);
        assert!(taken.is_some(), "list {list} is locked, and nobody will ever give it free");
        Ok(taken)
    }

    fn try_lock_list(
        &self,
        list: ListId,
        lock: ListLock,
    ) -> Result<Option<Self::Lock<'_>>, Failure> {
        if self.held.borrow().contains(&list) {
            return Ok(None);
        }
        Ok(self.lock(list, lock).map(Some))
    }

    fn lock_directory(&self, wait: bool) -> Result<Option<Self::Lock<'_>>, Failure> {
        let is_held = self.cleans_up.get();
        assert!(!(is_held && wait), "waits for who cleans up");
        Ok((!is_held).then_some(None))
    }

    fn lock_cleaning(&self) -> Result<Self::Lock<'_>, Failure> {
        Ok(None)
    }

    fn keep_from_cleaning(&self) -> Result<Option<Self::Lock<'_>>, Failure> {
        Ok((!self.cleans_up.get()).then_some(None))
    }

    fn stamp(&self) -> u64 {
        self.now.get()
    }

    fn is_past(&self, stamp: u64) -> bool {
        stamp < self.now.get()
    }

    fn check_interrupts(&self) -> Result<(), Failure> {
        self.interrupts_checked.set(self.interrupts_checked.get() + 1);
        Ok(mrl_memory::check()?)
    }
}

/// A change in memory: of copies of the pages, which take their places when it is committed.
pub struct MemoryChange<'a> {
    store: &'a MemoryStore,
    pages: Vec<(PageNumber, Box<Body>)>,
}

impl Change for MemoryChange<'_> {
    type Error = Failure;

    fn lock(&mut self, number: PageNumber) -> Result<usize, Failure> {
        assert!(self.pages.len() < MOST_PAGES, "a change of too many pages");
        // A damaged pointer may lead to a page that this change already holds.
        if self.holds(number) {
            return Err(damaged(number, "two pointers lead to one page").into());
        }
        self.pages.push((number, Box::new(*self.store.page(number)?)));
        Ok(self.pages.len() - 1)
    }

    fn holds(&self, number: PageNumber) -> bool {
        self.pages.iter().any(|(other, _)| *other == number)
    }

    fn allocate(&mut self) -> Result<(usize, PageNumber), Failure> {
        while let Some(number) = { self.store.offered.borrow_mut().pop() } {
            let taken = self.pages.iter().any(|(other, _)| *other == number);
            if !taken && page::is_free(&*self.store.page(number)?) {
                return Ok((self.lock(number)?, number));
            }
        }
        let number = self.store.write(None, &[0; BODY_BYTES])?;
        Ok((self.lock(number)?, number))
    }

    fn body(&self, place: usize) -> &Body {
        &self.pages[place].1
    }

    fn body_mut(&mut self, place: usize) -> &mut Body {
        &mut self.pages[place].1
    }

    fn commit(self) -> Result<(), Failure> {
        for (number, body) in self.pages {
            self.store.write(Some(number), &body)?;
        }
        Ok(())
    }
}
