//! Rows of one list that wait in a build until blocks are formed of them: in memory, and those that it has no room for
//! outside (module `spill`).
//!
//! In memory some lie side by side in each piece, as millions of small pieces take a second to be given back, in which
//! the server answers no interrupt. Outside they lie in *chunks*, of which each leads to the one before:
//!
//! ```text
//! u64   where the chunk before begins
//! u32   its rows; 0 where there is none
//!       then pieces of 32 rows, the last with what is left: the TIDs (u64), then the rows' bytes
//! ```

use mrl_memory::OutOfMemory;

use crate::build::spill::Spill;
use crate::pages::group::Tid;
use crate::pages::rows::Row;

/// Rows in a piece. In larger ones more would be allotted than is used.
const ROWS_A_PIECE: usize = 32;
/// Bytes of what a chunk begins with.
const HEADER_BYTES: usize = 12;

/// Rows of one list.
#[derive(Default)]
pub(crate) struct RowsWaiting {
    pieces: Vec<Piece>,
    record_bytes: usize,
    newest: Chunk,
    /// Rows of all chunks.
    spilled: usize,
}

#[derive(Default)]
struct Piece {
    tids: Vec<Tid>,
    /// Of each row its record, then its copy, if the index keeps copies.
    bytes: Vec<u8>,
}

/// Rows that lie outside.
#[derive(Default, Clone, Copy)]
struct Chunk {
    place: u64,
    rows: u32,
}

/// A row that waits, in memory.
#[derive(Clone, Copy)]
pub(crate) struct RowWaiting<'a> {
    pub tid: Tid,
    pub record: &'a [u8],
    /// Empty where the index keeps none.
    pub copy: &'a [u8],
}

impl RowsWaiting {
    /// About how many bytes a row takes in memory beside its record and copy: its TID, its place in the order that its
    /// list's rows are brought into, and its part of what its piece has.
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
            // Of many lists each may have a few rows: the first piece grows with them.
            if !self.pieces.is_empty() {
                mrl_memory::reserve(&mut piece.tids, ROWS_A_PIECE)?;
                let bytes = row.record.len() + row.copy.len();
                mrl_memory::reserve(&mut piece.bytes, ROWS_A_PIECE * bytes)?;
            }
            mrl_memory::push(&mut self.pieces, piece)?;
        }
        let Some(piece) = self.pieces.last_mut() else { return Ok(()) };
        mrl_memory::extend(&mut piece.bytes, row.record)?;
        mrl_memory::extend(&mut piece.bytes, row.copy)?;
        mrl_memory::push(&mut piece.tids, row.tid)
    }

    /// How many are in memory.
    pub fn len(&self) -> usize {
        let last = self.pieces.last().map_or(0, |piece| piece.tids.len());
        self.pieces.len().saturating_sub(1) * ROWS_A_PIECE + last
    }

    /// How many are outside.
    pub fn spilled(&self) -> usize {
        self.spilled
    }

    /// One of those in memory.
    pub fn get(&self, place: usize) -> RowWaiting<'_> {
        let (piece, place) = (&self.pieces[place / ROWS_A_PIECE], place % ROWS_A_PIECE);
        let bytes = piece.bytes.len() / piece.tids.len().max(1);
        let (record, copy) = piece.bytes[place * bytes..][..bytes].split_at(self.record_bytes);
        RowWaiting { tid: piece.tids[place], record, copy }
    }

    /// Takes those in memory out.
    pub fn take(&mut self) -> Self {
        let pieces = std::mem::take(&mut self.pieces);
        Self { pieces, record_bytes: self.record_bytes, ..Self::default() }
    }

    /// Moves those in memory out of it, as a chunk. For each piece `pause` is called, which may end the work.
    pub fn spill<E>(
        &mut self,
        to: &mut dyn Spill<Error = E>,
        pause: impl Fn() -> Result<(), E>,
    ) -> Result<(), E> {
        let rows = self.len();
        if rows == 0 {
            return Ok(());
        }
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&self.newest.place.to_le_bytes());
        header[8..].copy_from_slice(&self.newest.rows.to_le_bytes());
        let place = to.write(&header)?;
        for piece in std::mem::take(&mut self.pieces) {
            pause()?;
            let mut tids = [0; 8 * ROWS_A_PIECE];
            for (to, tid) in tids.as_chunks_mut().0.iter_mut().zip(&piece.tids) {
                *to = tid.to_le_bytes();
            }
            to.write(&tids[..8 * piece.tids.len()])?;
            to.write(&piece.bytes)?;
        }
        self.newest = Chunk { place, rows: rows as u32 };
        self.spilled += rows;
        Ok(())
    }

    /// Brings rows back into memory, chunk after chunk, as long as there are not more than `room` in all; one chunk in
    /// any case. Each row has so many bytes. `pause` as in [`RowsWaiting::spill`].
    pub fn bring_back<E: From<OutOfMemory>>(
        &mut self,
        from: &mut dyn Spill<Error = E>,
        room: usize,
        row_bytes: usize,
        pause: impl Fn() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut bytes = mrl_memory::filled(0, ROWS_A_PIECE * (8 + row_bytes))?;
        let mut is_first = true;
        while self.newest.rows > 0 && (is_first || self.len() + self.newest.rows as usize <= room) {
            let Chunk { mut place, rows } = self.newest;
            let mut header = [0; HEADER_BYTES];
            from.read(place, &mut header)?;
            place += HEADER_BYTES as u64;
            let (before, rows_before) = header.split_at(8);
            let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, x| n << 8 | u64::from(*x));
            self.newest = Chunk { place: number(before), rows: number(rows_before) as u32 };
            self.spilled -= rows as usize;
            let mut left = rows as usize;
            while left > 0 {
                pause()?;
                let count = left.min(ROWS_A_PIECE);
                let bytes = &mut bytes[..count * (8 + row_bytes)];
                from.read(place, bytes)?;
                (place, left) = (place + bytes.len() as u64, left - count);
                let (tids, rows) = bytes.split_at(8 * count);
                for (tid, row) in tids.chunks_exact(8).zip(rows.chunks_exact(row_bytes)) {
                    let (record, copy) = row.split_at(self.record_bytes);
                    self.add(RowWaiting { tid: number(tid), record, copy })?;
                }
            }
            is_first = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::spill::MemorySpill;

    fn row(tid: u8, copy: Option<usize>) -> Row {
        Row { record: vec![tid; 3], copy: copy.map(|bytes| vec![tid + 1; bytes]) }
    }

    #[test]
    fn rows_are_given_back_as_they_came() {
        for copy in [None, Some(2)] {
            let mut rows = RowsWaiting::default();
            for tid in 0..100u8 {
                rows.push(tid.into(), &row(tid, copy)).unwrap();
            }
            assert_eq!(rows.len(), 100);
            for place in [0, 50, 99] {
                let found = rows.get(place);
                let wanted = row(place as u8, copy);
                assert_eq!((found.tid, found.record), (place as u64, &wanted.record[..]));
                assert_eq!(found.copy, wanted.copy.as_deref().unwrap_or_default());
            }
        }
    }

    /// Of two lists that take turns, with chunks of all lengths, as many at a time as there is room for.
    #[test]
    fn rows_come_back_from_outside() {
        for (copy, room) in [(None, 1000), (Some(2), 1000), (Some(2), 90), (None, 0)] {
            let mut spill = MemorySpill::<OutOfMemory>::default();
            let mut lists = [RowsWaiting::default(), RowsWaiting::default()];
            let mut tid = 0u8;
            for count in [1, 0, 31, 32, 33, 5] {
                for list in &mut lists {
                    for _ in 0..count {
                        list.push(tid.into(), &row(tid, copy)).unwrap();
                        tid += 1;
                    }
                    list.spill(&mut spill, || Ok(())).unwrap();
                    assert_eq!(list.len(), 0);
                }
            }
            let mut found = Vec::new();
            for list in &mut lists {
                assert_eq!(list.spilled(), 102);
                while list.spilled() > 0 {
                    let row_bytes = 3 + copy.unwrap_or(0);
                    list.bring_back(&mut spill, room, row_bytes, || Ok(())).unwrap();
                    assert!(list.len() <= room.max(33));
                    let rows = list.take();
                    found.extend((0..rows.len()).map(|place| {
                        let RowWaiting { tid, record, copy } = rows.get(place);
                        let wanted = row(tid as u8, (!copy.is_empty()).then_some(copy.len()));
                        assert_eq!(record, wanted.record);
                        assert_eq!(copy, wanted.copy.as_deref().unwrap_or_default());
                        tid
                    }));
                }
            }
            found.sort_unstable();
            assert_eq!(found, (0..204).collect::<Vec<_>>());
        }
    }
}
