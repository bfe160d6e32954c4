//! Vectors as codes of a bit or two a dimension.
//!
//! A vector, less its list's centre, is cut into *layers* of leading dimensions (`layers`); each is rotated by chance
//! (`rotation`) and kept as bits with a scale (`bits`); `codec` does all of that for one vector. Codes of 32 vectors
//! lie side by side (`records`), and a query's tables score them at once (`block`).
//!
//! Depends on `mrl-kernels`.

pub(crate) mod bits;
pub mod block;
pub(crate) mod codec;
pub(crate) mod layers;
pub mod records;
mod rotation;
