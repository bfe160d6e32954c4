//! The directory of installed models: names, files, hashes.
//!
//! Depends on [`crate::error`] and the standard library. Everything that this crate reads comes
//! through [`ModelDirectory::open`]: only regular files that lie, links followed, below the
//! directory of models; sizes are bounded before anything is read; nothing is mapped.

use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{EncoderError, Poll, Result, check};

/// The file that makes a directory a model.
pub(crate) const CONFIG_FILE: &str = "config.json";
/// The weights.
pub(crate) const WEIGHTS_FILE: &str = "model.safetensors";
/// The tokenizer.
pub(crate) const TOKENIZER_FILE: &str = "tokenizer.json";

const MAX_NAME_BYTES: usize = 128;

/// A model's name: one path component of letters, digits, `.`, `_` and `-`, not starting with a
/// dot, 1 to 128 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelName(String);

impl ModelName {
    /// Checks a name that a user wrote.
    ///
    /// # Errors
    /// [`EncoderError::InvalidModelName`].
    pub fn parse(text: &str) -> Result<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let valid = (1..=MAX_NAME_BYTES).contains(&text.len())
            && !text.starts_with('.')
            && text.bytes().all(allowed);
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(EncoderError::InvalidModelName {
                name: text.chars().take(MAX_NAME_BYTES).collect(),
            })
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A directory whose sub-directories are models in the Hugging Face layout.
#[derive(Debug, Clone)]
pub struct ModelDirectory {
    root: PathBuf,
}

impl ModelDirectory {
    /// Names a directory. Nothing is read yet; it need not exist.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The installed models, sorted: directories with a valid name that hold a `config.json`.
    /// A directory of models that does not exist holds none.
    ///
    /// # Errors
    /// [`EncoderError::UnreadableDirectory`].
    pub fn names(&self) -> Result<Vec<ModelName>> {
        let unreadable = |error: std::io::Error| EncoderError::UnreadableDirectory {
            directory: self.root.display().to_string(),
            reason: error.to_string(),
        };
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let file_name = entry.map_err(unreadable)?.file_name();
            let Some(name) = file_name.to_str().and_then(|text| ModelName::parse(text).ok()) else {
                continue;
            };
            if self.is_installed(&name) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The sha256 of the model's weights in lower-case hexadecimal digits, read from the file as it
    /// is now. Takes about half a second a gigabyte.
    ///
    /// # Errors
    /// As [`ModelDirectory::file_sha256`].
    pub fn weights_sha256(&self, name: &ModelName, poll: Poll) -> Result<String> {
        self.file_sha256(name, WEIGHTS_FILE, poll)
    }

    /// The sha256 of each file that decides what the model computes, with the file's name: weights,
    /// configuration, tokenizer.
    ///
    /// # Errors
    /// As [`ModelDirectory::file_sha256`].
    pub fn file_hashes(&self, name: &ModelName, poll: Poll) -> Result<Vec<(String, String)>> {
        [CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE]
            .into_iter()
            .map(|file| Ok((file.to_owned(), self.file_sha256(name, file, poll)?)))
            .collect()
    }

    /// The sha256 of one file of the model.
    ///
    /// # Errors
    /// [`EncoderError::NotInstalled`], [`EncoderError::MissingFile`],
    /// [`EncoderError::UnreadableFile`], [`EncoderError::Interrupted`].
    pub fn file_sha256(&self, name: &ModelName, file: &str, poll: Poll) -> Result<String> {
        self.require_installed(name)?;
        let (mut input, _) = self.open(name, file)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0u8; 1 << 20];
        loop {
            check(poll)?;
            let read = input
                .read(&mut buffer)
                .map_err(|error| unreadable_file(name, file, error.to_string()))?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Refuses a model that is not there, naming those that are.
    pub(crate) fn require_installed(&self, name: &ModelName) -> Result<()> {
        if self.is_installed(name) {
            return Ok(());
        }
        Err(EncoderError::NotInstalled {
            name: name.to_string(),
            directory: self.root.display().to_string(),
            installed: self.names()?.iter().map(ModelName::to_string).collect(),
        })
    }

    /// The whole of a small file, refused when longer than `limit` bytes.
    pub(crate) fn read(&self, name: &ModelName, file: &str, limit: u64) -> Result<Vec<u8>> {
        let (input, bytes) = self.open(name, file)?;
        let too_long = || {
            let reason = format!("it is longer than {limit} bytes");
            corrupt_file(name, file, reason)
        };
        if bytes > limit {
            return Err(too_long());
        }
        let mut content = Vec::new();
        // The file may grow between the check and the reading.
        input
            .take(limit + 1)
            .read_to_end(&mut content)
            .map_err(|error| unreadable_file(name, file, error.to_string()))?;
        if content.len() as u64 > limit { Err(too_long()) } else { Ok(content) }
    }

    /// The whole of a small file, or nothing where the model has no such file.
    pub(crate) fn read_optional(
        &self,
        name: &ModelName,
        file: &str,
        limit: u64,
    ) -> Result<Option<Vec<u8>>> {
        match self.read(name, file, limit) {
            Ok(content) => Ok(Some(content)),
            Err(EncoderError::MissingFile { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a file of a model for reading and says how many bytes it has.
    pub(crate) fn open(&self, name: &ModelName, file: &str) -> Result<(File, u64)> {
        let refuse = |reason: &str| unreadable_file(name, file, reason.to_owned());
        let failed = |error: std::io::Error| match error.kind() {
            ErrorKind::NotFound => {
                EncoderError::MissingFile { model: name.to_string(), file: file.to_owned() }
            }
            _ => unreadable_file(name, file, error.to_string()),
        };
        let relative = Path::new(file);
        if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(refuse("its path leads out of the model's directory"));
        }
        let root = self.root.canonicalize().map_err(failed)?;
        let path = root.join(name.as_str()).join(relative).canonicalize().map_err(failed)?;
        if !path.starts_with(&root) {
            return Err(refuse("it is a link that leads out of the model directory"));
        }
        // Before opening: opening a pipe waits for a writer, for ever.
        if !fs::metadata(&path).map_err(failed)?.is_file() {
            return Err(refuse("it is not a regular file"));
        }
        let input = File::open(&path).map_err(failed)?;
        let bytes = input.metadata().map_err(failed)?.len();
        Ok((input, bytes))
    }

    fn is_installed(&self, name: &ModelName) -> bool {
        self.root.join(name.as_str()).join(CONFIG_FILE).is_file()
    }
}

/// A file that can't be read.
pub(crate) fn unreadable_file(name: &ModelName, file: &str, reason: String) -> EncoderError {
    EncoderError::UnreadableFile { model: name.to_string(), file: file.to_owned(), reason }
}

/// A file whose content is wrong.
pub(crate) fn corrupt_file(name: &ModelName, file: &str, reason: String) -> EncoderError {
    EncoderError::CorruptFile { model: name.to_string(), file: file.to_owned(), reason }
}

/// A file that asks for what this crate does not do.
pub(crate) fn unsupported(name: &ModelName, file: &str, reason: String) -> EncoderError {
    EncoderError::UnsupportedConfig { model: name.to_string(), file: file.to_owned(), reason }
}
