//! all-MiniLM-L6-v2 against published values and a reference run.

mod common;
#[path = "common/published.rs"]
mod published;

use std::collections::BTreeMap;

use common::*;
use proptest::prelude::*;

#[test]
fn every_published_record_is_met() {
    let count = published::check_all(&minilm(), "sentence-transformers/all-MiniLM-L6-v2");
    assert_eq!(count, 6);
}

#[test]
fn the_reference_run_is_met_at_all_dimensions() {
    let reference: BTreeMap<String, Vec<f32>> =
        serde_json::from_str(include_str!("data/minilm_st6_f32_full.json")).unwrap();
    let encoder = minilm();
    for (text, expected) in reference {
        let found = unit(&encoder, &text);
        let difference = farthest(&found, &expected);
        println!("{difference:.2e}  {text}");
        assert!(difference < 2e-6, "{text}: {difference:.2e}");
    }
}

#[test]
fn the_description_is_the_manifests() {
    let encoder = minilm();
    let description = encoder.description();
    assert_eq!(description.architecture.to_string(), "bert");
    assert_eq!((description.dimensions, description.max_tokens), (384, 256));
    assert!(description.is_trained_dimension(384) && !description.is_trained_dimension(128));
    assert_eq!(description.prompt(Some("clustering")).unwrap(), "");
    assert!(description.prompt(Some("passage")).is_err());
    assert_eq!((encoder.weights_bytes(), encoder.tensor_count()), (90_261_504, 101));
    let sha256 = installed_models().weights_sha256(&name(MINILM), &never).unwrap();
    assert_eq!(sha256, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db");
}

#[test]
fn the_file_of_weights_decides_with_or_without_the_manifest() {
    let scratch = Scratch::new();
    let source = installed_models().root().join(MINILM);
    for file in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "modules.json",
        "1_Pooling/config.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
    ] {
        scratch.write(&format!("renamed/{file}"), std::fs::read(source.join(file)).unwrap());
    }
    let renamed = load(&scratch.directory(), "renamed");
    assert_eq!(renamed.description().max_tokens, 256);
    assert_eq!(unit(&renamed, "hello world"), unit(&minilm(), "hello world"));
}

#[test]
fn the_empty_text_and_special_tokens_are_the_references() {
    let encoder = minilm();
    let ids = |text: &str| encoder.tokenize("", text, &never).unwrap().ids().to_vec();
    assert_eq!(ids(""), [101, 102]);
    assert_eq!(ids("hello world"), [101, 7592, 2088, 102]);
    assert_eq!(ids("a [SEP] b[MASK]"), [101, 1037, 102, 1038, 103, 102]);
    assert!(unit(&encoder, "").iter().all(|value| value.is_finite()));
}

#[test]
fn a_text_beyond_the_limit_is_cut_and_says_so() {
    let encoder = minilm();
    let words = |count: usize| vec!["word"; count].join(" ");
    let tokens = encoder.tokenize("", &words(254), &never).unwrap();
    assert_eq!((tokens.len(), tokens.truncated()), (256, false));
    let cut = encoder.tokenize("", &words(255), &never).unwrap();
    assert_eq!((cut.ids(), cut.truncated()), (tokens.ids(), true));
    assert_eq!(encoder.count_tokens("", &words(255), &never).unwrap(), 257);
    assert_eq!(encoder.count_tokens("word ", &words(100_000), &never).unwrap(), 100_003);
}

#[test]
fn an_embedding_can_be_interrupted_at_every_poll() {
    let encoder = minilm();
    let tokens = encoder.tokenize("", &"word ".repeat(300), &never).unwrap();
    let polls = std::cell::Cell::new(0);
    encoder
        .embed(&tokens, &|| {
            polls.set(polls.get() + 1);
            false
        })
        .unwrap();
    assert!(polls.get() >= 6, "{} polls", polls.get());
    for stop in 1..=polls.get() {
        let seen = std::cell::Cell::new(0);
        let error = encoder.embed(&tokens, &|| {
            seen.set(seen.get() + 1);
            seen.get() == stop
        });
        assert!(matches!(error, Err(mrl_encoder::EncoderError::Interrupted)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..Default::default() })]

    /// An embedding depends on its text alone: whatever was embedded before it, in whatever order.
    #[test]
    fn neighbours_change_no_bit(
        texts in prop::collection::vec("[a-z ]{0,200}|\\PC{0,60}", 1..5),
        order in any::<prop::sample::Index>(),
    ) {
        let encoder = minilm();
        let alone: Vec<_> = texts.iter().map(|text| unit(&encoder, text)).collect();
        for step in 0..texts.len() {
            let index = (order.index(texts.len()) + step) % texts.len();
            prop_assert_eq!(&unit(&encoder, &texts[index]), &alone[index]);
        }
    }
}
