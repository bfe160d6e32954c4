//! Loading all-MiniLM-L6-v2, one query, one paragraph: on one core, as a session does it.
//!
//! Needs the model in `build/models` (or `MRL_TEST_MODEL_DIR`). Bars: loading at most 1.5 s, a query
//! of 10 tokens at most 25 ms.

use std::path::{Path, PathBuf};

use criterion::{Criterion, criterion_group, criterion_main};
use mrl_encoder::{Encoder, LoadOptions, ModelDirectory, ModelName};

fn never() -> bool {
    false
}

fn load() -> Encoder {
    let root = std::env::var_os("MRL_TEST_MODEL_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../build/models"),
        PathBuf::from,
    );
    let name = ModelName::parse("all-MiniLM-L6-v2").unwrap();
    Encoder::load(&ModelDirectory::new(root), &name, &LoadOptions::default(), &never).unwrap()
}

fn encoder(criterion: &mut Criterion) {
    criterion.bench_function("load MiniLM", |bencher| bencher.iter(load));
    let encoder = load();
    let query = "where and when was the physicist Einstein born";
    let paragraph = "word ".repeat(126);
    for (text, tokens) in [(query, 10), (&*paragraph, 128)] {
        let ready = encoder.tokenize("", text, &never).unwrap();
        assert_eq!(ready.len(), tokens);
        criterion.bench_function(&format!("tokenize and embed {tokens} tokens"), |bencher| {
            bencher.iter(|| {
                let tokens = encoder.tokenize("", text, &never).unwrap();
                encoder.embed(&tokens, &never).unwrap().truncate(384).unwrap()
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = encoder
}
criterion_main!(benches);
