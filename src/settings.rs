//! Every `mrl.*` setting: its unit, range and who may change it.
//!
//! What chooses files or changes results is read from the configuration file (`SIGHUP` level):
//! a function declared IMMUTABLE must not depend on a session's setting.

use std::ffi::{CStr, CString};
use std::path::PathBuf;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use pgrx::pg_sys;

/// What to do with a text longer than its model reads.
#[derive(Clone, Copy, PartialEq, PostgresGucEnum)]
pub enum OnLongText {
    #[name = c"truncate"]
    Truncate,
    #[name = c"error"]
    Error,
}

/// Where the model runs.
#[derive(Clone, Copy, PartialEq, PostgresGucEnum)]
pub enum EncoderPlace {
    #[name = c"auto"]
    Auto,
    #[name = c"backend"]
    Backend,
}

static MODEL_DIR: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"pg_mrl/models"));
static DEFAULT_MODEL: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static ENCODER: GucSetting<EncoderPlace> = GucSetting::<EncoderPlace>::new(EncoderPlace::Auto);
static ON_LONG_TEXT: GucSetting<OnLongText> = GucSetting::<OnLongText>::new(OnLongText::Truncate);
static MAX_TOKENS: GucSetting<i32> = GucSetting::<i32>::new(0);
static CACHE_KILOBYTES: GucSetting<i32> = GucSetting::<i32>::new(4096);

/// Makes the settings known to the server. Called once, when the library is loaded.
pub fn define() {
    GucRegistry::define_string_guc(
        c"mrl.model_dir",
        c"Directory below which embedding models are installed.",
        c"A relative path is below the installation's share directory (pg_config --sharedir).",
        &MODEL_DIR,
        GucContext::Sighup,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_string_guc(
        c"mrl.default_model",
        c"Model that mrl_embed uses where none is named.",
        c"Empty: the single installed one.",
        &DEFAULT_MODEL,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"mrl.encoder",
        c"Where embedding models run.",
        c"backend: in the session's own process. auto: the best there is, which is backend.",
        &ENCODER,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"mrl.on_long_text",
        c"What to do with a text that has more tokens than its model reads.",
        c"truncate: leave out the rest, with one warning a statement. error: refuse it.",
        &ON_LONG_TEXT,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"mrl.max_tokens",
        c"Most tokens of a text that a model reads.",
        c"0: as many as the model was trained for. Changes the embeddings of longer texts.",
        &MAX_TOKENS,
        0,
        8192,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"mrl.cache_size",
        c"Memory in which a session keeps embeddings of texts that it has embedded.",
        c"A statement that embeds one text for many rows runs the model once. 0 turns that off.",
        &CACHE_KILOBYTES,
        0,
        1024 * 1024,
        GucContext::Userset,
        GucFlags::UNIT_KB,
    );
    reserve_prefix(c"mrl");
}

/// Makes a misspelt `mrl.…` setting an error instead of a placeholder.
fn reserve_prefix(prefix: &CStr) {
    // SAFETY: the server copies the string.
    #[cfg(not(any(feature = "pg13", feature = "pg14")))]
    unsafe {
        pg_sys::MarkGUCPrefixReserved(prefix.as_ptr());
    }
    // SAFETY: the server only reads the string.
    #[cfg(any(feature = "pg13", feature = "pg14"))]
    unsafe {
        pg_sys::EmitWarningsOnPlaceholders(prefix.as_ptr());
    }
}

/// The directory of models, as an absolute path.
pub fn model_dir() -> PathBuf {
    let configured = PathBuf::from(string(&MODEL_DIR));
    if configured.is_absolute() { configured } else { share_dir().join(configured) }
}

/// The default model's name; `None` where none is set.
pub fn default_model() -> Option<String> {
    Some(string(&DEFAULT_MODEL)).filter(|name| !name.is_empty())
}

pub fn on_long_text() -> OnLongText {
    ON_LONG_TEXT.get()
}

/// The most tokens of a text to read; `None`: as the model has it.
pub fn max_tokens() -> Option<usize> {
    usize::try_from(MAX_TOKENS.get()).ok().filter(|limit| *limit > 0)
}

pub fn cache_bytes() -> usize {
    usize::try_from(CACHE_KILOBYTES.get()).unwrap_or(0) * 1024
}

fn string(setting: &GucSetting<Option<CString>>) -> String {
    setting.get().map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The installation's share directory, found from the place of the server's executable.
fn share_dir() -> PathBuf {
    let mut path = [0; pg_sys::MAXPGPATH as usize];
    // SAFETY: the server writes at most MAXPGPATH bytes, NUL included, and reads its own path.
    let path = unsafe {
        pg_sys::get_share_path((&raw const pg_sys::my_exec_path).cast(), path.as_mut_ptr());
        CStr::from_ptr(path.as_ptr())
    };
    PathBuf::from(path.to_string_lossy().into_owned())
}
