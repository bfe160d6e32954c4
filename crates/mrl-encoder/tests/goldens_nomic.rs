//! nomic-embed-text-v1.5 against published values, where it is installed.

mod common;
#[path = "common/published.rs"]
mod published;

use common::*;

const NOMIC: &str = "nomic-embed-text-v1.5";

#[test]
fn every_published_record_is_met() {
    let directory = installed_models();
    if directory.describe(&name(NOMIC)).is_err() {
        println!("SKIPPED: {NOMIC} is not installed in {}", directory.root().display());
        return;
    }
    let encoder = load(&directory, NOMIC);
    assert_eq!(encoder.description().prompt(Some("clustering")).unwrap(), "clustering: ");
    assert_eq!(published::check_all(&encoder, "nomic-ai/nomic-embed-text-v1.5"), 11);
}
