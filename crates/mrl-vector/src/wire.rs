//! The binary form on the wire, which is that of pgvector's `halfvec`, big-endian throughout:
//!
//! ```text
//! offset 0   u16  dimensions n
//! offset 2   u16  unused, always 0 (clients reject anything else)
//! offset 4   n ×  u16  IEEE 754 half
//! ```

use half::f16;

use crate::{VectorError, check_dimensions};

/// Bytes before the components.
pub const HEADER_BYTES: usize = 4;

/// Reads the header: how many components follow, checked to be a possible number.
pub fn read_header(header: [u8; HEADER_BYTES]) -> Result<usize, VectorError> {
    // A signed number in halfvec's own code: what has the sign bit is "less than one".
    let dimensions = i16::from_be_bytes([header[0], header[1]]);
    check_dimensions(usize::try_from(dimensions).unwrap_or(0))?;
    match u16::from_be_bytes([header[2], header[3]]) {
        0 => Ok(dimensions as usize),
        unused => Err(VectorError::UnusedNotZero(unused)),
    }
}

/// Reads the components into `out`; `bytes` holds two for each of them.
pub fn read_components(bytes: &[u8], out: &mut [f16]) -> Result<(), VectorError> {
    for (position, (pair, out)) in (1..).zip(bytes.chunks_exact(2).zip(out.iter_mut())) {
        *out = f16::from_be_bytes([pair[0], pair[1]]);
        if out.is_nan() {
            return Err(VectorError::NotANumber { position, value: "NaN".into() });
        }
        if out.is_infinite() {
            let sign = if out.is_sign_negative() { "-" } else { "" };
            return Err(VectorError::Infinite { position, value: format!("{sign}Infinity") });
        }
    }
    Ok(())
}

/// The whole binary form of `vector`, of at most [`crate::MAX_DIMENSIONS`] components.
pub fn write(vector: &[f16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + 2 * vector.len());
    bytes.extend_from_slice(&(vector.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend(vector.iter().flat_map(|x| x.to_be_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(bits in prop::collection::vec(0..0x7c00_u16, 1..3000)) {
            let vector: Vec<f16> = bits.iter().map(|b| f16::from_bits(*b)).collect();
            let bytes = write(&vector);
            let header = bytes[..HEADER_BYTES].try_into().unwrap();
            let mut out = vec![f16::ZERO; read_header(header).unwrap()];
            read_components(&bytes[HEADER_BYTES..], &mut out).unwrap();
            prop_assert_eq!(out, vector);
        }
    }

    #[test]
    fn bad_headers_and_components() {
        assert_eq!(read_header([0, 0, 0, 0]), Err(VectorError::NoDimensions));
        assert_eq!(read_header([0xff, 0xff, 0, 0]), Err(VectorError::NoDimensions));
        assert_eq!(read_header([0x3e, 0x81, 0, 0]), Err(VectorError::TooManyDimensions));
        assert_eq!(read_header([0, 1, 0, 7]), Err(VectorError::UnusedNotZero(7)));
        let error = read_components(&[0x3c, 0, 0xfc, 0], &mut [f16::ZERO; 2]).unwrap_err();
        assert_eq!(error, VectorError::Infinite { position: 2, value: "-Infinity".into() });
        let error = read_components(&[0x7e, 0], &mut [f16::ZERO; 1]).unwrap_err();
        assert_eq!(error, VectorError::NotANumber { position: 1, value: "NaN".into() });
    }
}
