//! Everything that can happen to an index, in any order, crashes among it, against a model.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mrl_fuzz::Kind;
use mrl_fuzz::world::{Deed, World};

#[derive(Arbitrary, Debug)]
struct Input {
    kind: Kind,
    deeds: Vec<Deed>,
}

/// Beyond, runs get slow and find nothing new.
const MOST_DEEDS: usize = 40;

fuzz_target!(|input: Input| {
    let mut world = World::empty(input.kind);
    for deed in input.deeds.iter().take(MOST_DEEDS) {
        world.does(deed);
    }
    world.finish();
});
