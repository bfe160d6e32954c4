//! Pages of an index in the server's buffers: [`PageStore`] over the buffer manager and generic WAL.
//!
//! A page has the server's header and then a body (`mrl_index::page`); it has neither line pointers
//! nor special space, and `pd_lower` lies behind the last byte that is not zero: what follows is the server's
//! hole, which it neither compares nor logs, and keeps zero. The header is checked before a page is used: a damaged
//! `pd_lower` would make the log copy beyond the page.
//!
//! A page that is read again is looked for in the buffer where it was before, which saves the way through
//! the server's table of buffers (module `server::buffer`).
//!
//! Locks are the server's: a buffer's content lock for a page, a heavyweight page lock, which nobody
//! else takes on an index of ours, for a list. What an error leaves locked the server releases.

use std::cell::Cell;
use std::ops::Deref;
use std::ptr;
use std::rc::Rc;

use mrl_index::page::{self, BODY_BYTES, Block, Body, Damage, ListId, NONE, damaged};
use mrl_index::store::{Change, ListLock, MOST_PAGES, PageStore};
use pgrx::pg_sys;

use crate::server::buffer::{self, Recent};
use crate::server::error::SqlError;
use crate::server::memory;

const HEADER_BYTES: usize = 24;
const PAGE_BYTES: usize = pg_sys::BLCKSZ as usize;
const _: () = assert!(HEADER_BYTES + BODY_BYTES == PAGE_BYTES);
/// The page number whose heavyweight lock stands for the directory; no relation is that long.
const DIRECTORY_LOCK: Block = NONE - 1;

/// The pages of one index.
pub struct BufferStore {
    index: pg_sys::Relation,
    fork: pg_sys::ForkNumber::Type,
    /// Blocks below this one are there.
    known_blocks: Cell<Block>,
    recent: Rc<Recent>,
    /// Which buffers pages are read into that are in none; null for any.
    strategy: pg_sys::BufferAccessStrategy,
}

impl BufferStore {
    /// # Safety
    /// The relation is an index of ours and stays open as long as this value.
    pub unsafe fn new(index: pg_sys::Relation) -> Self {
        // SAFETY: by contract.
        let recent = unsafe { Recent::of(index) };
        let fork = pg_sys::ForkNumber::MAIN_FORKNUM;
        Self { index, fork, known_blocks: Cell::new(0), recent, strategy: ptr::null_mut() }
    }

    /// The same for VACUUM, which reads pages into a few buffers of its own.
    ///
    /// # Safety
    /// As [`BufferStore::new`]; the strategy lives as long as this value.
    pub unsafe fn with_strategy(
        index: pg_sys::Relation,
        strategy: pg_sys::BufferAccessStrategy,
    ) -> Self {
        // SAFETY: by contract.
        Self { strategy, ..unsafe { Self::new(index) } }
    }

    /// The pages of an unlogged index that it begins with after a crash.
    ///
    /// # Safety
    /// As [`BufferStore::new`].
    pub unsafe fn initial(index: pg_sys::Relation) -> Self {
        let (fork, recent) = (pg_sys::ForkNumber::INIT_FORKNUM, Rc::default());
        Self { index, fork, known_blocks: Cell::new(0), recent, strategy: ptr::null_mut() }
    }

    /// Logs every page as it is.
    pub fn log_all(&self) -> Result<(), SqlError> {
        let blocks = self.block_count()?;
        // SAFETY: the relation is open; nobody else sees it yet.
        unsafe { pg_sys::log_newpage_range(self.index, self.fork, 0, blocks, true) };
        Ok(())
    }

    fn pin(&self, block: Block) -> Result<Buffer, SqlError> {
        // SAFETY: the relation is open.
        let found = unsafe { buffer::pin_recent(self.index, self.fork, block, &self.recent) };
        match found {
            Some(buffer) => Ok(Buffer { buffer, is_locked: false }),
            None => self.find(block),
        }
    }

    /// Pins a page by the server's table of buffers, or reads it.
    fn find(&self, block: Block) -> Result<Buffer, SqlError> {
        // Number NONE would add a page; of others beyond the end the server's error tells no index.
        if block == NONE {
            return Err(damaged(block, "a pointer leads nowhere").into());
        }
        if block >= self.known_blocks.get() {
            self.known_blocks.set(self.block_count()?);
            if block >= self.known_blocks.get() {
                return Err(damaged(block, "a pointer leads beyond the end").into());
            }
        }
        // SAFETY: the relation is open; a block beyond its end is an error.
        let buffer = unsafe {
            pg_sys::ReadBufferExtended(
                self.index,
                self.fork,
                block,
                pg_sys::ReadBufferMode::RBM_NORMAL,
                self.strategy,
            )
        };
        self.recent.remember(block, buffer);
        Ok(Buffer { buffer, is_locked: false })
    }

    /// Adds so many pages, one at least; returns the first, locked.
    fn extend(&self, pages: Block) -> Buffer {
        // SAFETY: the relation is open; the lock on its extension is held while pages are added,
        // and nobody can find the first before it is locked except by the free-space map, after which
        // its content is looked at.
        unsafe {
            let add = || {
                let new = pg_sys::InvalidBlockNumber;
                let mode = pg_sys::ReadBufferMode::RBM_NORMAL;
                pg_sys::ReadBufferExtended(self.index, self.fork, new, mode, ptr::null_mut())
            };
            let guard = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
            pg_sys::LockRelationForExtension(self.index, guard);
            let mut first = Buffer { buffer: add(), is_locked: false };
            first.lock(pg_sys::BUFFER_LOCK_EXCLUSIVE);
            for _ in 1..pages {
                pg_sys::ReleaseBuffer(add());
            }
            pg_sys::UnlockRelationForExtension(self.index, guard);
            first
        }
    }

    /// A page more where none is free, and with it others, which are free then: what is added at once lies side by
    /// side, in the file and mostly in the buffers too, where neighbours are faster to come by.
    fn grow(&self) -> Result<Buffer, SqlError> {
        /// So the index is a hundredth or two larger than it needs to be.
        const PART: Block = 64;
        const MOST: Block = 32;
        let pages = (self.block_count()? / PART).clamp(1, MOST);
        let first = self.extend(pages);
        let (start, end) = (first.block(), first.block() + pages);
        // SAFETY: the relation is open, and has these pages or, where others added some meanwhile, more.
        unsafe {
            for block in start + 1..end {
                pg_sys::RecordFreeIndexPage(self.index, block);
            }
            if pages > 1 {
                pg_sys::FreeSpaceMapVacuumRange(self.index, start, end);
            }
        }
        Ok(first)
    }
}

/// A pinned buffer; the pin and the lock end with it, unless an error is on its way: then the server
/// releases them.
struct Buffer {
    buffer: pg_sys::Buffer,
    is_locked: bool,
}

impl Buffer {
    fn lock(&mut self, mode: u32) {
        // SAFETY: the buffer is pinned and not locked by us.
        unsafe { pg_sys::LockBuffer(self.buffer, mode as i32) };
        self.is_locked = true;
    }

    /// Locks it in common with other readers.
    fn shared<'a>(mut self) -> SharedPage<'a> {
        self.lock(pg_sys::BUFFER_LOCK_SHARE);
        // SAFETY: pinned and locked; what ends that is the new value.
        let page = unsafe { SharedPage::of(self.buffer) };
        std::mem::forget(self);
        page
    }

    fn page(&self) -> pg_sys::Page {
        // SAFETY: the buffer is pinned.
        unsafe { pg_sys::BufferGetPage(self.buffer) }
    }

    fn block(&self) -> Block {
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
unsafe fn body_of<'a>(page: pg_sys::Page) -> &'a Body {
    // SAFETY: a page has that many bytes behind its header.
    unsafe { &*page.cast::<u8>().add(HEADER_BYTES).cast::<Body>() }
}

/// # Safety
/// As [`body_of`]; nobody else has the page.
unsafe fn body_of_mut<'a>(page: pg_sys::Page) -> &'a mut Body {
    // SAFETY: as above.
    unsafe { &mut *page.cast::<u8>().add(HEADER_BYTES).cast::<Body>() }
}

/// That a page's header is one that [`initialise`] wrote.
///
/// # Safety
/// The page is one of the server's, locked.
unsafe fn check_header(page: pg_sys::Page, block: Block) -> Result<(), Damage> {
    // SAFETY: by contract.
    let header = unsafe { &*page.cast::<pg_sys::PageHeaderData>() };
    let [lower, upper, special] =
        [header.pd_lower, header.pd_upper, header.pd_special].map(usize::from);
    let is_sound = (HEADER_BYTES..=PAGE_BYTES).contains(&lower);
    if is_sound && [upper, special] == [PAGE_BYTES; 2] {
        Ok(())
    } else {
        Err(damaged(block, "its page header is damaged"))
    }
}

/// # Safety
/// The page is ours to write.
unsafe fn initialise(page: pg_sys::Page) {
    // SAFETY: by contract.
    unsafe { pg_sys::PageInit(page, PAGE_BYTES, 0) };
}

/// Tells the server where the used part of a page ends.
///
/// # Safety
/// The page is ours to write.
unsafe fn set_end(page: pg_sys::Page) {
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
    unsafe fn of(buffer: pg_sys::Buffer) -> Self {
        // SAFETY: by contract.
        let body = unsafe { body_of(pg_sys::BufferGetPage(buffer)) };
        Self { buffer, body }
    }

    fn header(&self) -> pg_sys::Page {
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

/// The server's mode of a list's lock: modes that speak against each other as [`ListLock`] says.
fn mode_of(lock: ListLock) -> pg_sys::LOCKMODE {
    let mode = match lock {
        ListLock::Shared => pg_sys::RowExclusiveLock,
        ListLock::Replacing => pg_sys::ShareUpdateExclusiveLock,
        ListLock::Exclusive => pg_sys::ExclusiveLock,
    };
    mode as pg_sys::LOCKMODE
}

/// A heavyweight lock.
pub struct HeavyLock {
    index: pg_sys::Relation,
    page: Block,
    mode: pg_sys::LOCKMODE,
}

impl Drop for HeavyLock {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: this value was made when the lock was taken.
            unsafe { pg_sys::UnlockPage(self.index, self.page, self.mode) };
        }
    }
}

impl PageStore for BufferStore {
    type Error = SqlError;
    type Page<'a> = SharedPage<'a>;
    type Change<'a> = BufferChange<'a>;
    type Lock<'a> = HeavyLock;

    fn read(&self, block: Block) -> Result<SharedPage<'_>, SqlError> {
        // SAFETY: the relation is open.
        let found = unsafe { buffer::lock_recent(self.index, self.fork, block, &self.recent) };
        let page = match found {
            // SAFETY: pinned and locked.
            Some(buffer) => unsafe { SharedPage::of(buffer) },
            None => self.find(block)?.shared(),
        };
        // SAFETY: locked as long as the value lives.
        unsafe { check_header(page.header(), block)? };
        Ok(page)
    }

    fn read_any(&self, block: Block) -> Result<SharedPage<'_>, SqlError> {
        Ok(self.pin(block)?.shared())
    }

    fn expect(&self, block: Block, offset: usize, bytes: usize) {
        if let Some(page) = self.recent.expect(block) {
            // The page's header and its tag are looked at first.
            mrl_kernels::prefetch(page, 1);
            mrl_kernels::prefetch(page.wrapping_add(HEADER_BYTES + offset), bytes);
        }
    }

    fn change(&self) -> Result<BufferChange<'_>, SqlError> {
        // SAFETY: the relation is open.
        let state = unsafe { pg_sys::GenericXLogStart(self.index) };
        Ok(BufferChange { store: self, state, pages: Vec::with_capacity(MOST_PAGES) })
    }

    fn block_count(&self) -> Result<Block, SqlError> {
        // SAFETY: the relation is open.
        Ok(unsafe { pg_sys::RelationGetNumberOfBlocksInFork(self.index, self.fork) })
    }

    fn write(&self, block: Option<Block>, body: &Body) -> Result<Block, SqlError> {
        let buffer = match block {
            None => self.extend(1),
            Some(block) => {
                let mut buffer = self.pin(block)?;
                buffer.lock(pg_sys::BUFFER_LOCK_EXCLUSIVE);
                buffer
            }
        };
        // SAFETY: the page is locked for us alone.
        unsafe {
            initialise(buffer.page());
            *body_of_mut(buffer.page()) = *body;
            set_end(buffer.page());
            pg_sys::MarkBufferDirty(buffer.buffer);
        }
        Ok(buffer.block())
    }

    fn offer(&self, block: Block) -> Result<(), SqlError> {
        // SAFETY: the relation is open.
        unsafe { pg_sys::RecordFreeIndexPage(self.index, block) };
        Ok(())
    }

    fn publish_offers(&self) -> Result<(), SqlError> {
        // The free-space map is a tree whose upper pages only this brings up to date.
        // SAFETY: the relation is open.
        unsafe { pg_sys::IndexFreeSpaceMapVacuum(self.index) };
        Ok(())
    }

    fn lock_list(&self, list: ListId, lock: ListLock) -> Result<HeavyLock, SqlError> {
        let mode = mode_of(lock);
        // SAFETY: the relation is open.
        unsafe { pg_sys::LockPage(self.index, list, mode) };
        Ok(HeavyLock { index: self.index, page: list, mode })
    }

    fn try_lock_list(&self, list: ListId, lock: ListLock) -> Result<Option<HeavyLock>, SqlError> {
        let (index, mode) = (self.index, mode_of(lock));
        // SAFETY: the relation is open.
        let is_locked = unsafe { pg_sys::ConditionalLockPage(index, list, mode) };
        // Made only where it is held: it gives the lock back when it is dropped.
        Ok(is_locked.then(|| HeavyLock { index, page: list, mode }))
    }

    fn lock_directory(&self, wait: bool) -> Result<Option<HeavyLock>, SqlError> {
        let mode = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
        let lock = HeavyLock { index: self.index, page: DIRECTORY_LOCK, mode };
        // SAFETY: the relation is open.
        let is_locked = unsafe {
            if wait {
                pg_sys::LockPage(self.index, DIRECTORY_LOCK, mode);
                true
            } else {
                pg_sys::ConditionalLockPage(self.index, DIRECTORY_LOCK, mode)
            }
        };
        if !is_locked {
            std::mem::forget(lock);
            return Ok(None);
        }
        Ok(Some(lock))
    }

    fn stamp(&self) -> u64 {
        // SAFETY: reads shared memory under the server's own lock.
        unsafe { pg_sys::ReadNextFullTransactionId() }.value
    }

    #[cfg(not(feature = "pg13"))]
    fn is_past(&self, stamp: u64) -> bool {
        let stamp = pg_sys::FullTransactionId { value: stamp };
        // SAFETY: without a relation the server assumes that any session may still look.
        unsafe { pg_sys::GlobalVisCheckRemovableFullXid(ptr::null_mut(), stamp) }
    }

    /// Release 13 tells what all sessions may still look at.
    #[cfg(feature = "pg13")]
    fn is_past(&self, stamp: u64) -> bool {
        // SAFETY: reads shared memory under the server's own lock.
        stamp < unsafe { pg_sys::GetFullRecentGlobalXmin() }.value
    }

    fn check_interrupts(&self) -> Result<(), SqlError> {
        pgrx::check_for_interrupts!();
        memory::check()
    }

    fn rest(&self) {
        // SAFETY: called where nothing is locked; the server sleeps where VACUUM has used up its share.
        unsafe {
            #[cfg(not(feature = "pg18"))]
            pg_sys::vacuum_delay_point();
            #[cfg(feature = "pg18")]
            pg_sys::vacuum_delay_point(false);
        }
    }
}

/// A change through generic WAL: it works on copies of the pages, which take their places when it is
/// committed.
pub struct BufferChange<'a> {
    store: &'a BufferStore,
    state: *mut pg_sys::GenericXLogState,
    pages: Vec<(Buffer, pg_sys::Page)>,
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

    fn lock(&mut self, block: Block) -> Result<usize, SqlError> {
        // A damaged pointer may lead to a page that this change already holds, whose lock would wait
        // for itself.
        if self.pages.iter().any(|(buffer, _)| buffer.block() == block) {
            return Err(damaged(block, "two pointers lead to one page").into());
        }
        let mut buffer = self.store.pin(block)?;
        buffer.lock(pg_sys::BUFFER_LOCK_EXCLUSIVE);
        // SAFETY: locked.
        unsafe { check_header(buffer.page(), block)? };
        Ok(self.register(buffer, false))
    }

    fn allocate(&mut self) -> Result<(usize, Block), SqlError> {
        let index = self.store.index;
        loop {
            // SAFETY: the relation is open.
            let block = unsafe { pg_sys::GetFreeIndexPage(index) };
            if block == pg_sys::InvalidBlockNumber {
                break;
            }
            if block >= self.store.block_count()? {
                continue;
            }
            let mut buffer = self.store.pin(block)?;
            // SAFETY: pinned. Who holds the page has taken it in earnest.
            if !unsafe { pg_sys::ConditionalLockBuffer(buffer.buffer) } {
                continue;
            }
            buffer.is_locked = true;
            // The free-space map is not exact after a crash: the page itself tells.
            // SAFETY: locked.
            if page::is_free(unsafe { body_of(buffer.page()) }) {
                return Ok((self.register(buffer, true), block));
            }
        }
        loop {
            let buffer = self.store.grow()?;
            let block = buffer.block();
            // SAFETY: locked. Between its birth and our lock another may have taken it.
            if page::is_free(unsafe { body_of(buffer.page()) }) {
                return Ok((self.register(buffer, true), block));
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
