//! Files of a model, one of them changed: refused, or embedded to finite numbers.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mrl_encoder::{Encoder, EncoderError, LoadOptions, ModelDirectory, ModelName};
use mrl_fuzz::model;

#[derive(Arbitrary, Debug)]
struct Input {
    is_bert: bool,
    has_manifest: bool,
    file: u8,
    content: Content,
    text: String,
}

#[derive(Arbitrary, Debug)]
enum Content {
    Changed(Vec<Edit>),
    Whole(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Edit {
    place: u16,
    removed: u8,
    added: Vec<u8>,
}

type Files = Vec<(&'static str, Vec<u8>)>;

static FILES: LazyLock<[Files; 2]> = LazyLock::new(|| [model::files(false), model::files(true)]);

/// A folder of this process's own, in the folder for temporary files; `make fuzz` removes that.
static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = std::env::temp_dir().join(format!("mrl-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(root.join("tiny/1_Pooling")).expect("a folder");
    for (i, files) in FILES.iter().enumerate() {
        let scratch = root.join(["nomic_bert", "bert"][i]);
        std::fs::create_dir_all(scratch.join("1_Pooling")).expect("a folder");
        for (name, content) in files {
            std::fs::write(scratch.join(name), content).expect("a file");
        }
    }
    root
});

const MANIFEST: &str = "manifest.json";

fuzz_target!(|input: Input| {
    let kind = usize::from(input.is_bert);
    let files = &FILES[kind];
    let (name, whole) = &files[usize::from(input.file) % files.len()];
    let content = match &input.content {
        Content::Whole(content) => content.clone(),
        Content::Changed(edits) => {
            let mut content = whole.clone();
            for Edit { place, removed, added } in edits {
                let start = usize::from(*place) % (content.len() + 1);
                let end = (start + usize::from(*removed)).min(content.len());
                content.splice(start..end, added.iter().copied());
            }
            content
        }
    };
    let model = ["nomic_bert", "bert"][kind];
    let folder = ROOT.join(model);
    let path = folder.join(name);
    std::fs::write(&path, &content).expect("a file");
    let hides_manifest = !input.has_manifest && *name != MANIFEST;
    if hides_manifest {
        std::fs::remove_file(folder.join(MANIFEST)).expect("a file");
    }
    survives(model, &input.text);
    std::fs::write(&path, whole).expect("a file");
    if hides_manifest {
        let (_, manifest) = files.iter().find(|(name, _)| *name == MANIFEST).expect("a manifest");
        std::fs::write(folder.join(MANIFEST), manifest).expect("a file");
    }
});

/// What a damaged model may do: be refused, fail to embed, or embed to finite numbers.
fn survives(model: &str, text: &str) {
    let never = || false;
    let name = ModelName::parse(model).expect("a name");
    let directory = ModelDirectory::new(ROOT.clone());
    let encoder = match Encoder::load(&directory, &name, &LoadOptions::default(), &never) {
        Ok(encoder) => encoder,
        // What a library says that it was given wrong should have been refused before.
        Err(error @ EncoderError::Backend(_)) => panic!("{error}"),
        Err(_) => return,
    };
    for prefix in encoder.description().prefixes() {
        encoder.description().prompt(Some(prefix)).expect("a prefix that the model names");
    }
    let counted = encoder.count_tokens("", text, &never).expect("tokens");
    let tokens = encoder.tokenize("", text, &never).expect("tokens");
    assert!(tokens.len() <= encoder.max_tokens());
    assert_eq!(tokens.truncated(), counted > tokens.len());
    match encoder.embed(&tokens, &never) {
        Ok(embedding) => {
            let full = encoder.description().dimensions;
            let vector = embedding.truncate_f32(full).expect("a vector");
            assert!(vector.iter().all(|value| value.is_finite()));
        }
        Err(EncoderError::NotFinite { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}
