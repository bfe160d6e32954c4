//! What lies on pages, and where pages are.
//!
//! `page` has what all pages share, `shape` the places of everything for vectors of one dimension; `meta`, `group`,
//! `rows` and `references` draw and read what is on each kind; `walk` follows chains of them; `tids` is a set of rows'
//! places in the table. `store` is the one door to the storage, and `memory` a storage for tests, fuzzing and
//! benchmarks.
//!
//! Depends on `codes`.

pub mod group;
pub mod memory;
pub mod meta;
pub mod page;
pub(crate) mod references;
pub mod rows;
pub mod shape;
pub mod store;
pub mod tids;
pub mod walk;
