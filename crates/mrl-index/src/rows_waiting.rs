//! Rows that a build keeps until blocks are formed of them: side by side in one piece of memory a list, as millions of small
//! pieces take a second to be given back, in which the server answers no interrupt.

use mrl_memory::OutOfMemory;

use crate::group::Tid;
use crate::rows::Row;

/// Rows of one list.
#[derive(Default)]
pub(crate) struct RowsWaiting {
    tids: Vec<Tid>,
    /// Of each its record, then its copy, if the index keeps copies.
    bytes: Vec<u8>,
    record_bytes: usize,
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
    /// Adds a row; all are of one index.
    pub fn push(&mut self, tid: Tid, row: &Row) -> Result<(), OutOfMemory> {
        let copy = row.copy.as_deref().unwrap_or_default();
        self.add(RowWaiting { tid, record: &row.record, copy })
    }

    /// The same.
    pub fn add(&mut self, row: RowWaiting) -> Result<(), OutOfMemory> {
        self.record_bytes = row.record.len();
        mrl_memory::extend(&mut self.bytes, row.record)?;
        mrl_memory::extend(&mut self.bytes, row.copy)?;
        mrl_memory::push(&mut self.tids, row.tid)
    }

    pub fn len(&self) -> usize {
        self.tids.len()
    }

    pub fn get(&self, place: usize) -> RowWaiting<'_> {
        let bytes = self.bytes.len() / self.tids.len().max(1);
        let (record, copy) = self.bytes[place * bytes..][..bytes].split_at(self.record_bytes);
        RowWaiting { tid: self.tids[place], record, copy }
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
