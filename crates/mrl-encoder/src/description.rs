//! What a model is, from its files, without loading it.
//!
//! Depends on [`crate::config`], [`crate::manifest`], [`crate::directory`]. Sources, the first that
//! applies wins: the manifest; the sentence-transformers files; that library's defaults.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::{self, TransformerConfig};
use crate::directory::{
    CONFIG_FILE, ModelDirectory, ModelName, WEIGHTS_FILE, corrupt_file, unsupported,
};
use crate::error::{EncoderError, Result};
use crate::manifest::{self, EncoderManifest, MANIFEST_FILE};

const MODULES_FILE: &str = "modules.json";
const PROMPTS_FILE: &str = "config_sentence_transformers.json";
const LENGTH_FILE: &str = "sentence_bert_config.json";
const MAX_FILE_BYTES: u64 = 1 << 20;
/// An error message names at most so much of what a caller wrote.
const MAX_NAMED_CHARACTERS: usize = 128;
const MAX_PROMPTS: usize = 256;
const MAX_PROMPT_BYTES: usize = 64 * 1024;

/// The task prefixes that every model accepts: one without prompts of its own adds nothing.
pub const STANDARD_PREFIXES: [&str; 4] =
    ["search_query", "search_document", "clustering", "classification"];

/// The kinds of transformer that this crate computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// BERT: learned positions, post-norm, GELU.
    Bert,
    /// NomicBert: BERT with rotary positions, SwiGLU and no biases.
    NomicBert,
}

impl fmt::Display for Architecture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Architecture::Bert => "bert",
            Architecture::NomicBert => "nomic_bert",
        })
    }
}

/// How the states of the tokens become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Pooling {
    /// The mean over all tokens, the special ones included.
    Mean,
    /// The state of the first token.
    Cls,
}

impl fmt::Display for Pooling {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Pooling::Mean => "mean",
            Pooling::Cls => "cls",
        })
    }
}

/// What a model is, as its files and its manifest say.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ModelDescription {
    /// The model's name.
    pub name: ModelName,
    /// The kind of its transformer.
    pub architecture: Architecture,
    /// The full dimension of its embeddings.
    pub dimensions: usize,
    /// The dimensions that the model was trained to be cut to, largest first; empty where it was
    /// not trained so (or nobody said).
    pub matryoshka_dimensions: Vec<usize>,
    /// Task prefixes: name, and the text put before the user's.
    pub prompts: Vec<(String, String)>,
    /// How tokens become one vector.
    pub pooling: Pooling,
    /// Whether the pooled vector is layer-normed before truncation.
    pub layer_norm: bool,
    /// The model's own limit of tokens a text, the special ones included, before any setting.
    pub max_tokens: usize,
    /// The most that a setting can raise the limit to.
    pub max_tokens_scaled: usize,
    /// Bytes of the file of weights.
    pub weights_bytes: u64,
    pub(crate) config: TransformerConfig,
}

impl ModelDescription {
    /// The text to put before the user's for a task prefix. No prefix: the empty text. A model
    /// without prompts accepts the [`STANDARD_PREFIXES`] and adds nothing.
    ///
    /// # Errors
    /// [`EncoderError::UnknownPrefix`], with the names that the model knows.
    pub fn prompt(&self, prefix: Option<&str>) -> Result<&str> {
        let Some(prefix) = prefix else { return Ok("") };
        if self.prompts.is_empty() && STANDARD_PREFIXES.contains(&prefix) {
            return Ok("");
        }
        let known = self.prompts.iter().find(|(name, _)| name == prefix);
        known.map(|(_, text)| text.as_str()).ok_or_else(|| EncoderError::UnknownPrefix {
            model: self.name.to_string(),
            prefix: prefix.chars().take(MAX_NAMED_CHARACTERS).collect(),
            known: self.prefixes().into_iter().map(str::to_owned).collect(),
        })
    }

    /// The names that [`ModelDescription::prompt`] accepts.
    pub fn prefixes(&self) -> Vec<&str> {
        if self.prompts.is_empty() {
            return STANDARD_PREFIXES.to_vec();
        }
        self.prompts.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Whether the model was trained to be cut to this dimension; always so for the full one.
    pub fn is_trained_dimension(&self, dimension: usize) -> bool {
        dimension == self.dimensions || self.matryoshka_dimensions.contains(&dimension)
    }
}

impl ModelDirectory {
    /// Describes an installed model from its small files; the weights are not read.
    ///
    /// # Errors
    /// [`EncoderError::NotInstalled`], and the errors of missing, unreadable, corrupt or unsupported
    /// files.
    pub fn describe(&self, name: &ModelName) -> Result<ModelDescription> {
        self.require_installed(name)?;
        let config = config::read(self, name)?;
        let (_, weights_bytes) = self.open(name, WEIGHTS_FILE)?;
        let encoder = match manifest::find(self, name)? {
            Some(manifest) => manifest,
            None => from_published_files(self, name, &config)?,
        };
        agree(name, &encoder, &config)?;
        let mut matryoshka_dimensions = encoder.matryoshka_dimensions;
        matryoshka_dimensions.sort_unstable_by(|a, b| b.cmp(a));
        Ok(ModelDescription {
            name: name.clone(),
            architecture: config.architecture,
            dimensions: config.hidden,
            matryoshka_dimensions,
            prompts: prompts(name, &encoder.prompts)?,
            pooling: encoder.pooling,
            layer_norm: encoder.layer_norm,
            max_tokens: encoder.max_tokens.min(config.trained_positions()),
            max_tokens_scaled: match config.architecture {
                // Learned positions end where the table ends; the model's own limit may be lower.
                Architecture::Bert => encoder.max_tokens.min(config.positions),
                Architecture::NomicBert => config.positions,
            },
            weights_bytes,
            config,
        })
    }
}

/// Refuses a manifest that speaks of another model than the files do.
fn agree(name: &ModelName, encoder: &EncoderManifest, config: &TransformerConfig) -> Result<()> {
    let corrupt = |reason| Err(corrupt_file(name, MANIFEST_FILE, reason));
    if encoder.architecture != config.architecture.to_string() {
        return corrupt(format!(
            "it says architecture \"{}\", {CONFIG_FILE} says \"{}\"",
            encoder.architecture, config.architecture
        ));
    }
    if encoder.dimensions != config.hidden {
        return corrupt(format!(
            "it says {} dimensions, {CONFIG_FILE} says {}",
            encoder.dimensions, config.hidden
        ));
    }
    if let Some(wrong) =
        encoder.matryoshka_dimensions.iter().find(|kept| !(1..=config.hidden).contains(*kept))
    {
        return corrupt(format!("matryoshka dimension {wrong} is not below {}", config.hidden));
    }
    if encoder.max_tokens < 3 {
        return corrupt(format!("max_tokens {} leaves no room for a text", encoder.max_tokens));
    }
    Ok(())
}

fn prompts(name: &ModelName, found: &Map<String, Value>) -> Result<Vec<(String, String)>> {
    let wrong = |reason: &str| corrupt_file(name, PROMPTS_FILE, reason.to_owned());
    if found.len() > MAX_PROMPTS {
        return Err(wrong("it has too many prompts"));
    }
    found
        .iter()
        .map(|(prefix, text)| match text.as_str() {
            Some(text) if text.len() <= MAX_PROMPT_BYTES => Ok((prefix.clone(), text.to_owned())),
            Some(_) => Err(wrong("a prompt is too long")),
            None => Err(wrong("a prompt is not a text")),
        })
        .collect()
}

#[derive(Deserialize)]
struct Module {
    path: String,
    r#type: String,
}

#[derive(Deserialize)]
struct PoolingFile {
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize)]
struct PromptsFile {
    #[serde(default)]
    prompts: Map<String, Value>,
}

#[derive(Deserialize)]
struct LengthFile {
    max_seq_length: Option<usize>,
}

/// Reads what sentence-transformers writes beside a model.
fn from_published_files(
    directory: &ModelDirectory,
    name: &ModelName,
    config: &TransformerConfig,
) -> Result<EncoderManifest> {
    let prompts: Option<PromptsFile> = optional(directory, name, PROMPTS_FILE)?;
    let length: Option<LengthFile> = optional(directory, name, LENGTH_FILE)?;
    Ok(EncoderManifest {
        architecture: config.architecture.to_string(),
        dimensions: config.hidden,
        matryoshka_dimensions: Vec::new(),
        prompts: prompts.map(|file| file.prompts).unwrap_or_default(),
        pooling: published_pooling(directory, name)?,
        layer_norm: false,
        max_tokens: length
            .and_then(|file| file.max_seq_length)
            .unwrap_or_else(|| config.trained_positions()),
    })
}

fn published_pooling(directory: &ModelDirectory, name: &ModelName) -> Result<Pooling> {
    let Some(modules) = optional::<Vec<Module>>(directory, name, MODULES_FILE)? else {
        // A bare transformer is given mean pooling by sentence-transformers too.
        return Ok(Pooling::Mean);
    };
    let mut pooling = Pooling::Mean;
    for module in modules {
        match module.r#type.rsplit('.').next() {
            Some("Transformer" | "Normalize") => {}
            Some("Pooling") => pooling = pooling_mode(directory, name, &module.path)?,
            _ => {
                let reason = format!("module type \"{}\"", module.r#type);
                return Err(unsupported(name, MODULES_FILE, reason));
            }
        }
    }
    Ok(pooling)
}

fn pooling_mode(directory: &ModelDirectory, name: &ModelName, path: &str) -> Result<Pooling> {
    let file = format!("{path}/{CONFIG_FILE}");
    let content = directory.read(name, &file, MAX_FILE_BYTES)?;
    let modes: PoolingFile = serde_json::from_slice(&content)
        .map_err(|error| corrupt_file(name, &file, error.to_string()))?;
    let another = modes
        .others
        .iter()
        .any(|(key, value)| key.starts_with("pooling_mode_") && value == &Value::Bool(true));
    match (modes.pooling_mode_mean_tokens, modes.pooling_mode_cls_token, another) {
        (true, false, false) => Ok(Pooling::Mean),
        (false, true, false) => Ok(Pooling::Cls),
        _ => Err(unsupported(name, &file, "a pooling other than mean or cls alone".into())),
    }
}

fn optional<T: for<'de> Deserialize<'de>>(
    directory: &ModelDirectory,
    name: &ModelName,
    file: &str,
) -> Result<Option<T>> {
    directory
        .read_optional(name, file, MAX_FILE_BYTES)?
        .map(|content| serde_json::from_slice(&content))
        .transpose()
        .map_err(|error| corrupt_file(name, file, error.to_string()))
}
