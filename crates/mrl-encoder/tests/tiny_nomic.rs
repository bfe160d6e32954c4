//! The two-layer NomicBert against the reference implementation, stage by stage.

mod common;

use common::*;
use mrl_encoder::{Encoder, EncoderError, LoadOptions};
use serde_json::Value;

const TOLERANCE: f64 = 1e-4;

fn expected() -> Value {
    serde_json::from_str(include_str!("data/tiny_nomic/expected.json")).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn every_stage_is_met() {
    let scratch = tiny_nomic();
    let encoder = load(&scratch.directory(), "tiny");
    let expected = expected();
    let near = |what: &str, found: &[f32], reference: &[f32]| {
        let difference = farthest(found, reference);
        println!("{difference:.2e}  {what}");
        assert!(difference < TOLERANCE, "{what}: {difference:.2e}");
    };
    for (row, ids) in expected["ids"].as_array().unwrap().iter().enumerate() {
        let tokens = encoder.tokens_from_ids(serde_json::from_value(ids.clone()).unwrap()).unwrap();
        if row == 0 {
            let states = encoder.last_hidden_states(&tokens, &never).unwrap();
            let reference = expected["last_hidden_row0"].as_array().unwrap();
            near("last hidden", &states, &reference.iter().flat_map(floats).collect::<Vec<_>>());
        }
        let embedding = encoder.embed(&tokens, &never).unwrap();
        near("mean pooled", embedding.pooled(), &floats(&expected["mean_pooled"][row]));
        near("layer norm", embedding.full(), &floats(&expected["layer_norm"][row]));
        for dimension in [64, 32, 16] {
            let found = embedding.truncate_f32(dimension).unwrap();
            near("truncated", &found, &floats(&expected[format!("mrl_{dimension}")][row]));
            let halves = embedding.truncate(dimension).unwrap();
            assert!(
                halves
                    .iter()
                    .zip(&found)
                    .all(|(half, &full)| { *half == half::f16::from_f32(full) })
            );
        }
    }
}

#[test]
fn ids_that_the_model_has_not_are_errors() {
    let scratch = tiny_nomic();
    let encoder = load(&scratch.directory(), "tiny");
    for ids in [vec![], vec![1, 128, 2], vec![1, u32::MAX, 2], vec![1; 257]] {
        let error = encoder.tokens_from_ids(ids).unwrap_err();
        assert!(matches!(error, EncoderError::InvalidTokens { .. }), "{error}");
    }
}

/// The tiny model as one trained to 16 positions, so that scaling sets in early.
fn trained_to_16() -> Scratch {
    let scratch = tiny_nomic();
    let mut config: Value = serde_json::from_str(TINY_CONFIG).unwrap();
    config["max_trained_positions"] = 16.into();
    scratch.write("tiny/config.json", config.to_string());
    scratch
}

#[test]
fn a_limit_beyond_the_trained_length_changes_only_texts_beyond_it() {
    let scratch = trained_to_16();
    let with_limit = |max_tokens| {
        let options = LoadOptions { max_tokens };
        Encoder::load(&scratch.directory(), &name("tiny"), &options, &never).unwrap()
    };
    let (plain, scaled) = (with_limit(None), with_limit(Some(8192)));
    assert_eq!((plain.max_tokens(), scaled.max_tokens()), (16, 256));
    assert_eq!(with_limit(Some(5)).max_tokens(), 5);

    let short = plain.tokenize("", "a b c d e f g h i j k l m n", &never).unwrap();
    assert_eq!((short.len(), short.truncated()), (16, false));
    assert_eq!(plain.embed(&short, &never).unwrap(), scaled.embed(&short, &never).unwrap());

    let long: Vec<u32> = (1..40).collect();
    assert!(plain.tokens_from_ids(long.clone()).is_err());
    let beyond = scaled.embed(&scaled.tokens_from_ids(long.clone()).unwrap(), &never).unwrap();
    let whole = tiny_nomic();
    let unscaled = load(&whole.directory(), "tiny");
    let without = unscaled.embed(&unscaled.tokens_from_ids(long).unwrap(), &never).unwrap();
    assert_ne!(beyond, without);
    assert!(cosine(beyond.full(), without.full()) > 0.5);
}

#[test]
fn a_limit_without_room_for_a_text_is_an_error() {
    let scratch = tiny_nomic();
    let options = LoadOptions { max_tokens: Some(2) };
    let error = Encoder::load(&scratch.directory(), &name("tiny"), &options, &never).unwrap_err();
    assert!(matches!(error, EncoderError::TokenLimitOutOfRange { limit: 2, least: 3 }));
}

#[test]
fn prompts_are_put_before_the_text() {
    let scratch = tiny_nomic();
    let encoder = load(&scratch.directory(), "tiny");
    let description = encoder.description();
    let prompt = description.prompt(Some("search_query")).unwrap();
    assert_eq!(prompt, "search_query: ");
    assert_eq!(description.prompt(None).unwrap(), "");
    let with = encoder.tokenize(prompt, "a b", &never).unwrap();
    assert_eq!(with, encoder.tokenize("", "search_query: a b", &never).unwrap());
    match description.prompt(Some("clustering")).unwrap_err() {
        EncoderError::UnknownPrefix { known, .. } => assert_eq!(known, ["search_query"]),
        other => panic!("{other}"),
    }
    assert_eq!(description.matryoshka_dimensions, [64, 32, 16]);
}

/// Threads don't share a pool: none waits for the thread that came first.
#[test]
fn several_threads_embed_at_once_to_the_same_bits() {
    let scratch = tiny_nomic();
    let encoder = load(&scratch.directory(), "tiny");
    let tokens = encoder.tokens_from_ids((1..100).collect()).unwrap();
    let here = encoder.embed(&tokens, &never).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(encoder.embed(&tokens, &never).unwrap(), here));
        }
    });
}
