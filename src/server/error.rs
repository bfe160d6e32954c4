//! From typed errors to `ereport`: where the crates' errors get their SQLSTATEs.

use mrl_encoder::EncoderError;
use mrl_index::pages::meta::META_PAGE;
use mrl_index::pages::page::{Damage, Problem};
use mrl_vector::VectorError;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, function_name};

/// An error as the user will see it. One word, as results that can be one are handed on with every page that is read.
#[derive(Debug)]
pub struct SqlError(Box<Report>);

#[derive(Debug)]
struct Report {
    code: Code,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    /// Whether a standby that replays what the primary does may have caused it.
    may_be_of_recovery: bool,
}

impl SqlError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let (message, detail, hint) = (message.into(), None, None);
        Self(Box::new(Report { code, message, detail, hint, may_be_of_recovery: false }))
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Names the index in which it happened, where it is damage.
    pub fn in_index(mut self, name: &str) -> Self {
        if self.0.code == Code::ERRCODE_INDEX_CORRUPTED {
            let index = format!("index \"{name}\"");
            self.0.message = self.0.message.replacen("mrl index", &index, 1);
        }
        self
    }

    /// The same, on a standby: a page that is not what it was thought to be has most likely been given another use.
    pub fn perhaps_of_recovery(self) -> Self {
        if !self.0.may_be_of_recovery {
            return self;
        }
        let message = "canceling statement due to conflict with recovery";
        Self::new(Code::ERRCODE_T_R_SERIALIZATION_FAILURE, message)
            .detail(format!(
                "A page of an mrl index may have been given another use while the scan went on: {}.",
                self.0.message
            ))
            .hint("Run the query again; hot_standby_feedback keeps most such pages. Where it goes on, REINDEX the index on the primary.")
    }

    /// Whether it is about the value that a function was given: what a caller may want to be told of instead.
    #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
    pub fn is_of_input(&self) -> bool {
        matches!(
            self.0.code,
            Code::ERRCODE_DATA_EXCEPTION
                | Code::ERRCODE_INVALID_TEXT_REPRESENTATION
                | Code::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE
                | Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED
        )
    }

    /// Its code, and its message, detail and hint as the server has texts.
    #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
    pub fn into_server_encoding(self) -> (Code, [Option<std::ffi::CString>; 3]) {
        let Report { code, message, detail, hint, .. } = *self.0;
        // Without NUL, as they are made by `in_server_encoding`.
        let text = |text| std::ffi::CString::new(in_server_encoding(text)).ok();
        (code, [Some(message), detail, hint].map(|part| part.and_then(text)))
    }

    /// Raises the error; the server's handler takes over. Rust values on the way are dropped.
    pub fn raise(self) -> ! {
        self.report(PgLogLevel::ERROR);
        unreachable!("an error report returned")
    }

    /// Sends the report as a warning and goes on.
    pub fn warn(self) {
        self.report(PgLogLevel::WARNING);
    }

    fn report(self, level: PgLogLevel) {
        let Report { code, message, detail, hint, .. } = *self.0;
        let mut report = ErrorReport::new(code, in_server_encoding(message), function_name!());
        if let Some(detail) = detail {
            report = report.set_detail(in_server_encoding(detail));
        }
        if let Some(hint) = hint {
            report = report.set_hint(in_server_encoding(hint));
        }
        report.report(level);
    }
}

/// Makes a message fit a database of another encoding without ever failing: there, what is not
/// ASCII is escaped. NUL cannot stand in a message and is left out.
fn in_server_encoding(message: String) -> String {
    // SAFETY: reads a variable that is set once when the session connects.
    let utf8 = unsafe { pg_sys::GetDatabaseEncoding() } == pg_sys::pg_enc::PG_UTF8 as i32;
    if (utf8 || message.is_ascii()) && !message.contains('\0') {
        return message;
    }
    let escape = |c: char| match c {
        '\0' => String::new(),
        c if utf8 || c.is_ascii() => c.into(),
        c => c.escape_unicode().to_string(),
    };
    message.chars().map(escape).collect()
}

impl From<VectorError> for SqlError {
    fn from(error: VectorError) -> Self {
        use VectorError as E;
        let code = match &error {
            E::DifferentDimensions { .. }
            | E::UnexpectedDimensions { .. }
            | E::NoDimensions
            | E::NotANumber { .. }
            | E::Infinite { .. }
            | E::UnusedNotZero(_) => Code::ERRCODE_DATA_EXCEPTION,
            E::TooManyDimensions => Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            E::OutOfRange { .. } | E::Overflow | E::Underflow => {
                Code::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE
            }
            E::Syntax { .. } => Code::ERRCODE_INVALID_TEXT_REPRESENTATION,
        };
        let mut report = Self::new(code, error.to_string());
        report.0.detail = error.detail();
        report
    }
}

/// What is wrong with a page of an index.
impl From<Damage> for SqlError {
    fn from(damage: Damage) -> Self {
        if let Problem::Full(_) = damage.problem {
            let message = "mrl index cannot hold more rows whose vectors are equal or nearly so";
            return Self::new(Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED, message)
                .hint("A partial index can leave such rows out.");
        }
        let hint = match damage.problem {
            Problem::Version(_) => {
                "REINDEX the index, or install the release of pg_mrl that wrote it."
            }
            _ => "REINDEX it.",
        };
        let message = format!("mrl index is damaged: {damage}");
        let mut report = Self::new(Code::ERRCODE_INDEX_CORRUPTED, message).hint(hint);
        // The meta page is always that, and no page is written in another format by a server that runs.
        report.0.may_be_of_recovery =
            damage.page != META_PAGE && !matches!(damage.problem, Problem::Version(_));
        report
    }
}

impl From<EncoderError> for SqlError {
    fn from(error: EncoderError) -> Self {
        use EncoderError as E;
        let code = match &error {
            E::InvalidModelName { .. }
            | E::NotInstalled { .. }
            | E::UnknownPrefix { .. }
            | E::DimensionOutOfRange { .. } => Code::ERRCODE_INVALID_PARAMETER_VALUE,
            E::TokenLimitOutOfRange { .. } => Code::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
            E::OutOfMemory { .. } => Code::ERRCODE_OUT_OF_MEMORY,
            E::Interrupted => Code::ERRCODE_QUERY_CANCELED,
            // What is wrong with files, or with what was computed from them.
            _ => Code::ERRCODE_SYSTEM_ERROR,
        };
        let report = Self::new(code, error.to_string());
        match error {
            E::UnreadableDirectory { reason, .. } if !may_see_paths() => {
                Self::new(code, format!("could not read mrl.model_dir: {reason}"))
            }
            E::InvalidModelName { .. } => report
                .detail("A model name has letters, digits, \".\", \"_\" and \"-\", and does not start with a dot."),
            E::NotInstalled { name, directory, installed } => {
                Self::new(code, format!("model \"{name}\" is not installed"))
                    .detail(format!(
                        "Models installed in {} are: {}.",
                        model_dir_in_words(&directory),
                        listed(&installed)
                    ))
                    .hint("Models are installed with \"make model MODEL=name\".")
            }
            E::UnknownPrefix { known, .. } => {
                report.hint(format!("The model's prefixes are {}.", listed(&known)))
            }
            _ => report,
        }
    }
}

/// The setting, with its value for those who may see it.
pub fn model_dir_in_words(directory: &str) -> String {
    if may_see_paths() { format!("mrl.model_dir \"{directory}\"") } else { "mrl.model_dir".into() }
}

/// Whether the user may see settings that tell where the server keeps its files: superusers and
/// members of pg_read_all_settings.
fn may_see_paths() -> bool {
    const PG_READ_ALL_SETTINGS: u32 = 3374;
    // SAFETY: catalog lookups.
    unsafe { pg_sys::has_privs_of_role(pg_sys::GetUserId(), PG_READ_ALL_SETTINGS.into()) }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { format!("\"{}\"", names.join("\", \"")) }
}
