//! Text in, embedding out: model files, tokenizer, transformer, pooling, truncation.
//!
//! The crate knows nothing of PostgreSQL. It serves the session's own process and, later, a shared
//! encoder process, so its surface is narrow: a [`ModelDirectory`] lists and describes what is
//! installed, an [`Encoder`] is one loaded model, [`Tokens`] and [`Embedding`] are what flows.
//!
//! ```no_run
//! # use mrl_encoder::{Encoder, LoadOptions, ModelDirectory, ModelName};
//! # fn main() -> mrl_encoder::Result<()> {
//! let directory = ModelDirectory::new("/srv/models".into());
//! let name = ModelName::parse("all-MiniLM-L6-v2")?;
//! let go_on = || false;
//! let encoder = Encoder::load(&directory, &name, &LoadOptions::default(), &go_on)?;
//! let prompt = encoder.description().prompt(Some("search_query"))?;
//! let tokens = encoder.tokenize(prompt, "where was Einstein born?", &go_on)?;
//! let halves = encoder.embed(&tokens, &go_on)?.truncate(384)?;
//! # Ok(())
//! # }
//! ```
//!
//! Promises: no thread is started and none of another pool is used ([`threads`]); nothing panics on
//! what a file, a caller or a text holds; the embedding of a text depends on that text alone.

#![forbid(unsafe_code)]

mod arch;
mod config;
mod description;
mod directory;
mod encoder;
mod error;
mod manifest;
mod ops;
mod pieces;
mod pool;
mod product;
mod threads;
mod tokenize;
mod weights;

pub use description::{Architecture, ModelDescription, Pooling, STANDARD_PREFIXES};
pub use directory::{ModelDirectory, ModelName};
pub use encoder::{Encoder, LoadOptions};
pub use error::{EncoderError, Poll, Result};
pub use pool::Embedding;
pub use tokenize::Tokens;
