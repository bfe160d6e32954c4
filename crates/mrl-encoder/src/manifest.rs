//! What a model's own files do not say, from `models/NAME.json`.
//!
//! Depends on [`crate::description`] and serde. The manifests of supported models are compiled in;
//! a `manifest.json` in the model's own directory takes their place. The installer
//! reads the same files; only the `encoder` part matters here.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::description::Pooling;
use crate::directory::{ModelDirectory, ModelName, corrupt_file};
use crate::error::Result;

/// A model's own manifest, in its directory.
pub(crate) const MANIFEST_FILE: &str = "manifest.json";

const MAX_MANIFEST_BYTES: u64 = 1 << 20;

const COMPILED_IN: &[(&str, &str)] = &[
    ("all-MiniLM-L6-v2", include_str!("../../../models/all-MiniLM-L6-v2.json")),
    ("nomic-embed-text-v1.5", include_str!("../../../models/nomic-embed-text-v1.5.json")),
];

/// The part of a manifest that decides what is computed.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct EncoderManifest {
    /// `model_type` of the model's configuration.
    pub architecture: String,
    pub dimensions: usize,
    #[serde(default)]
    pub matryoshka_dimensions: Vec<usize>,
    /// Prefix name to prompt text, in the manifest's order where serde keeps it.
    #[serde(default)]
    pub prompts: Map<String, Value>,
    pub pooling: Pooling,
    /// Layer norm over the pooled vector, before truncation.
    #[serde(default)]
    pub layer_norm: bool,
    pub max_tokens: usize,
}

#[derive(Deserialize)]
struct ManifestFile {
    encoder: EncoderManifest,
}

/// The manifest that applies to a model, if any: the directory's own, else the compiled-in one.
pub(crate) fn find(
    directory: &ModelDirectory,
    name: &ModelName,
) -> Result<Option<EncoderManifest>> {
    if let Some(content) = directory.read_optional(name, MANIFEST_FILE, MAX_MANIFEST_BYTES)? {
        return parse(name, &content).map(Some);
    }
    match COMPILED_IN.iter().find(|(known, _)| *known == name.as_str()) {
        Some((_, content)) => parse(name, content.as_bytes()).map(Some),
        None => Ok(None),
    }
}

fn parse(name: &ModelName, content: &[u8]) -> Result<EncoderManifest> {
    serde_json::from_slice::<ManifestFile>(content)
        .map(|file| file.encoder)
        .map_err(|error| corrupt_file(name, MANIFEST_FILE, error.to_string()))
}
