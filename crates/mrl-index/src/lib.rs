//! The two-stage index without PostgreSQL.
//!
//! A vector is kept as a code of a bit or two a dimension, in layers of leading dimensions, so that
//! a query of any dimension reads only the layers that it has. The code gives an estimate of the
//! inner product with an error bound (RaBitQ: Gao and Long, SIGMOD 2024); a row that can still be among
//! the nearest by that bound is scored exactly.
//!
//! | module | what it holds |
//! |---|---|
//! | [`layers`] | where the components are cut, and how many bits each layer has |
//! | [`rotation`] | the random rotation that every layer's components go through first |
//! | [`codes`] | a layer's code, the factors that make an estimate of it, and the estimate's error |
//! | [`block`] | the codes of 32 rows, transposed for the scan |
//! | [`kmeans`] | which vectors belong together |
//! | [`codec`] | a vector to its code in all layers |
//! | [`page`], [`shape`], [`meta`], [`group`], [`rows`], [`records`] | what lies on pages, drawn where it is defined |
//! | [`arrange`], `exchange`, `matching`, [`summary`] | which rows share a block, and what they have in common |
//! | [`store`], [`memory`] | where pages are: the trait, and pages in memory |
//! | [`walk`] | chains of pages, from each to the next |
//! | [`frame`], [`encode`] | what rows are encoded against; a vector to what its pages keep, and back |
//! | [`directory`], `list_codes` | the lists there are: a copy that sessions keep |
//! | [`build`], `builder`, `rows_waiting` | an index of many vectors at once |
//! | [`insert`], [`references`] | one row more |
//! | `patience`, [`split`], `retiring`, `cut`, [`vectors`], [`chain`], `recycle` | when a list is full, and what follows |
//! | `tail` | rows without distances: NULLs, zeros under cosine |
//! | [`query`], `ranking`, `plan`, `probed`, `seen`, `round`, `queue`, `order`, `tuning`, [`scan`] | the nearest rows, one after another |
//! | [`workers`], [`channel`], `random` | threads, and what goes from one to another; numbers drawn by a seed |
//! | [`vacuum`], [`check`], [`info`] | rows less, whether everything holds, and what there is |
//!
//! Depends on `mrl-kernels` and `mrl-memory`; knows nothing of PostgreSQL.

pub mod arrange;
pub mod block;
pub mod build;
mod builder;
pub mod chain;
pub mod channel;
pub mod check;
pub mod codec;
pub mod codes;
mod cut;
pub mod directory;
pub mod encode;
mod exchange;
pub mod frame;
pub mod group;
pub mod info;
pub mod insert;
pub mod kmeans;
pub mod layers;
mod matching;
pub mod memory;
pub mod meta;
pub mod page;
mod patience;
mod plan;
mod probed;
pub mod query;
mod queue;
mod ranking;
pub mod records;
mod recycle;
pub mod references;
mod round;
pub mod rows;
pub mod scan;
mod seen;
pub mod shape;
pub mod split;
pub mod store;
pub mod summary;
mod tail;
pub mod vacuum;
pub mod vectors;
pub mod walk;
pub mod workers;

mod list_codes;
mod order;
mod random;
mod retiring;
pub mod rotation;
mod rows_waiting;
mod tuning;
