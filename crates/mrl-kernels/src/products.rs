//! Products of several vectors with several rows, in tiles: what is widened once serves several of them. Depends on
//! `generic` for the trait.

use crate::generic::{InstructionSet, dot};
use half::f16;

/// Rows whose products are summed side by side.
const ROWS_AT_ONCE: usize = 4;

/// The products of some vectors with [`ROWS_AT_ONCE`] rows: what is widened of one serves all of the other.
#[inline(always)]
fn tile<I: InstructionSet, const VECTORS: usize>(
    isa: I,
    length: usize,
    vectors: &[f16],
    rows: &[f16],
) -> [[f32; ROWS_AT_ONCE]; VECTORS] {
    let mut sums = [[isa.zero(); ROWS_AT_ONCE]; VECTORS];
    let whole = length / I::LANES * I::LANES;
    let mut start = 0;
    while start < whole {
        let mut widened = [isa.zero(); ROWS_AT_ONCE];
        for (r, row) in widened.iter_mut().enumerate() {
            *row = isa.load(&rows[r * length + start..][..I::LANES]);
        }
        for (v, sums) in sums.iter_mut().enumerate() {
            let x = isa.load(&vectors[v * length + start..][..I::LANES]);
            for (sum, row) in sums.iter_mut().zip(&widened) {
                *sum = isa.mul_add(x, *row, *sum);
            }
        }
        start += I::LANES;
    }
    if whole < length {
        let rest = whole..length;
        for (v, sums) in sums.iter_mut().enumerate() {
            let x = isa.load_partial(&vectors[v * length..][rest.clone()]);
            for (r, sum) in sums.iter_mut().enumerate() {
                *sum = isa.mul_add(x, isa.load_partial(&rows[r * length..][rest.clone()]), *sum);
            }
        }
    }
    let mut products = [[0.0; ROWS_AT_ONCE]; VECTORS];
    for (products, sums) in products.iter_mut().zip(&sums) {
        for (product, sum) in products.iter_mut().zip(sums) {
            *product = isa.sum(*sum);
        }
    }
    products
}

#[inline(always)]
pub(crate) fn products<I: InstructionSet>(
    isa: I,
    length: usize,
    vectors: &[f16],
    rows: &[f16],
    products: &mut [f32],
) {
    // Sums, four for each vector, take half of the registers: the rest is for what is widened.
    match I::LANES {
        16 => products_of::<I, 4>(isa, length, vectors, rows, products),
        _ => products_of::<I, 2>(isa, length, vectors, rows, products),
    }
}

#[inline(always)]
fn products_of<I: InstructionSet, const VECTORS: usize>(
    isa: I,
    length: usize,
    vectors: &[f16],
    rows: &[f16],
    products: &mut [f32],
) {
    let count = rows.len().checked_div(length).unwrap_or(0);
    if count < ROWS_AT_ONCE {
        for (v, vector) in vectors.chunks_exact(length.max(1)).enumerate() {
            for r in 0..count {
                products[v * count + r] = dot(isa, vector, &rows[r * length..][..length]);
            }
        }
        return;
    }
    // The last tile has rows of the one before as well, where they are no multiple.
    let tiles = || {
        let firsts = (0..count.div_ceil(ROWS_AT_ONCE)).map(|tile| tile * ROWS_AT_ONCE);
        firsts.map(|first| first.min(count - ROWS_AT_ONCE))
    };
    let mut groups = vectors.chunks_exact((VECTORS * length).max(1));
    let mut done = 0;
    for vectors in &mut groups {
        for r in tiles() {
            let rows = &rows[r * length..][..ROWS_AT_ONCE * length];
            for (v, row) in tile::<I, VECTORS>(isa, length, vectors, rows).iter().enumerate() {
                products[(done + v) * count + r..][..ROWS_AT_ONCE].copy_from_slice(row);
            }
        }
        done += VECTORS;
    }
    for (v, vector) in groups.remainder().chunks_exact(length.max(1)).enumerate() {
        for r in tiles() {
            let rows = &rows[r * length..][..ROWS_AT_ONCE * length];
            let [row] = tile::<I, 1>(isa, length, vector, rows);
            products[(done + v) * count + r..][..ROWS_AT_ONCE].copy_from_slice(&row);
        }
    }
}
