//! Keeping a column of embeddings filled.

mod trigger;
