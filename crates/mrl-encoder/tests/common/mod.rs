//! What the tests share: where models lie, checkpoints made for a test, distances.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use mrl_encoder::{Embedding, Encoder, LoadOptions, ModelDirectory, ModelName};

pub const MINILM: &str = "all-MiniLM-L6-v2";

pub fn never() -> bool {
    false
}

/// The directory of installed models: `MRL_TEST_MODEL_DIR`, else `build/models`.
pub fn installed_models() -> ModelDirectory {
    let root = std::env::var_os("MRL_TEST_MODEL_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../build/models"),
        PathBuf::from,
    );
    ModelDirectory::new(root)
}

pub fn name(text: &str) -> ModelName {
    ModelName::parse(text).unwrap()
}

pub fn load(directory: &ModelDirectory, model: &str) -> Encoder {
    Encoder::load(directory, &name(model), &LoadOptions::default(), &never).unwrap()
}

/// all-MiniLM-L6-v2; a test without it fails.
pub fn minilm() -> Encoder {
    let directory = installed_models();
    assert!(
        directory.describe(&name(MINILM)).is_ok(),
        "all-MiniLM-L6-v2 is not installed; run: \
         make model MODEL=all-MiniLM-L6-v2 MODEL_DIR=build/models"
    );
    load(&directory, MINILM)
}

pub fn embed(encoder: &Encoder, text: &str) -> Embedding {
    encoder.embed(&encoder.tokenize("", text, &never).unwrap(), &never).unwrap()
}

/// The embedding at its full dimension and length 1.
pub fn unit(encoder: &Encoder, text: &str) -> Vec<f32> {
    embed(encoder, text).truncate_f32(encoder.description().dimensions).unwrap()
}

pub fn inner_product(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    inner_product(a, b) / (inner_product(a, a) * inner_product(b, b)).sqrt()
}

/// The largest difference of two vectors' components.
pub fn farthest(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(&a, &b)| f64::from((a - b).abs())).fold(0.0, f64::max)
}

/// A directory of the test's own, removed at the end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let unique = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("mrl-encoder-{}-{unique}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn directory(&self) -> ModelDirectory {
        ModelDirectory::new(self.0.clone())
    }

    pub fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        let path = self.0.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub const TINY_CONFIG: &str = include_str!("../data/tiny_nomic/config.json");
pub const TINY_WEIGHTS: &[u8] = include_bytes!("../data/tiny_nomic/model.safetensors");

/// A tokenizer of BERT's kind with `size` tokens: special ones, letters, and numbers as words.
pub fn tiny_tokenizer(size: usize) -> String {
    let mut words: Vec<String> =
        ["[PAD]", "[CLS]", "[SEP]", "[UNK]"].into_iter().map(str::to_owned).collect();
    words.extend(('a'..='z').map(String::from));
    words.extend(('a'..='z').map(|letter| format!("##{letter}")));
    words.extend((words.len()..size).map(|number| number.to_string()));
    words.truncate(size);
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        words.iter().enumerate().map(|(id, word)| (word.clone(), id.into())).collect();
    serde_json::json!({
        "version": "1.0",
        "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 4}, "direction": "Right", "pad_id": 0},
        "added_tokens": [
            {"id": 1, "content": "[CLS]", "single_word": false, "lstrip": false, "rstrip": false,
             "normalized": false, "special": true},
            {"id": 2, "content": "[SEP]", "single_word": false, "lstrip": false, "rstrip": false,
             "normalized": false, "special": true}
        ],
        "normalizer": {"type": "BertNormalizer", "clean_text": true,
                       "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 1], "sep": ["[SEP]", 2]},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocabulary}
    })
    .to_string()
}

/// A manifest that applies nomic-embed-text-v1.5's pipeline to the tiny checkpoint.
pub const TINY_MANIFEST: &str = r#"{"encoder": {"architecture": "nomic_bert", "dimensions": 64,
    "matryoshka_dimensions": [16, 32, 64], "prompts": {"search_query": "search_query: "},
    "pooling": "mean", "layer_norm": true, "max_tokens": 2048}}"#;

/// The two-layer NomicBert as an installed model named `tiny`.
pub fn tiny_nomic() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("tiny/config.json", TINY_CONFIG);
    scratch.write("tiny/model.safetensors", TINY_WEIGHTS);
    scratch.write("tiny/tokenizer.json", tiny_tokenizer(128));
    scratch.write("tiny/manifest.json", TINY_MANIFEST);
    scratch
}

/// A file of weights with this header and this many zero bytes behind it.
pub fn safetensors(header: &str, data_bytes: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(file.len() + data_bytes, 0);
    file
}

/// Random numbers that are the same on every run (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
