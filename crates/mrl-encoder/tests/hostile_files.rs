//! Missing, damaged and hostile files of a model: a typed error, never a panic, never a wait, never
//! memory asked for on a file's word alone.

mod common;

use std::collections::BTreeMap;

use common::*;
use mrl_encoder::{Encoder, EncoderError, LoadOptions, ModelName};
use proptest::prelude::*;
use serde_json::{Value, json};

fn try_load(scratch: &Scratch, model: &str) -> Result<Encoder, EncoderError> {
    Encoder::load(&scratch.directory(), &name(model), &LoadOptions::default(), &never)
}

fn refused(scratch: &Scratch) -> EncoderError {
    let error = try_load(scratch, "tiny").expect_err("the model must be refused");
    assert!(!error.to_string().ends_with('.'), "{error}");
    error
}

/// The tiny model with one file replaced.
fn with(file: &str, content: impl AsRef<[u8]>) -> Scratch {
    let scratch = tiny_nomic();
    scratch.write(&format!("tiny/{file}"), content);
    scratch
}

fn edited(text: &str, edit: impl FnOnce(&mut Value)) -> String {
    let mut value: Value = serde_json::from_str(text).unwrap();
    edit(&mut value);
    value.to_string()
}

/// The tensors of a checkpoint: name, element type, shape, bytes.
type Checkpoint = BTreeMap<String, (String, Vec<usize>, Vec<u8>)>;

fn checkpoint() -> Checkpoint {
    let header_bytes = u64::from_le_bytes(TINY_WEIGHTS[..8].try_into().unwrap()) as usize;
    let (header, data) = TINY_WEIGHTS[8..].split_at(header_bytes);
    let header: BTreeMap<String, Value> = serde_json::from_slice(header).unwrap();
    let tensor = |entry: &Value| {
        let offset = |index: usize| entry["data_offsets"][index].as_u64().unwrap() as usize;
        let shape = serde_json::from_value(entry["shape"].clone()).unwrap();
        let kind = entry["dtype"].as_str().unwrap().to_owned();
        (kind, shape, data[offset(0)..offset(1)].to_vec())
    };
    header
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(name, entry)| (name.clone(), tensor(entry)))
        .collect()
}

fn written(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, (kind, shape, bytes)) in checkpoint {
        let offsets = [data.len(), data.len() + bytes.len()];
        header
            .insert(name.clone(), json!({"dtype": kind, "shape": shape, "data_offsets": offsets}));
        data.extend_from_slice(bytes);
    }
    let mut file = safetensors(&Value::Object(header).to_string(), 0);
    file.extend_from_slice(&data);
    file
}

#[test]
fn names_are_one_path_component() {
    for bad in ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "é", "a\0", &"x".repeat(129)] {
        let error = ModelName::parse(bad).unwrap_err();
        assert!(matches!(error, EncoderError::InvalidModelName { .. }), "{bad:?}");
    }
    for good in ["a", "all-MiniLM-L6-v2", "x_1.5", &"x".repeat(128)] {
        assert_eq!(ModelName::parse(good).unwrap().as_str(), good);
    }
}

#[test]
fn only_directories_with_a_configuration_are_models() {
    let scratch = tiny_nomic();
    scratch.write("another/config.json", "{}");
    scratch.write("empty/readme", "");
    scratch.write("config.json", "{}");
    scratch.write(".hidden/config.json", "{}");
    let names = scratch.directory().names().unwrap();
    assert_eq!(names.iter().map(ModelName::as_str).collect::<Vec<_>>(), ["another", "tiny"]);
    match scratch.directory().describe(&name("absent")).unwrap_err() {
        EncoderError::NotInstalled { installed, .. } => assert_eq!(installed, ["another", "tiny"]),
        other => panic!("{other}"),
    }
    let nowhere = mrl_encoder::ModelDirectory::new(scratch.0.join("nowhere"));
    assert!(nowhere.names().unwrap().is_empty());
    assert!(matches!(
        nowhere.weights_sha256(&name("tiny"), &never),
        Err(EncoderError::NotInstalled { .. })
    ));
}

#[test]
fn missing_files_are_named() {
    for missing in ["model.safetensors", "tokenizer.json"] {
        let scratch = tiny_nomic();
        std::fs::remove_file(scratch.0.join("tiny").join(missing)).unwrap();
        match refused(&scratch) {
            EncoderError::MissingFile { file, .. } => assert_eq!(file, missing),
            other => panic!("{other}"),
        }
    }
    let scratch = tiny_nomic();
    std::fs::remove_file(scratch.0.join("tiny/config.json")).unwrap();
    assert!(matches!(refused(&scratch), EncoderError::NotInstalled { .. }));
}

#[test]
fn empty_cut_and_foreign_files_are_corrupt() {
    for file in ["config.json", "model.safetensors", "tokenizer.json", "manifest.json"] {
        let scratch = tiny_nomic();
        let whole = std::fs::read(scratch.0.join("tiny").join(file)).unwrap();
        let half = whole[..whole.len() / 2].to_vec();
        let short = whole[..whole.len() - 1].to_vec();
        let nested = b"[".repeat(100_000);
        for content in [vec![], half, short, b"\xff\xfe garbage".to_vec(), nested, b"[]".to_vec()] {
            match refused(&with(file, content)) {
                EncoderError::CorruptFile { file: found, .. } => assert_eq!(found, file),
                other => panic!("{file}: {other}"),
            }
        }
    }
}

#[test]
fn the_files_beside_a_model_without_manifest_are_checked() {
    let scratch = tiny_nomic();
    std::fs::remove_file(scratch.0.join("tiny/manifest.json")).unwrap();
    let description = try_load(&scratch, "tiny").unwrap().description().clone();
    assert_eq!((description.max_tokens, description.layer_norm), (256, false));

    for file in ["modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"] {
        scratch.write(&format!("tiny/{file}"), "{");
        assert!(matches!(refused(&scratch), EncoderError::CorruptFile { .. }));
        std::fs::remove_file(scratch.0.join("tiny").join(file)).unwrap();
    }
    let modules = |path: &str, kind: &str| json!([{"path": path, "type": kind}]).to_string();
    scratch.write("tiny/modules.json", modules("2_Dense", "sentence_transformers.models.Dense"));
    assert!(matches!(refused(&scratch), EncoderError::UnsupportedConfig { .. }));
    scratch.write("tiny/modules.json", modules("../../..", "sentence_transformers.models.Pooling"));
    assert!(matches!(refused(&scratch), EncoderError::UnreadableFile { .. }));
    scratch
        .write("tiny/modules.json", modules("1_Pooling", "sentence_transformers.models.Pooling"));
    assert!(matches!(refused(&scratch), EncoderError::MissingFile { .. }));
    scratch.write("tiny/1_Pooling/config.json", r#"{"pooling_mode_max_tokens": true}"#);
    assert!(matches!(refused(&scratch), EncoderError::UnsupportedConfig { .. }));
    scratch.write("tiny/1_Pooling/config.json", r#"{"pooling_mode_cls_token": true}"#);
    scratch.write(
        "tiny/config_sentence_transformers.json",
        r#"{"prompts": {"query": "query: ", "document": ""}}"#,
    );
    scratch.write("tiny/sentence_bert_config.json", r#"{"max_seq_length": 99}"#);
    let description = try_load(&scratch, "tiny").unwrap().description().clone();
    assert_eq!(description.pooling.to_string(), "cls");
    assert_eq!(description.max_tokens, 99);
    assert_eq!(description.prompt(Some("query")).unwrap(), "query: ");
    assert!(description.prompt(Some("search_query")).is_err());
}

#[test]
fn sizes_of_the_configuration_are_bounded() {
    let huge = json!(4_000_000_000_000u64);
    for key in
        ["n_embd", "n_layer", "n_head", "n_inner", "vocab_size", "n_positions", "type_vocab_size"]
    {
        for bad in [json!(0), json!(-1), huge.clone(), json!("64"), json!(1.5), Value::Null] {
            let config = edited(TINY_CONFIG, |config| config[key] = bad.clone());
            let error = refused(&with("config.json", config));
            assert!(matches!(error, EncoderError::CorruptFile { .. }), "{key} {bad}: {error}");
        }
    }
    for (key, bad) in [
        ("n_head", json!(3)),
        ("n_head", json!(64)),
        ("n_positions", json!(2)),
        ("layer_norm_epsilon", json!(-1.0)),
        ("rotary_emb_base", json!(0)),
        ("rotary_scaling_factor", json!(1e9)),
    ] {
        let error = refused(&with("config.json", edited(TINY_CONFIG, |config| config[key] = bad)));
        assert!(matches!(error, EncoderError::CorruptFile { .. }), "{key}: {error}");
    }
    for (key, other) in [
        ("activation_function", json!("gelu")),
        ("prenorm", json!(true)),
        ("qkv_proj_bias", json!(true)),
        ("rotary_emb_fraction", json!(0.5)),
        ("rotary_emb_interleaved", json!(true)),
        ("causal", json!(true)),
    ] {
        let error =
            refused(&with("config.json", edited(TINY_CONFIG, |config| config[key] = other)));
        assert!(matches!(error, EncoderError::UnsupportedConfig { .. }), "{key}: {error}");
    }
    let config = edited(TINY_CONFIG, |config| config["model_type"] = json!("qwen3"));
    let error = refused(&with("config.json", config));
    assert!(matches!(error, EncoderError::UnsupportedArchitecture { .. }), "{error}");
}

#[test]
fn a_manifest_of_another_model_is_refused() {
    for (key, other) in [
        ("dimensions", json!(768)),
        ("architecture", json!("bert")),
        ("matryoshka_dimensions", json!([65])),
        ("max_tokens", json!(2)),
        ("pooling", json!("sum")),
        ("prompts", json!({"a": 1})),
    ] {
        let manifest = edited(TINY_MANIFEST, |manifest| manifest["encoder"][key] = other);
        let error = refused(&with("manifest.json", manifest));
        assert!(matches!(error, EncoderError::CorruptFile { .. }), "{key}: {error}");
    }
}

#[test]
fn headers_of_weights_are_checked() {
    let corrupt = |file: Vec<u8>| match refused(&with("model.safetensors", file)) {
        EncoderError::CorruptFile { reason, .. } => reason,
        other => panic!("{other}"),
    };
    corrupt(u64::MAX.to_le_bytes().to_vec());
    corrupt((1u64 << 40).to_le_bytes().to_vec());
    corrupt(safetensors("not json", 0));
    let entry = |shape: Value, offsets: Value| {
        json!({"a": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}).to_string()
    };
    // A shape whose product overflows; offsets past the end, backwards, with a gap.
    corrupt(safetensors(&entry(json!([u64::MAX, 16]), json!([0, 16])), 16));
    corrupt(safetensors(&entry(json!([4_000_000_000u64]), json!([0, 16_000_000_000u64])), 16));
    corrupt(safetensors(&entry(json!([4]), json!([16, 0])), 16));
    corrupt(safetensors(&entry(json!([2]), json!([8, 16])), 16));
    corrupt(safetensors(&entry(json!([4]), json!([0, 8])), 16));
    // Two tensors over each other.
    let over = json!({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
                      "b": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]}});
    corrupt(safetensors(&over.to_string(), 24));
    // Bytes behind the last tensor.
    let mut longer = TINY_WEIGHTS.to_vec();
    longer.push(0);
    corrupt(longer);
}

#[test]
fn tensors_are_checked_against_the_configuration() {
    let mut lacking = checkpoint();
    lacking.remove("encoder.layers.1.mlp.fc2.weight");
    match refused(&with("model.safetensors", written(&lacking))) {
        EncoderError::MissingTensor { tensor, .. } => {
            assert_eq!(tensor, "encoder.layers.1.mlp.fc2.weight");
        }
        other => panic!("{other}"),
    }
    let mut turned = checkpoint();
    turned.get_mut("encoder.layers.0.mlp.fc2.weight").unwrap().1.reverse();
    match refused(&with("model.safetensors", written(&turned))) {
        EncoderError::WrongTensorShape { expected, found, .. } => {
            assert_eq!((expected, found), (vec![64, 96], vec![96, 64]));
        }
        other => panic!("{other}"),
    }
    let mut integers = checkpoint();
    integers.get_mut("emb_ln.weight").unwrap().0 = "I32".into();
    let error = refused(&with("model.safetensors", written(&integers)));
    assert!(matches!(error, EncoderError::WrongTensorType { .. }), "{error}");
}

#[test]
fn weights_that_are_not_finite_give_an_error_not_a_vector() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut damaged = checkpoint();
        let bytes = &mut damaged.get_mut("encoder.layers.1.norm2.bias").unwrap().2;
        bytes[..4].copy_from_slice(&bad.to_le_bytes());
        let encoder = try_load(&with("model.safetensors", written(&damaged)), "tiny").unwrap();
        let tokens = encoder.tokenize("", "a b", &never).unwrap();
        let error = encoder.embed(&tokens, &never).unwrap_err();
        assert!(matches!(error, EncoderError::NotFinite { .. }), "{error}");
    }
}

#[test]
fn half_precision_and_prefixed_checkpoints_load() {
    let encoder = load(&tiny_nomic().directory(), "tiny");
    let whole = unit(&encoder, "a b c");
    type Convert = fn(f32) -> u16;
    let half: Convert = |value| half::f16::from_f32(value).to_bits();
    let brain: Convert = |value| half::bf16::from_f32(value).to_bits();
    for (kind, convert, least) in [("F16", half, 0.99999), ("BF16", brain, 0.999)] {
        let halved: Checkpoint = checkpoint()
            .into_iter()
            .map(|(name, (_, shape, bytes))| {
                let values = bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four));
                let bytes = values.flat_map(|value| convert(value).to_le_bytes()).collect();
                (format!("bert.{name}"), (kind.to_owned(), shape, bytes))
            })
            .collect();
        let found = load(&with("model.safetensors", written(&halved)).directory(), "tiny");
        let similar = cosine(&whole, &unit(&found, "a b c"));
        assert!(similar > least, "{kind}: {similar}");
    }
}

#[test]
fn a_vocabulary_larger_than_the_embeddings_is_refused() {
    assert!(try_load(&with("tokenizer.json", tiny_tokenizer(128)), "tiny").is_ok());
    for tokenizer in [
        tiny_tokenizer(129),
        edited(&tiny_tokenizer(128), |file| file["model"]["vocab"]["a"] = json!(4_000_000_000u32)),
    ] {
        let error = refused(&with("tokenizer.json", tokenizer));
        assert!(matches!(error, EncoderError::CorruptFile { .. }), "{error}");
    }
}

#[test]
fn tokenizers_of_another_kind_are_refused() {
    let edits: [(&str, Value); 8] = [
        ("/normalizer", json!({"type": "NFC"})),
        ("/normalizer", Value::Null),
        ("/pre_tokenizer", json!({"type": "Split", "pattern": {"Regex": "(a+)+$"}})),
        ("/post_processor", Value::Null),
        ("/model/type", json!("BPE")),
        ("/model/unk_token", json!("absent")),
        ("/model/max_input_chars_per_word", json!(1_000_000_000)),
        ("/added_tokens/0/content", json!("white space")),
    ];
    for (place, other) in edits {
        let tokenizer = edited(&tiny_tokenizer(128), |file| {
            *file.pointer_mut(place).unwrap() = other.clone();
        });
        let error = refused(&with("tokenizer.json", tokenizer));
        let typed = matches!(
            error,
            EncoderError::CorruptFile { .. } | EncoderError::UnsupportedConfig { .. }
        );
        assert!(typed, "{place}: {error}");
    }
}

#[test]
fn links_pipes_and_folders_are_not_read() {
    use std::os::unix::fs::symlink;
    let outside = tiny_nomic();
    let refuses = |scratch: &Scratch| match refused(scratch) {
        EncoderError::UnreadableFile { reason, .. } => reason,
        other => panic!("{other}"),
    };
    for file in ["config.json", "model.safetensors", "tokenizer.json", "manifest.json"] {
        let scratch = tiny_nomic();
        let path = scratch.0.join("tiny").join(file);
        std::fs::remove_file(&path).unwrap();
        symlink(outside.0.join("tiny").join(file), &path).unwrap();
        assert!(refuses(&scratch).contains("link"));
    }
    let scratch = Scratch::new();
    symlink(outside.0.join("tiny"), scratch.0.join("tiny")).unwrap();
    assert!(refuses(&scratch).contains("link"));

    // Within the directory of models a link is a file like any other.
    let scratch = tiny_nomic();
    symlink(scratch.0.join("tiny"), scratch.0.join("alias")).unwrap();
    assert!(try_load(&scratch, "alias").is_ok());

    let scratch = tiny_nomic();
    let path = scratch.0.join("tiny/model.safetensors");
    std::fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert!(refuses(&scratch).contains("regular"));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(refuses(&scratch).contains("regular"));
}

#[test]
fn loading_can_be_interrupted_at_every_poll() {
    let scratch = tiny_nomic();
    let polls = std::cell::Cell::new(0);
    let load = |stop: usize| {
        polls.set(0);
        let poll = || {
            polls.set(polls.get() + 1);
            polls.get() == stop
        };
        Encoder::load(&scratch.directory(), &name("tiny"), &LoadOptions::default(), &poll).map(drop)
    };
    load(0).unwrap();
    let all = polls.get();
    assert!(all > 22, "{all} polls for 22 tensors");
    for stop in 1..=all {
        assert!(matches!(load(stop), Err(EncoderError::Interrupted)));
    }
}

/// What a damaged model may do: be refused, fail to embed, or embed to finite values.
fn survives(scratch: &Scratch) {
    let Ok(encoder) = try_load(scratch, "tiny") else { return };
    let Ok(tokens) = encoder.tokenize("", "a b [SEP] 77 zz", &never) else { return };
    if let Ok(embedding) = encoder.embed(&tokens, &never) {
        let full = encoder.description().dimensions;
        assert!(embedding.truncate_f32(full).unwrap().iter().all(|value| value.is_finite()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400, failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn changed_bytes_never_panic(
        file in prop::sample::select(
            vec!["config.json", "model.safetensors", "tokenizer.json", "manifest.json"]
        ),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        early in any::<bool>(),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let scratch = tiny_nomic();
        let path = scratch.0.join("tiny").join(file);
        let mut content = std::fs::read(&path).unwrap();
        // The weights' header is where a changed byte matters most.
        let reach = if early { content.len().min(2_500) } else { content.len() };
        for (place, value) in changes {
            content[place.index(reach)] = value;
        }
        if let Some(cut) = cut {
            content.truncate(cut.index(content.len()));
        }
        std::fs::write(&path, content).unwrap();
        survives(&scratch);
    }

    #[test]
    fn swapped_digits_of_the_header_never_panic(
        places in prop::collection::vec((any::<prop::sample::Index>(), b'0'..=b'9'), 1..4),
    ) {
        let header_bytes = u64::from_le_bytes(TINY_WEIGHTS[..8].try_into().unwrap()) as usize;
        let mut content = TINY_WEIGHTS.to_vec();
        let digits: Vec<usize> =
            (8..8 + header_bytes).filter(|&at| content[at].is_ascii_digit()).collect();
        for (place, digit) in places {
            content[digits[place.index(digits.len())]] = digit;
        }
        survives(&with("model.safetensors", content));
    }
}
