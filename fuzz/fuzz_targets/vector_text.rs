//! Text and bytes that are to become vectors: what is read is printed and read again as the same.
#![no_main]

use half::f16;
use libfuzzer_sys::fuzz_target;
use mrl_vector::{MAX_DIMENSIONS, VectorError, convert, distance, text, wire};

fuzz_target!(|input: &[u8]| {
    match text::parse(input) {
        Ok(vector) => survives(&vector),
        Err(error) => has_a_message(&error),
    }
    if let Ok(component) = text::parse_component(input, 1) {
        // The standard library reads what we do, but for the names of what is not finite.
        let number: f64 = std::str::from_utf8(input).expect("ASCII").parse().expect("a number");
        assert_eq!(component.to_bits(), convert::half_from_f64(number).to_bits());
    }
    if let Some((header, components)) = input.split_first_chunk::<{ wire::HEADER_BYTES }>() {
        match wire::read_header(*header) {
            // The server has checked that there are as many bytes.
            Ok(dimensions) if components.len() >= 2 * dimensions => {
                let mut vector = vec![f16::ZERO; dimensions];
                let bytes = &components[..2 * dimensions];
                match wire::read_components(bytes, &mut vector) {
                    Ok(()) => survives(&vector),
                    Err(error) => has_a_message(&error),
                }
            }
            Ok(_) => {}
            Err(error) => has_a_message(&error),
        }
    }
});

fn has_a_message(error: &VectorError) {
    assert!(!error.to_string().is_empty());
    assert_ne!(error.detail().as_deref(), Some(""));
}

fn survives(vector: &[f16]) {
    assert!((1..=MAX_DIMENSIONS).contains(&vector.len()));
    assert!(vector.iter().all(|x| x.is_finite()));
    let same =
        |other: &[f16]| vector.iter().map(|x| x.to_bits()).eq(other.iter().map(|x| x.to_bits()));
    let mut printed = Vec::new();
    text::write(vector, &mut printed);
    assert!(same(&text::parse(&printed).expect("a vector as it was printed")));

    let bytes = wire::write(vector);
    let (header, components) = bytes.split_first_chunk().expect("a header");
    let mut read = vec![f16::ZERO; wire::read_header(*header).expect("a header as it was written")];
    wire::read_components(components, &mut read).expect("components as they were written");
    assert!(same(&read));

    let mut unit = vec![f16::ZERO; vector.len()];
    convert::normalise(vector, &mut unit).expect("a vector of as many dimensions");
    assert!(unit.iter().all(|x| x.is_finite()));
    let mut signs = vec![0; vector.len().div_ceil(8)];
    convert::signs(vector, vector.len(), &mut signs).expect("signs");
    let prefix = &vector[..vector.len().div_ceil(2)];
    assert!(!distance::negative_inner_product(vector, prefix).is_nan());
    let cosine = distance::cosine_distance(vector, prefix);
    assert!(cosine.is_nan() || (0.0..=2.0).contains(&cosine));
    assert!(distance::l2_distance(vector, vector).is_ok_and(|distance| distance == 0.0));
}
