//! The copy of an index's directory that a session keeps: read once, then brought up to date by a look at
//! the meta page.

use std::cell::RefCell;
use std::rc::Rc;

use mrl_index::lists::directory::Directory;
use mrl_memory::Kept;

use crate::index::pages::BufferStore;
use crate::server::error::SqlError;
use crate::server::{buffer, memory, table};

/// What the copies that a session keeps may take together: those of 50 million rows of 384 dimensions.
const MOST_BYTES: usize = 64 << 20;

thread_local! {
    static KEPT: RefCell<Kept<table::Storage, Directory>> = RefCell::default();
}

/// An index's directory as it is now. It is kept by the index's storage: an index that has been moved and moved back has
/// two, which were the same once.
pub fn current(store: &BufferStore) -> Result<Rc<Directory>, SqlError> {
    if memory::check().is_err() {
        // It may be what the session keeps that lies in the reserve, and would lie there to its end.
        KEPT.take();
        buffer::forget();
        memory::check()?;
    }
    let storage = store.storage();
    let kept = KEPT.with_borrow_mut(|kept| kept.get(storage));
    let newer = match &kept {
        Some(directory) => directory.refreshed(store)?,
        None => Some(Directory::read(store)?),
    };
    match (newer, kept) {
        (None, Some(kept)) => Ok(kept),
        (newer, _) => {
            let directory = Rc::new(match newer {
                Some(directory) => directory,
                None => Directory::read(store)?,
            });
            KEPT.with_borrow_mut(|kept| {
                kept.keep(storage, directory.clone(), MOST_BYTES, Directory::bytes);
            });
            Ok(directory)
        }
    }
}
