//! What every page of an index begins with, and how its numbers are read.
//!
//! A page here is a *body*: what a PostgreSQL page of 8,192 bytes has behind its header. All numbers are
//! little-endian.
//!
//! ```text
//! offset 0   u32  magic
//! offset 4   u16  format version
//! offset 6   u8   kind
//! offset 7   u8   0
//! offset 8   u32  list that the page belongs to; of META, DIRECTORY, FRAMES and FREE pages 0
//! offset 12  u32  next page of the chain, NONE at its end
//! ```
//!
//! A list's id is never used again, so a walk that follows `next` knows by the id whether the page was
//! given to something else meanwhile.

use std::fmt;

/// Bytes of a page behind the server's page header.
pub const BODY_BYTES: usize = 8192 - 24;
/// Bytes of what every page begins with.
pub const TAG_BYTES: usize = 16;
/// The format that this library writes and reads. Versions 1 to 6 were never released.
pub const VERSION: u16 = 7;
/// No page: the end of a chain.
pub const NONE: PageNumber = u32::MAX;

const MAGIC: u32 = u32::from_le_bytes(*b"mrlx");

/// A page's content.
pub type Body = [u8; BODY_BYTES];
/// A page's number.
pub type PageNumber = u32;
/// A list's number, never used twice.
pub type ListId = u32;

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The index's own description: page 0.
    Meta = 1,
    /// Entries of lists.
    Directory = 2,
    /// Centres of lists, whole.
    Frames = 3,
    /// What the blocks of some rows are about.
    Group = 4,
    /// Codes and TIDs of some of a group's rows.
    Rows = 5,
    /// Half-precision vectors of some of a group's rows.
    Copies = 6,
    /// TIDs that belong to rows of a list, or to no vector.
    References = 7,
    /// Nothing: may be used for anything.
    Free = 8,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        use Kind::*;
        let kinds = [Meta, Directory, Frames, Group, Rows, Copies, References, Free];
        kinds.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// What is wrong with a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The page's number; [`NONE`] where it is a list that is full.
    pub page: PageNumber,
    /// What is wrong with it.
    pub problem: Problem,
}

/// In what a page is not what it should be; or that a list takes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// Not a page of such an index at all.
    Foreign,
    /// It has another format.
    Version(u16),
    /// It is not of this kind, which was expected.
    Kind(Kind),
    /// It does not belong to this list, as was expected.
    List(ListId),
    /// No damage: the list has as many groups as can be told apart.
    Full(ListId),
    /// A number on it is out of its range.
    Content(&'static str),
}

/// Messages say block for a page by its number, as those of the server do.
impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let page = self.page;
        match self.problem {
            Problem::Foreign => write!(f, "block {page} is not a page of an mrl index"),
            Problem::Version(version) => write!(
                f,
                "block {page} has format version {version}; this library reads version {VERSION}"
            ),
            Problem::Kind(kind) => write!(f, "block {page} is not a {kind:?} page"),
            Problem::List(list) => write!(f, "block {page} does not belong to list {list}"),
            Problem::Full(list) => write!(f, "list {list} is full"),
            Problem::Content(what) => write!(f, "block {page}: {what}"),
        }
    }
}

impl std::error::Error for Damage {}

/// Short for a [`Problem::Content`].
pub fn damaged(page: PageNumber, what: &'static str) -> Damage {
    Damage { page, problem: Problem::Content(what) }
}

/// Two bytes from an offset on as a number. They must be there, here and below.
#[inline]
pub fn get_u16(body: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(array(body, offset))
}

/// Four bytes from an offset on as a number.
#[inline]
pub fn get_u32(body: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(array(body, offset))
}

/// Eight bytes from an offset on as a number.
pub fn get_u64(body: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(array(body, offset))
}

/// Writes bytes from an offset on; there must be room for all of them.
pub fn put(body: &mut [u8], offset: usize, bytes: &[u8]) {
    body[offset..offset + bytes.len()].copy_from_slice(bytes);
}

#[inline]
fn array<const N: usize>(body: &[u8], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&body[offset..offset + N]);
    bytes
}

/// Makes a page an empty one of a kind.
pub fn format(body: &mut Body, kind: Kind, list: ListId) {
    body.fill(0);
    put(body, 0, &MAGIC.to_le_bytes());
    put(body, 4, &VERSION.to_le_bytes());
    body[6] = kind as u8;
    put(body, 8, &list.to_le_bytes());
    set_next(body, NONE);
}

/// The page that follows in a page's chain; [`NONE`] at the end.
pub fn next(body: &Body) -> PageNumber {
    get_u32(body, 12)
}

/// Writes which page follows in a page's chain; [`NONE`] for the last.
pub fn set_next(body: &mut Body, next: PageNumber) {
    put(body, 12, &next.to_le_bytes());
}

/// The list that a page belongs to; 0 too where it belongs to none.
pub fn list(body: &Body) -> ListId {
    get_u32(body, 8)
}

/// What a page is; an error for one of another format.
///
/// # Errors
/// Damage, where it is no page of such an index, has another format, or is of no kind that there is.
pub fn kind(body: &Body, page: PageNumber) -> Result<Kind, Damage> {
    if get_u32(body, 0) != MAGIC {
        return Err(Damage { page, problem: Problem::Foreign });
    }
    match get_u16(body, 4) {
        VERSION => Kind::of(body[6]).ok_or(damaged(page, "unknown kind of page")),
        version => Err(Damage { page, problem: Problem::Version(version) }),
    }
}

/// That a page is one of a kind, of a list.
///
/// # Errors
/// Damage, where it is not.
#[inline]
pub fn check(body: &Body, page: PageNumber, expected: Kind, of: ListId) -> Result<(), Damage> {
    let is_so = get_u32(body, 0) == MAGIC
        && get_u16(body, 4) == VERSION
        && body[6] == expected as u8
        && list(body) == of;
    if is_so { Ok(()) } else { Err(unexpected(body, page, expected, of)) }
}

/// What is wrong with a page that is not that.
#[cold]
fn unexpected(body: &Body, page: PageNumber, expected: Kind, of: ListId) -> Damage {
    match kind(body, page) {
        Err(damage) => damage,
        Ok(kind) if kind != expected => Damage { page, problem: Problem::Kind(expected) },
        Ok(_) => Damage { page, problem: Problem::List(of) },
    }
}

/// How many bytes of a page there are up to the last one that is not zero, in words of 8.
pub fn used_bytes(body: &Body) -> usize {
    let words = body.as_chunks::<8>().0;
    words.iter().rposition(|word| *word != [0; 8]).map_or(0, |last| 8 * (last + 1))
}

/// Whether a page may be taken for anything: never written, or given back.
pub fn is_free(body: &Body) -> bool {
    body[..TAG_BYTES] == [0; TAG_BYTES] || matches!(kind(body, 0), Ok(Kind::Free))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_bytes_end_behind_the_last_that_is_not_zero() {
        let mut body = [0; BODY_BYTES];
        assert_eq!(used_bytes(&body), 0);
        for (byte, expected) in
            [(0, 8), (7, 8), (8, 16), (5000, 5008), (BODY_BYTES - 1, BODY_BYTES)]
        {
            body[byte] = 1;
            assert_eq!(used_bytes(&body), expected);
        }
    }
}
