//! Which vectors belong together: in a list (`kmeans`), and of a list's rows in a block (`arrange`, which halves them,
//! `exchange` and `matching`, which better that).
//!
//! Depends on `codes`, and on `lists` for what a row's code stands for.

pub(crate) mod arrange;
mod exchange;
pub(crate) mod kmeans;
mod matching;
