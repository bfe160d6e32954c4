//! Threads, and what goes from one to another. Depends on nothing else here.

pub mod channel;
pub mod workers;
