//! Text to embedding, as SQL asks for it.
//!
//! ```text
//! functions (arguments) → request (checks, cache, warnings) → door → mrl-encoder
//! ```
//!
//! [`door`] is the only way to an encoder: behind it the model runs in the session's own process,
//! and a shared encoder process can later answer the same calls.

mod cache;
mod door;
mod functions;
pub mod request;
