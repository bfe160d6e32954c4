//! Time of each kernel at usual dimensions, for every instruction set of this machine.
//!
//! `cargo bench -p mrl-kernels -- dot/768` prints one kernel; names are kernel/dimensions/set.
//! Both vectors stay in the cache and start 8 bytes after a 64-byte boundary, as a vector's
//! components do behind its header in an aligned PostgreSQL tuple.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use half::f16;
use mrl_kernels::{CodeLayer, CodeUnit, Kernels, available};
use std::hint::black_box;
use std::time::Duration;

const DIMENSIONS: [usize; 4] = [64, 384, 768, 1536];

/// Room for the largest vector behind the largest offset.
const ROOM: usize = 1536 + 4;

/// Where a cache line begins.
#[repr(align(64))]
struct Aligned([f16; ROOM]);

impl Aligned {
    /// Values in −1..1 from a fixed generator.
    fn random(mut state: u32) -> Box<Self> {
        Box::new(Self(std::array::from_fn(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f16::from_f32((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
        })))
    }

    fn vector(&self, dims: usize) -> &[f16] {
        &self.0[4..4 + dims]
    }
}

/// Runs `kernel` at each dimension with each set.
fn each<R>(
    criterion: &mut Criterion,
    name: &str,
    mut kernel: impl FnMut(&Kernels, &[f16], &[f16]) -> R,
) {
    let (a, b) = (Aligned::random(1), Aligned::random(2));
    let mut group: BenchmarkGroup<WallTime> = criterion.benchmark_group(name);
    for dims in DIMENSIONS {
        let (a, b) = (a.vector(dims), b.vector(dims));
        group.throughput(Throughput::Elements(dims as u64));
        for set in available() {
            group.bench_function(format!("{dims}/{}", set.name()), |bencher| {
                bencher.iter(|| black_box(kernel(set, black_box(a), black_box(b))));
            });
        }
    }
    group.finish();
}

/// Layer 0 of 32 rows: 64 dimensions of two bits.
fn score_codes(criterion: &mut Criterion) {
    let mut bytes: Vec<u8> = (0..16 * 32).map(|i| (i / 32 * 37 + i % 32 * 101) as u8).collect();
    bytes.extend([[0, 0x3f]; 32].as_flattened());
    let tables: [[[u8; 16]; 2]; 16] = std::array::from_fn(|j| {
        std::array::from_fn(|h| std::array::from_fn(|v| ((j + 3 * h + 11 * v) % 64) as u8))
    });
    let unit = CodeUnit { offset: -1.0, step: 0.01, squared_error: 0.1 };
    let layers = [CodeLayer::new(0, 16 * 32, &tables, unit)];
    let mut group: BenchmarkGroup<WallTime> = criterion.benchmark_group("score_codes");
    group.throughput(Throughput::Elements(32));
    for set in available() {
        group.bench_function(set.name(), |bencher| {
            let (mut scores, mut squared) = ([0.0; 32], [0.0; 32]);
            bencher.iter(|| {
                set.score_codes(black_box(&bytes), black_box(&layers), &mut scores, &mut squared);
                black_box((&scores, &squared));
            });
        });
    }
    group.finish();
}

/// Four vectors of 384 dimensions with each of 64 rows.
fn products(criterion: &mut Criterion) {
    let halfs: Vec<half::f16> =
        (0..68 * 384).map(|i| half::f16::from_f32((i % 97) as f32 / 97.0)).collect();
    let (vectors, rows) = halfs.split_at(4 * 384);
    let mut group: BenchmarkGroup<WallTime> = criterion.benchmark_group("products");
    group.throughput(Throughput::Elements(4 * 64));
    for set in available() {
        group.bench_function(set.name(), |bencher| {
            let mut products = [0.0; 4 * 64];
            bencher.iter(|| {
                set.products(384, black_box(vectors), black_box(rows), &mut products);
                black_box(&products);
            });
        });
    }
    group.finish();
}

fn kernels(criterion: &mut Criterion) {
    products(criterion);
    score_codes(criterion);
    each(criterion, "dot", |set, a, b| set.dot(a, b));
    each(criterion, "squared_l2", |set, a, b| set.squared_l2(a, b));
    each(criterion, "l1", |set, a, b| set.l1(a, b));
    each(criterion, "cosine_terms", |set, a, b| set.cosine_terms(a, b));
    each(criterion, "prefix_terms", |set, a, b| set.prefix_terms(a, b));
    each(criterion, "squared_norm", |set, a, _| set.squared_norm(a));
    each(criterion, "sign_hamming", |set, a, b| set.sign_hamming(a, b));
    each(criterion, "all_finite", |set, a, _| set.all_finite(a));

    let mut bits = [0x5a_u8; 1536 / 8];
    each(criterion, "dot_signs", |set, a, _| set.dot_signs(a, &bits[..a.len() / 8]));
    each(criterion, "sign_bits", |set, a, _| set.sign_bits(a, &mut bits[..a.len() / 8]));

    let mut wide = [0.5_f32; 1536];
    let mut halfs = [f16::ZERO; 1536];
    let mut sums = [0.0_f64; 1536];
    each(criterion, "to_f32", |set, a, _| set.to_f32(a, &mut wide[..a.len()]));
    each(criterion, "from_f32", |set, a, _| {
        set.from_f32(&wide[..a.len()], &mut halfs[..a.len()]);
    });
    each(criterion, "add_to_sums", |set, a, _| set.add_to_sums(a, &mut sums[..a.len()]));
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500));
    targets = kernels
}
criterion_main!(benches);
