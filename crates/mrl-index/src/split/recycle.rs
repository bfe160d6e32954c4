//! Retired lists whose pages can be used again, because no scan can read them any more.
//!
//! Depends on chains, the directory and the storage's stamps.

use crate::lists::directory::Directory;
use crate::pages::meta::{Entry, META_PAGE, Meta, State};
use crate::pages::page::{ListId, damaged};
use crate::pages::store::{Change, PageStore};
use crate::split::chain::{free, pages_of};

/// Takes the pages of retired lists back, of at most `most` lists that no scan can read any more. Called under
/// the directory's lock.
pub fn recycle<S: PageStore>(
    store: &S,
    directory: &Directory,
    most: usize,
) -> Result<usize, S::Error> {
    let past = |entry: &Entry| entry.state == State::Retired && store.is_past(entry.retired);
    let lists = directory.entries.iter().enumerate().filter(|(_, entry)| past(entry)).take(most);
    let mut meta = directory.meta.clone();
    let mut recycled = 0;
    for (list, entry) in lists {
        let list = list as ListId;
        let pages = pages_of(store, &directory.encoder.shape, directory.chain(list))?;
        // First the entry: after a crash the pages belong to nothing, and vacuum finds them.
        let mut change = store.change()?;
        let page = meta.directory_page(list).ok_or(damaged(META_PAGE, "no such list"))?;
        let place = change.lock(page)?;
        Entry { state: State::Gone, ..*entry }.write(change.body_mut(place), list);
        bump_epoch(&mut change, &meta)?;
        change.commit()?;
        meta.epoch += 1;
        free(store, list, &pages)?;
        recycled += 1;
    }
    Ok(recycled)
}

/// Tells whoever has a copy of the directory that it is another now.
pub(crate) fn bump_epoch<C: Change>(change: &mut C, meta: &Meta) -> Result<(), C::Error> {
    let place = change.lock(META_PAGE)?;
    Meta { epoch: meta.epoch + 1, ..meta.clone() }.write(change.body_mut(place));
    Ok(())
}
