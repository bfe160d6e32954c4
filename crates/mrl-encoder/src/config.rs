//! `config.json`: the shape of the transformer, validated.
//!
//! Depends on [`crate::directory`] and [`crate::error`]. Every size is bounded here, before anything
//! is allocated from it; what comes out needs no further check.

use serde::Deserialize;
use serde_json::Value;

use crate::description::Architecture;
use crate::directory::{CONFIG_FILE, ModelDirectory, ModelName, corrupt_file, unsupported};
use crate::error::{EncoderError, Result};

const MAX_CONFIG_BYTES: u64 = 1 << 20;
const MAX_HIDDEN: usize = 16_384;
const MAX_INNER: usize = 131_072;
const MAX_LAYERS: usize = 256;
const MAX_HEADS: usize = 1_024;
const MAX_VOCABULARY: usize = 4_000_000;
const MAX_POSITIONS: usize = 1_000_000;
const MAX_TYPES: usize = 1_024;

/// What both architectures have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TransformerConfig {
    pub architecture: Architecture,
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub inner: usize,
    pub vocabulary: usize,
    /// Rows of the token type embeddings; only row 0 is used.
    pub types: usize,
    pub layer_norm_epsilon: f64,
    /// Positions that the transformer can take at all.
    pub positions: usize,
    pub variant: Variant,
}

/// What only one of them has.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Variant {
    Bert {
        activation: Activation,
    },
    NomicBert {
        rotary_base: f64,
        /// Positions seen in training: beyond them the rotary base is scaled.
        trained_positions: usize,
        /// The factor of that scaling.
        scaling_factor: f64,
    },
}

/// The forms of GELU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// With the error function, as in the paper.
    GeluErf,
    /// The approximation with a hyperbolic tangent.
    GeluTanh,
}

impl TransformerConfig {
    /// Values in one head.
    pub fn head(&self) -> usize {
        self.hidden / self.heads
    }

    /// Positions for which the transformer was trained: the default limit where nothing else is said.
    pub fn trained_positions(&self) -> usize {
        match self.variant {
            Variant::Bert { .. } => self.positions,
            Variant::NomicBert { trained_positions, .. } => trained_positions.min(self.positions),
        }
    }
}

#[derive(Deserialize)]
struct BertFile {
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    vocab_size: usize,
    type_vocab_size: usize,
    max_position_embeddings: usize,
    layer_norm_eps: f64,
    hidden_act: String,
    position_embedding_type: Option<String>,
}

#[derive(Deserialize)]
struct NomicBertFile {
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    n_inner: usize,
    vocab_size: usize,
    type_vocab_size: usize,
    n_positions: usize,
    layer_norm_epsilon: f64,
    rotary_emb_base: f64,
    max_trained_positions: Option<usize>,
    rotary_scaling_factor: Option<f64>,
}

/// Settings of NomicBert that this crate knows in one value only.
const NOMIC_BERT_FIXED: &[(&str, &[&str])] = &[
    ("activation_function", &["\"swiglu\""]),
    ("prenorm", &["false"]),
    ("causal", &["false"]),
    ("qkv_proj_bias", &["false"]),
    ("mlp_fc1_bias", &["false"]),
    ("mlp_fc2_bias", &["false"]),
    ("rotary_emb_fraction", &["1.0", "1"]),
    ("rotary_emb_interleaved", &["false"]),
    ("rotary_emb_scale_base", &["null"]),
    ("parallel_block", &["false"]),
    ("use_rms_norm", &["false", "null"]),
];

/// Reads and validates a model's `config.json`.
pub(crate) fn read(directory: &ModelDirectory, name: &ModelName) -> Result<TransformerConfig> {
    let content = directory.read(name, CONFIG_FILE, MAX_CONFIG_BYTES)?;
    let value: Value = serde_json::from_slice(&content)
        .map_err(|error| corrupt_file(name, CONFIG_FILE, error.to_string()))?;
    let config = match value.get("model_type").and_then(Value::as_str) {
        Some("bert") => bert(name, value)?,
        Some("nomic_bert") => nomic_bert(name, value)?,
        Some(other) => {
            return Err(EncoderError::UnsupportedArchitecture {
                model: name.to_string(),
                architecture: other.chars().take(128).collect(),
            });
        }
        None => {
            return Err(corrupt_file(name, CONFIG_FILE, "it names no \"model_type\"".into()));
        }
    };
    validate(name, &config)?;
    Ok(config)
}

fn parse<T: for<'de> Deserialize<'de>>(name: &ModelName, value: Value) -> Result<T> {
    serde_json::from_value(value)
        .map_err(|error| corrupt_file(name, CONFIG_FILE, error.to_string()))
}

fn bert(name: &ModelName, value: Value) -> Result<TransformerConfig> {
    let file: BertFile = parse(name, value)?;
    let activation = match file.hidden_act.as_str() {
        "gelu" => Activation::GeluErf,
        "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
        other => {
            return Err(unsupported(name, CONFIG_FILE, format!("\"hidden_act\": \"{other}\"")));
        }
    };
    match file.position_embedding_type.as_deref() {
        None | Some("absolute") => {}
        Some(other) => {
            let reason = format!("\"position_embedding_type\": \"{other}\"");
            return Err(unsupported(name, CONFIG_FILE, reason));
        }
    }
    Ok(TransformerConfig {
        architecture: Architecture::Bert,
        hidden: file.hidden_size,
        layers: file.num_hidden_layers,
        heads: file.num_attention_heads,
        inner: file.intermediate_size,
        vocabulary: file.vocab_size,
        types: file.type_vocab_size,
        layer_norm_epsilon: file.layer_norm_eps,
        positions: file.max_position_embeddings,
        variant: Variant::Bert { activation },
    })
}

fn nomic_bert(name: &ModelName, value: Value) -> Result<TransformerConfig> {
    for (key, accepted) in NOMIC_BERT_FIXED {
        if let Some(found) = value.get(key).map(Value::to_string)
            && !accepted.contains(&found.as_str())
        {
            return Err(unsupported(name, CONFIG_FILE, format!("\"{key}\": {found}")));
        }
    }
    let file: NomicBertFile = parse(name, value)?;
    // A base is a ratio of wavelengths; a factor is how far the positions are stretched.
    require_range(name, "rotary_emb_base", file.rotary_emb_base, 1.0, 1e12)?;
    // 2 is what the publisher of nomic-embed-text-v1.5 names for texts beyond the trained length.
    let scaling_factor = file.rotary_scaling_factor.unwrap_or(2.0);
    require_range(name, "rotary_scaling_factor", scaling_factor, 1.0, 64.0)?;
    Ok(TransformerConfig {
        architecture: Architecture::NomicBert,
        hidden: file.n_embd,
        layers: file.n_layer,
        heads: file.n_head,
        inner: file.n_inner,
        vocabulary: file.vocab_size,
        types: file.type_vocab_size,
        layer_norm_epsilon: file.layer_norm_epsilon,
        positions: file.n_positions,
        variant: Variant::NomicBert {
            rotary_base: file.rotary_emb_base,
            trained_positions: file.max_trained_positions.unwrap_or(file.n_positions),
            scaling_factor,
        },
    })
}

fn validate(name: &ModelName, config: &TransformerConfig) -> Result<()> {
    let bounds = [
        ("hidden size", config.hidden, MAX_HIDDEN),
        ("number of layers", config.layers, MAX_LAYERS),
        ("number of attention heads", config.heads, MAX_HEADS),
        ("inner size", config.inner, MAX_INNER),
        ("vocabulary size", config.vocabulary, MAX_VOCABULARY),
        ("number of token types", config.types, MAX_TYPES),
        ("number of positions", config.positions, MAX_POSITIONS),
        ("number of trained positions", config.trained_positions(), MAX_POSITIONS),
    ];
    for (what, found, most) in bounds {
        if !(1..=most).contains(&found) {
            let reason = format!("{what} {found} is not between 1 and {most}");
            return Err(corrupt_file(name, CONFIG_FILE, reason));
        }
    }
    // Two special tokens and one of the text.
    if config.trained_positions() < 3 {
        let reason = format!("{} positions leave no room for a text", config.trained_positions());
        return Err(corrupt_file(name, CONFIG_FILE, reason));
    }
    if !config.hidden.is_multiple_of(config.heads) {
        let reason = format!(
            "hidden size {} is not a multiple of the {} attention heads",
            config.hidden, config.heads
        );
        return Err(corrupt_file(name, CONFIG_FILE, reason));
    }
    let rotary = matches!(config.variant, Variant::NomicBert { .. });
    // The halves of a head are rotated against each other; the scaling divides by head - 2.
    if rotary && (!config.head().is_multiple_of(2) || config.head() < 4) {
        let reason = format!("head size {} is not an even number above 2", config.head());
        return Err(corrupt_file(name, CONFIG_FILE, reason));
    }
    require_range(name, "layer norm epsilon", config.layer_norm_epsilon, 0.0, 1.0)
}

fn require_range(name: &ModelName, what: &str, found: f64, least: f64, most: f64) -> Result<()> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    let reason = format!("{what} {found} is not between {least} and {most}");
    Err(corrupt_file(name, CONFIG_FILE, reason))
}
