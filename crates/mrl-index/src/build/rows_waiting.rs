//! Rows that a build keeps until blocks are formed of them: some side by side in each piece of memory, as millions of
//! small pieces take a second to be given back, in which the server answers no interrupt.

use mrl_memory::OutOfMemory;

use crate::pages::group::Tid;
use crate::pages::rows::Row;

/// Rows in a piece. In larger ones more would be allotted than is used.
const ROWS_A_PIECE: usize = 32;

/// Rows of one list.
#[derive(Default)]
pub(crate) struct RowsWaiting {
    pieces: Vec<Piece>,
    record_bytes: usize,
}

#[derive(Default)]
struct Piece {
    tids: Vec<Tid>,
    /// Of each row its record, then its copy, if the index keeps copies.
    bytes: Vec<u8>,
}

/// One of them.
#[derive(Clone, Copy)]
pub(crate) struct RowWaiting<'a> {
    pub tid: Tid,
    pub record: &'a [u8],
    /// Empty where the index keeps none.
    pub copy: &'a [u8],
}

impl RowsWaiting {
    /// About how many bytes a row takes beside its record and copy: its TID, its place in the order that its list's rows
    /// are brought into, and its part of what its piece has.
    pub const BYTES_BESIDE: usize =
        size_of::<Tid>() + size_of::<u32>() + size_of::<Piece>().div_ceil(ROWS_A_PIECE) + 2;

    /// Adds a row; all are of one index.
    pub fn push(&mut self, tid: Tid, row: &Row) -> Result<(), OutOfMemory> {
        let copy = row.copy.as_deref().unwrap_or_default();
        self.add(RowWaiting { tid, record: &row.record, copy })
    }

    /// The same.
    pub fn add(&mut self, row: RowWaiting) -> Result<(), OutOfMemory> {
        self.record_bytes = row.record.len();
        if self.pieces.last().is_none_or(|piece| piece.tids.len() == ROWS_A_PIECE) {
            let mut piece = Piece::default();
            mrl_memory::reserve(&mut piece.tids, ROWS_A_PIECE)?;
            let bytes = row.record.len() + row.copy.len();
            mrl_memory::reserve(&mut piece.bytes, ROWS_A_PIECE * bytes)?;
            mrl_memory::push(&mut self.pieces, piece)?;
        }
        let Some(piece) = self.pieces.last_mut() else { return Ok(()) };
        mrl_memory::extend(&mut piece.bytes, row.record)?;
        mrl_memory::extend(&mut piece.bytes, row.copy)?;
        mrl_memory::push(&mut piece.tids, row.tid)
    }

    pub fn len(&self) -> usize {
        let last = self.pieces.last().map_or(0, |piece| piece.tids.len());
        self.pieces.len().saturating_sub(1) * ROWS_A_PIECE + last
    }

    pub fn get(&self, place: usize) -> RowWaiting<'_> {
        let (piece, place) = (&self.pieces[place / ROWS_A_PIECE], place % ROWS_A_PIECE);
        let bytes = piece.bytes.len() / piece.tids.len().max(1);
        let (record, copy) = piece.bytes[place * bytes..][..bytes].split_at(self.record_bytes);
        RowWaiting { tid: piece.tids[place], record, copy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_given_back_as_they_came() {
        for copy in [None, Some(vec![7, 8])] {
            let mut rows = RowsWaiting::default();
            for tid in 0..100u8 {
                let row = Row { record: vec![tid; 3], copy: copy.clone() };
                rows.push(tid.into(), &row).unwrap();
            }
            assert_eq!(rows.len(), 100);
            for place in [0, 50, 99] {
                let row = rows.get(place);
                assert_eq!((row.tid, row.record), (place as u64, &[place as u8; 3][..]));
                assert_eq!(row.copy, copy.as_deref().unwrap_or_default());
            }
        }
    }
}
