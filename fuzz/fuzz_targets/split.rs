//! Lists of vectors that are hard to tell apart, or far too easy, grow until they are split.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mrl_fuzz::vectors::{Style, vector};
use mrl_fuzz::world::{Deed, World};
use mrl_fuzz::{Few, Kind, Many};

#[derive(Arbitrary, Debug)]
struct Input {
    kind: Kind,
    /// Of one after another: style, seed, tens of rows.
    rows: Few<(Style, u16, u8)>,
    lists: u8,
    deeds: Many<Deed, 12>,
}

const MOST_ROWS: usize = 3500;

fuzz_target!(|input: Input| {
    let dimensions = input.kind.plan().dimensions;
    // At least the half of a list that is due to be split, of whatever there is: else nothing is.
    let wanted = input.rows.0.iter().map(|(_, _, tens)| 10 * usize::from(*tens)).sum::<usize>();
    let repeat = 1450_usize.div_ceil(wanted.max(1));
    let mut vectors = Vec::new();
    for (style, seed, tens) in &input.rows.0 {
        let count = 10 * usize::from(*tens) * repeat;
        let room = MOST_ROWS.saturating_sub(vectors.len());
        let seeds = (0..count.min(room)).map(|i| seed.wrapping_add(i as u16));
        vectors.extend(seeds.map(|seed| vector(*style, seed, dimensions)));
    }
    let mut world = World::built(input.kind, vectors, 1 + usize::from(input.lists % 3));
    for list in 0..3 {
        world.does(&Deed::Split { list });
    }
    for deed in &input.deeds.0 {
        world.does(deed);
    }
    world.finish();
});
