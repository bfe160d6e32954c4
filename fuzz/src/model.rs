//! A model of some kilobytes in files: one layer, eight dimensions, two heads, of either
//! architecture.

use serde_json::{Value, json};

const HIDDEN: usize = 8;
const VOCABULARY: usize = 16;
const POSITIONS: usize = 12;

/// The names of the files, and their content.
pub fn files(is_bert: bool) -> Vec<(&'static str, Vec<u8>)> {
    let (config, architecture) = match is_bert {
        true => (bert_config(), "bert"),
        false => (nomic_bert_config(), "nomic_bert"),
    };
    let manifest = json!({"encoder": {"architecture": architecture, "dimensions": HIDDEN,
        "matryoshka_dimensions": [4, 8], "prompts": {"search_query": "a: "}, "pooling": "mean",
        "layer_norm": true, "max_tokens": 10}});
    vec![
        ("config.json", config.to_string().into_bytes()),
        ("model.safetensors", weights(&tensors(is_bert))),
        ("tokenizer.json", tokenizer().to_string().into_bytes()),
        ("manifest.json", manifest.to_string().into_bytes()),
        ("modules.json", MODULES.into()),
        ("1_Pooling/config.json", br#"{"pooling_mode_cls_token": true}"#.into()),
        ("sentence_bert_config.json", br#"{"max_seq_length": 9}"#.into()),
        (
            "config_sentence_transformers.json",
            br#"{"prompts": {"query": "query: ", "document": ""}}"#.into(),
        ),
    ]
}

const MODULES: &[u8] =
    br#"[{"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]"#;

fn bert_config() -> Value {
    json!({"model_type": "bert", "hidden_size": HIDDEN, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": VOCABULARY,
        "type_vocab_size": 1, "max_position_embeddings": POSITIONS, "layer_norm_eps": 1e-12,
        "hidden_act": "gelu"})
}

fn nomic_bert_config() -> Value {
    json!({"model_type": "nomic_bert", "n_embd": HIDDEN, "n_layer": 1, "n_head": 2, "n_inner": 8,
        "vocab_size": VOCABULARY, "type_vocab_size": 1, "n_positions": POSITIONS,
        "layer_norm_epsilon": 1e-12, "rotary_emb_base": 1000, "max_trained_positions": 8,
        "activation_function": "swiglu"})
}

fn tokenizer() -> Value {
    let words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "b", "c", "##a", "##b", "1", ":"];
    let vocabulary: serde_json::Map<String, Value> =
        words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), id.into())).collect();
    json!({"added_tokens": [{"id": 2, "content": "[SEP]", "special": true}],
        "normalizer": {"type": "BertNormalizer", "strip_accents": null},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 1], "sep": ["[SEP]", 2]},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 20, "vocab": vocabulary}})
}

fn tensors(is_bert: bool) -> Vec<(String, Vec<usize>)> {
    let matrix = |name: &str, rows: usize| (format!("{name}.weight"), vec![rows, HIDDEN]);
    let bias = |name: &str| (format!("{name}.bias"), vec![HIDDEN]);
    let norm = |name: &str| [(format!("{name}.weight"), vec![HIDDEN]), bias(name)];
    let mut tensors = vec![
        matrix("embeddings.word_embeddings", VOCABULARY),
        matrix("embeddings.token_type_embeddings", 1),
    ];
    if is_bert {
        let layer = "encoder.layer.0";
        tensors.push(matrix("embeddings.position_embeddings", POSITIONS));
        tensors.extend(norm("embeddings.LayerNorm"));
        tensors.extend(norm(&format!("{layer}.attention.output.LayerNorm")));
        tensors.extend(norm(&format!("{layer}.output.LayerNorm")));
        for part in [
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
            "intermediate.dense",
            "output.dense",
        ] {
            let name = format!("{layer}.{part}");
            tensors.extend([matrix(&name, HIDDEN), bias(&name)]);
        }
    } else {
        let layer = "encoder.layers.0";
        tensors.push(matrix(&format!("{layer}.attn.Wqkv"), 3 * HIDDEN));
        for part in ["attn.out_proj", "mlp.fc11", "mlp.fc12", "mlp.fc2"] {
            tensors.push(matrix(&format!("{layer}.{part}"), HIDDEN));
        }
        tensors.extend(norm("emb_ln"));
        tensors.extend(norm(&format!("{layer}.norm1")));
        tensors.extend(norm(&format!("{layer}.norm2")));
    }
    tensors
}

/// A file of weights: its header, then numbers of both signs.
fn weights(tensors: &[(String, Vec<usize>)]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, shape) in tensors {
        let start = data.len();
        let count: usize = shape.iter().product();
        data.extend((0..count).flat_map(|i| ((i % 7) as f32 / 4.0 - 0.75).to_le_bytes()));
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend(data);
    file
}
