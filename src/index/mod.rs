//! The access method `mrl`: what the server calls, over the pure crate `mrl-index`.
//!
//! | module | what it holds |
//! |---|---|
//! | [`handler`] | the table of callbacks |
//! | [`class`], [`options`], [`steering`] | what an index is of, and how it was and is asked to work |
//! | [`pages`] | the index's pages in the server's buffers, changed through generic WAL |
//! | [`tid`], [`errors`] | rows' places in the table; errors that name the index |
//! | [`directory`] | the copy of an index's directory that a session keeps |
//! | [`build`], [`insert`], [`vacuum`] | what changes an index |
//! | [`vectors`] | the table's vectors, for a list that is split |
//! | [`scan`], [`heap`] | what reads it, and exact distances from the table |
//! | [`cost`], [`validate`] | for the planner; for `amvalidate` |
//! | [`functions`] | `mrl_index_info`, `mrl_index_lists`, `mrl_index_check`, `mrl_scan_stats` |

mod build;
mod class;
mod cost;
mod directory;
mod errors;
mod functions;
mod handler;
mod heap;
mod insert;
pub mod options;
mod pages;
mod scan;
pub mod steering;
mod tid;
mod vacuum;
mod validate;
mod vectors;
