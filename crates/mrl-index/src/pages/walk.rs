//! Chains of pages, walked from each one to the next: a list's groups from its head on, and the pages of its
//! references, which hang on the head.

use crate::pages::group::Group;
use crate::pages::page::{self, ListId, NONE, PageNumber, damaged};
use crate::pages::shape::Shape;
use crate::pages::store::PageStore;

/// A list's chain of groups, by its first page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// The list's number, which all pages of the chain have.
    pub list: ListId,
    /// The page of its first group.
    pub head: PageNumber,
}

impl Chain {
    /// A walk along its groups.
    pub fn groups(self) -> Walk {
        Walk::starting_at(self.head)
    }

    /// The newest page of the list's references, which leads to the others; [`NONE`] where it has none.
    ///
    /// # Errors
    /// What the storage answers; damage, where a page is not what it should be.
    pub fn newest_references<S: PageStore>(
        self,
        store: &S,
        shape: &Shape,
    ) -> Result<PageNumber, S::Error> {
        let body = store.read(self.head)?;
        Ok(Group::new(&body, self.head, self.list, shape)?.references())
    }
}

/// A walk along a chain of pages.
#[derive(Debug)]
pub struct Walk {
    next: PageNumber,
    steps: Steps,
}

impl Walk {
    /// A walk whose first page is this one; [`NONE`] for a chain without pages.
    pub fn starting_at(first: PageNumber) -> Self {
        Self { next: first, steps: Steps::default() }
    }

    /// Reads the page that comes next; nothing at the chain's end. The page before must not be held any more: it asks
    /// for interrupts. What the page is it does not check.
    ///
    /// # Errors
    /// What the storage answers; damage, where the chain leads back to itself.
    pub fn next<'s, S: PageStore>(
        &mut self,
        store: &'s S,
    ) -> Result<Option<(PageNumber, S::Page<'s>)>, S::Error> {
        let page = self.next;
        if page == NONE {
            return Ok(None);
        }
        self.steps.step(store, page)?;
        let body = store.read(page)?;
        self.next = page::next(&body);
        Ok(Some((page, body)))
    }
}

/// The steps along a chain of pages: damage may have made a circle of it. Who gathers what is on the pages has been
/// at three times as many at most when that is found out (R. P. Brent, An improved Monte Carlo factorization algorithm,
/// section 3: one page is remembered, another each time that twice as many steps have been taken).
#[derive(Debug)]
pub struct Steps {
    taken: u64,
    remembered: PageNumber,
    /// At this step another is.
    until: u64,
}

impl Default for Steps {
    fn default() -> Self {
        Self { taken: 0, remembered: NONE, until: 1 }
    }
}

impl Steps {
    /// To be called before each page is read; asks for interrupts too.
    ///
    /// # Errors
    /// What the storage answers; damage, where the chain leads back to itself.
    pub fn step<S: PageStore>(&mut self, store: &S, page: PageNumber) -> Result<(), S::Error> {
        store.check_interrupts()?;
        if page == self.remembered {
            return Err(damaged(page, "a chain of pages has no end").into());
        }
        self.taken += 1;
        if self.taken == self.until {
            (self.remembered, self.until) = (page, 2 * self.until);
        }
        Ok(())
    }
}
