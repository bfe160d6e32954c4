//! Everything that can happen to an index, in any order, crashes among it, against a model.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mrl_fuzz::world::{Deed, World};
use mrl_fuzz::{Kind, Many};

#[derive(Arbitrary, Debug)]
struct Input {
    kind: Kind,
    deeds: Many<Deed, 24>,
}

fuzz_target!(|input: Input| {
    let mut world = World::empty(input.kind);
    for deed in &input.deeds.0 {
        world.does(deed);
    }
    world.finish();
});
