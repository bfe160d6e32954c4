//! Lists of rows that are near to one centre.
//!
//! `directory` is a session's copy of what lists there are, with codes of their centres (`list_codes`). A row is
//! encoded (`encode`) against a list's centre, its `frame`; the rows of a block share a `summary`. Rows without
//! distances have lists of another kind (`tail`).
//!
//! Depends on `codes` and `pages`.

pub mod directory;
pub mod encode;
pub mod frame;
mod list_codes;
pub mod summary;
pub(crate) mod tail;
