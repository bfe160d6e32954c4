//! BERT (Devlin et al., 2019): learned positions, post-norm, GELU.
//!
//! Depends on what the parent module shares.

use candle_core::{Device, Tensor};

use super::{Linear, WORD_EMBEDDINGS, attention, in_blocks, read_layer_norm};
use crate::config::{Activation, TransformerConfig};
use crate::error::{Poll, Result, check};
use crate::ops::{self, LayerNorm};
use crate::weights::WeightFile;

pub(crate) struct Bert {
    word_embeddings: Tensor,
    position_embeddings: Tensor,
    /// Row 0 of the type embeddings: one text is all of type 0.
    type_embedding: Tensor,
    embedding_norm: LayerNorm,
    layers: Vec<Layer>,
}

struct Layer {
    heads: usize,
    query_key_value: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    intermediate: Linear,
    activation: Activation,
    output: Linear,
    output_norm: LayerNorm,
}

impl Bert {
    pub fn load(
        weights: &mut WeightFile,
        config: &TransformerConfig,
        activation: Activation,
    ) -> Result<Self> {
        let hidden = config.hidden;
        let types =
            weights.read("embeddings.token_type_embeddings.weight", &[config.types, hidden])?;
        Ok(Self {
            word_embeddings: weights.read(WORD_EMBEDDINGS, &[config.vocabulary, hidden])?,
            position_embeddings: weights
                .read("embeddings.position_embeddings.weight", &[config.positions, hidden])?,
            type_embedding: types.get(0)?,
            embedding_norm: read_layer_norm(weights, "embeddings.LayerNorm", config)?,
            layers: (0..config.layers)
                .map(|index| Layer::load(weights, config, activation, index))
                .collect::<Result<_>>()?,
        })
    }

    pub fn forward(&self, ids: &[u32], poll: Poll) -> Result<Tensor> {
        let index = Tensor::new(ids, &Device::Cpu)?;
        let mut states = self.word_embeddings.index_select(&index, 0)?;
        ops::add(&states, &self.position_embeddings.narrow(0, 0, ids.len())?)?;
        ops::add_bias(&states, &self.type_embedding)?;
        ops::layer_norm(&states, &self.embedding_norm)?;
        for layer in &self.layers {
            check(poll)?;
            states = layer.forward(&states, poll)?;
        }
        Ok(states)
    }
}

impl Layer {
    fn load(
        weights: &mut WeightFile,
        config: &TransformerConfig,
        activation: Activation,
        index: usize,
    ) -> Result<Self> {
        let layer = format!("encoder.layer.{index}");
        let hidden = config.hidden;
        let linear = |weights: &mut WeightFile, name: &str, output: usize, input: usize| {
            Ok::<_, crate::EncoderError>(Linear {
                weight: weights.read(&format!("{layer}.{name}.weight"), &[output, input])?,
                bias: Some(weights.read(&format!("{layer}.{name}.bias"), &[output])?),
            })
        };
        let three = |kind: &str| {
            ["query", "key", "value"].map(|part| format!("{layer}.attention.self.{part}.{kind}"))
        };
        let (matrices, vectors) = (three("weight"), three("bias"));
        // One product for the three instead of three: fewer, larger products are faster.
        let query_key_value = Linear {
            weight: weights
                .read_stacked(&matrices.each_ref().map(String::as_str), &[hidden, hidden])?,
            bias: Some(weights.read_stacked(&vectors.each_ref().map(String::as_str), &[hidden])?),
        };
        Ok(Self {
            heads: config.heads,
            query_key_value,
            attention_output: linear(weights, "attention.output.dense", hidden, hidden)?,
            attention_norm: read_layer_norm(
                weights,
                &format!("{layer}.attention.output.LayerNorm"),
                config,
            )?,
            intermediate: linear(weights, "intermediate.dense", config.inner, hidden)?,
            activation,
            output: linear(weights, "output.dense", hidden, config.inner)?,
            output_norm: read_layer_norm(weights, &format!("{layer}.output.LayerNorm"), config)?,
        })
    }

    fn forward(&self, states: &Tensor, poll: Poll) -> Result<Tensor> {
        let qkv = self.query_key_value.forward_in_blocks(states, poll)?;
        let mixed = attention(&qkv, self.heads, poll)?;
        let attended = self.attention_output.forward_in_blocks(&mixed, poll)?;
        ops::add(&attended, states)?;
        ops::layer_norm(&attended, &self.attention_norm)?;

        let multiplications_a_row = 2 * self.intermediate.weight.elem_count();
        in_blocks(&attended, multiplications_a_row, poll, |block| {
            let inner = self.intermediate.forward(block)?;
            ops::activate(&inner, self.activation)?;
            let output = self.output.forward(&inner)?;
            ops::add(&output, block)?;
            ops::layer_norm(&output, &self.output_norm)?;
            Ok(output)
        })
    }
}
