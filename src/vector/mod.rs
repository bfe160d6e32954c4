//! The type `mrlvec` as SQL sees it. What its values mean is defined in the crate `mrl-vector`.

mod aggregates;
mod bridge;
mod casts;
pub mod datum;
mod functions;
mod io;
mod operators;
mod typmod;
