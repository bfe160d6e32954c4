//! Blocks of 32 rows on row pages (drawn in [`crate::pages::shape`]): read whole, written row by row or whole.

use crate::codes::block::ROWS;
use crate::codes::records::{LANES, Records};
use crate::pages::group::{Group, Tid};
use crate::pages::page::{self, Body, Kind, TAG_BYTES, get_u16, get_u32, put};
use crate::pages::shape::{ROW_PAGE_BYTES, ROW_PAGE_START, Shape, TID_BYTES};
use crate::pages::store::PageStore;

const _: () = assert!(ROWS == LANES);

/// A row without its head, as its pages keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What its block has of it, but for its head, in the order of [`crate::codes::records`].
    pub record: Vec<u8>,
    /// The vector's halfs, where the index keeps copies.
    pub copy: Option<Vec<u8>>,
}

/// A part of a block that lies on one row page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The row page's number in its group.
    pub page: usize,
    /// Where it begins in the page's body.
    pub offset: usize,
    /// Where it begins in the block.
    pub at: usize,
    /// How many of the block's bytes it has.
    pub bytes: usize,
}

/// The parts of a block of a group, in order.
pub fn segments(shape: &Shape, block: usize) -> impl Iterator<Item = Segment> + use<> {
    let (start, all) = (shape.start(block), shape.block_bytes);
    let mut at = 0;
    std::iter::from_fn(move || {
        let (page, offset) = ((start + at) / ROW_PAGE_BYTES, (start + at) % ROW_PAGE_BYTES);
        let bytes = (all - at).min(ROW_PAGE_BYTES - offset);
        let segment = Segment { page, offset: ROW_PAGE_START + offset, at, bytes };
        at += bytes;
        (bytes > 0).then_some(segment)
    })
}

/// A block's bytes.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    bytes: &'a [u8],
    /// The rows' records, side by side.
    pub records: Records<'a>,
}

impl<'a> Rows<'a> {
    /// Of as many bytes as a block has, or as its layer 0 needs.
    #[inline]
    pub fn new(bytes: &'a [u8], shape: &'a Shape) -> Self {
        Self { bytes, records: Records::new(bytes, &shape.row) }
    }

    /// The TID of a row of the block; of one that is gone the last that it had, 0 where there never was one.
    #[inline]
    pub fn tid(&self, row: usize) -> Tid {
        get_tid(&self.bytes[TID_BYTES * row..])
    }

    /// All rows' TIDs, as they lie there.
    #[inline]
    pub fn tids(&self) -> &'a [u8; TID_BYTES * ROWS] {
        self.bytes.first_chunk().unwrap_or(&[0; TID_BYTES * ROWS])
    }

    /// The places of the rows' frames among their group's.
    #[inline]
    pub fn frames(&self) -> &'a [u8; ROWS] {
        self.bytes[TID_BYTES * ROWS..].first_chunk().unwrap_or(&[0; ROWS])
    }
}

/// Writes a row into the bytes of its block.
pub fn store_row(
    bytes: &mut [u8],
    row: usize,
    tid: Tid,
    frame_place: u8,
    record: &[u8],
    shape: &Shape,
) {
    put_tid(bytes, TID_BYTES * row, tid);
    bytes[TID_BYTES * ROWS + row] = frame_place;
    shape.row.store(bytes, row, ROWS, record);
}

/// Where a row's TID is: the row page's number in its group, and the offset in its body.
pub fn tid_place(slot: usize, shape: &Shape) -> (usize, usize) {
    let (page, offset, _) = shape.place(slot / ROWS);
    (page, offset + TID_BYTES * (slot % ROWS))
}

/// Copies a block of a group out of its pages, in the place of what `bytes` had.
///
/// # Errors
/// What the storage answers; damage, where a page is not what it should be; out of memory.
pub fn read_block<S: PageStore>(
    store: &S,
    group: Group,
    index: usize,
    bytes: &mut Vec<u8>,
) -> Result<(), S::Error> {
    bytes.clear();
    for segment in segments(group.shape, index) {
        let page = group.row_page(segment.page);
        let body = store.read(page)?;
        page::check(&body, page, Kind::Rows, page::list(group.body))?;
        mrl_memory::extend(bytes, &body[segment.offset..][..segment.bytes])?;
    }
    Ok(())
}

/// The TID that the first six of some bytes are.
#[inline]
pub fn get_tid(bytes: &[u8]) -> Tid {
    u64::from(get_u32(bytes, 0)) << 16 | u64::from(get_u16(bytes, 4))
}

/// Writes the six bytes of a TID from an offset on.
pub fn put_tid(bytes: &mut [u8], offset: usize, tid: Tid) {
    put(bytes, offset, &((tid >> 16) as u32).to_le_bytes());
    put(bytes, offset + 4, &(tid as u16).to_le_bytes());
}

/// Writes a slot's copy, the halfs of its vector, to its place on its copy page.
pub fn store_copy(body: &mut Body, slot: usize, copy: &[u8], shape: &Shape) {
    put(body, TAG_BYTES + slot % shape.copies_on_page * 2 * shape.dimensions, copy);
}

/// A copy's bytes on its page.
pub fn copy_of<'a>(body: &'a Body, slot: usize, shape: &Shape) -> &'a [u8] {
    &body[TAG_BYTES + slot % shape.copies_on_page * 2 * shape.dimensions..][..2 * shape.dimensions]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_stored_is_read(
            dimensions in 1usize..900,
            rows in prop::collection::vec((0u64..1 << 48, any::<u64>()), 1..=ROWS),
        ) {
            let shape = Shape::new(dimensions, false);
            let mut bytes = vec![0; shape.block_bytes];
            let record = |seed: u64| -> Vec<u8> {
                let mut random = crate::random::Random::new(seed);
                (0..shape.row.record_bytes()).map(|_| random.next() as u8).collect()
            };
            for (row, (tid, seed)) in rows.iter().enumerate() {
                store_row(&mut bytes, row, *tid, row as u8, &record(*seed), &shape);
            }
            let stored = Rows::new(&bytes, &shape);
            for (row, (tid, seed)) in rows.iter().enumerate() {
                prop_assert_eq!(stored.tid(row), *tid);
                prop_assert_eq!(usize::from(stored.frames()[row]), row);
                prop_assert_eq!(stored.records.record(row), record(*seed));
                prop_assert!(stored.records.is(row, &record(*seed)));
            }
        }
    }

    #[test]
    fn segments_are_the_whole_block() {
        for dimensions in [1, 64, 384, 768, 2000, 4000] {
            let shape = Shape::new(dimensions, false);
            for block in 0..shape.group_blocks {
                let parts: Vec<_> = segments(&shape, block).collect();
                assert!(parts.len() <= shape.block_pages);
                assert_eq!(parts.iter().map(|part| part.bytes).sum::<usize>(), shape.block_bytes);
                let first = parts[0];
                assert_eq!((first.page, first.offset), tid_place(block * ROWS, &shape));
                for pair in parts.windows(2) {
                    assert_eq!(pair[0].at + pair[0].bytes, pair[1].at);
                    assert_eq!((pair[0].page + 1, ROW_PAGE_START), (pair[1].page, pair[1].offset));
                }
            }
        }
    }
}
