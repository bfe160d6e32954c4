//! Vectors of every kind that a table may hold, from few bytes.

use arbitrary::Arbitrary;
use half::f16;

/// How the vectors of a table relate to each other.
#[derive(Arbitrary, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Around a few centres.
    Clustered,
    /// One vector again and again.
    Equal,
    /// The same but for the last bit of one component.
    NearlyEqual,
    /// Multiples of one vector, also negative ones.
    Collinear,
    /// Components at the end of what a half can hold.
    Huge,
    /// Components that are subnormal, or zero of either sign.
    Tiny,
    /// One component that is not zero.
    Axis,
    /// Any finite halfs.
    Any,
    /// Zero.
    Zero,
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound.max(1) as u64) as usize
    }

    /// From -1 to 1, its square evenly spread.
    fn signed(&mut self) -> f32 {
        let uniform = (self.draw() >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        uniform * uniform.abs()
    }
}

/// A vector; the same for the same style, seed and dimensions.
pub fn vector(style: Style, seed: u16, dimensions: usize) -> Vec<f16> {
    let mut random = Random(u64::from(seed));
    // What all vectors of a style have in common.
    let mut common = Random(1);
    let mut base = || -> Vec<f32> { (0..dimensions).map(|_| common.signed()).collect() };
    let narrow = |numbers: Vec<f32>| numbers.into_iter().map(f16::from_f32).collect();
    match style {
        Style::Clustered => {
            let mut centre = Random(u64::from(seed % 7));
            narrow((0..dimensions).map(|_| centre.signed() + 0.2 * random.signed()).collect())
        }
        Style::Equal => narrow(base()),
        Style::NearlyEqual => {
            let mut vector: Vec<f16> = narrow(base());
            let component = &mut vector[random.below(dimensions)];
            *component = f16::from_bits(component.to_bits() ^ 1);
            vector
        }
        Style::Collinear => {
            let factor = 4.0 * random.signed();
            narrow(base().into_iter().map(|x| x * factor).collect())
        }
        Style::Huge => (0..dimensions)
            .map(|_| {
                let magnitude = f16::from_bits(0x7bff - (random.draw() % 3) as u16);
                if random.draw() & 1 == 0 { magnitude } else { -magnitude }
            })
            .collect(),
        Style::Tiny => (0..dimensions)
            .map(|_| f16::from_bits((random.draw() % 3) as u16 | (random.draw() & 0x8000) as u16))
            .collect(),
        Style::Axis => {
            let mut vector = vec![f16::ZERO; dimensions];
            vector[random.below(dimensions)] = f16::from_f32(random.signed());
            vector
        }
        Style::Any => (0..dimensions)
            .map(|_| {
                let half = f16::from_bits(random.draw() as u16);
                if half.is_finite() { half } else { f16::ONE }
            })
            .collect(),
        Style::Zero => vec![f16::ZERO; dimensions],
    }
}

/// What is asked for.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub struct Question {
    style: Style,
    seed: u16,
    shorter: u8,
}

impl Question {
    /// A whole vector of no special kind.
    pub const PLAIN: Self = Self { style: Style::Equal, seed: 0, shorter: 0 };

    /// A query of 1 to as many dimensions as there are; of all where `whole`.
    pub fn query(self, dimensions: usize, whole: bool) -> Vec<f16> {
        let mut query = vector(self.style, self.seed, dimensions);
        if !whole {
            query.truncate(dimensions - usize::from(self.shorter) % dimensions);
        }
        query
    }
}
