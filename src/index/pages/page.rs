//! One page in its buffer: pinned, locked, and its header, which is the server's.

use std::ops::Deref;

use mrl_index::pages::page::{self, BODY_BYTES, Body, Damage, PageNumber, damaged};
use pgrx::pg_sys;

use crate::server::buffer;

pub(super) const HEADER_BYTES: usize = 24;
const PAGE_BYTES: usize = pg_sys::BLCKSZ as usize;
const _: () = assert!(HEADER_BYTES + BODY_BYTES == PAGE_BYTES);

/// A pinned buffer; the pin and the lock end with it, unless an error is on its way: then the server
/// releases them.
pub(super) struct Buffer {
    pub buffer: pg_sys::Buffer,
    pub is_locked: bool,
}

impl Buffer {
    pub fn lock(&mut self, mode: u32) {
        // SAFETY: the buffer is pinned and not locked by us.
        unsafe { pg_sys::LockBuffer(self.buffer, mode as i32) };
        self.is_locked = true;
    }

    /// Locks it in common with other readers.
    pub fn shared<'a>(mut self) -> SharedPage<'a> {
        self.lock(pg_sys::BUFFER_LOCK_SHARE);
        // SAFETY: pinned and locked; what ends that is the new value.
        let page = unsafe { SharedPage::of(self.buffer) };
        std::mem::forget(self);
        page
    }

    pub fn page(&self) -> pg_sys::Page {
        // SAFETY: the buffer is pinned.
        unsafe { pg_sys::BufferGetPage(self.buffer) }
    }

    pub fn page_number(&self) -> PageNumber {
        // SAFETY: the buffer is pinned.
        unsafe { pg_sys::BufferGetBlockNumber(self.buffer) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: pinned, and locked where the flag says so.
        unsafe {
            match self.is_locked {
                true => buffer::unlock(self.buffer),
                false => pg_sys::ReleaseBuffer(self.buffer),
            }
        }
    }
}

/// # Safety
/// The page is one of the server's, locked as long as the result is used.
pub(super) unsafe fn body_of<'a>(page: pg_sys::Page) -> &'a Body {
    // SAFETY: a page has that many bytes behind its header.
    unsafe { &*page.cast::<u8>().add(HEADER_BYTES).cast::<Body>() }
}

/// # Safety
/// As [`body_of`]; nobody else has the page.
pub(super) unsafe fn body_of_mut<'a>(page: pg_sys::Page) -> &'a mut Body {
    // SAFETY: as above.
    unsafe { &mut *page.cast::<u8>().add(HEADER_BYTES).cast::<Body>() }
}

/// That a page's header is one that [`initialise`] wrote.
///
/// # Safety
/// The page is one of the server's, locked.
pub(super) unsafe fn check_header(page: pg_sys::Page, number: PageNumber) -> Result<(), Damage> {
    // SAFETY: by contract.
    let header = unsafe { &*page.cast::<pg_sys::PageHeaderData>() };
    let [lower, upper, special] =
        [header.pd_lower, header.pd_upper, header.pd_special].map(usize::from);
    let is_sound = (HEADER_BYTES..=PAGE_BYTES).contains(&lower);
    if is_sound && [upper, special] == [PAGE_BYTES; 2] {
        Ok(())
    } else {
        Err(damaged(number, "its page header is damaged"))
    }
}

/// That a page has never been written (`PageIsNew`).
///
/// # Safety
/// The page is one of the server's, locked.
pub(super) unsafe fn is_new(page: pg_sys::Page) -> bool {
    // SAFETY: by contract.
    unsafe { (*page.cast::<pg_sys::PageHeaderData>()).pd_upper == 0 }
}

/// # Safety
/// The page is ours to write.
pub(super) unsafe fn initialise(page: pg_sys::Page) {
    // SAFETY: by contract.
    unsafe { pg_sys::PageInit(page, PAGE_BYTES, 0) };
}

/// Tells the server where the used part of a page ends.
///
/// # Safety
/// The page is ours to write.
pub(super) unsafe fn set_end(page: pg_sys::Page) {
    // SAFETY: by contract.
    unsafe {
        let end = HEADER_BYTES + page::used_bytes(body_of(page));
        (*page.cast::<pg_sys::PageHeaderData>()).pd_lower = end as u16;
    }
}

/// A page locked against changes.
pub struct SharedPage<'a> {
    buffer: pg_sys::Buffer,
    body: &'a Body,
}

impl SharedPage<'_> {
    /// # Safety
    /// The buffer is pinned and locked, for this value, which ends both.
    pub unsafe fn of(buffer: pg_sys::Buffer) -> Self {
        // SAFETY: by contract.
        let body = unsafe { body_of(pg_sys::BufferGetPage(buffer)) };
        Self { buffer, body }
    }

    pub fn header(&self) -> pg_sys::Page {
        self.body.as_ptr().wrapping_sub(HEADER_BYTES).cast_mut().cast()
    }
}

impl Drop for SharedPage<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: pinned and locked since this value was made.
            unsafe { buffer::unlock(self.buffer) };
        }
    }
}

impl Deref for SharedPage<'_> {
    type Target = Body;

    fn deref(&self) -> &Body {
        self.body
    }
}
