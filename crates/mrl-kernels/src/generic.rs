//! Each algorithm, written once over the trait [`InstructionSet`]. Depends on nothing but that
//! trait and `scalar`; `arch` implements it and compiles these functions with the set's features enabled.
//!
//! Everything here is `#[inline(always)]`: code takes on the features of the function into which
//! it is inlined, and a call that stayed a call would pass vectors through memory.

pub(crate) use crate::products::products;
use crate::{
    CodeBytes, CodeLayer, CodeScales, CodeScores, CodeSums, CosineTerms, PrefixTerms, TablesOfTwo,
    scalar,
};
use half::f16;

/// Dimensions that the integer methods of [`InstructionSet`] take at once: a mask is a `u32`.
pub(crate) const MASK_DIMS: usize = 32;

/// Components of which a set does the first steps of a Walsh-Hadamard transform within registers.
pub(crate) const BUTTERFLIES: usize = 16;

/// The most f32 lanes a set may have.
const MAX_LANES: usize = 16;

/// Independent sums a reduction keeps, to hide the latency of an addition (4 cycles, one or two
/// started in each). Three sums each for a cosine still fit the sixteen registers of AVX2.
const UNROLL: usize = 4;

/// The operations of one instruction set. A value is proof that the processor has it.
///
/// Methods panic when a slice does not have the length they name. The callers below cut slices
/// to constant lengths, so the checks compile to nothing.
pub(crate) trait InstructionSet: Copy {
    /// A register, or a few, of [`Self::LANES`] f32.
    type Lanes: Copy;

    /// 8 or 16: whole bytes of a bit string.
    const LANES: usize;

    /// All lanes 0.
    fn zero(self) -> Self::Lanes;
    /// Widens `LANES` halfs.
    fn load(self, src: &[f16]) -> Self::Lanes;
    /// Widens at most `LANES` halfs; the other lanes are 0.
    fn load_partial(self, src: &[f16]) -> Self::Lanes;
    /// +1 or −1 for each bit of `LANES / 8` bytes, most significant bit first.
    fn load_signs(self, bits: &[u8]) -> Self::Lanes;
    /// Writes `LANES` f32.
    fn store(self, lanes: Self::Lanes, dst: &mut [f32]);
    /// Adds each lane to one of `LANES` f64.
    fn add_to_sums(self, lanes: Self::Lanes, sums: &mut [f64]);
    /// Rounds `LANES` f32 to as many halfs, ties to even.
    fn narrow(self, src: &[f32], dst: &mut [f16]);

    /// `a + b`
    fn add(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// `a − b`
    fn sub(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// `|a|`
    fn abs(self, a: Self::Lanes) -> Self::Lanes;
    /// `a · b + c`, rounded once
    fn mul_add(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes;
    /// Sum of the lanes.
    fn sum(self, lanes: Self::Lanes) -> f32;

    /// Bit i (from the least significant) tells whether `src[i] > 0`; [`MASK_DIMS`] halfs.
    fn positive(self, src: &[f16]) -> u32;
    /// Whether none of [`MASK_DIMS`] halfs is an infinity or a NaN.
    fn finite(self, src: &[f16]) -> bool;

    /// For each of 32 rows, the sum of what the tables count for its code; the scalar way where the set
    /// has no instruction for it.
    #[inline(always)]
    fn look_up_sums(self, codes: &[CodeBytes], tables: &[TablesOfTwo], sums: &mut CodeSums) {
        scalar::look_up_sums(codes, tables, sums);
    }

    /// Sums and differences of the components that lie 1 apart, then of those 2, 4 and 8 apart.
    #[inline(always)]
    fn butterflies(self, chunk: &mut [f32; BUTTERFLIES]) {
        for half in [1, 2, 4, 8] {
            scalar::butterflies(chunk, half);
        }
    }

    /// [`crate::at_least`]
    #[inline(always)]
    fn at_least(self, scores: &CodeScores, bar: f32) -> u32 {
        scalar::at_least(scores, bar)
    }
}

/// A copy of `src` filled up to `N` with zeros.
#[inline(always)]
pub(crate) fn padded<T: Copy + Default, const N: usize>(src: &[T]) -> [T; N] {
    let mut block = [T::default(); N];
    block[..src.len()].copy_from_slice(src);
    block
}

/// What the second slice of a reduction may hold: halfs, or the bits of a sign vector.
trait Operand<I: InstructionSet>: Sized {
    const DIMS_PER_ITEM: usize;
    fn load(isa: I, src: &[Self]) -> I::Lanes;
    fn load_partial(isa: I, src: &[Self]) -> I::Lanes;
}

impl<I: InstructionSet> Operand<I> for f16 {
    const DIMS_PER_ITEM: usize = 1;

    #[inline(always)]
    fn load(isa: I, src: &[f16]) -> I::Lanes {
        isa.load(src)
    }

    #[inline(always)]
    fn load_partial(isa: I, src: &[f16]) -> I::Lanes {
        isa.load_partial(src)
    }
}

impl<I: InstructionSet> Operand<I> for u8 {
    const DIMS_PER_ITEM: usize = 8;

    #[inline(always)]
    fn load(isa: I, bits: &[u8]) -> I::Lanes {
        isa.load_signs(bits)
    }

    /// Bits past the end give ±1, which meet the zeros of the other operand's `load_partial`.
    #[inline(always)]
    fn load_partial(isa: I, bits: &[u8]) -> I::Lanes {
        isa.load_signs(&padded::<u8, { MAX_LANES / 8 }>(bits)[..I::LANES / 8])
    }
}

/// What a reduction sums: one or more sums in each lane.
trait Accumulator<I: InstructionSet>: Copy {
    fn zero(isa: I) -> Self;
    /// Takes in `LANES` dimensions of both operands.
    fn take(self, isa: I, x: I::Lanes, y: I::Lanes) -> Self;
    fn merge(self, isa: I, other: Self) -> Self;
}

/// Runs an accumulator over two operands of equal dimensions.
#[inline(always)]
fn reduce<I, A, T>(isa: I, a: &[f16], b: &[T]) -> A
where
    I: InstructionSet,
    A: Accumulator<I>,
    T: Operand<I>,
{
    let lanes_b = I::LANES / T::DIMS_PER_ITEM;
    let block_a = UNROLL * I::LANES;
    let block_b = UNROLL * lanes_b;
    let blocks = a.len() / block_a;
    let (a_blocks, a_rest) = a.split_at(blocks * block_a);
    let (b_blocks, b_rest) = b.split_at(blocks * block_b);

    let mut sums = [A::zero(isa); UNROLL];
    for (x, y) in a_blocks.chunks_exact(block_a).zip(b_blocks.chunks_exact(block_b)) {
        for (k, sum) in sums.iter_mut().enumerate() {
            let x = isa.load(&x[k * I::LANES..][..I::LANES]);
            let y = T::load(isa, &y[k * lanes_b..][..lanes_b]);
            *sum = sum.take(isa, x, y);
        }
    }

    // Fewer than UNROLL whole vectors and a partial one are left: at most UNROLL pieces.
    let rest = a_rest.chunks(I::LANES).zip(b_rest.chunks(lanes_b));
    for (sum, (x, y)) in sums.iter_mut().zip(rest) {
        *sum = if x.len() == I::LANES {
            sum.take(isa, isa.load(x), T::load(isa, y))
        } else {
            sum.take(isa, isa.load_partial(x), T::load_partial(isa, y))
        };
    }
    let [s0, s1, s2, s3] = sums;
    s0.merge(isa, s1).merge(isa, s2.merge(isa, s3))
}

#[derive(Clone, Copy)]
struct Product<L>(L);

impl<I: InstructionSet> Accumulator<I> for Product<I::Lanes> {
    #[inline(always)]
    fn zero(isa: I) -> Self {
        Self(isa.zero())
    }

    #[inline(always)]
    fn take(self, isa: I, x: I::Lanes, y: I::Lanes) -> Self {
        Self(isa.mul_add(x, y, self.0))
    }

    #[inline(always)]
    fn merge(self, isa: I, other: Self) -> Self {
        Self(isa.add(self.0, other.0))
    }
}

#[derive(Clone, Copy)]
struct SquaredDifference<L>(L);

impl<I: InstructionSet> Accumulator<I> for SquaredDifference<I::Lanes> {
    #[inline(always)]
    fn zero(isa: I) -> Self {
        Self(isa.zero())
    }

    #[inline(always)]
    fn take(self, isa: I, x: I::Lanes, y: I::Lanes) -> Self {
        let difference = isa.sub(x, y);
        Self(isa.mul_add(difference, difference, self.0))
    }

    #[inline(always)]
    fn merge(self, isa: I, other: Self) -> Self {
        Self(isa.add(self.0, other.0))
    }
}

#[derive(Clone, Copy)]
struct AbsoluteDifference<L>(L);

impl<I: InstructionSet> Accumulator<I> for AbsoluteDifference<I::Lanes> {
    #[inline(always)]
    fn zero(isa: I) -> Self {
        Self(isa.zero())
    }

    #[inline(always)]
    fn take(self, isa: I, x: I::Lanes, y: I::Lanes) -> Self {
        Self(isa.add(self.0, isa.abs(isa.sub(x, y))))
    }

    #[inline(always)]
    fn merge(self, isa: I, other: Self) -> Self {
        Self(isa.add(self.0, other.0))
    }
}

/// Two accumulators fed with the same two operands.
#[derive(Clone, Copy)]
struct Both<A, B>(A, B);

impl<I: InstructionSet, A: Accumulator<I>, B: Accumulator<I>> Accumulator<I> for Both<A, B> {
    #[inline(always)]
    fn zero(isa: I) -> Self {
        Self(A::zero(isa), B::zero(isa))
    }

    #[inline(always)]
    fn take(self, isa: I, x: I::Lanes, y: I::Lanes) -> Self {
        Self(self.0.take(isa, x, y), self.1.take(isa, x, y))
    }

    #[inline(always)]
    fn merge(self, isa: I, other: Self) -> Self {
        Self(self.0.merge(isa, other.0), self.1.merge(isa, other.1))
    }
}

/// An accumulator of pairs fed with the first operand twice.
#[derive(Clone, Copy)]
struct First<A>(A);

impl<I: InstructionSet, A: Accumulator<I>> Accumulator<I> for First<A> {
    #[inline(always)]
    fn zero(isa: I) -> Self {
        Self(A::zero(isa))
    }

    #[inline(always)]
    fn take(self, isa: I, x: I::Lanes, _: I::Lanes) -> Self {
        Self(self.0.take(isa, x, x))
    }

    #[inline(always)]
    fn merge(self, isa: I, other: Self) -> Self {
        Self(self.0.merge(isa, other.0))
    }
}

/// An accumulator of pairs fed with the second operand twice.
#[derive(Clone, Copy)]
struct Second<A>(A);

impl<I: InstructionSet, A: Accumulator<I>> Accumulator<I> for Second<A> {
    #[inline(always)]
    fn zero(isa: I) -> Self {
        Self(A::zero(isa))
    }

    #[inline(always)]
    fn take(self, isa: I, _: I::Lanes, y: I::Lanes) -> Self {
        Self(self.0.take(isa, y, y))
    }

    #[inline(always)]
    fn merge(self, isa: I, other: Self) -> Self {
        Self(self.0.merge(isa, other.0))
    }
}

#[inline(always)]
pub(crate) fn dot<I: InstructionSet>(isa: I, a: &[f16], b: &[f16]) -> f32 {
    let Product(sum) = reduce(isa, a, b);
    isa.sum(sum)
}

#[inline(always)]
pub(crate) fn squared_l2<I: InstructionSet>(isa: I, a: &[f16], b: &[f16]) -> f32 {
    let SquaredDifference(sum) = reduce(isa, a, b);
    isa.sum(sum)
}

#[inline(always)]
pub(crate) fn l1<I: InstructionSet>(isa: I, a: &[f16], b: &[f16]) -> f32 {
    let AbsoluteDifference(sum) = reduce(isa, a, b);
    isa.sum(sum)
}

#[inline(always)]
pub(crate) fn cosine_terms<I: InstructionSet>(isa: I, a: &[f16], b: &[f16]) -> CosineTerms {
    let Both(Product(dot), Both(First(Product(a_squared)), Second(Product(b_squared)))) =
        reduce(isa, a, b);
    CosineTerms { dot: isa.sum(dot), a_squared: isa.sum(a_squared), b_squared: isa.sum(b_squared) }
}

#[inline(always)]
pub(crate) fn prefix_terms<I: InstructionSet>(isa: I, a: &[f16], b: &[f16]) -> PrefixTerms {
    let Both(Product(dot), First(Product(a_squared))) = reduce(isa, a, b);
    PrefixTerms { dot: isa.sum(dot), a_squared: isa.sum(a_squared) }
}

#[inline(always)]
pub(crate) fn squared_norm<I: InstructionSet>(isa: I, a: &[f16]) -> f32 {
    let First(Product(sum)) = reduce(isa, a, a);
    isa.sum(sum)
}

#[inline(always)]
pub(crate) fn dot_signs<I: InstructionSet>(isa: I, a: &[f16], bits: &[u8]) -> f32 {
    let Product(sum) = reduce(isa, a, bits);
    isa.sum(sum)
}

#[inline(always)]
pub(crate) fn sign_bits<I: InstructionSet>(isa: I, src: &[f16], dst: &mut [u8]) {
    // Reversing all bits and then the bytes reverses the bits within each byte.
    let packed = |mask: u32| mask.reverse_bits().to_be_bytes();
    let (blocks, rest) = src.as_chunks::<MASK_DIMS>();
    let (dst_blocks, dst_rest) = dst.as_chunks_mut::<{ MASK_DIMS / 8 }>();
    for (block, out) in blocks.iter().zip(&mut *dst_blocks) {
        *out = packed(isa.positive(block));
    }
    // A rest of 25 to 31 dimensions also has four bytes: it is then one more block of `dst`.
    let bytes = packed(isa.positive(&padded::<f16, MASK_DIMS>(rest)));
    match dst_blocks.get_mut(blocks.len()) {
        Some(last) => *last = bytes,
        None => dst_rest.copy_from_slice(&bytes[..dst_rest.len()]),
    }
}

#[inline(always)]
pub(crate) fn sign_hamming<I: InstructionSet>(isa: I, a: &[f16], b: &[f16]) -> u32 {
    let (a_blocks, a_rest) = a.as_chunks::<MASK_DIMS>();
    let (b_blocks, b_rest) = b.as_chunks::<MASK_DIMS>();
    let mut different = 0;
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        different += (isa.positive(x) ^ isa.positive(y)).count_ones();
    }
    if !a_rest.is_empty() {
        let x = isa.positive(&padded::<f16, MASK_DIMS>(a_rest));
        let y = isa.positive(&padded::<f16, MASK_DIMS>(b_rest));
        different += (x ^ y).count_ones();
    }
    different
}

#[inline(always)]
pub(crate) fn to_f32<I: InstructionSet>(isa: I, src: &[f16], dst: &mut [f32]) {
    let mut blocks = src.chunks_exact(I::LANES);
    let mut out_blocks = dst.chunks_exact_mut(I::LANES);
    for (block, out) in (&mut blocks).zip(&mut out_blocks) {
        isa.store(isa.load(block), out);
    }
    let rest = out_blocks.into_remainder();
    let mut widened = [0.0; MAX_LANES];
    isa.store(isa.load_partial(blocks.remainder()), &mut widened[..I::LANES]);
    rest.copy_from_slice(&widened[..rest.len()]);
}

#[inline(always)]
pub(crate) fn from_f32<I: InstructionSet>(isa: I, src: &[f32], dst: &mut [f16]) {
    let mut blocks = src.chunks_exact(I::LANES);
    let mut out_blocks = dst.chunks_exact_mut(I::LANES);
    for (block, out) in (&mut blocks).zip(&mut out_blocks) {
        isa.narrow(block, out);
    }
    let rest = out_blocks.into_remainder();
    let mut narrowed = [f16::ZERO; MAX_LANES];
    let wide = padded::<f32, MAX_LANES>(blocks.remainder());
    isa.narrow(&wide[..I::LANES], &mut narrowed[..I::LANES]);
    rest.copy_from_slice(&narrowed[..rest.len()]);
}

#[inline(always)]
pub(crate) fn add_to_sums<I: InstructionSet>(isa: I, src: &[f16], sums: &mut [f64]) {
    let mut blocks = src.chunks_exact(I::LANES);
    let mut sum_blocks = sums.chunks_exact_mut(I::LANES);
    for (block, sums) in (&mut blocks).zip(&mut sum_blocks) {
        isa.add_to_sums(isa.load(block), sums);
    }
    let rest = sum_blocks.into_remainder();
    let mut widened = padded::<f64, MAX_LANES>(rest);
    isa.add_to_sums(isa.load_partial(blocks.remainder()), &mut widened[..I::LANES]);
    rest.copy_from_slice(&widened[..rest.len()]);
}

#[inline(always)]
pub(crate) fn all_finite<I: InstructionSet>(isa: I, src: &[f16]) -> bool {
    let (blocks, rest) = src.as_chunks::<MASK_DIMS>();
    for block in blocks {
        if !isa.finite(block) {
            return false;
        }
    }
    isa.finite(&padded::<f16, MASK_DIMS>(rest))
}

#[inline(always)]
pub(crate) fn score_codes<I: InstructionSet>(
    isa: I,
    bytes: &[u8],
    layers: &[CodeLayer],
    scores: &mut CodeScores,
    squared_errors: &mut CodeScores,
) {
    // Copies, which the compiler may keep in registers from layer to layer.
    let (mut all, mut squared) = (*scores, *squared_errors);
    for layer in layers {
        let (codes, scales) = layer.of(bytes);
        let mut sums = [0; 32];
        isa.look_up_sums(codes, &layer.tables, &mut sums);
        scalar::scale_sums(&sums, scales, &layer.unit, &mut all, &mut squared);
    }
    (*scores, *squared_errors) = (all, squared);
}

#[inline(always)]
pub(crate) fn walsh_hadamard<I: InstructionSet>(isa: I, vector: &mut [f32]) {
    let scale = 1.0 / (vector.len() as f32).sqrt();
    let (chunks, rest) = vector.as_chunks_mut::<BUTTERFLIES>();
    for chunk in chunks {
        isa.butterflies(chunk);
    }
    // A vector of fewer, all of it.
    let mut half = 1;
    while half < rest.len() {
        scalar::butterflies(rest, half);
        half *= 2;
    }
    let mut half = BUTTERFLIES;
    while half < vector.len() {
        scalar::butterflies(vector, half);
        half *= 2;
    }
    vector.iter_mut().for_each(|component| *component *= scale);
}

/// The compiler makes the vectors of the set's features itself.
#[inline(always)]
pub(crate) fn divide_by_lengths<I: InstructionSet>(
    _: I,
    shares: &[u8; 32],
    terms: &CodeScales,
    of_zeros: f32,
    scores: &mut CodeScores,
    squared_errors: &mut CodeScores,
) {
    scalar::divide_by_lengths(shares, terms, of_zeros, scores, squared_errors);
}

#[inline(always)]
pub(crate) fn at_least<I: InstructionSet>(isa: I, scores: &CodeScores, bar: f32) -> u32 {
    isa.at_least(scores, bar)
}

/// The compiler makes the vectors of the set's features itself.
#[inline(always)]
pub(crate) fn count_at_least<I: InstructionSet>(_: I, scores: &[f32], bar: f32) -> u32 {
    scalar::count_at_least(scores, bar)
}
