//! What can go wrong between a model's name and an embedding.
//!
//! Depends on nothing else in the crate. One enum: the extension maps each variant to one
//! SQLSTATE. Messages follow PostgreSQL's style: lower case, no trailing full stop, the
//! offending value named.

use thiserror::Error;

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, EncoderError>;

/// Asked now and then during long work; `true` means: stop, the caller no longer wants the result.
/// The work then ends with [`EncoderError::Interrupted`].
pub type Poll<'a> = &'a dyn Fn() -> bool;

/// Turns a caller's wish to stop into the error that unwinds the work.
pub(crate) fn check(poll: Poll) -> Result<()> {
    if poll() { Err(EncoderError::Interrupted) } else { Ok(()) }
}

/// Every error of the crate.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EncoderError {
    /// The text is not a model name (one path component of letters, digits, `.`, `_`, `-`).
    #[error("invalid model name \"{name}\"")]
    InvalidModelName {
        /// The text as given, shortened to 128 characters.
        name: String,
    },

    /// No directory with a `config.json` bears this name.
    #[error("model \"{name}\" is not installed in \"{directory}\"")]
    NotInstalled {
        /// The model asked for.
        name: String,
        /// The directory that was searched.
        directory: String,
        /// The models that are there, sorted.
        installed: Vec<String>,
    },

    /// The directory of models itself can't be listed.
    #[error("could not read model directory \"{directory}\": {reason}")]
    UnreadableDirectory {
        /// The directory of models.
        directory: String,
        /// The operating system's words.
        reason: String,
    },

    /// A file that the model needs is absent.
    #[error("model \"{model}\" lacks the file \"{file}\"")]
    MissingFile {
        /// The model.
        model: String,
        /// The file, relative to the model's directory.
        file: String,
    },

    /// A file is there but can't be read: permissions, a link that leads out of the model
    /// directory, not a regular file.
    #[error("could not read file \"{file}\" of model \"{model}\": {reason}")]
    UnreadableFile {
        /// The model.
        model: String,
        /// The file, relative to the model's directory.
        file: String,
        /// Why.
        reason: String,
    },

    /// A file's content is not what its format demands.
    #[error("file \"{file}\" of model \"{model}\" is corrupt: {reason}")]
    CorruptFile {
        /// The model.
        model: String,
        /// The file, relative to the model's directory.
        file: String,
        /// What is wrong with it.
        reason: String,
    },

    /// The weights lack a tensor of the architecture.
    #[error("weights of model \"{model}\" lack tensor \"{tensor}\"")]
    MissingTensor {
        /// The model.
        model: String,
        /// The tensor's name in the checkpoint.
        tensor: String,
    },

    /// A tensor's shape contradicts the configuration.
    #[error(
        "tensor \"{tensor}\" of model \"{model}\" has shape {found:?} where {expected:?} is expected"
    )]
    WrongTensorShape {
        /// The model.
        model: String,
        /// The tensor's name in the checkpoint.
        tensor: String,
        /// The shape that the configuration demands.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },

    /// A tensor's element type is none of F32, F16, BF16.
    #[error("tensor \"{tensor}\" of model \"{model}\" has unsupported element type {found}")]
    WrongTensorType {
        /// The model.
        model: String,
        /// The tensor's name in the checkpoint.
        tensor: String,
        /// The type in the file.
        found: String,
    },

    /// No code for this kind of transformer.
    #[error("model \"{model}\" has unsupported architecture \"{architecture}\"")]
    UnsupportedArchitecture {
        /// The model.
        model: String,
        /// `model_type` of its configuration.
        architecture: String,
    },

    /// The architecture is known, this variant of it is not.
    #[error("file \"{file}\" of model \"{model}\" asks for something unsupported: {reason}")]
    UnsupportedConfig {
        /// The model.
        model: String,
        /// The file that asks.
        file: String,
        /// The key and its value.
        reason: String,
    },

    /// The model knows no such task prefix.
    #[error("unknown prefix \"{prefix}\" for model \"{model}\"")]
    UnknownPrefix {
        /// The model.
        model: String,
        /// The prefix asked for.
        prefix: String,
        /// The prefixes that the model knows.
        known: Vec<String>,
    },

    /// A dimension outside `1..=full`.
    #[error("dimension {dimension} is out of range: it must be between 1 and {full}")]
    DimensionOutOfRange {
        /// The dimension asked for.
        dimension: usize,
        /// The model's full dimension.
        full: usize,
    },

    /// Token ids, given as numbers, that the model can't embed.
    #[error("invalid token ids: {reason}")]
    InvalidTokens {
        /// What is wrong with them.
        reason: String,
    },

    /// The administrator's limit is too small to hold any text.
    #[error("token limit {limit} is out of range: it must be at least {least}")]
    TokenLimitOutOfRange {
        /// The limit asked for.
        limit: usize,
        /// The special tokens and one more.
        least: usize,
    },

    /// The pass gave NaN or infinity: the weights are damaged.
    #[error("model \"{model}\" computed an embedding with a value that is not finite")]
    NotFinite {
        /// The model.
        model: String,
    },

    /// The operating system refused memory for the weights.
    #[error("out of memory while reading tensor \"{tensor}\" of model \"{model}\" ({bytes} bytes)")]
    OutOfMemory {
        /// The model.
        model: String,
        /// The tensor being read.
        tensor: String,
        /// The bytes asked for.
        bytes: usize,
    },

    /// The caller asked to stop.
    #[error("the work was interrupted")]
    Interrupted,

    /// A library below this crate failed.
    #[error("encoder library failed: {0}")]
    Backend(String),
}

impl From<candle_core::Error> for EncoderError {
    fn from(error: candle_core::Error) -> Self {
        EncoderError::Backend(error.to_string())
    }
}
