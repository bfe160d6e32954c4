//! Holds an encoder against published records, each at its own stage and within its own tolerance.

use mrl_encoder::{Embedding, Encoder};
use serde_json::Value;

use super::{cosine, embed, farthest, inner_product, never, unit};

const RECORDS: &str = include_str!("../data/published.json");

/// Checks every record of a model and returns how many there were.
pub fn check_all(encoder: &Encoder, model: &str) -> usize {
    let records: Vec<Value> = serde_json::from_str(RECORDS).unwrap();
    let mine = records.iter().filter(|record| record["model"] == model);
    // For orientation only: they take a whole data set.
    mine.filter(|record| record["kind"] != "mteb").map(|record| check(encoder, record)).count()
}

fn check(encoder: &Encoder, record: &Value) {
    let report = Report { source: text(&record["source"]), tolerance: &record["tol"] };
    match text(&record["kind"]) {
        "prefix values" => prefix_values(encoder, record, &report),
        "sums" => sums(encoder, record, &report),
        "cosines" => cosines(encoder, record, &report),
        "mrl truncation" => mrl_truncation(encoder, record, &report),
        "full vectors" => full_vectors(encoder, record, &report),
        "hidden slice" => hidden_slice(encoder, record, &report),
        "scores" => scores(encoder, record, &report),
        other => panic!("record of unknown kind {other:?}"),
    }
}

struct Report<'a> {
    source: &'a str,
    tolerance: &'a Value,
}

impl Report<'_> {
    fn near(&self, what: &str, found: f64, published: f64) {
        let most = self.tolerance["abs"].as_f64().unwrap();
        let difference = (found - published).abs();
        assert!(
            difference <= most,
            "{}: {what}: {found} where {published} is published, {difference:.2e} > {most:.0e}",
            self.source
        );
    }

    fn near_all(&self, what: &str, found: &[f32], published: &[f32]) {
        println!("{:.2e}  {}: {what}", farthest(found, published), self.source);
        for (&found, &published) in found.iter().zip(published) {
            self.near(what, found.into(), published.into());
        }
    }
}

/// The stage at which a record was taken, by the words of its `pooling` or `pipeline`.
fn stage(record: &Value, embedding: &Embedding) -> Vec<f32> {
    let words = record["pooling"].as_str().unwrap_or("");
    let pooled = embedding.pooled();
    if words.contains("L2") {
        let length = inner_product(pooled, pooled).sqrt();
        pooled.iter().map(|&value| (f64::from(value) / length) as f32).collect()
    } else {
        assert!(words.to_lowercase().contains("not normalised"), "unknown stage {words:?}");
        pooled.to_vec()
    }
}

fn prefix_values(encoder: &Encoder, record: &Value, report: &Report) {
    if let Some(by_dimension) = record["first5"].as_object() {
        // The publisher's own service: the whole pipeline, at three dimensions.
        let embedding = embed(encoder, text(&record["text"]));
        for (dimension, first) in by_dimension {
            let first = floats(first);
            let found = embedding.truncate_f32(dimension.parse().unwrap()).unwrap();
            report.near_all(dimension, &found[..first.len()], &first);
        }
        return;
    }
    let items: Vec<(&str, &Value)> = match record["items"].as_object() {
        Some(items) => items.iter().map(|(text, values)| (text.as_str(), values)).collect(),
        None => {
            let first = record.get("first5").or(record.get("first3")).unwrap();
            vec![(text(&record["text"]), first)]
        }
    };
    for (text, first) in items {
        let first = floats(first);
        let found = stage(record, &embed(encoder, text));
        report.near_all(text, &found[..first.len()], &first);
    }
}

fn sums(encoder: &Encoder, record: &Value, report: &Report) {
    for (text, &sum) in texts(&record["texts"]).iter().zip(&floats(&record["sums"])) {
        let found =
            stage(record, &embed(encoder, text)).iter().map(|&value| f64::from(value)).sum();
        report.near(text, found, sum.into());
    }
}

fn cosines(encoder: &Encoder, record: &Value, report: &Report) {
    let pipeline = record["pipeline"].as_str().unwrap_or("");
    let vector = |text: &str| {
        let embedding = embed(encoder, text);
        match pipeline {
            "" => embedding.pooled().to_vec(),
            _ if pipeline.starts_with("truncate_dim=64, NO layer_norm") => {
                embedding.pooled()[..64].to_vec()
            }
            _ if pipeline.starts_with("layer_norm then cosine at FULL") => {
                embedding.full().to_vec()
            }
            _ => panic!("unknown pipeline {pipeline:?}"),
        }
    };
    let similar = |a: &str, b: &str, published: f64| {
        report.near(&format!("{a:?} and {b:?}"), cosine(&vector(a), &vector(b)), published);
    };
    if let Some(pairs) = record["pairs"].as_array() {
        for pair in pairs {
            similar(text(&pair[0]), text(&pair[1]), pair[2].as_f64().unwrap());
        }
    } else if let Some(rest) = record["cos_first_to_rest"].as_array() {
        let texts = texts(&record["texts"]);
        for (other, published) in texts[1..].iter().zip(rest) {
            similar(texts[0], other, published.as_f64().unwrap());
        }
    } else {
        let rows = texts(record.get("texts").unwrap_or(&record["s1"]));
        let columns = texts(record.get("texts").unwrap_or(&record["s2"]));
        for (row, a) in rows.iter().enumerate() {
            for (column, b) in columns.iter().enumerate() {
                similar(a, b, record["matrix"][row][column].as_f64().unwrap());
            }
        }
    }
}

fn mrl_truncation(encoder: &Encoder, record: &Value, report: &Report) {
    let dimension = record["dim"].as_u64().unwrap() as usize;
    let found = embed(encoder, text(&record["text"])).truncate_f32(dimension).unwrap();
    report.near_all("truncated", &found, &floats(&record["vector"]));
}

fn full_vectors(encoder: &Encoder, record: &Value, report: &Report) {
    let vectors = record["vectors"].as_array().unwrap();
    for (text, published) in texts(&record["texts"]).iter().zip(vectors) {
        let (found, published) = (stage(record, &embed(encoder, text)), floats(published));
        report.near_all(text, &found, &published);
        let least = record["tol"]["cosine"].as_f64().unwrap();
        let cosine = cosine(&found, &published);
        assert!(cosine >= least, "{}: {text}: cosine {cosine} < {least}", report.source);
    }
}

fn hidden_slice(encoder: &Encoder, record: &Value, report: &Report) {
    assert_eq!(record["slice"], "last_hidden_state[:,1:4,1:4]");
    let hidden = encoder.description().dimensions;
    for (index, text) in texts(&record["texts"]).iter().enumerate() {
        let tokens = encoder.tokenize("", text, &never).unwrap();
        let states = encoder.last_hidden_states(&tokens, &never).unwrap();
        for token in 0..3 {
            let start = (token + 1) * hidden + 1;
            let published = floats(&record["values"][index][token]);
            report.near_all(text, &states[start..start + 3], &published);
        }
    }
}

/// The whole pipeline, and the order of the documents.
fn scores(encoder: &Encoder, record: &Value, report: &Report) {
    let query = embed(encoder, text(&record["query"]));
    let documents: Vec<Embedding> =
        texts(&record["docs"]).iter().map(|text| embed(encoder, text)).collect();
    for (dimension, published) in record["by_dim"].as_object().unwrap() {
        let dimension = dimension.parse().unwrap();
        let query = query.truncate_f32(dimension).unwrap();
        let mut found: Vec<(usize, f64)> = documents
            .iter()
            .map(|document| inner_product(&query, &document.truncate_f32(dimension).unwrap()))
            .enumerate()
            .collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1));
        let order: Vec<usize> = found.iter().map(|(index, _)| *index).collect();
        let expected: Vec<usize> = serde_json::from_value(published["order"].clone()).unwrap();
        assert_eq!(order, expected, "order at {dimension} dimensions");
        let values: Vec<f32> = found.iter().map(|(_, score)| *score as f32).collect();
        report.near_all("scores", &values, &floats(&published["scores_in_order"]));
    }
    assert_eq!(unit(encoder, "").len(), encoder.description().dimensions);
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(text).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}
