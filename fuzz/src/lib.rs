//! What the fuzz targets of the index share.
//!
//! | module | what it holds |
//! |---|---|
//! | [`store`] | pages in memory that notice work without end, and can stop as a crash does |
//! | [`vectors`] | vectors of every kind that a table may hold, from few bytes |
//! | [`distances`] | exact distances, and who knows them |
//! | [`world`] | an index and what should be in it |
//! | [`model`] | a model of some kilobytes |

pub mod distances;
pub mod model;
pub mod store;
pub mod vectors;
pub mod world;

use arbitrary::{Arbitrary, Unstructured};
use mrl_index::build::Plan;
use mrl_index::pages::meta::Metric;

/// What an index is to be.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub struct Kind {
    metric: u8,
    dimensions: u8,
    coarse: u8,
    copies: bool,
}

impl Kind {
    /// One, two and three layers, at and around their borders. Few dimensions: what a vector's own
    /// components do is the property tests' business, and rows are needed by the thousand.
    const DIMENSIONS: [usize; 8] = [1, 2, 3, 5, 8, 63, 65, 130];
    /// How many different kinds there are but for the coarse dimensions.
    pub const COUNT: u8 = 3 * Self::DIMENSIONS.len() as u8 * 2;

    /// The kind with this number.
    pub fn numbered(number: u8) -> Self {
        let rest = number / 3;
        let count = Self::DIMENSIONS.len() as u8;
        Self {
            metric: number % 3,
            dimensions: rest % count,
            coarse: number.wrapping_mul(7),
            copies: rest / count % 2 == 1,
        }
    }

    pub fn plan(self) -> Plan {
        let metrics = [Metric::InnerProduct, Metric::Cosine, Metric::Euclidean];
        let dimensions = Self::DIMENSIONS[usize::from(self.dimensions) % Self::DIMENSIONS.len()];
        Plan {
            build: 7,
            seed: 3,
            dimensions,
            coarse_dimensions: dimensions - usize::from(self.coarse) % dimensions,
            metric: metrics[usize::from(self.metric) % metrics.len()],
            copies: self.copies,
        }
    }
}

/// As many as the input has, at most so many. (Of a `Vec` each element is the last one with a
/// probability of a half: few inputs would have more than two.)
#[derive(Debug)]
pub struct Many<T, const MOST: usize>(pub Vec<T>);

impl<'a, T: Arbitrary<'a>, const MOST: usize> Arbitrary<'a> for Many<T, MOST> {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let mut many = Vec::new();
        while many.len() < MOST && !input.is_empty() {
            many.push(input.arbitrary()?);
        }
        Ok(Self(many))
    }
}

/// Up to four.
#[derive(Debug)]
pub struct Few<T>(pub Vec<T>);

impl<'a, T: Arbitrary<'a>> Arbitrary<'a> for Few<T> {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let count = input.int_in_range(0..=4)?;
        (0..count).map(|_| input.arbitrary()).collect::<arbitrary::Result<_>>().map(Self)
    }
}
