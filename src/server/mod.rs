//! The server's conventions, each wrapped once: how a C-language function is called and answers,
//! how rows are returned, how arrays and buffers are read, how errors are raised, what happens without memory.
//!
//! Knows PostgreSQL, and nothing of vectors, encoders or the index but for their errors (`error`).

#[macro_use]
pub mod call;
pub mod array;
pub mod bits;
pub mod buffer;
pub mod catalog;
pub mod error;
pub mod heap;
pub mod memory;
pub mod rows;
pub mod signals;
pub mod soft;
pub mod statistics;
pub mod table;
pub mod temporary_file;
pub mod text;
