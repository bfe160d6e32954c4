//! The vectors that rows were encoded from, for a split that finds them at hand: where they are known the rows get
//! codes against the frames of their new lists, which lie nearer, and are of one frame again.
//!
//! What is handed over is not believed: a TID may lead to another row by now. A vector is the row's if encoding it
//! again gives what the row has of it.

use half::f16;

use crate::chain::Member;
use crate::encode::Encoder;
use crate::group::Tid;
use crate::page::ListId;

/// Who may know the vector that a TID leads to. It may be any, and of any dimension; nothing where it is not at
/// hand: nobody waits for it.
pub type Vectors<'a, E> = dyn FnMut(Tid) -> Result<Option<Vec<f16>>, E> + 'a;

/// The vector that a row was encoded from, against this frame, where it is at hand.
pub(crate) fn vector_of<E>(
    vectors: &mut Vectors<E>,
    encoder: &Encoder,
    member: &Member,
    frame: &[f16],
) -> Result<Option<Vec<f16>>, E> {
    for tid in &member.tids {
        if let Some(vector) = vectors(*tid)?
            && vector.len() == encoder.shape.dimensions
            && encoder.is_of(&member.row.record, &vector, frame)
        {
            return Ok(Some(vector));
        }
    }
    Ok(None)
}

/// Encodes a row anew, against the frame of the list that it comes into.
pub(crate) fn encode_again(
    encoder: &Encoder,
    member: &mut Member,
    vector: &[f16],
    (list, frame): (ListId, &[f16]),
) {
    member.row = encoder.row(vector, frame);
    member.frame = list;
}
