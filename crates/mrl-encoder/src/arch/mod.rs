//! The transformers: one file an architecture, and what they share.
//!
//! Depends on [`crate::config`], [`crate::weights`], [`crate::ops`] and candle's tensors. A pass takes
//! one text: no batch, no padding, no mask, so that a text's embedding can't depend on another's.
//! Long products run in blocks of rows, and between blocks the caller is asked whether to go on:
//! a layer of a long text takes far longer than a user waits for a cancel.

mod bert;
mod nomic_bert;

use candle_core::Tensor;

use crate::config::{TransformerConfig, Variant};
use crate::directory::{ModelDirectory, ModelName};
use crate::error::{Poll, Result, check};
use crate::ops;
use crate::product::product;
use crate::weights::WeightFile;

/// Multiplications between two polls: some 30 ms on one core of 2020.
const MULTIPLICATIONS_A_BLOCK: usize = 500_000_000;
/// Attention scores in memory at once: 8 MiB.
const SCORES_A_BLOCK: usize = 2 << 20;
/// The first tensor of both architectures, by which the prefix of the names is found.
const WORD_EMBEDDINGS: &str = "embeddings.word_embeddings.weight";

/// A loaded transformer of one of the architectures.
pub(crate) enum Transformer {
    Bert(bert::Bert),
    NomicBert(nomic_bert::NomicBert),
}

/// What loading found.
pub(crate) struct Loaded {
    pub transformer: Transformer,
    pub bytes_in_memory: u64,
    pub tensors: usize,
}

impl Transformer {
    /// Reads the weights of a model.
    pub fn load(
        directory: &ModelDirectory,
        name: &ModelName,
        config: &TransformerConfig,
        poll: Poll,
    ) -> Result<Loaded> {
        let mut weights = WeightFile::open(directory, name, WORD_EMBEDDINGS, poll)?;
        let transformer = match config.variant {
            Variant::Bert { activation } => {
                Transformer::Bert(bert::Bert::load(&mut weights, config, activation)?)
            }
            Variant::NomicBert { rotary_base, trained_positions, scaling_factor } => {
                let rotary = nomic_bert::Rotary {
                    head: config.head(),
                    base: rotary_base,
                    trained_positions,
                    scaling_factor,
                };
                Transformer::NomicBert(nomic_bert::NomicBert::load(&mut weights, config, rotary)?)
            }
        };
        Ok(Loaded {
            transformer,
            bytes_in_memory: weights.bytes_in_memory(),
            tensors: weights.tensors(),
        })
    }

    /// The last hidden state of each token: shape (tokens, hidden). The ids must be below the
    /// vocabulary's size and at most as many as the positions.
    pub fn forward(&self, ids: &[u32], poll: Poll) -> Result<Tensor> {
        match self {
            Transformer::Bert(bert) => bert.forward(ids, poll),
            Transformer::NomicBert(nomic_bert) => nomic_bert.forward(ids, poll),
        }
    }
}

/// A linear layer: `rows · weightᵀ + bias`.
struct Linear {
    /// Shape (out, in), as checkpoints keep it.
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        let product = product(rows, &self.weight.t()?)?;
        if let Some(bias) = &self.bias {
            ops::add_bias(&product, bias)?;
        }
        Ok(product)
    }

    /// As `forward`, in blocks of rows, polling between them.
    fn forward_in_blocks(&self, rows: &Tensor, poll: Poll) -> Result<Tensor> {
        let multiplications_a_row = self.weight.elem_count();
        in_blocks(rows, multiplications_a_row, poll, |block| self.forward(block))
    }
}

/// Reads a layer normalisation.
fn read_layer_norm(
    weights: &mut WeightFile,
    name: &str,
    config: &TransformerConfig,
) -> Result<ops::LayerNorm> {
    Ok(ops::LayerNorm {
        weight: weights.read(&format!("{name}.weight"), &[config.hidden])?,
        bias: weights.read(&format!("{name}.bias"), &[config.hidden])?,
        epsilon: config.layer_norm_epsilon,
    })
}

/// Runs `work` on blocks of rows small enough to poll between, and stacks what it gives.
fn in_blocks(
    rows: &Tensor,
    multiplications_a_row: usize,
    poll: Poll,
    work: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let count = rows.dim(0)?;
    let size = (MULTIPLICATIONS_A_BLOCK / multiplications_a_row.max(1)).max(16);
    if count <= size {
        check(poll)?;
        return work(rows);
    }
    let mut blocks = Vec::with_capacity(count.div_ceil(size));
    for start in (0..count).step_by(size) {
        check(poll)?;
        blocks.push(work(&rows.narrow(0, start, size.min(count - start))?)?);
    }
    Ok(Tensor::cat(&blocks, 0)?)
}

/// Attention of every token to every other. `qkv` has shape (tokens, 3 · hidden): queries, keys,
/// values, each with the heads side by side. The result has shape (tokens, hidden).
fn attention(qkv: &Tensor, heads: usize, poll: Poll) -> Result<Tensor> {
    let (tokens, width) = qkv.dims2()?;
    let hidden = width / 3;
    let head = hidden / heads;
    let scale = 1.0 / (head as f32).sqrt();
    // Three views of shape (heads, tokens, head).
    let part = |index: usize| {
        qkv.narrow(1, index * hidden, hidden)?.reshape((tokens, heads, head))?.transpose(0, 1)
    };
    let queries = part(0)?;
    let keys_transposed = part(1)?.transpose(1, 2)?;
    let values = part(2)?;

    let size = (SCORES_A_BLOCK / (heads * tokens).max(1))
        .min(MULTIPLICATIONS_A_BLOCK / (2 * hidden * tokens).max(1))
        .max(1);
    let mut blocks = Vec::with_capacity(tokens.div_ceil(size));
    for start in (0..tokens).step_by(size) {
        check(poll)?;
        let count = size.min(tokens - start);
        let scores = product(&queries.narrow(1, start, count)?, &keys_transposed)?;
        ops::softmax_scaled(&scores, scale)?;
        let mixed = product(&scores, &values)?;
        blocks.push(mixed.transpose(0, 1)?.reshape((count, hidden))?);
    }
    if blocks.len() == 1 { Ok(blocks.remove(0)) } else { Ok(Tensor::cat(&blocks, 0)?) }
}
