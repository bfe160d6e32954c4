//! The text form, `[0.1,0.2]`: read with the white space that C allows, printed without any.
//!
//! Numbers are read as `float8` input reads them (decimal notation), then rounded to a half once.
//! They are printed as the shortest decimal that gives the same `float4`, as `halfvec` prints
//! them: that is exactly PostgreSQL's own output of the value as `real`.

use half::f16;

use crate::convert::half_from_f64;
use crate::{MAX_DIMENSIONS, VectorError, decimal};

/// Reads a vector. The text need not be UTF-8; only ASCII can be right.
pub fn parse(text: &[u8]) -> Result<Vec<f16>, VectorError> {
    let syntax = |detail| VectorError::Syntax { text: quotable(text), detail };
    let mut rest = skip_space(text);
    rest = rest
        .strip_prefix(b"[")
        .ok_or_else(|| syntax(Some("Vector contents must start with \"[\".")))?;
    rest = skip_space(rest);
    if rest.first() == Some(&b']') {
        return Err(VectorError::NoDimensions);
    }

    // A number and its comma are seldom shorter than four bytes.
    let mut vector = Vec::with_capacity((rest.len() / 4 + 1).min(MAX_DIMENSIONS));
    loop {
        if vector.len() == MAX_DIMENSIONS {
            return Err(VectorError::TooManyDimensions);
        }
        rest = skip_space(rest);
        let (value, length) = parse_number(rest).ok_or_else(|| syntax(None))?;
        let half = half_from_f64(value);
        if !half.is_finite() {
            return Err(not_finite(value, vector.len() + 1, &rest[..length]));
        }
        vector.push(half);
        rest = skip_space(&rest[length..]);
        match rest.first() {
            Some(b',') => rest = &rest[1..],
            Some(b']') => break,
            _ => return Err(syntax(None)),
        }
    }
    if !skip_space(&rest[1..]).is_empty() {
        return Err(syntax(Some("Junk after closing right brace.")));
    }
    Ok(vector)
}

/// Reads one number and rounds it to a half; the whole text must be that number.
///
/// `position` counts from 1 and is for the error.
pub fn parse_component(text: &[u8], position: usize) -> Result<f16, VectorError> {
    match parse_number(text) {
        Some((value, length)) if length == text.len() => {
            let half = half_from_f64(value);
            if half.is_finite() { Ok(half) } else { Err(not_finite(value, position, text)) }
        }
        _ => Err(VectorError::Syntax { text: quotable(text), detail: None }),
    }
}

/// Appends the text of `vector`.
pub fn write(vector: &[f16], out: &mut Vec<u8>) {
    out.push(b'[');
    decimal::write_all(vector, out);
    out.push(b']');
}

/// The number at the start of `text`, and how many bytes it takes; `None` if there is none.
///
/// Decimal notation, `NaN`, `Infinity` and `inf` with a sign and in any case.
fn parse_number(text: &[u8]) -> Option<(f64, usize)> {
    let (negative, signed) = match text.first()? {
        b'-' => (true, 1),
        b'+' => (false, 1),
        _ => (false, 0),
    };
    let body = &text[signed..];
    let (magnitude, length) = parse_decimal(body).or_else(|| parse_word(body))?;
    Some((if negative { -magnitude } else { magnitude }, signed + length))
}

fn parse_word(body: &[u8]) -> Option<(f64, usize)> {
    let words: [(&[u8], f64); 3] =
        [(b"infinity", f64::INFINITY), (b"inf", f64::INFINITY), (b"nan", f64::NAN)];
    words.into_iter().find_map(|(word, value)| {
        body.get(..word.len())?.eq_ignore_ascii_case(word).then_some((value, word.len()))
    })
}

/// Powers of ten that are exact in `f64`.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

fn parse_decimal(body: &[u8]) -> Option<(f64, usize)> {
    let mut digits = 0u64;
    let mut digit_count = 0usize;
    let mut fraction_count = 0usize;
    let mut length = 0;
    let mut in_fraction = false;
    for &c in body {
        match c {
            b'0'..=b'9' => {
                digits = digits.wrapping_mul(10).wrapping_add(u64::from(c - b'0'));
                digit_count += 1;
                fraction_count += usize::from(in_fraction);
            }
            b'.' if !in_fraction => in_fraction = true,
            _ => break,
        }
        length += 1;
    }
    if digit_count == 0 {
        return None;
    }
    let exponent_length = exponent_length(&body[length..]);
    // Up to 15 digits are exact in f64, and so is the power of ten: one division rounds once
    // (Clinger, "How to read floating point numbers accurately", 1990). Embeddings printed from
    // halfs, floats and most doubles take this way.
    if exponent_length == 0 && digit_count <= 15 {
        return Some((digits as f64 / EXACT_POWERS[fraction_count], length));
    }
    length += exponent_length;
    // What was scanned is ASCII in the notation that `f64` reads.
    let value = std::str::from_utf8(&body[..length]).ok()?.parse().ok()?;
    Some((value, length))
}

/// How many bytes an exponent (`e-7`) at the start of `text` takes; 0 if there is none.
fn exponent_length(text: &[u8]) -> usize {
    let Some(b'e' | b'E') = text.first() else { return 0 };
    let sign = usize::from(matches!(text.get(1), Some(b'+' | b'-')));
    let digits = text[1 + sign..].iter().take_while(|c| c.is_ascii_digit()).count();
    if digits == 0 { 0 } else { 1 + sign + digits }
}

fn not_finite(value: f64, position: usize, token: &[u8]) -> VectorError {
    let named_so = token.iter().any(|c| matches!(c, b'n' | b'N'));
    let token = quotable(token);
    if value.is_nan() {
        VectorError::NotANumber { position, value: token }
    } else if named_so {
        VectorError::Infinite { position, value: token }
    } else {
        VectorError::OutOfRange { position, value: token }
    }
}

/// The text as an error message may show it: as it is, or escaped where it is not UTF-8.
fn quotable(text: &[u8]) -> String {
    /// Of a longer text only the beginning is quoted: copies of it must fit into memory, whatever came in.
    const MOST_BYTES: usize = 128 * 1024;
    if let Some(beginning) = text.get(..MOST_BYTES) {
        return format!("{}…", String::from_utf8_lossy(beginning).trim_end_matches('\u{fffd}'));
    }
    std::str::from_utf8(text).map_or_else(|_| text.escape_ascii().to_string(), str::to_owned)
}

fn skip_space(text: &[u8]) -> &[u8] {
    let space = |c: &&u8| matches!(c, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    &text[text.iter().take_while(space).count()..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(vector: &[f16]) -> String {
        let mut out = Vec::new();
        write(vector, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn reads_what_halfvec_reads() {
        let read = |text: &str| parse(text.as_bytes()).map(|v| printed(&v));
        assert_eq!(read("[1,2,3]").unwrap(), "[1,2,3]");
        assert_eq!(read(" \t\n[ 1 ,\x0b-2.50 , +.5, 5. ]\r\x0c ").unwrap(), "[1,-2.5,0.5,5]");
        assert_eq!(read("[1e2,1.5E-1,-0,1e-8]").unwrap(), "[100,0.15002441,-0,0]");
        // From halfvec's own expected output (pgvector test/expected/halfvec.out).
        assert_eq!(read("[1.23456]").unwrap(), "[1.234375]");
        assert_eq!(read("[65519]").unwrap(), "[65504]");
    }

    #[test]
    fn refuses_what_halfvec_refuses() {
        let message = |text: &str| {
            let error = parse(text.as_bytes()).unwrap_err();
            (error.to_string(), error.detail().unwrap_or_default())
        };
        let syntax = |text: &str, detail: &str| {
            (format!("invalid input syntax for type mrlvec: \"{text}\""), detail.to_owned())
        };
        for text in
            ["[1,2", "[", "[1,", "[1,,2]", "[1,]", "[,1]", "[a]", "[1 2]", "[1e]", "[-]", "[.]"]
        {
            assert_eq!(message(text), syntax(text, ""), "{text}");
        }
        for text in ["", "1,2", "{1}", "(1)"] {
            assert_eq!(message(text), syntax(text, "Vector contents must start with \"[\"."));
        }
        assert_eq!(message("[1]2"), syntax("[1]2", "Junk after closing right brace."));
        assert_eq!(message("[]").0, "mrlvec must have at least 1 dimension");
        assert_eq!(message("[ ]").0, "mrlvec must have at least 1 dimension");
        let out_of_range = |v: &str| {
            (format!("\"{v}\" is out of range for type mrlvec"), format!("Element 2 is \"{v}\"."))
        };
        assert_eq!(message("[0,1e9]"), out_of_range("1e9"));
        assert_eq!(message("[0,-65520]"), out_of_range("-65520"));
        assert_eq!(message("[0,1e400]"), out_of_range("1e400"));
        assert_eq!(
            message("[nan]"),
            ("NaN not allowed in mrlvec".into(), "Element 1 is \"nan\".".into())
        );
        assert_eq!(
            message("[1,-Infinity]"),
            ("infinite value not allowed in mrlvec".into(), "Element 2 is \"-Infinity\".".into())
        );
        assert_eq!(
            parse(b"[\xe9]").unwrap_err().to_string(),
            r#"invalid input syntax for type mrlvec: "[\xe9]""#
        );
    }

    #[test]
    fn lengths_are_bounded() {
        let text = |n: usize| format!("[{}]", vec!["1"; n].join(","));
        assert_eq!(parse(text(MAX_DIMENSIONS).as_bytes()).unwrap().len(), MAX_DIMENSIONS);
        assert_eq!(parse(text(MAX_DIMENSIONS + 1).as_bytes()), Err(VectorError::TooManyDimensions));
    }

    /// Every half, printed, is the `real` that it is and is read again as the same bits.
    #[test]
    fn every_half_comes_back() {
        for bits in (0..=0x7bff).chain(0x8000..=0xfbff) {
            let half = f16::from_bits(bits);
            let text = printed(&[half]);
            assert_eq!(parse(text.as_bytes()).unwrap()[0].to_bits(), bits, "{text}");
            let number: f32 = text[1..text.len() - 1].parse().unwrap();
            assert_eq!(number.to_bits(), half.to_f32().to_bits(), "{text}");
        }
    }

    /// Expected: what PostgreSQL 15 prints for these values as `real`.
    #[test]
    fn small_numbers_print_as_the_server_prints_them() {
        let small = [6e-8, 1e-5, 6.1e-5, 1e-4, 0.000_122_07, 0.001].map(f16::from_f32);
        assert_eq!(
            printed(&small),
            "[5.9604645e-08,1.001358e-05,6.097555e-05,0.000100016594,0.00012207031,0.0010004044]"
        );
    }

    proptest! {
        /// The short way through integers gives what the standard library's reader gives.
        #[test]
        fn numbers_are_read_as_f64_reads_them(text in "[0-9]{0,18}(\\.[0-9]{0,18})?(e[+-]?[0-9]{1,3})?") {
            let expected = text.parse::<f64>().ok();
            let found = parse_number(text.as_bytes()).filter(|(_, n)| *n == text.len());
            prop_assert_eq!(found.map(|(v, _)| v.to_bits()), expected.map(f64::to_bits));
        }

        #[test]
        fn no_text_panics(text in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&text);
        }

        #[test]
        fn no_near_miss_panics(text in "[\\[\\], 0-9.eE+naif-]{0,40}") {
            let _ = parse(text.as_bytes());
        }
    }
}
