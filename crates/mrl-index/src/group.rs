//! Groups of rows on their pages (drawn in [`crate::shape`]), and pages of references.
//!
//! ```text
//! REFERENCES page   offset 16  u32  next page of references with room, NONE   (a stack)
//!                   offset 20  u16  references
//!                   offset 24       references, 8 bytes each: TID, u16 row
//! ```
//!
//! A reference is one more TID of a row: another version of the same table row, whose vector has the same
//! code. Its row is numbered group's ordinal · rows of a group + slot. The pages hang on the list's head.

use half::bf16;

use crate::block::{self, BLOCK_BYTES, Block as Codes, ROWS};
use crate::codes::Factors;
use crate::encode::Row;
use crate::page::{
    self, BODY_BYTES, Block, Body, Damage, Kind, ListId, NONE, TAG_BYTES, damaged, get_u16,
    get_u32, put,
};
use crate::shape::{GROUP_POINTERS, Shape, TID_BYTES};

/// A heap tuple's address: block · 65,536 + offset.
pub type Tid = u64;

/// The bits of a block that stand for slots below `rows`.
pub const fn mask_below(rows: usize) -> u32 {
    if rows >= ROWS { u32::MAX } else { (1 << rows) - 1 }
}

/// A group's page, checked.
#[derive(Clone, Copy)]
pub struct Group<'a> {
    pub shape: &'a Shape,
    pub body: &'a Body,
}

impl<'a> Group<'a> {
    pub fn new(
        body: &'a Body,
        block: Block,
        list: ListId,
        shape: &'a Shape,
    ) -> Result<Self, Damage> {
        page::expect(body, block, Kind::Group, list)?;
        let group = Self { shape, body };
        if group.rows() > shape.group_rows {
            return Err(damaged(block, "a group has more rows than fit"));
        }
        Ok(group)
    }

    pub fn ordinal(&self) -> usize {
        get_u16(self.body, 16).into()
    }

    /// Slots below this one have been used.
    #[inline]
    pub fn rows(&self) -> usize {
        get_u16(self.body, 18).into()
    }

    pub fn next_open(&self) -> Block {
        get_u32(self.body, 20)
    }

    /// Of the head: the first group with a free slot.
    pub fn open(&self) -> Block {
        get_u32(self.body, 24)
    }

    /// Of the head: the newest page of references.
    pub fn references(&self) -> Block {
        get_u32(self.body, 28)
    }

    /// Of the head: the first page of references with room.
    pub fn references_open(&self) -> Block {
        get_u32(self.body, 32)
    }

    pub fn row_page(&self, index: usize) -> Block {
        get_u32(self.body, GROUP_POINTERS + 4 * index)
    }

    pub fn copy_page(&self, index: usize) -> Block {
        get_u32(self.body, GROUP_POINTERS + 4 * (self.shape.row_pages + index))
    }

    #[inline]
    pub fn blocks(&self) -> usize {
        self.rows().div_ceil(ROWS)
    }

    /// A block of 32 rows.
    #[inline]
    pub fn block(&self, index: usize) -> RowBlock<'a> {
        let start = self.shape.first_block + index * self.shape.block_bytes;
        RowBlock {
            bytes: &self.body[start..start + self.shape.block_bytes],
            borders: self.shape.inner_borders(),
        }
    }

    /// The number of a slot in references.
    pub fn reference_number(&self, slot: usize) -> Option<u16> {
        u16::try_from(self.ordinal() * self.shape.group_rows + slot).ok()
    }

    /// A slot that a row with this frame may take: a dead one of a block of that frame or of a block
    /// without live rows, else the first of the unused, from a new block on where the frame is another.
    pub fn free_slot(&self, frame: ListId) -> Option<usize> {
        let (used, all) = (self.rows(), self.shape.group_rows);
        for index in 0..self.blocks() {
            let block = self.block(index);
            let dead = !block.live() & mask_below(all - index * ROWS);
            if dead != 0 && (block.frame() == frame || block.live() == 0) {
                let slot = index * ROWS + dead.trailing_zeros() as usize;
                return Some(slot);
            }
        }
        let next = used.next_multiple_of(ROWS);
        (next < all).then_some(next)
    }

    pub fn live_rows(&self) -> usize {
        (0..self.blocks()).map(|index| self.block(index).live().count_ones() as usize).sum()
    }
}

/// 32 rows of a group's page.
#[derive(Clone, Copy)]
pub struct RowBlock<'a> {
    bytes: &'a [u8],
    borders: usize,
}

const SCALES: usize = BLOCK_BYTES;
const TERMS: usize = SCALES + 2 * ROWS;
const SHARES: usize = TERMS + 2 * ROWS;

/// Bytes of a block that every scan reads.
pub const SCANNED_BYTES: usize = TERMS;

impl<'a> RowBlock<'a> {
    /// Asks for the memory that a scan will read.
    #[inline]
    pub fn expect(&self) {
        mrl_kernels::prefetch(self.bytes.as_ptr(), SCANNED_BYTES);
    }

    #[inline]
    pub fn codes(&self) -> &'a Codes {
        self.bytes.first_chunk().unwrap_or(&[0; BLOCK_BYTES])
    }

    #[inline]
    pub fn scales(&self) -> &'a [[u8; 2]; ROWS] {
        self.bytes[SCALES..TERMS].as_chunks().0.first_chunk().unwrap_or(&[[0; 2]; ROWS])
    }

    #[inline]
    pub fn terms(&self) -> &'a [[u8; 2]] {
        self.bytes[TERMS..SHARES].as_chunks().0
    }

    /// The prefixes' shares at an inner border.
    #[inline]
    pub fn shares(&self, border: usize) -> &'a [u8] {
        &self.bytes[SHARES + border * ROWS..][..ROWS]
    }

    #[inline]
    fn tail(&self) -> usize {
        SHARES + self.borders * ROWS
    }

    #[inline]
    pub fn frame(&self) -> ListId {
        get_u32(self.bytes, self.tail())
    }

    #[inline]
    pub fn live(&self) -> u32 {
        get_u32(self.bytes, self.tail() + 4)
    }

    #[inline]
    pub fn referenced(&self) -> u32 {
        get_u32(self.bytes, self.tail() + 8)
    }

    /// Everything that this page has of a row.
    pub fn leading(&self, row: usize) -> Leading {
        Leading {
            code: block::load(self.codes(), row),
            scale: self.scales()[row],
            term: self.terms()[row],
            shares: (0..self.borders).map(|border| self.shares(border)[row]).collect(),
        }
    }
}

/// What a group's page has of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leading {
    pub code: [u8; block::CODE_BYTES],
    pub scale: [u8; 2],
    pub term: [u8; 2],
    pub shares: Vec<u8>,
}

/// A number of the form of scales and terms.
#[inline]
pub fn wide(bytes: [u8; 2]) -> f32 {
    // A bfloat16 is the upper half of a single.
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

pub fn narrow(number: f32) -> [u8; 2] {
    bf16::from_f32(number).to_le_bytes()
}

/// Makes a page a group without rows.
pub fn format_group(body: &mut Body, list: ListId, ordinal: usize, shape: &Shape) {
    page::format(body, Kind::Group, list);
    put(body, 16, &(ordinal as u16).to_le_bytes());
    for offset in [20, 24, 28, 32] {
        put(body, offset, &NONE.to_le_bytes());
    }
    body[GROUP_POINTERS..GROUP_POINTERS + 4 * (shape.row_pages + shape.copy_pages)].fill(0xff);
}

pub fn set_next_open(body: &mut Body, block: Block) {
    put(body, 20, &block.to_le_bytes());
}

pub fn set_open(body: &mut Body, block: Block) {
    put(body, 24, &block.to_le_bytes());
}

pub fn set_references(body: &mut Body, newest: Block, open: Block) {
    put(body, 28, &newest.to_le_bytes());
    put(body, 32, &open.to_le_bytes());
}

pub fn set_row_page(body: &mut Body, index: usize, block: Block) {
    put(body, GROUP_POINTERS + 4 * index, &block.to_le_bytes());
}

pub fn set_copy_page(body: &mut Body, index: usize, block: Block, shape: &Shape) {
    put(body, GROUP_POINTERS + 4 * (shape.row_pages + index), &block.to_le_bytes());
}

/// Writes what a group's page has of a row, and marks the row as live.
pub fn store_leading(body: &mut Body, slot: usize, row: &Leading, frame: ListId, shape: &Shape) {
    let start = shape.first_block + slot / ROWS * shape.block_bytes;
    let (bytes, row_index) = (&mut body[start..start + shape.block_bytes], slot % ROWS);
    if let Some(codes) = bytes.first_chunk_mut::<BLOCK_BYTES>() {
        block::store(codes, row_index, &row.code);
    }
    put(bytes, SCALES + 2 * row_index, &row.scale);
    put(bytes, TERMS + 2 * row_index, &row.term);
    for (border, share) in row.shares.iter().enumerate() {
        bytes[SHARES + border * ROWS + row_index] = *share;
    }
    put(bytes, SHARES + shape.inner_borders() * ROWS, &frame.to_le_bytes());
    set_marks(body, slot, true, false, shape);
    let used = (slot + 1).max(get_u16(body, 18).into());
    put(body, 18, &(used as u16).to_le_bytes());
}

/// Marks a row as there or not, and as one with references or without.
pub fn set_marks(body: &mut Body, slot: usize, live: bool, referenced: bool, shape: &Shape) {
    let start = shape.first_block + slot / ROWS * shape.block_bytes;
    let marks = start + SHARES + shape.inner_borders() * ROWS + 4;
    for (offset, set) in [(marks, live), (marks + 4, referenced)] {
        let bit = 1 << (slot % ROWS);
        let word = get_u32(body, offset);
        let word = if set { word | bit } else { word & !bit };
        put(body, offset, &word.to_le_bytes());
    }
}

/// A row's place on its row page.
#[inline]
pub fn entry_offset(slot: usize, shape: &Shape) -> usize {
    TAG_BYTES + slot % shape.rows_on_page * shape.entry_bytes
}

/// A row's part of a row page: TID, scales, codes.
#[derive(Clone, Copy)]
pub struct RowEntry<'a>(pub &'a [u8]);

impl<'a> RowEntry<'a> {
    #[inline]
    pub fn of(body: &'a Body, slot: usize, shape: &Shape) -> Self {
        Self(&body[entry_offset(slot, shape)..][..shape.entry_bytes])
    }

    #[inline]
    pub fn tid(&self) -> Tid {
        get_tid(self.0)
    }

    /// The scale of a later layer, 1 being the first.
    #[inline]
    pub fn scale(&self, layer: usize) -> f32 {
        wide([self.0[TID_BYTES + 2 * (layer - 1)], self.0[TID_BYTES + 2 * layer - 1]])
    }

    /// All but the TID.
    #[inline]
    pub fn code(&self) -> &'a [u8] {
        &self.0[TID_BYTES..]
    }
}

#[inline]
pub fn get_tid(bytes: &[u8]) -> Tid {
    u64::from(get_u32(bytes, 0)) << 16 | u64::from(get_u16(bytes, 4))
}

pub fn put_tid(bytes: &mut [u8], offset: usize, tid: Tid) {
    put(bytes, offset, &((tid >> 16) as u32).to_le_bytes());
    put(bytes, offset + 4, &(tid as u16).to_le_bytes());
}

pub fn store_entry(body: &mut Body, slot: usize, row: &Row, tid: Tid, shape: &Shape) {
    let offset = entry_offset(slot, shape);
    put_tid(body, offset, tid);
    put(body, offset + TID_BYTES, &row.entry);
}

pub fn store_copy(body: &mut Body, slot: usize, copy: &[u8], shape: &Shape) {
    put(body, TAG_BYTES + slot % shape.copies_on_page * 2 * shape.dimensions, copy);
}

/// A copy's bytes on its page.
pub fn copy_of<'a>(body: &'a Body, slot: usize, shape: &Shape) -> &'a [u8] {
    &body[TAG_BYTES + slot % shape.copies_on_page * 2 * shape.dimensions..][..2 * shape.dimensions]
}

/// The estimate's factors that a scale stands for: the error follows from it, because the angle
/// between a rotated vector and its code varies little (0.939 is the cosine for four levels, 0.798 for
/// two: Max, 1960), of a layer of `length` dimensions.
pub fn factors(scale: f32, layer: usize, length: usize) -> Factors {
    let others = (length.max(2) - 1) as f32;
    let error = if layer == 0 { 0.345 * 0.944 } else { 0.603 };
    Factors { scale, error: error * scale.abs() * (length as f32 / others).sqrt() }
}

// References --------------------------------------------------------------------------------

const FIRST_REFERENCE: usize = 24;
const REFERENCE_BYTES: usize = 8;
/// References on a page.
pub const MOST_REFERENCES: usize = (BODY_BYTES - FIRST_REFERENCE) / REFERENCE_BYTES;

/// A page of references, checked.
#[derive(Clone, Copy)]
pub struct References<'a>(&'a Body);

impl<'a> References<'a> {
    pub fn new(body: &'a Body, block: Block, list: ListId) -> Result<Self, Damage> {
        page::expect(body, block, Kind::References, list)?;
        let references = Self(body);
        if references.count() > MOST_REFERENCES {
            return Err(damaged(block, "more references than fit"));
        }
        Ok(references)
    }

    pub fn next_open(&self) -> Block {
        get_u32(self.0, 16)
    }

    pub fn count(&self) -> usize {
        get_u16(self.0, 20).into()
    }

    /// Each one's row and TID.
    pub fn iter(&self) -> impl Iterator<Item = (u16, Tid)> + use<'a> {
        let bytes = &self.0[FIRST_REFERENCE..][..self.count() * REFERENCE_BYTES];
        bytes.as_chunks::<REFERENCE_BYTES>().0.iter().map(|r| (get_u16(r, 6), get_tid(r)))
    }
}

pub fn format_references(body: &mut Body, list: ListId) {
    page::format(body, Kind::References, list);
    set_references_next_open(body, NONE);
}

pub fn set_references_next_open(body: &mut Body, block: Block) {
    put(body, 16, &block.to_le_bytes());
}

/// Puts all of a page's references anew.
pub fn set_all_references(body: &mut Body, references: &[(u16, Tid)]) {
    body[FIRST_REFERENCE..].fill(0);
    put(body, 20, &(references.len() as u16).to_le_bytes());
    for (i, (row, tid)) in references.iter().enumerate() {
        put_reference(body, i, *row, *tid);
    }
}

/// Adds one; there is room.
pub fn add_reference(body: &mut Body, row: u16, tid: Tid) {
    let count = usize::from(get_u16(body, 20));
    put_reference(body, count, row, tid);
    put(body, 20, &(count as u16 + 1).to_le_bytes());
}

fn put_reference(body: &mut Body, index: usize, row: u16, tid: Tid) {
    let offset = FIRST_REFERENCE + index * REFERENCE_BYTES;
    put_tid(body, offset, tid);
    put(body, offset + TID_BYTES, &row.to_le_bytes());
}
