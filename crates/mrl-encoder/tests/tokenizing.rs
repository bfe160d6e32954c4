//! Tokenizing in pieces gives the tokens of tokenizing in one go, and stays short of the whole.

mod common;

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Instant;

use common::*;
use mrl_encoder::{Encoder, EncoderError};
use proptest::prelude::*;
use tokenizers::Tokenizer;

fn encoder() -> &'static Encoder {
    static ENCODER: OnceLock<Encoder> = OnceLock::new();
    ENCODER.get_or_init(minilm)
}

/// The library's own reading of MiniLM's file, without its truncation and padding.
fn reference() -> &'static Tokenizer {
    static REFERENCE: OnceLock<Tokenizer> = OnceLock::new();
    REFERENCE.get_or_init(|| {
        let file = installed_models().root().join(MINILM).join("tokenizer.json");
        let mut tokenizer = Tokenizer::from_file(file).unwrap();
        tokenizer.with_truncation(None).unwrap().with_padding(None);
        tokenizer
    })
}

fn agrees(text: &str) {
    let whole = reference().encode(text, true).unwrap();
    let whole = whole.get_ids();
    assert_eq!(encoder().count_tokens("", text, &never).unwrap(), whole.len(), "{text:?}");
    let tokens = encoder().tokenize("", text, &never).unwrap();
    let mut expected = whole.to_vec();
    if whole.len() > 256 {
        expected.truncate(255);
        expected.push(102);
    }
    assert_eq!(tokens.ids(), expected, "{text:?}");
    assert_eq!(tokens.truncated(), whole.len() > 256);
}

/// Fragments that are awkward at a cut.
fn fragments() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9]{1,120}",
        "\\PC{1,20}",
        " {1,4}|\t|\n|\r\n|\u{b}|\u{c}|\u{85}|\u{a0}|\u{3000}|\u{2028}|\u{1f}",
        "\\[SEP\\]|\\[CLS\\]|\\[MASK|UNK\\]|\\[|\\]|\\[PAD\\]",
        "[\u{4e00}-\u{4e20}\u{3041}-\u{3060}\u{ac00}-\u{ac40}。、]{1,40}",
        "[\u{300}-\u{310}e\u{e9}\u{0}\u{200b}]{1,10}",
        "[.,;!?'\"()—…-]{1,10}",
        Just("ﬁ İ ß ǅ Ω̂ 🇩🇪 👩‍👩‍👧 क्षि ٱلْعَرَبِيَّة".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn pieces_equal_the_whole(
        parts in prop::collection::vec(fragments(), 0..40),
        repeat in 1usize..60,
    ) {
        agrees(&parts.concat().repeat(repeat));
    }

    #[test]
    fn pieces_equal_the_whole_for_any_text(text in any::<String>(), repeat in 1usize..100) {
        agrees(&text.repeat(repeat));
    }

    #[test]
    fn prompt_and_text_are_one(prompt in "[a-z_:é ]{0,20}", text in "\\PC{0,40}") {
        let whole = format!("{prompt}{text}");
        prop_assert_eq!(
            encoder().tokenize(&prompt, &text, &never).unwrap(),
            encoder().tokenize("", &whole, &never).unwrap()
        );
    }
}

#[test]
fn long_words_around_the_limit_of_characters_agree() {
    for letters in [99, 100, 101, 102, 300, 5_000, 300_000] {
        for unit in ["a", "é", "か", "и", "1", "가"] {
            agrees(&format!("x{}y z", unit.repeat(letters)));
            agrees(&format!("{}[SEP]{}", unit.repeat(letters), unit.repeat(letters)));
            agrees(&format!("{}\u{301}b{}", unit.repeat(letters), unit.repeat(3)));
        }
    }
}

/// A megabyte of each kind: how long between two polls, and how long in all.
#[test]
fn a_long_text_is_polled_often() {
    let megabyte = 1 << 20;
    for (what, unit) in [
        ("words", "some words "),
        ("letters", "a"),
        ("spaces", " "),
        ("kana", "か"),
        ("chinese", "中"),
        ("commas", ","),
        ("emoji", "😀"),
        ("brackets", "]"),
        ("accents", "e\u{301}"),
        ("zeros", "\0"),
        ("dashes", "—"),
    ] {
        let text = unit.repeat(8 * megabyte / unit.len());
        let (last, longest) = (Cell::new(Instant::now()), Cell::new(0.0f64));
        let poll = || {
            longest.set(longest.get().max(last.get().elapsed().as_secs_f64()));
            last.set(Instant::now());
            false
        };
        let start = Instant::now();
        encoder().tokenize("", &text, &poll).unwrap();
        let truncating = start.elapsed().as_secs_f64();
        let start = Instant::now();
        encoder().count_tokens("", &text, &poll).unwrap();
        println!(
            "8 MiB of {what}: truncated in {:.1} ms, counted in {:.0} ms, at most {:.0} ms between polls",
            truncating * 1e3,
            start.elapsed().as_secs_f64() * 1e3,
            longest.get() * 1e3
        );
        assert!(longest.get() < 2.0, "{what}: {} s without a poll", longest.get());
    }
}

#[test]
fn tokenizing_can_be_interrupted() {
    let stop = || true;
    for text in ["a", &"word ".repeat(1000)] {
        assert!(matches!(encoder().tokenize("", text, &stop), Err(EncoderError::Interrupted)));
        assert!(matches!(encoder().count_tokens("", text, &stop), Err(EncoderError::Interrupted)));
    }
}
