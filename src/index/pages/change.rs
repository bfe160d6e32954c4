//! Changes of pages, each of which takes effect as a whole or not at all, crash or not.

use std::ptr;

use mrl_index::pages::page::{self, Body, PageNumber, damaged};
use mrl_index::pages::store::{Change, PageStore};
use pgrx::pg_sys;

use crate::index::pages::BufferStore;
use crate::index::pages::page::{Buffer, body_of, body_of_mut, check_header, initialise, set_end};
use crate::server::error::SqlError;

/// A change through generic WAL: it works on copies of the pages, which take their places when it is
/// committed.
pub struct BufferChange<'a> {
    pub(super) store: &'a BufferStore,
    pub(super) state: *mut pg_sys::GenericXLogState,
    pub(super) pages: Vec<(Buffer, pg_sys::Page)>,
}

impl BufferChange<'_> {
    fn register(&mut self, buffer: Buffer, is_new: bool) -> usize {
        let flags = if is_new { pg_sys::GENERIC_XLOG_FULL_IMAGE as i32 } else { 0 };
        // SAFETY: the buffer is locked exclusively and stays so until the change ends.
        let page = unsafe { pg_sys::GenericXLogRegisterBuffer(self.state, buffer.buffer, flags) };
        if is_new {
            // SAFETY: the copy is ours.
            unsafe { initialise(page) };
        }
        self.pages.push((buffer, page));
        self.pages.len() - 1
    }
}

impl Change for BufferChange<'_> {
    type Error = SqlError;

    fn lock(&mut self, number: PageNumber) -> Result<usize, SqlError> {
        // A damaged pointer may lead to a page that this change already holds, whose lock would wait
        // for itself.
        if self.holds(number) {
            return Err(damaged(number, "two pointers lead to one page").into());
        }
        let mut buffer = self.store.pin(number)?;
        buffer.lock(pg_sys::BUFFER_LOCK_EXCLUSIVE);
        // SAFETY: locked.
        unsafe { check_header(buffer.page(), number)? };
        Ok(self.register(buffer, false))
    }

    fn holds(&self, number: PageNumber) -> bool {
        self.pages.iter().any(|(buffer, _)| buffer.page_number() == number)
    }

    fn allocate(&mut self) -> Result<(usize, PageNumber), SqlError> {
        let index = self.store.index;
        loop {
            // SAFETY: the relation is open.
            let number = unsafe { pg_sys::GetFreeIndexPage(index) };
            if number == pg_sys::InvalidBlockNumber {
                break;
            }
            if number >= self.store.page_count()? {
                continue;
            }
            let mut buffer = self.store.pin(number)?;
            // SAFETY: pinned. Who holds the page has taken it in earnest.
            if !unsafe { pg_sys::ConditionalLockBuffer(buffer.buffer) } {
                continue;
            }
            buffer.is_locked = true;
            // The free-space map is not exact after a crash: the page itself tells.
            // SAFETY: locked.
            if page::is_free(unsafe { body_of(buffer.page()) }) {
                return Ok((self.register(buffer, true), number));
            }
        }
        loop {
            let buffer = self.store.grow()?;
            let number = buffer.page_number();
            // SAFETY: locked. Between its birth and our lock another may have taken it.
            if page::is_free(unsafe { body_of(buffer.page()) }) {
                return Ok((self.register(buffer, true), number));
            }
        }
    }

    fn body(&self, place: usize) -> &Body {
        // SAFETY: the copy lives as long as the change.
        unsafe { body_of(self.pages[place].1) }
    }

    fn body_mut(&mut self, place: usize) -> &mut Body {
        // SAFETY: as above, and borrowed from the change alone.
        unsafe { body_of_mut(self.pages[place].1) }
    }

    fn commit(mut self) -> Result<(), SqlError> {
        let state = std::mem::replace(&mut self.state, ptr::null_mut());
        // SAFETY: begun by `change`, with headers checked; the copies are ours until then.
        unsafe {
            self.pages.iter().for_each(|(_, page)| set_end(*page));
            pg_sys::GenericXLogFinish(state);
        }
        Ok(())
    }
}

impl Drop for BufferChange<'_> {
    fn drop(&mut self) {
        if !self.state.is_null() && !std::thread::panicking() {
            // SAFETY: begun and not finished.
            unsafe { pg_sys::GenericXLogAbort(self.state) };
        }
    }
}
