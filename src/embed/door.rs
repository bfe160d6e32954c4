//! The one door to an encoder.
//!
//! What passes through it are names, texts, numbers and vectors, nothing of the encoder's own
//! making, so that a process across a socket can stand behind it as well. Today the model runs in
//! the session's own process: it is loaded on first use and stays until the session ends or the
//! settings that choose it change.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use mrl_encoder::{
    Embedding, Encoder, EncoderError, LoadOptions, ModelDescription, ModelDirectory, ModelName,
};
use pgrx::pg_sys;

use crate::server::memory;
use crate::settings;

type Result<T> = std::result::Result<T, EncoderError>;

/// The embedding of one text, before truncation.
pub struct Answer {
    pub embedding: Embedding,
    /// How many tokens the model read, special ones included.
    pub tokens: usize,
    /// The text had more.
    pub truncated: bool,
}

/// A model that this session has loaded.
pub struct Loaded {
    pub name: String,
    /// Bytes of its weights in memory.
    pub bytes: u64,
}

/// The models below `mrl.model_dir`, sorted by name.
pub fn installed() -> Result<Vec<ModelName>> {
    SESSION.with_borrow_mut(|session| session.current().directory.names())
}

/// What a model is and can. Read once a session; an absent model is asked for anew each time.
pub fn describe<T>(model: &str, use_description: impl FnOnce(&ModelDescription) -> T) -> Result<T> {
    SESSION.with_borrow_mut(|session| {
        Ok(use_description(&session.current().model(model)?.description))
    })
}

/// The sha256 of a model's weights, in hexadecimal.
pub fn weights_sha256(model: &ModelName) -> Result<String> {
    SESSION
        .with_borrow_mut(|session| session.current().directory.weights_sha256(model, &interrupted))
}

/// Embeds one text: one forward pass. `prompt` is the task prefix's text.
pub fn embed(model: &str, prompt: &str, text: &str) -> Result<Answer> {
    SESSION.with_borrow_mut(|session| {
        let encoder = session.current().encoder(model)?;
        let tokens = encoder.tokenize(prompt, text, &interrupted)?;
        let embedding = encoder.embed(&tokens, &interrupted)?;
        Ok(Answer { embedding, tokens: tokens.len(), truncated: tokens.truncated() })
    })
}

/// How many tokens of a text the model reads at most.
pub fn max_tokens(model: &str) -> Result<usize> {
    SESSION.with_borrow_mut(|session| Ok(session.current().encoder(model)?.max_tokens()))
}

/// How many tokens a text has for a model, none cut off.
pub fn count_tokens(model: &str, prompt: &str, text: &str) -> Result<usize> {
    SESSION.with_borrow_mut(|session| {
        session.current().encoder(model)?.count_tokens(prompt, text, &interrupted)
    })
}

/// A number that changes when the settings that choose models and their results have changed.
pub fn generation() -> u64 {
    SESSION.with_borrow_mut(|session| session.current().generation)
}

/// The models that are loaded, sorted by name.
pub fn loaded() -> Vec<Loaded> {
    SESSION.with_borrow(|session| {
        let loaded = |(name, model): (&String, &Model)| {
            let bytes = model.encoder.as_ref()?.weights_bytes();
            Some(Loaded { name: name.clone(), bytes })
        };
        session.iter().flat_map(|session| session.models.iter().filter_map(loaded)).collect()
    })
}

/// Asked by the encoder now and then during long work.
///
/// A cancel, a time-out or the session's end raises the server's error from here: it unwinds the
/// encoder's frames, which hold nothing but memory; so does the error where memory is short. Other interrupts
/// are handled, and work goes on.
fn interrupted() -> bool {
    pgrx::check_for_interrupts!();
    if let Err(error) = memory::check() {
        error.raise();
    }
    false
}

/// What a session holds of models, for one value of the settings that choose them.
struct Session {
    directory: ModelDirectory,
    model_dir: PathBuf,
    max_tokens: Option<usize>,
    models: BTreeMap<String, Model>,
    /// The statement in which the settings were last compared: they are read from the
    /// configuration file, and the server reads that between statements only.
    checked_in: i64,
    /// Tells sessions under different settings apart.
    generation: u64,
}

struct Model {
    description: ModelDescription,
    /// `None` until the model is first needed.
    encoder: Option<Encoder>,
}

thread_local! {
    /// A session is one process with one thread that runs SQL.
    static SESSION: RefCell<Option<Session>> = const { RefCell::new(None) };
}

/// The session's models under the settings now in force.
trait Current {
    fn current(&mut self) -> &mut Session;
}

impl Current for Option<Session> {
    fn current(&mut self) -> &mut Session {
        let statement = statement();
        let generation = self.as_ref().map_or(0, |session| session.generation);
        if self.as_ref().is_some_and(|session| session.checked_in != statement) {
            let (model_dir, max_tokens) = (settings::model_dir(), settings::max_tokens());
            self.take_if(|session| {
                session.model_dir != model_dir || session.max_tokens != max_tokens
            });
        }
        let session = self.get_or_insert_with(|| Session {
            directory: ModelDirectory::new(settings::model_dir()),
            model_dir: settings::model_dir(),
            max_tokens: settings::max_tokens(),
            models: BTreeMap::new(),
            checked_in: statement,
            generation: generation + 1,
        });
        session.checked_in = statement;
        session
    }
}

impl Session {
    fn model(&mut self, name: &str) -> Result<&mut Model> {
        if !self.models.contains_key(name) {
            let description = self.directory.describe(&ModelName::parse(name)?)?;
            self.models.insert(name.to_owned(), Model { description, encoder: None });
        }
        self.models.get_mut(name).ok_or_else(|| EncoderError::Backend("model table".into()))
    }

    fn encoder(&mut self, name: &str) -> Result<&Encoder> {
        let options = LoadOptions { max_tokens: self.max_tokens };
        let directory = self.directory.clone();
        let model = self.model(name)?;
        if model.encoder.is_none() {
            let encoder =
                Encoder::load(&directory, &model.description.name, &options, &interrupted)?;
            // A model stays: none of it may lie in the reserve.
            interrupted();
            model.encoder = Some(encoder);
        }
        model.encoder.as_ref().ok_or_else(|| EncoderError::Backend("model table".into()))
    }
}

/// A number that changes with each statement of the client.
pub fn statement() -> i64 {
    // SAFETY: reads the session's own state.
    unsafe { pg_sys::GetCurrentStatementStartTimestamp() }
}
