//! A loaded model: text to tokens, tokens to embedding.
//!
//! Depends on everything else in the crate; nothing in it depends on this but its users.

use crate::arch::Transformer;
use crate::description::ModelDescription;
use crate::directory::{CONFIG_FILE, ModelDirectory, ModelName, TOKENIZER_FILE, corrupt_file};
use crate::error::{EncoderError, Poll, Result, check};
use crate::pool::Embedding;
use crate::threads;
use crate::tokenize::{SPECIAL_TOKENS, TextTokenizer, Tokens};

/// What the administrator sets when a model is loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The most tokens a text may have, the special ones included; the rest is cut off. Nothing:
    /// the model's own limit. Beyond [`ModelDescription::max_tokens_scaled`] it has no effect.
    pub max_tokens: Option<usize>,
}

/// A model in memory, ready to embed. It can be shared between threads.
pub struct Encoder {
    description: ModelDescription,
    max_tokens: usize,
    tokenizer: TextTokenizer,
    transformer: Transformer,
    bytes_in_memory: u64,
    tensors: usize,
}

impl Encoder {
    /// Reads an installed model into memory. `poll` is asked between tensors and every few
    /// megabytes within one.
    ///
    /// # Errors
    /// [`EncoderError::NotInstalled`]; the errors of missing, unreadable, corrupt or unsupported
    /// files and tensors; [`EncoderError::TokenLimitOutOfRange`] for a limit below 3;
    /// [`EncoderError::OutOfMemory`]; [`EncoderError::Interrupted`].
    pub fn load(
        directory: &ModelDirectory,
        name: &ModelName,
        options: &LoadOptions,
        poll: Poll,
    ) -> Result<Self> {
        threads::confine_to_this_thread()?;
        let description = directory.describe(name)?;
        let max_tokens = token_limit(&description, options)?;
        check(poll)?;
        let tokenizer = TextTokenizer::load(directory, name, poll)?;
        let vocabulary = description.config.vocabulary;
        if tokenizer.greatest_id() as usize >= vocabulary {
            let reason = format!(
                "its token id {} is beyond the {vocabulary} of {CONFIG_FILE}",
                tokenizer.greatest_id()
            );
            return Err(corrupt_file(name, TOKENIZER_FILE, reason));
        }
        let loaded = Transformer::load(directory, name, &description.config, poll)?;
        Ok(Self {
            description,
            max_tokens,
            tokenizer,
            transformer: loaded.transformer,
            bytes_in_memory: loaded.bytes_in_memory,
            tensors: loaded.tensors,
        })
    }

    /// What the model is.
    pub fn description(&self) -> &ModelDescription {
        &self.description
    }

    /// The limit of tokens a text that is in force, the special ones included.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Bytes that the weights take in memory.
    pub fn weights_bytes(&self) -> u64 {
        self.bytes_in_memory
    }

    /// How many tensors of the file the model uses.
    pub fn tensor_count(&self) -> usize {
        self.tensors
    }

    /// How many parameters the model has.
    pub fn parameter_count(&self) -> u64 {
        self.bytes_in_memory / size_of::<f32>() as u64
    }

    /// The tokens of `prompt` and `text`, cut off at the limit. A long text is looked at no further
    /// than the limit needs; `poll` is asked between pieces of some 64 KiB.
    ///
    /// # Errors
    /// [`EncoderError::Interrupted`].
    pub fn tokenize(&self, prompt: &str, text: &str, poll: Poll) -> Result<Tokens> {
        self.tokenizer.tokenize(prompt, text, self.max_tokens, poll)
    }

    /// How many tokens the whole of `prompt` and `text` has, the special ones included, without any
    /// limit. `poll` is asked between pieces of some 64 KiB.
    ///
    /// # Errors
    /// [`EncoderError::Interrupted`].
    pub fn count_tokens(&self, prompt: &str, text: &str, poll: Poll) -> Result<usize> {
        self.tokenizer.count(prompt, text, poll)
    }

    /// Tokens from ids that were made elsewhere, the special ones included.
    ///
    /// # Errors
    /// [`EncoderError::InvalidTokens`] for none, more than the limit, or an id beyond the vocabulary.
    pub fn tokens_from_ids(&self, ids: Vec<u32>) -> Result<Tokens> {
        let tokens = Tokens::new(ids, false);
        self.check_tokens(&tokens)?;
        Ok(tokens)
    }

    /// The embedding of one text. `poll` is asked between layers, and within a layer of a long
    /// text between blocks of its rows.
    ///
    /// # Errors
    /// [`EncoderError::NotFinite`] where the weights give NaN or infinity;
    /// [`EncoderError::InvalidTokens`] for tokens of another encoder;
    /// [`EncoderError::Interrupted`]; [`EncoderError::Backend`].
    pub fn embed(&self, tokens: &Tokens, poll: Poll) -> Result<Embedding> {
        let states = self.last_hidden_states(tokens, poll)?;
        let description = &self.description;
        Embedding::from_states(
            &states,
            description.dimensions,
            description.pooling,
            description.layer_norm,
        )
        .ok_or_else(|| EncoderError::NotFinite { model: description.name.to_string() })
    }

    /// The last hidden state of each token, row after row: the stage before pooling.
    ///
    /// # Errors
    /// As [`Encoder::embed`], but values that are not finite are returned as they are.
    pub fn last_hidden_states(&self, tokens: &Tokens, poll: Poll) -> Result<Vec<f32>> {
        self.check_tokens(tokens)?;
        threads::confine_to_this_thread()?;
        let states = self.transformer.forward(tokens.ids(), poll)?;
        Ok(states.flatten_all()?.to_vec1()?)
    }

    fn check_tokens(&self, tokens: &Tokens) -> Result<()> {
        let invalid = |reason| Err(EncoderError::InvalidTokens { reason });
        let vocabulary = self.description.config.vocabulary;
        if tokens.ids().is_empty() || tokens.ids().len() > self.max_tokens {
            let count = tokens.ids().len();
            return invalid(format!("{count} tokens are not between 1 and {}", self.max_tokens));
        }
        match tokens.ids().iter().find(|&&id| id as usize >= vocabulary) {
            Some(id) => invalid(format!("id {id} is beyond the vocabulary of {vocabulary}")),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Encoder")
            .field("description", &self.description)
            .field("max_tokens", &self.max_tokens)
            .finish_non_exhaustive()
    }
}

fn token_limit(description: &ModelDescription, options: &LoadOptions) -> Result<usize> {
    let least = SPECIAL_TOKENS + 1;
    match options.max_tokens {
        Some(limit) if limit < least => Err(EncoderError::TokenLimitOutOfRange { limit, least }),
        Some(limit) => Ok(limit.min(description.max_tokens_scaled)),
        None => Ok(description.max_tokens),
    }
}
