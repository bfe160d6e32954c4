//! What the arguments of `mrl_embed_trigger` say, without PostgreSQL: which column is the target,
//! which text is to be embedded ([`Template`]), with which options ([`TriggerArguments`]).
//!
//! Depends on nothing of the server and nothing of the encoder.

#![forbid(unsafe_code)]

mod arguments;
mod template;

pub use arguments::{ArgumentError, TriggerArguments};
pub use template::{Template, TemplateError};
