//! The two-stage index without PostgreSQL.
//!
//! A vector is kept as a code of a bit or two a dimension, in layers of leading dimensions, so that
//! a query of any dimension reads only the layers that it has. The code gives an estimate of the
//! inner product with an error bound (RaBitQ: Gao and Long, SIGMOD 2024); a row that can still be among
//! the nearest by that bound is scored exactly.
//!
//! | room | what it holds |
//! |---|---|
//! | [`codes`] | vectors as codes: layers, rotation, bits, and 32 codes side by side, as a scan reads them |
//! | [`pages`] | what lies on pages, drawn where it is defined, and where pages are: the trait [`PageStore`](pages::store::PageStore), and pages in memory |
//! | [`lists`] | the lists there are, what their rows are encoded against, and what the rows of a block have in common |
//! | `clusters` | which vectors share a list, and which rows a block |
//! | [`threads`] | threads, and what goes from one to another |
//! | [`build`] | an index of many vectors at once |
//! | [`insert`] | one row more |
//! | [`split`] | when a list is full, and what follows |
//! | [`scan`] | the nearest rows, one after another |
//! | [`vacuum`], [`check`], [`info`] | rows less, whether everything holds, and what there is |
//!
//! Depends on `mrl-kernels` and `mrl-memory`; knows nothing of PostgreSQL.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod build;
pub mod check;
mod clusters;
pub mod codes;
pub mod info;
pub mod insert;
pub mod lists;
pub mod pages;
mod random;
pub mod scan;
pub mod split;
pub mod threads;
pub mod vacuum;
