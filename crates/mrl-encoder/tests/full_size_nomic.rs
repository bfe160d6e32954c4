//! A NomicBert of nomic-embed-text-v1.5's size with random weights: it loads, it embeds, it polls.

mod common;

use std::cell::Cell;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Instant;

use common::*;
use mrl_encoder::{Encoder, LoadOptions};
use serde_json::json;

const CONFIG: &str = r#"{
    "model_type": "nomic_bert", "activation_function": "swiglu", "causal": false,
    "layer_norm_epsilon": 1e-12, "max_trained_positions": 2048, "mlp_fc1_bias": false,
    "mlp_fc2_bias": false, "n_embd": 768, "n_head": 12, "n_inner": 3072, "n_layer": 12,
    "n_positions": 8192, "prenorm": false, "qkv_proj_bias": false, "rotary_emb_base": 1000,
    "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": false, "rotary_emb_scale_base": null,
    "rotary_scaling_factor": null, "type_vocab_size": 2, "vocab_size": 30528
}"#;

/// The names and shapes of the published checkpoint.
fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut tensors = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![30528, 768]),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, 768]),
        ("emb_ln.weight".to_owned(), vec![768]),
        ("emb_ln.bias".to_owned(), vec![768]),
    ];
    for layer in 0..12 {
        for (name, shape) in [
            ("attn.Wqkv.weight", vec![2304, 768]),
            ("attn.out_proj.weight", vec![768, 768]),
            ("mlp.fc11.weight", vec![3072, 768]),
            ("mlp.fc12.weight", vec![3072, 768]),
            ("mlp.fc2.weight", vec![768, 3072]),
            ("norm1.weight", vec![768]),
            ("norm1.bias", vec![768]),
            ("norm2.weight", vec![768]),
            ("norm2.bias", vec![768]),
        ] {
            tensors.push((format!("encoder.layers.{layer}.{name}"), shape));
        }
    }
    tensors
}

fn write_checkpoint(file: File) {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in tensors() {
        let start = end;
        end += 4 * shape.iter().product::<usize>();
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]});
        header.insert(name, entry);
    }
    let mut output = BufWriter::with_capacity(1 << 20, file);
    output.write_all(&safetensors(&serde_json::Value::Object(header).to_string(), 0)).unwrap();
    let mut random = Random(20);
    for (name, shape) in tensors() {
        let norm_weight = name.contains("norm") || name.contains("_ln");
        let norm_weight = norm_weight && name.ends_with("weight");
        for _ in 0..shape.iter().product::<usize>() {
            let spread = (random.next() >> 40) as f32 / (1 << 24) as f32 - 0.5;
            let value = if norm_weight { 1.0 } else { 0.1 * spread };
            output.write_all(&value.to_le_bytes()).unwrap();
        }
    }
    output.flush().unwrap();
}

#[test]
fn a_model_of_full_size_loads_and_embeds() {
    let minilm_tokenizer = installed_models().root().join(MINILM).join("tokenizer.json");
    let scratch = Scratch::new();
    // By its name the compiled-in manifest of the real model applies.
    let model = "nomic-embed-text-v1.5";
    scratch.write(&format!("{model}/config.json"), CONFIG);
    scratch.write(&format!("{model}/tokenizer.json"), std::fs::read(minilm_tokenizer).unwrap());
    write_checkpoint(File::create(scratch.0.join(model).join("model.safetensors")).unwrap());

    let start = Instant::now();
    let options = LoadOptions { max_tokens: Some(8192) };
    let encoder = Encoder::load(&scratch.directory(), &name(model), &options, &never).unwrap();
    println!("loaded in {:.2} s", start.elapsed().as_secs_f64());
    assert_eq!((encoder.tensor_count(), encoder.parameter_count()), (112, 136_731_648));
    assert_eq!((encoder.max_tokens(), encoder.description().max_tokens), (8192, 2048));
    let description = encoder.description();
    assert_eq!(description.matryoshka_dimensions, [768, 512, 256, 128, 64]);
    let prompt = description.prompt(Some("search_query")).unwrap();
    assert_eq!(prompt, "search_query: ");

    let text = "where was Albert Einstein born?";
    let tokens = encoder.tokenize(prompt, text, &never).unwrap();
    let same = minilm().tokenize(prompt, text, &never).unwrap();
    assert_eq!(tokens.ids(), same.ids());
    let (embedding, seconds, _) = timed(&encoder, &tokens);
    println!("{} tokens in {:.0} ms", tokens.len(), seconds * 1e3);
    for dimension in [768, 256, 64] {
        let vector = embedding.truncate_f32(dimension).unwrap();
        assert!((inner_product(&vector, &vector) - 1.0).abs() < 1e-5);
    }

    let long = encoder.tokenize(prompt, &"long text ".repeat(200), &never).unwrap();
    let (_, seconds, gap) = timed(&encoder, &long);
    let (count, gap) = (long.len(), gap * 1e3);
    println!("{count} tokens in {seconds:.1} s, at most {gap:.0} ms between polls");
    assert!(gap < 1_000.0, "{gap} ms without a poll");
}

/// The embedding, its seconds, and the longest time between two polls.
fn timed(encoder: &Encoder, tokens: &mrl_encoder::Tokens) -> (mrl_encoder::Embedding, f64, f64) {
    let (last, longest) = (Cell::new(Instant::now()), Cell::new(0.0f64));
    let start = Instant::now();
    let embedding = encoder.embed(tokens, &|| {
        longest.set(longest.get().max(last.get().elapsed().as_secs_f64()));
        last.set(Instant::now());
        false
    });
    longest.set(longest.get().max(last.get().elapsed().as_secs_f64()));
    (embedding.unwrap(), start.elapsed().as_secs_f64(), longest.get())
}
