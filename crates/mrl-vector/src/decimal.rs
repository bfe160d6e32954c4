//! The decimal text of a half: as PostgreSQL prints the equal `real`, the shortest digits that give
//! the same `float4`, and a power of ten of at least two digits below 10⁻⁴ (no half is large enough to
//! need one above).
//!
//! There are only 31,744 magnitudes, so a thread remembers what it has printed: finding the shortest
//! digits takes some 30 ns, looking them up some 2 ns. The memory (half a megabyte at most) comes from
//! the system page by page, as it is touched.

use std::cell::RefCell;

use half::f16;

/// `-0.00012207031` is as long as they get.
const MOST_BYTES: usize = 14;

/// A number without its sign: the last byte is its length, 0 where it has not been printed yet.
type Printed = [u8; 16];

const SIGN: u16 = 0x8000;

thread_local! {
    static PRINTED: RefCell<Vec<Printed>> = const { RefCell::new(Vec::new()) };
}

/// Appends the numbers with commas between them.
pub(crate) fn write_all(numbers: &[f16], out: &mut Vec<u8>) {
    out.reserve((MOST_BYTES + 1) * numbers.len() + size_of::<Printed>());
    PRINTED.with_borrow_mut(|printed| {
        if printed.is_empty() {
            *printed = vec![[0; 16]; usize::from(SIGN)];
            if mrl_memory::is_short() {
                // It would lie in the reserve for as long as the thread lives.
                *printed = Vec::new();
            }
        }
        for (i, number) in numbers.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            if number.is_sign_negative() {
                out.push(b'-');
            }
            let unsigned = number.to_bits() & !SIGN;
            let entry = match printed.get_mut(usize::from(unsigned)) {
                Some(entry) => {
                    if entry[15] == 0 {
                        *entry = print(f16::from_bits(unsigned));
                    }
                    *entry
                }
                None => print(f16::from_bits(unsigned)),
            };
            // A copy of a fixed length is one instruction; what is too much is cut off again.
            let length = out.len() + usize::from(entry[15]);
            out.extend_from_slice(&entry);
            out.truncate(length);
        }
    });
}

/// The text of a number that is not negative.
fn print(number: f16) -> Printed {
    let value = number.to_f32();
    let mut buffer = ryu::Buffer::new();
    let shortest = buffer.format(value);
    let mut text = Vec::with_capacity(MOST_BYTES);
    if value != 0.0 && value < 1e-4 {
        write_scientific(shortest.as_bytes(), &mut text);
    } else {
        text.extend_from_slice(shortest.strip_suffix(".0").unwrap_or(shortest).as_bytes());
    }
    let mut printed = [0; 16];
    printed[..text.len()].copy_from_slice(&text);
    printed[15] = text.len() as u8;
    printed
}

/// Rewrites the digits of a number below 10⁻⁴ (`0.00006`, `5.96e-8`, `6e-8`) as `d.ddde-XX`.
fn write_scientific(shortest: &[u8], out: &mut Vec<u8>) {
    let (mantissa, written_exponent) = match shortest.iter().position(|c| *c == b'e') {
        Some(e) => {
            let digits = shortest[e + 2..].iter().fold(0, |n, c| 10 * n + i32::from(c - b'0'));
            (&shortest[..e], -digits)
        }
        None => (shortest, 0),
    };
    let point = mantissa.iter().position(|c| *c == b'.').unwrap_or(mantissa.len());
    let mut digits: Vec<u8> = mantissa.iter().copied().filter(|c| *c != b'.').collect();
    let zeros = digits.iter().take_while(|c| **c == b'0').count();
    digits.drain(..zeros);
    while digits.len() > 1 && digits.last() == Some(&b'0') {
        digits.pop();
    }
    let exponent = written_exponent + point as i32 - 1 - zeros as i32;
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.extend_from_slice(format!("e-{:02}", -exponent).as_bytes());
}
