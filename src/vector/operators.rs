//! Operators: distances, arithmetic, comparison.

use std::cmp::Ordering;

use mrl_vector::{arithmetic, distance, order};

use crate::server::bits::BitString;
use crate::server::call::Call;
use crate::server::error::SqlError;
use crate::vector::datum::{NewVector, Vector};

/// Both arguments of a binary operator.
#[inline]
fn pair(call: &Call) -> Result<(Vector, Vector), SqlError> {
    Ok((call.get(0)?, call.get(1)?))
}

/// Both arguments of a distance, which a query asks of row after row: while this row's is computed,
/// the memory is asked for the next one's.
#[inline]
fn scanned_pair(call: &Call) -> Result<(Vector, Vector), SqlError> {
    let (left, right) = pair(call)?;
    let shared = left.len().min(right.len());
    left.prefetch_next_row(shared);
    right.prefetch_next_row(shared);
    Ok((left, right))
}

fn compare(call: &Call) -> Result<Ordering, SqlError> {
    let (left, right) = pair(call)?;
    Ok(order::compare(&left, &right))
}

sql_function! {
    /// `<#>`
    fn mrlvec_negative_inner_product(call) -> f64 {
        let (left, right) = scanned_pair(call)?;
        Ok(distance::negative_inner_product(&left, &right))
    }

    fn mrlvec_inner_product(call) -> f64 {
        let (left, right) = scanned_pair(call)?;
        Ok(distance::inner_product(&left, &right))
    }

    /// `<=>`
    fn mrlvec_cosine_distance(call) -> f64 {
        let (left, right) = scanned_pair(call)?;
        Ok(distance::cosine_distance(&left, &right))
    }

    /// `<->`
    fn mrlvec_l2_distance(call) -> f64 {
        let (left, right) = scanned_pair(call)?;
        Ok(distance::l2_distance(&left, &right)?)
    }

    /// `<+>`
    fn mrlvec_l1_distance(call) -> f64 {
        let (left, right) = scanned_pair(call)?;
        Ok(distance::l1_distance(&left, &right)?)
    }

    fn mrlvec_sign_hamming_distance(call) -> f64 {
        let (left, right) = scanned_pair(call)?;
        Ok(distance::sign_hamming_distance(&left, &right))
    }

    /// `mrlvec <#> bit`
    fn mrlvec_bit_negative_inner_product(call) -> f64 {
        let (vector, bits) = (call.get::<Vector>(0)?, call.get::<BitString>(1)?);
        Ok(distance::negative_inner_product_with_signs(&vector, bits.bytes(), bits.bit_count()))
    }

    /// `bit <#> mrlvec`
    fn bit_mrlvec_negative_inner_product(call) -> f64 {
        let (bits, vector) = (call.get::<BitString>(0)?, call.get::<Vector>(1)?);
        Ok(distance::negative_inner_product_with_signs(&vector, bits.bytes(), bits.bit_count()))
    }

    fn mrlvec_add(call) -> NewVector {
        let (left, right) = pair(call)?;
        Ok(NewVector::build(left.len(), |out| arithmetic::add(&left, &right, out))?)
    }

    fn mrlvec_sub(call) -> NewVector {
        let (left, right) = pair(call)?;
        Ok(NewVector::build(left.len(), |out| arithmetic::subtract(&left, &right, out))?)
    }

    fn mrlvec_mul(call) -> NewVector {
        let (left, right) = pair(call)?;
        Ok(NewVector::build(left.len(), |out| arithmetic::multiply(&left, &right, out))?)
    }

    /// `||`
    fn mrlvec_concat(call) -> NewVector {
        let (left, right) = pair(call)?;
        let dimensions = arithmetic::concatenated_dimensions(&left, &right)?;
        Ok(NewVector::build(dimensions, |out| {
            let (first, second) = out.split_at_mut(left.len());
            first.copy_from_slice(&left);
            second.copy_from_slice(&right);
            Ok(())
        })?)
    }

    fn mrlvec_lt(call) -> bool {
        Ok(compare(call)?.is_lt())
    }

    fn mrlvec_le(call) -> bool {
        Ok(compare(call)?.is_le())
    }

    fn mrlvec_eq(call) -> bool {
        Ok(compare(call)?.is_eq())
    }

    fn mrlvec_ne(call) -> bool {
        Ok(compare(call)?.is_ne())
    }

    fn mrlvec_ge(call) -> bool {
        Ok(compare(call)?.is_ge())
    }

    fn mrlvec_gt(call) -> bool {
        Ok(compare(call)?.is_gt())
    }

    fn mrlvec_cmp(call) -> i32 {
        Ok(compare(call)? as i32)
    }

    fn mrlvec_hash(call) -> u32 {
        // SAFETY: the server's hash of so many bytes; it only reads them.
        hash(call, |start, length| unsafe { hash_bytes(start, length) })
    }

    fn mrlvec_hash_extended(call) -> i64 {
        let seed = call.get::<i64>(1)? as u64;
        // SAFETY: as above.
        hash(call, |start, length| unsafe { hash_bytes_extended(start, length, seed) as i64 })
    }
}

/// Hashes the first argument so that equal vectors hash alike: −0 as 0.
fn hash<T>(call: &Call, hash: impl Fn(*const u8, i32) -> T) -> Result<T, SqlError> {
    let vector = call.get::<Vector>(0)?;
    let of =
        |components: &[half::f16]| hash(components.as_ptr().cast(), 2 * components.len() as i32);
    Ok(if order::has_negative_zero(&vector) { of(&order::canonical(&vector)) } else { of(&vector) })
}

// The server's hash functions (common/hashfn.h), which pgrx does not declare.
unsafe extern "C-unwind" {
    fn hash_bytes(start: *const u8, length: i32) -> u32;
    fn hash_bytes_extended(start: *const u8, length: i32, seed: u64) -> u64;
}
