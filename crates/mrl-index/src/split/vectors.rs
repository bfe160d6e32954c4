//! The vectors that rows were encoded from, for a split that finds them at hand: where they are known the rows get
//! codes against the frames of their new lists, which lie nearer, and are of one frame again.
//!
//! What is handed over is not believed: a TID may lead to another row by now. A vector is the row's if encoding it
//! again gives what the row has of it.

use half::f16;

use crate::lists::directory::Directory;
use crate::lists::encode::narrowed;
use crate::lists::frame::Frame;
use crate::pages::group::Tid;
use crate::pages::meta;
use crate::pages::page::ListId;
use crate::pages::store::PageStore;
use crate::split::chain::Member;

/// Who may know the vector that a TID leads to. It may be any, and of any dimension; nothing where it is not at
/// hand: nobody waits for it.
pub type Vectors<'a, E> = dyn FnMut(Tid) -> Result<Option<Vec<f16>>, E> + 'a;

/// The vectors of an index's rows, as far as they are known.
pub(crate) struct RowVectors<'a, 'v, S: PageStore> {
    store: &'a S,
    directory: &'a Directory,
    at_hand: &'a mut Vectors<'v, S::Error>,
    frames: Vec<(ListId, Frame)>,
}

impl<'a, 'v, S: PageStore> RowVectors<'a, 'v, S> {
    pub fn new(
        store: &'a S,
        directory: &'a Directory,
        at_hand: &'a mut Vectors<'v, S::Error>,
    ) -> Self {
        Self { store, directory, at_hand, frames: Vec::new() }
    }

    /// The vector that a row was encoded from: its copy, or where it is at hand.
    pub fn exact(&mut self, member: &Member) -> Result<Option<Vec<f16>>, S::Error> {
        if let Some(copy) = &member.row.copy {
            return Ok(Some(meta::halfs(copy)));
        }
        let encoder = &self.directory.encoder;
        for tid in &member.tids {
            if let Some(vector) = (self.at_hand)(*tid)?
                && vector.len() == encoder.shape.dimensions
                && encoder.is_of(&member.row.record, &vector, self.frame_of(member)?)
            {
                return Ok(Some(vector));
            }
        }
        Ok(None)
    }

    /// What a row's code says about its vector.
    pub fn guess(&mut self, member: &Member) -> Result<Vec<f16>, S::Error> {
        let encoder = &self.directory.encoder;
        Ok(narrowed(&encoder.decode(&member.row.record, &self.frame_of(member)?.centre)))
    }

    /// What a vector's list is chosen by.
    pub fn coarse(&self, vector: &[f16]) -> Vec<f16> {
        self.directory.encoder.coarse(vector)
    }

    fn frame_of(&mut self, member: &Member) -> Result<&Frame, S::Error> {
        let known = self.frames.iter().position(|(list, _)| *list == member.frame);
        let place = match known {
            Some(place) => place,
            None => {
                let frame = self.directory.frame(self.store, member.frame)?;
                mrl_memory::push(&mut self.frames, (member.frame, frame))?;
                self.frames.len() - 1
            }
        };
        Ok(&self.frames[place].1)
    }
}
