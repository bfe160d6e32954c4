//! Element-wise operations of a transformer, in place, on the calling thread.
//!
//! Depends on candle's tensors. candle has most of these, but runs them on pools of threads (see
//! [`crate::threads`]), allocates a result for each step, and computes a layer's variance as the
//! difference of two large numbers. In place is safe where the tensor was just
//! made: each function here takes one that nobody else holds a view of.

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, InplaceOp3, Layout, Result, Tensor, bail};

use crate::config::Activation;

/// Adds a vector to each row.
pub(crate) fn add_bias(rows: &Tensor, bias: &Tensor) -> Result<()> {
    rows.inplace_op2(bias, &AddBias)
}

/// Adds another tensor of the same shape.
pub(crate) fn add(rows: &Tensor, other: &Tensor) -> Result<()> {
    rows.inplace_op2(other, &Add)
}

/// Applies an activation to every value.
pub(crate) fn activate(rows: &Tensor, activation: Activation) -> Result<()> {
    rows.inplace_op1(&Activate(activation))
}

/// Multiplies by `silu(gate)`: the gated half of SwiGLU.
pub(crate) fn gate_silu(rows: &Tensor, gate: &Tensor) -> Result<()> {
    rows.inplace_op2(gate, &GateSilu)
}

/// Scales each row and turns it into weights that sum to one.
pub(crate) fn softmax_scaled(rows: &Tensor, scale: f32) -> Result<()> {
    rows.inplace_op1(&SoftmaxScaled(scale))
}

/// Normalises each row to mean 0 and variance 1, then scales and shifts it.
pub(crate) fn layer_norm(rows: &Tensor, norm: &LayerNorm) -> Result<()> {
    rows.inplace_op3(&norm.weight, &norm.bias, norm)
}

/// Rotates queries and keys by their positions: the first `2 · heads` heads of each row, the two
/// halves of a head against each other. `cosines` and `sines` have a row a position.
pub(crate) fn rotate(
    rows: &Tensor,
    cosines: &Tensor,
    sines: &Tensor,
    heads: usize,
    head: usize,
) -> Result<()> {
    rows.inplace_op3(cosines, sines, &Rotate { rotated: 2 * heads, head })
}

/// The parameters of a layer normalisation.
pub(crate) struct LayerNorm {
    pub weight: Tensor,
    pub bias: Tensor,
    pub epsilon: f64,
}

struct AddBias;
struct Add;
struct Activate(Activation);
struct GateSilu;
struct SoftmaxScaled(f32);
struct Rotate {
    rotated: usize,
    head: usize,
}

impl InplaceOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(
        &self,
        rows: &mut CpuStorage,
        rows_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<()> {
        let bias = values(bias, bias_layout)?;
        for row in values_mut(rows, rows_layout)?.chunks_exact_mut(bias.len().max(1)) {
            for (value, bias) in row.iter_mut().zip(bias) {
                *value += bias;
            }
        }
        Ok(())
    }
}

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        rows: &mut CpuStorage,
        rows_layout: &Layout,
        other: &CpuStorage,
        other_layout: &Layout,
    ) -> Result<()> {
        let other = values(other, other_layout)?;
        for (value, other) in values_mut(rows, rows_layout)?.iter_mut().zip(other) {
            *value += other;
        }
        Ok(())
    }
}

impl InplaceOp1 for Activate {
    fn name(&self) -> &'static str {
        "activate"
    }

    fn cpu_fwd(&self, rows: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let rows = values_mut(rows, layout)?;
        match self.0 {
            Activation::GeluErf => rows.iter_mut().for_each(|value| *value = gelu_erf(*value)),
            Activation::GeluTanh => rows.iter_mut().for_each(|value| *value = gelu_tanh(*value)),
        }
        Ok(())
    }
}

impl InplaceOp2 for GateSilu {
    fn name(&self) -> &'static str {
        "gate-silu"
    }

    fn cpu_fwd(
        &self,
        rows: &mut CpuStorage,
        rows_layout: &Layout,
        gate: &CpuStorage,
        gate_layout: &Layout,
    ) -> Result<()> {
        let gate = values(gate, gate_layout)?;
        for (value, gate) in values_mut(rows, rows_layout)?.iter_mut().zip(gate) {
            *value *= gate / (1.0 + (-gate).exp());
        }
        Ok(())
    }
}

impl InplaceOp1 for SoftmaxScaled {
    fn name(&self) -> &'static str {
        "softmax-scaled"
    }

    fn cpu_fwd(&self, rows: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let width = layout.dims().last().copied().unwrap_or(1).max(1);
        for row in values_mut(rows, layout)?.chunks_exact_mut(width) {
            let greatest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for value in row.iter_mut() {
                *value = ((*value - greatest) * self.0).exp();
                sum += *value;
            }
            row.iter_mut().for_each(|value| *value /= sum);
        }
        Ok(())
    }
}

impl InplaceOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        rows: &mut CpuStorage,
        rows_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<()> {
        let weight = values(weight, weight_layout)?;
        let bias = values(bias, bias_layout)?;
        for row in values_mut(rows, rows_layout)?.chunks_exact_mut(weight.len().max(1)) {
            normalise(row, self.epsilon);
            for ((value, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
                *value = *value * weight + bias;
            }
        }
        Ok(())
    }
}

impl InplaceOp3 for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(
        &self,
        rows: &mut CpuStorage,
        rows_layout: &Layout,
        cosines: &CpuStorage,
        cosines_layout: &Layout,
        sines: &CpuStorage,
        sines_layout: &Layout,
    ) -> Result<()> {
        let half = self.head / 2;
        let width = rows_layout.dims().last().copied().unwrap_or(1).max(1);
        let cosines = values(cosines, cosines_layout)?.chunks_exact(half);
        let sines = values(sines, sines_layout)?.chunks_exact(half);
        let rows = values_mut(rows, rows_layout)?.chunks_exact_mut(width);
        for ((row, cosines), sines) in rows.zip(cosines).zip(sines) {
            for head in row.chunks_exact_mut(self.head).take(self.rotated) {
                let (first, second) = head.split_at_mut(half);
                for (((x, y), cosine), sine) in first.iter_mut().zip(second).zip(cosines).zip(sines)
                {
                    (*x, *y) = (*x * cosine - *y * sine, *y * cosine + *x * sine);
                }
            }
        }
        Ok(())
    }
}

/// Mean 0, variance 1; the sums in 64 bits, so that a large mean can't swallow the variance.
pub(crate) fn normalise(row: &mut [f32], epsilon: f64) {
    let count = row.len() as f64;
    let mean = row.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
    let variance = row.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / count;
    let scale = 1.0 / (variance + epsilon).sqrt();
    for value in row {
        *value = ((f64::from(*value) - mean) * scale) as f32;
    }
}

fn gelu_erf(x: f32) -> f32 {
    0.5 * x * (1.0 + candle_core::cpu::erf::erf_f32(x * std::f32::consts::FRAC_1_SQRT_2))
}

fn gelu_tanh(x: f32) -> f32 {
    let inner = (2.0 / std::f32::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
    0.5 * x * (1.0 + inner.tanh())
}

fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("an operand does not lie in one piece"),
    }
}

fn values_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (layout.contiguous_offsets(), storage) {
        (Some((start, end)), CpuStorage::F32(values)) => Ok(&mut values[start..end]),
        _ => bail!("an operand does not lie in one piece of 32-bit floats"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn a_row_of_equal_values_normalises_to_zeros() {
        let mut row = vec![1234.567f32; 384];
        normalise(&mut row, 1e-12);
        assert!(row.iter().all(|value| value.abs() < 1e-3), "{row:?}");
    }

    #[test]
    fn gelu_has_the_published_values() {
        // x · Φ(x): Φ(1) = 0.841344746, Φ(-1) = 0.158655254.
        assert!((gelu_erf(1.0) - 0.841_344_7).abs() < 1e-6);
        assert!((gelu_erf(-1.0) + 0.158_655_25).abs() < 1e-6);
        assert!((gelu_tanh(1.0) - 0.841_191_9).abs() < 1e-6);
        assert_eq!(gelu_erf(0.0), 0.0);
    }

    #[test]
    fn softmax_of_large_scores_stays_finite() {
        let rows = Tensor::new(&[[1e30f32, 1e30, 0.0], [1.0, 2.0, 3.0]], &Device::Cpu).unwrap();
        softmax_scaled(&rows, 1.0).unwrap();
        let rows = rows.to_vec2::<f32>().unwrap();
        assert_eq!(rows[0], [0.5, 0.5, 0.0]);
        assert!((rows[1].iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
