//! pg_mrl: Matryoshka text embeddings inside PostgreSQL.
//!
//! This crate is the thin side that the server sees. It holds no algorithm: what a vector is lies in `mrl-vector`, what
//! turns text into one in `mrl-encoder`, the index in `mrl-index`; their arithmetic in `mrl-kernels`, memory that can
//! be refused in `mrl-memory`. Every SQL object is declared by hand in `sql/`; the functions there are C-language
//! functions, defined here under the same name by [`sql_function!`](server::call).
//!
//! - [`server`]: the server's calling conventions: arguments, results, rows, errors
//! - [`settings`]: every `mrl.*` setting
//! - [`vector`]: the type `mrlvec` and what SQL does with it
//! - [`embed`]: `mrl_embed` and its kin, behind one door to the encoder
//! - [`index`]: the access method `mrl`
//! - [`etl`]: the trigger that keeps a column filled

pgrx::pg_module_magic!();

#[macro_use]
mod server;
mod embed;
mod etl;
mod index;
mod settings;
mod vector;

/// Called by the server when the library is loaded: settings only. A session that never embeds
/// loads no model and starts nothing.
#[pgrx::pg_guard]
pub extern "C-unwind" fn _PG_init() {
    settings::define();
    index::options::define();
}
