//! Where pages are: the one door between the index and its storage.
//!
//! A change locks pages one after another, always in the order *head of a list, group, its other pages; meta,
//! directory, frames* (under the directory's lock, where nobody else changes both, a page of it may come before meta),
//! and takes effect as a whole or not at all, crash or not. At most [`MOST_PAGES`] pages take part: that is what one
//! WAL record of PostgreSQL's generic kind can hold.

use std::fmt;
use std::ops::Deref;

use mrl_memory::OutOfMemory;

use crate::pages::page::{Body, Damage, ListId, PageNumber};

/// What can go wrong where the storage itself can't fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A page is not what it should be, or a list is full.
    Damage(Damage),
    /// There is no memory left.
    OutOfMemory(OutOfMemory),
}

impl From<Damage> for Failure {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl From<OutOfMemory> for Failure {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damage(damage) => damage.fmt(f),
            Self::OutOfMemory(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Failure {}

/// The most pages of one change.
pub const MOST_PAGES: usize = 4;

/// Who else may work on a list meanwhile. Scans always may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListLock {
    /// Others that insert, and one who is about to replace the list.
    Shared,
    /// Others that insert. Who has this one may take the exclusive one besides: he waits for those that insert.
    Replacing,
    /// Nobody.
    Exclusive,
}

/// The storage of one index.
pub trait PageStore {
    /// What an operation that fails answers: an error of the storage, or what the index finds, damage or no memory.
    type Error: From<Damage> + From<OutOfMemory>;
    /// A page that nobody changes while it is held.
    type Page<'a>: Deref<Target = Body>
    where
        Self: 'a;
    /// How some pages are changed together.
    type Change<'a>: Change<Error = Self::Error>
    where
        Self: 'a;
    /// A lock, held until it is dropped.
    type Lock<'a>
    where
        Self: 'a;

    /// A page as the last change left it; one that is being changed is waited for.
    ///
    /// # Errors
    /// What the storage answers; damage, where there is no such page, or the storage itself finds it damaged.
    fn read(&self, number: PageNumber) -> Result<Self::Page<'_>, Self::Error>;
    /// The same of a page that may never have been written; nothing of one that the storage itself finds damaged.
    ///
    /// # Errors
    /// What the storage answers; damage, where there is no such page.
    fn read_any(&self, number: PageNumber) -> Result<Option<Self::Page<'_>>, Self::Error>;
    /// Tells that bytes of a page will soon be read. A hint, of any page.
    fn prefetch(&self, _number: PageNumber, _offset: usize, _bytes: usize) {}
    /// Begins a change, which has no page yet.
    ///
    /// # Errors
    /// What the storage answers.
    fn change(&self) -> Result<Self::Change<'_>, Self::Error>;
    /// How many pages there are, free ones too.
    ///
    /// # Errors
    /// What the storage answers.
    fn page_count(&self) -> Result<u32, Self::Error>;
    /// Writes a page as it is, at the end or over another, without a log: for an index that nobody
    /// else sees yet. Returns its number.
    ///
    /// # Errors
    /// What the storage answers.
    fn write(&self, number: Option<PageNumber>, body: &Body) -> Result<PageNumber, Self::Error>;
    /// Tells that a free page may be handed out again.
    ///
    /// # Errors
    /// What the storage answers.
    fn offer(&self, number: PageNumber) -> Result<(), Self::Error>;

    /// Tells that pages were offered: they need not be found before.
    ///
    /// # Errors
    /// What the storage answers.
    fn publish_offers(&self) -> Result<(), Self::Error>;

    /// A list's lock; those who hold it in a way that speaks against this one are waited for.
    ///
    /// # Errors
    /// What the storage answers.
    fn lock_list(&self, list: ListId, lock: ListLock) -> Result<Self::Lock<'_>, Self::Error>;
    /// The same without waiting: nothing where another holds the list, or waits for it.
    ///
    /// # Errors
    /// What the storage answers.
    fn try_lock_list(
        &self,
        list: ListId,
        lock: ListLock,
    ) -> Result<Option<Self::Lock<'_>>, Self::Error>;
    /// The lock that whoever adds lists holds; nothing where another has it and `wait` is false.
    ///
    /// # Errors
    /// What the storage answers.
    fn lock_directory(&self, wait: bool) -> Result<Option<Self::Lock<'_>>, Self::Error>;
    /// The lock of who cleans up, which takes long, and waits for the directory's only while he has this one.
    ///
    /// # Errors
    /// What the storage answers.
    fn lock_cleaning(&self) -> Result<Self::Lock<'_>, Self::Error>;
    /// Keeps others from cleaning up: who has it waits for nobody who does when he waits for the directory's lock. Goes
    /// with itself; nothing where somebody cleans up.
    ///
    /// # Errors
    /// What the storage answers.
    fn keep_from_cleaning(&self) -> Result<Option<Self::Lock<'_>>, Self::Error>;

    /// A stamp of now, for something that has just gone out of use.
    fn stamp(&self) -> u64;
    /// Whether no scan that began before the stamp can still run. Asked where no page is held.
    fn is_past(&self, stamp: u64) -> bool;
    /// Called in every loop; an error ends the work, between two changes. An error too where memory is short
    /// ([`mrl_memory::check`]).
    ///
    /// # Errors
    /// That the work is to end, or that memory is short.
    fn check_interrupts(&self) -> Result<(), Self::Error>;
    /// Called in work that nobody waits for, where no page is locked and no list that others would wait for: it may
    /// sleep.
    fn rest(&self) {}
}

/// A change of some pages. Dropped without a commit it never was.
pub trait Change {
    /// As the storage's own, [`PageStore::Error`].
    type Error: From<Damage> + From<OutOfMemory>;

    /// Locks a page; returns its place among the change's pages.
    ///
    /// # Errors
    /// What the storage answers; damage, where there is no such page, or the change has it already.
    fn lock(&mut self, number: PageNumber) -> Result<usize, Self::Error>;
    /// Whether it has locked a page: who reads that one now waits for itself.
    fn holds(&self, number: PageNumber) -> bool;
    /// Takes a page that is free, or a new one; it has any content. Returns its place in the change, and its number.
    ///
    /// # Errors
    /// What the storage answers.
    fn allocate(&mut self) -> Result<(usize, PageNumber), Self::Error>;
    /// The page at a place, with what the change has written so far.
    fn body(&self, place: usize) -> &Body;
    /// The same, to be written: for others it is as it was until the commit.
    fn body_mut(&mut self, place: usize) -> &mut Body;
    /// Makes the whole change take effect, and lets go of its pages.
    ///
    /// # Errors
    /// What the storage answers.
    fn commit(self) -> Result<(), Self::Error>;
}
