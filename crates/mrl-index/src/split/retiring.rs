//! Lists that are about to be replaced, and what is known of them: others go on inserting into them while their rows
//! are cut, encoded and written anew, and only at last nobody may, for as long as it takes to fetch what has come and
//! to write what is left.
//!
//! Vacuum is shut out from the first: what has been read of a list stays in it, and more comes. Depends on locks and
//! on chains; which lists are replaced, and by what, is [`crate::split`]'s.

use crate::lists::directory::Directory;
use crate::pages::group::Tid;
use crate::pages::page::ListId;
use crate::pages::store::{ListLock, PageStore};
use crate::split::chain::{Member, read_members};

pub(crate) struct Retiring<'a, S: PageStore> {
    store: &'a S,
    directory: &'a Directory,
    lists: Vec<ListId>,
    locks: Vec<S::Lock<'a>>,
    /// The TIDs that have been read, in order.
    read: Vec<Tid>,
}

impl<'a, S: PageStore> Retiring<'a, S> {
    pub fn new(store: &'a S, directory: &'a Directory) -> Self {
        Self { store, directory, lists: Vec::new(), locks: Vec::new(), read: Vec::new() }
    }

    /// Locks one more list. Only who holds the directory's lock may lock several.
    pub fn lock(&mut self, list: ListId) -> Result<(), S::Error> {
        self.locks.push(self.store.lock_list(list, ListLock::Replacing)?);
        self.lists.push(list);
        Ok(())
    }

    pub fn lists(&self) -> &[ListId] {
        &self.lists
    }

    /// Leaves all but the first as they are. They stay locked.
    pub fn leave_others(&mut self) {
        self.lists.truncate(1);
    }

    /// The rows of the list that was locked last.
    pub fn read_last(&mut self) -> Result<Vec<Member>, S::Error> {
        let last = self.lists.len().saturating_sub(1);
        self.read_from(last)
    }

    /// What has come into the lists since they were read: rows, and more TIDs of rows that were there, which are
    /// members of their own.
    pub fn read_again(&mut self) -> Result<Vec<Member>, S::Error> {
        self.read_from(0)
    }

    /// About so many rows of the list that was locked last, which do not count as read.
    pub fn some_of_last(&self, most: usize) -> Result<Vec<Member>, S::Error> {
        let Some(list) = self.lists.last().copied() else { return Ok(Vec::new()) };
        read_members(self.store, self.directory, self.directory.chain(list), most, &|_| true)
    }

    fn read_from(&mut self, first: usize) -> Result<Vec<Member>, S::Error> {
        let (store, directory) = (self.store, self.directory);
        let is_new = |tid| self.read.binary_search(&tid).is_err();
        let mut members = Vec::new();
        for list in &self.lists[first..] {
            let chain = directory.chain(*list);
            let mut found = read_members(store, directory, chain, usize::MAX, &is_new)?;
            mrl_memory::reserve(&mut members, found.len())?;
            members.append(&mut found);
        }
        for member in &members {
            mrl_memory::extend(&mut self.read, &member.tids)?;
        }
        self.read.sort_unstable();
        Ok(members)
    }

    /// Waits for those that insert, and lets nobody insert any more.
    pub fn close(&mut self) -> Result<(), S::Error> {
        for list in &self.lists {
            self.locks.push(self.store.lock_list(*list, ListLock::Exclusive)?);
        }
        Ok(())
    }
}
