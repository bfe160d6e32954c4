//! The two-stage index without PostgreSQL.
//!
//! A vector is kept as a code of a bit or two a dimension, in layers of leading dimensions, so that
//! a query of any dimension reads only the layers that it has. The code gives an estimate of the
//! inner product with an error bound (RaBitQ: Gao and Long, SIGMOD 2024); whoever can still be among
//! the nearest by that bound is scored exactly.
//!
//! | module | what it holds |
//! |---|---|
//! | [`layers`] | where the components are cut, and how many bits each layer has |
//! | [`rotation`] | the random rotation that every layer's components go through first |
//! | [`codes`] | a layer's code, the factors that make an estimate of it, and the estimate's error |
//! | [`block`] | layer 0 of 32 rows, transposed for the scan |
//! | [`kmeans`] | which vectors belong together |
//! | [`codec`] | a vector to its code in all layers, a query to its estimates |
//!
//! Depends on `mrl-kernels`; knows nothing of pages or of PostgreSQL.

pub mod block;
pub mod codec;
pub mod codes;
pub mod kmeans;
pub mod layers;

mod random;
pub mod rotation;
