//! One request to embed a text: which model, whether the arguments make sense, whether the answer
//! is known already, what to warn of.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use mrl_encoder::{ModelDescription, ModelName};
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;

use crate::embed::cache::{Cache, Cached, Key};
use crate::embed::door;
use crate::server::error::{SqlError, model_dir_in_words};
use crate::settings::{self, OnLongText};
use crate::vector::datum::NewVector;

/// What this session has asked of one model.
#[derive(Default, Clone, Copy)]
pub struct Counters {
    pub texts: i64,
    pub tokens: i64,
    pub forward_passes: i64,
    pub cache_hits: i64,
}

/// The session's side of the door.
#[derive(Default)]
struct State {
    cache: Cache,
    counters: BTreeMap<String, Counters>,
    /// The door's generation under which the cache was filled.
    generation: u64,
    /// The default model as found in this statement.
    default_model: Option<(i64, String)>,
    /// Models whose untrained dimensions have been warned of.
    warned_dimensions: BTreeSet<String>,
    /// The statement that has been warned of long texts.
    warned_long_text: Option<i64>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// What a text is to be embedded with, checked.
pub struct Request<'a> {
    model: String,
    prefix: Option<&'a str>,
    prompt: String,
    /// Components to keep.
    dimensions: usize,
}

impl<'a> Request<'a> {
    /// Checks the arguments of `mrl_embed`. `model` is `None` for the default model.
    pub fn new(
        model: Option<&str>,
        prefix: Option<&'a str>,
        dim: Option<i32>,
    ) -> Result<Self, SqlError> {
        let model = resolve(model)?;
        let (prompt, full, trained) = door::describe(&model, |description| {
            let prompt = description.prompt(prefix).map(str::to_owned);
            (prompt, description.dimensions, trained_dimensions(description, dim))
        })?;
        let request =
            Self { prefix, prompt: prompt?, dimensions: dimensions(&model, dim, full)?, model };
        if let Some(trained) = trained {
            request.warn_of_dimension(&trained);
        }
        Ok(request)
    }

    /// Embeds one text.
    pub fn embed(&self, text: &str) -> Result<NewVector, SqlError> {
        let cached = self.look_up_or_run(text)?;
        if cached.truncated {
            self.on_long_text()?;
        }
        Ok(NewVector::from_components(&cached.leading(self.dimensions)?)?)
    }

    fn look_up_or_run(&self, text: &str) -> Result<Rc<Cached>, SqlError> {
        let key = Key { model: &self.model, prefix: self.prefix, text };
        let known = STATE.with_borrow_mut(|state| {
            state.empty_cache_if_settings_changed();
            let known = state.cache.get(key, settings::cache_bytes());
            let counters = state.counters(&self.model);
            counters.texts += 1;
            counters.cache_hits += i64::from(known.is_some());
            known
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let answer = door::embed(&self.model, &self.prompt, text)?;
        let cached = Rc::new(Cached::new(answer.embedding, answer.truncated));
        STATE.with_borrow_mut(|state| {
            let counters = state.counters(&self.model);
            counters.forward_passes += 1;
            counters.tokens += answer.tokens as i64;
            state.cache.insert(key, Rc::clone(&cached), settings::cache_bytes());
            if mrl_memory::is_short() {
                // What is kept for later is not to lie in the reserve.
                state.cache.clear();
            }
        });
        Ok(cached)
    }

    fn on_long_text(&self) -> Result<(), SqlError> {
        let limit = door::max_tokens(&self.model)?;
        let report = SqlError::new(
            Code::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
            format!(
                "text has more than {limit} tokens, the most that model \"{}\" reads",
                self.model
            ),
        );
        if settings::on_long_text() == OnLongText::Error {
            return Err(
                report.hint("Shorten or split the text, or set mrl.on_long_text to \"truncate\".")
            );
        }
        let statement = door::statement();
        let first = STATE
            .with_borrow_mut(|state| state.warned_long_text.replace(statement) != Some(statement));
        if first {
            SqlError::new(
                Code::ERRCODE_WARNING,
                format!(
                    "text is truncated to {limit} tokens, the most that model \"{}\" reads",
                    self.model
                ),
            )
            .detail("Further texts of this statement may be truncated without a warning.")
            .warn();
        }
        Ok(())
    }

    fn warn_of_dimension(&self, trained: &str) {
        // SAFETY: reads a variable that is set once when the process starts.
        let is_parallel_worker = unsafe { pg_sys::ParallelWorkerNumber } >= 0;
        // A worker's warnings reach the same client as its leader's, which has the same arguments.
        if is_parallel_worker {
            return;
        }
        if STATE.with_borrow_mut(|state| state.warned_dimensions.insert(self.model.clone())) {
            SqlError::new(
                Code::ERRCODE_WARNING,
                format!(
                    "model \"{}\" was not trained to be cut to {} dimensions",
                    self.model, self.dimensions
                ),
            )
            .detail(format!("It was trained for {trained}; others rank less well."))
            .warn();
        }
    }
}

/// How many tokens a model reads of a text. `model` is `None` for the default model.
pub fn count_tokens(
    model: Option<&str>,
    prefix: Option<&str>,
    text: &str,
) -> Result<usize, SqlError> {
    let model = resolve(model)?;
    let prompt =
        door::describe(&model, |description| description.prompt(prefix).map(str::to_owned))??;
    Ok(door::count_tokens(&model, &prompt, text)?)
}

/// The default model's name, if there is one.
pub fn default_model() -> Result<String, SqlError> {
    resolve(None)
}

/// What this session has asked of a model.
pub fn counters(model: &str) -> Counters {
    STATE.with_borrow(|state| state.counters.get(model).copied().unwrap_or_default())
}

impl State {
    fn counters(&mut self, model: &str) -> &mut Counters {
        self.counters.entry(model.to_owned()).or_default()
    }

    /// Embeddings made under other settings are not those that a new pass would give.
    fn empty_cache_if_settings_changed(&mut self) {
        let generation = door::generation();
        if self.generation != generation {
            self.cache.clear();
            self.generation = generation;
        }
    }
}

/// The model named, or the default one: `mrl.default_model`, or the single one installed.
fn resolve(model: Option<&str>) -> Result<String, SqlError> {
    // What a user has written is copied once it is known to be a name.
    if let Some(name) = model {
        return Ok(ModelName::parse(name)?.as_str().to_owned());
    }
    if let Some(name) = settings::default_model() {
        return Ok(name);
    }
    let statement = door::statement();
    let known = STATE.with_borrow(|state| state.default_model.clone());
    if let Some((_, name)) = known.filter(|(found_in, _)| *found_in == statement) {
        return Ok(name);
    }
    let name = single_installed_model()?;
    STATE.with_borrow_mut(|state| state.default_model = Some((statement, name.clone())));
    Ok(name)
}

fn single_installed_model() -> Result<String, SqlError> {
    let installed = door::installed()?;
    match installed.as_slice() {
        [name] => Ok(name.as_str().to_owned()),
        [] => {
            let directory = settings::model_dir().display().to_string();
            Err(SqlError::new(
                Code::ERRCODE_INVALID_PARAMETER_VALUE,
                "no embedding model is installed",
            )
            .detail(format!("There is none in {}.", model_dir_in_words(&directory)))
            .hint("Install one with \"make model MODEL=all-MiniLM-L6-v2\"."))
        }
        several => {
            let names: Vec<_> =
                several.iter().map(|name| format!("\"{}\"", name.as_str())).collect();
            Err(SqlError::new(
                Code::ERRCODE_INVALID_PARAMETER_VALUE,
                "several embedding models are installed and none is the default",
            )
            .detail(format!("Installed are {}.", names.join(", ")))
            .hint("Set mrl.default_model, or name the model in the call."))
        }
    }
}

fn dimensions(model: &str, dim: Option<i32>, full: usize) -> Result<usize, SqlError> {
    let Some(dim) = dim else { return Ok(full) };
    usize::try_from(dim).ok().filter(|dim| (1..=full).contains(dim)).ok_or_else(|| {
        SqlError::new(
            Code::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("dim must be between 1 and {full} for model \"{model}\", not {dim}"),
        )
    })
}

/// The dimensions that the model was trained for, in words, where `dim` is none of them.
fn trained_dimensions(description: &ModelDescription, dim: Option<i32>) -> Option<String> {
    let dim = usize::try_from(dim?).ok()?;
    if description.is_trained_dimension(dim) {
        return None;
    }
    let trained: Vec<_> = match description.matryoshka_dimensions.as_slice() {
        [] => vec![description.dimensions.to_string()],
        several => several.iter().map(usize::to_string).collect(),
    };
    Some(trained.join(", "))
}
