//! Loading and embedding start no thread. In a file of its own: the harness's threads are counted
//! before, so this must be the only test of its process.

mod common;

use common::*;

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn loading_and_embedding_start_no_thread() {
    let before = threads();
    let encoder = minilm();
    for text in ["", "where was Einstein born?", &"a long text, ".repeat(500)] {
        let tokens = encoder.tokenize("", text, &never).unwrap();
        encoder
            .embed(&tokens, &|| {
                assert_eq!(threads(), before);
                false
            })
            .unwrap();
        encoder.count_tokens("", text, &never).unwrap();
    }
    // NomicBert's operations, at a length where candle's own would go to its pool.
    let scratch = tiny_nomic();
    let nomic = load(&scratch.directory(), "tiny");
    let tokens = nomic.tokens_from_ids(vec![5; 256]).unwrap();
    nomic.embed(&tokens, &never).unwrap();
    assert_eq!(threads(), before);
}
