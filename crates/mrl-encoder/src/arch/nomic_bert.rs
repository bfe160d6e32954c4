//! NomicBert (Nussbaum et al., 2024): BERT with rotary positions, SwiGLU and no biases.
//!
//! Depends on what the parent module shares.

use candle_core::{Device, Tensor};

use super::{Linear, WORD_EMBEDDINGS, attention, in_blocks, read_layer_norm};
use crate::config::TransformerConfig;
use crate::error::{Poll, Result, check};
use crate::ops::{self, LayerNorm};
use crate::weights::WeightFile;

pub(crate) struct NomicBert {
    word_embeddings: Tensor,
    /// Row 0 of the type embeddings: one text is all of type 0.
    type_embedding: Tensor,
    embedding_norm: LayerNorm,
    rotary: Rotary,
    layers: Vec<Layer>,
}

struct Layer {
    heads: usize,
    head: usize,
    query_key_value: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    /// The half of SwiGLU that passes as it is.
    up: Linear,
    /// The half that goes through silu.
    gate: Linear,
    down: Linear,
    output_norm: LayerNorm,
}

/// How positions turn queries and keys (Su et al., 2021).
pub(crate) struct Rotary {
    pub head: usize,
    pub base: f64,
    pub trained_positions: usize,
    pub scaling_factor: f64,
}

impl Rotary {
    /// Cosines and sines of the angles, one row a position, half a head wide.
    fn tables(&self, tokens: usize) -> Result<(Tensor, Tensor)> {
        let half = self.head / 2;
        let base = self.base_for(tokens);
        let frequencies: Vec<f64> =
            (0..half).map(|pair| base.powf(-((2 * pair) as f64) / self.head as f64)).collect();
        let angles = (0..tokens)
            .flat_map(|position| frequencies.iter().map(move |each| position as f64 * each));
        let (cosines, sines): (Vec<f32>, Vec<f32>) =
            angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip();
        let table = |values| Tensor::from_vec(values, (tokens, half), &Device::Cpu);
        Ok((table(cosines)?, table(sines)?))
    }

    /// Dynamic NTK scaling: a text longer than the trained length turns slower, so that its last
    /// position meets angles that training has seen. Shorter texts are untouched.
    fn base_for(&self, tokens: usize) -> f64 {
        if tokens <= self.trained_positions {
            return self.base;
        }
        let (factor, head) = (self.scaling_factor, self.head as f64);
        let stretch = factor * tokens as f64 / self.trained_positions as f64 - (factor - 1.0);
        self.base * stretch.powf(head / (head - 2.0))
    }
}

impl NomicBert {
    pub fn load(
        weights: &mut WeightFile,
        config: &TransformerConfig,
        rotary: Rotary,
    ) -> Result<Self> {
        let hidden = config.hidden;
        let types =
            weights.read("embeddings.token_type_embeddings.weight", &[config.types, hidden])?;
        Ok(Self {
            word_embeddings: weights.read(WORD_EMBEDDINGS, &[config.vocabulary, hidden])?,
            type_embedding: types.get(0)?,
            embedding_norm: read_layer_norm(weights, "emb_ln", config)?,
            rotary,
            layers: (0..config.layers)
                .map(|index| Layer::load(weights, config, index))
                .collect::<Result<_>>()?,
        })
    }

    pub fn forward(&self, ids: &[u32], poll: Poll) -> Result<Tensor> {
        let index = Tensor::new(ids, &Device::Cpu)?;
        let mut states = self.word_embeddings.index_select(&index, 0)?;
        ops::add_bias(&states, &self.type_embedding)?;
        ops::layer_norm(&states, &self.embedding_norm)?;
        let (cosines, sines) = self.rotary.tables(ids.len())?;
        for layer in &self.layers {
            check(poll)?;
            states = layer.forward(&states, &cosines, &sines, poll)?;
        }
        Ok(states)
    }
}

impl Layer {
    fn load(weights: &mut WeightFile, config: &TransformerConfig, index: usize) -> Result<Self> {
        let layer = format!("encoder.layers.{index}");
        let (hidden, inner) = (config.hidden, config.inner);
        let linear = |weights: &mut WeightFile, name: &str, output: usize, input: usize| {
            Ok::<_, crate::EncoderError>(Linear {
                weight: weights.read(&format!("{layer}.{name}.weight"), &[output, input])?,
                bias: None,
            })
        };
        Ok(Self {
            heads: config.heads,
            head: config.head(),
            query_key_value: linear(weights, "attn.Wqkv", 3 * hidden, hidden)?,
            attention_output: linear(weights, "attn.out_proj", hidden, hidden)?,
            attention_norm: read_layer_norm(weights, &format!("{layer}.norm1"), config)?,
            up: linear(weights, "mlp.fc11", inner, hidden)?,
            gate: linear(weights, "mlp.fc12", inner, hidden)?,
            down: linear(weights, "mlp.fc2", hidden, inner)?,
            output_norm: read_layer_norm(weights, &format!("{layer}.norm2"), config)?,
        })
    }

    fn forward(
        &self,
        states: &Tensor,
        cosines: &Tensor,
        sines: &Tensor,
        poll: Poll,
    ) -> Result<Tensor> {
        let qkv = self.query_key_value.forward_in_blocks(states, poll)?;
        ops::rotate(&qkv, cosines, sines, self.heads, self.head)?;
        let mixed = attention(&qkv, self.heads, poll)?;
        let attended = self.attention_output.forward_in_blocks(&mixed, poll)?;
        ops::add(&attended, states)?;
        ops::layer_norm(&attended, &self.attention_norm)?;

        let multiplications_a_row = 3 * self.up.weight.elem_count();
        in_blocks(&attended, multiplications_a_row, poll, |block| {
            let inner = self.up.forward(block)?;
            ops::gate_silu(&inner, &self.gate.forward(block)?)?;
            let output = self.down.forward(&inner)?;
            ops::add(&output, block)?;
            ops::layer_norm(&output, &self.output_norm)?;
            Ok(output)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOMIC: Rotary =
        Rotary { head: 64, base: 1000.0, trained_positions: 2048, scaling_factor: 2.0 };

    #[test]
    fn the_base_is_scaled_only_beyond_the_trained_length() {
        assert_eq!(NOMIC.base_for(1), 1000.0);
        assert_eq!(NOMIC.base_for(2048), 1000.0);
        // At twice the trained length: 2 · 2 - 1 = 3, to the power of 64/62.
        let expected = 1000.0 * 3f64.powf(64.0 / 62.0);
        assert!((NOMIC.base_for(4096) - expected).abs() < 1e-9);
    }

    #[test]
    fn position_zero_is_not_turned() {
        let (cosines, sines) = NOMIC.tables(2).unwrap();
        assert_eq!(cosines.get(0).unwrap().to_vec1::<f32>().unwrap(), [1.0; 32]);
        assert_eq!(sines.get(0).unwrap().to_vec1::<f32>().unwrap(), [0.0; 32]);
        assert!((sines.get(1).unwrap().to_vec1::<f32>().unwrap()[0] - 1f32.sin()).abs() < 1e-7);
    }
}
