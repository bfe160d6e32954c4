//! Every `mrl.*` setting: its unit, range and who may change it.
//!
//! What chooses the files behind a model's name is read from the configuration file (`SIGHUP` level): a function
//! declared IMMUTABLE must not depend on a session's setting. What chooses the default model is the session's, as the
//! functions that use it are STABLE.

use std::ffi::{CStr, CString};
use std::path::PathBuf;

use mrl_index::scan::{Epsilon, Probes};
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use pgrx::pg_sys;

use crate::index::steering;

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

/// What a scan of an index does with rows found after its first round.
#[derive(Clone, Copy, PartialEq, PostgresGucEnum)]
pub enum IterativeScan {
    #[name = c"relaxed_order"]
    RelaxedOrder,
    #[name = c"strict_order"]
    StrictOrder,
    #[name = c"off"]
    Off,
}

static MODEL_DIR: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"pg_mrl/models"));
static DEFAULT_MODEL: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static ENCODER: GucSetting<EncoderPlace> = GucSetting::<EncoderPlace>::new(EncoderPlace::Auto);
static ON_LONG_TEXT: GucSetting<OnLongText> = GucSetting::<OnLongText>::new(OnLongText::Truncate);
static MAX_TOKENS: GucSetting<i32> = GucSetting::<i32>::new(0);
static CACHE_KILOBYTES: GucSetting<i32> = GucSetting::<i32>::new(4096);
static PROBES: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"auto"));
static EPSILON: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"auto"));
static ITERATIVE_SCAN: GucSetting<IterativeScan> =
    GucSetting::<IterativeScan>::new(IterativeScan::RelaxedOrder);
static MAX_SCAN_TUPLES: GucSetting<i32> = GucSetting::<i32>::new(-1);
static FUNNEL: GucSetting<bool> = GucSetting::<bool>::new(true);

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
    // SAFETY: the hook looks at the new text and keeps nothing.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"mrl.default_model",
            c"Model that mrl_embed uses where none is named.",
            c"Empty: the single installed one.",
            &DEFAULT_MODEL,
            GucContext::Userset,
            GucFlags::default(),
            Some(check_default_model),
            None,
            None,
        );
    }
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
    define_for_indexes();
    reserve_prefix(c"mrl");
}

/// The settings of scans of an index.
fn define_for_indexes() {
    // With a plan whose rows they decide on.
    const SHOWN: GucFlags = GucFlags::EXPLAIN;
    // SAFETY: the hooks look at the new text and keep nothing.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"mrl.probes",
            c"How many lists of an index a query looks at first.",
            c"auto: by the index's own parameter, else by the number of its lists. all: every list.",
            &PROBES,
            GucContext::Userset,
            SHOWN,
            Some(check_probes),
            None,
            None,
        );
        GucRegistry::define_string_guc_with_hooks(
            c"mrl.epsilon",
            c"How many standard deviations of an estimate's error count before a row, or a block of rows, is left aside.",
            c"auto: by the index's own parameter. exact: the distance of every row is computed.",
            &EPSILON,
            GucContext::Userset,
            SHOWN,
            Some(check_epsilon),
            None,
            None,
        );
    }
    GucRegistry::define_enum_guc(
        c"mrl.iterative_scan",
        c"What an index scan does when a query goes on asking for rows.",
        c"relaxed_order: a nearer row that is found late comes late. strict_order: it is left out. off: one round.",
        &ITERATIVE_SCAN,
        GucContext::Userset,
        SHOWN,
    );
    GucRegistry::define_int_guc(
        c"mrl.max_scan_tuples",
        c"Most rows whose exact distance an index scan computes.",
        c"-1: no limit.",
        &MAX_SCAN_TUPLES,
        -1,
        i32::MAX,
        GucContext::Userset,
        SHOWN,
    );
    GucRegistry::define_bool_guc(
        c"mrl.funnel",
        c"Whether an index scan scores the rows of the nearest blocks only.",
        c"off: of every block, to see what that costs and finds.",
        &FUNNEL,
        GucContext::Userset,
        SHOWN,
    );
}

/// Whether a setting's new text is one that `parse` knows; `valid` says which those are.
///
/// # Safety
/// `text` is what the server passes to a check hook.
unsafe fn check<T>(
    text: *mut *mut std::ffi::c_char,
    parse: fn(&str) -> Option<T>,
    valid: &CStr,
) -> bool {
    // SAFETY: by contract a pointer to a string or to NULL.
    let text = unsafe { if (*text).is_null() { c"" } else { CStr::from_ptr(*text) } };
    let is_valid = text.to_str().ok().and_then(parse).is_some();
    if !is_valid {
        // SAFETY: the server frees the string with the message's context.
        unsafe { pg_sys::GUC_check_errdetail_string = pg_sys::pstrdup(valid.as_ptr()) };
    }
    is_valid
}

/// No model has a longer name; which it is, is looked at where it is used.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn check_default_model(
    text: *mut *mut std::ffi::c_char,
    _extra: *mut *mut std::ffi::c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    let is_short = |text: &str| (text.len() <= 128).then_some(());
    // SAFETY: called by the server.
    unsafe { check(text, is_short, c"A model's name has at most 128 bytes.") }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn check_probes(
    text: *mut *mut std::ffi::c_char,
    _extra: *mut *mut std::ffi::c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    let valid = c"Valid values are \"auto\", \"all\" and numbers from 1 to 65536.";
    // SAFETY: called by the server.
    unsafe { check(text, steering::parse_probes, valid) }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn check_epsilon(
    text: *mut *mut std::ffi::c_char,
    _extra: *mut *mut std::ffi::c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    let valid = c"Valid values are \"auto\", \"exact\" and numbers from 0 to 10.";
    // SAFETY: called by the server.
    unsafe { check(text, steering::parse_epsilon, valid) }
}

pub fn probes() -> Probes {
    steering::parse_probes(&string(&PROBES)).unwrap_or_default()
}

pub fn epsilon() -> Epsilon {
    steering::parse_epsilon(&string(&EPSILON)).unwrap_or_default()
}

pub fn iterative_scan() -> IterativeScan {
    ITERATIVE_SCAN.get()
}

/// The most rows to score exactly; `None` for no limit.
pub fn max_scan_tuples() -> Option<u64> {
    u64::try_from(MAX_SCAN_TUPLES.get()).ok()
}

pub fn funnel() -> bool {
    FUNNEL.get()
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
