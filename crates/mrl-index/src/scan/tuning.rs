//! The constants that decide between speed and recall of a scan; measured in docs/performance.md, chosen in
//! docs/decisions.md.

use crate::build::ROWS_A_LIST;
use crate::codes::layers::LEADING;

/// About how many lists the funnel is tuned for, of so many that a build makes.
fn lists_seen(lists: usize, is_short: bool) -> f64 {
    // Of more lists each is smaller in extent, and lies nearer to what it is near to; but more of them are near.
    let seen = 12.0 + 1.5 * (lists as f64).sqrt();
    // A query with fewer dimensions than lists are chosen by tells less about which are near, and scores their rows
    // for less.
    if is_short { 2.5 * seen } else { seen }
}

/// How many times as many lists a first round looks into by default as the funnel is tuned for. A grown index loses
/// less of a fresh one's recall the more lists are looked into, and so does a scan with a filter of that of one
/// without.
pub(crate) fn default_thoroughness(is_short: bool) -> f64 {
    if is_short { 1.0 } else { 1.5 }
}

/// Rows whose blocks' summaries the first round scores by default where there are so many lists.
pub(crate) fn rows_seen(lists: usize, is_short: bool) -> usize {
    let lists = lists_seen(lists, is_short) * default_thoroughness(is_short);
    (lists * ROWS_A_LIST as f64) as usize
}

/// How many times a funnel's margin is taken where someone asks for `probes` lists of so many: who asks for more wants
/// more of each.
pub(crate) fn thoroughness(probes: usize, lists: usize, is_short: bool) -> f64 {
    let times = probes as f64 / lists_seen(lists, is_short).min(lists as f64).max(1.0);
    // A short query's blocks tell little about their rows: more of them are a longer way to what more lists have.
    if is_short { times.sqrt() } else { times }
}

/// How many times its margin is taken where someone says how many deviations count: a block's reach is to its score
/// what a deviation is to a row's estimate.
pub(crate) fn caution(deviations: f32) -> f64 {
    f64::from(deviations / EPSILON)
}

/// How a round narrows down the rows that it sees to those whose codes are scored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Funnel {
    /// The share that is scored, were all queries alike.
    pub share: f64,
    /// But so many rows in any case.
    pub least: usize,
    /// Of these, the part that is scored whatever is found: by what is found there the others are chosen.
    pub first: f64,
    /// By how many reaches (how far a block's best row is thought to lie above its mean) a block's score may be less
    /// than that of the best rows found: see [`Choice`](crate::scan::round::Choice).
    pub margin: f64,
}

impl Funnel {
    /// That of a query of so many dimensions, which reads `part` of a row's codes and has the share `leading` of its
    /// squared length in layer 0. The more layer 0 says, the fewer rows have to be scored, and the farther are the best
    /// of a block from its mean; the less of each is read, the more, as blocks are formed by all dimensions.
    pub fn of(dimensions: usize, part: f64, leading: f32) -> Self {
        let leading = f64::from(leading);
        if dimensions <= LEADING {
            // Of blocks that were formed by all dimensions a few leading ones tell little, and the less the fewer they
            // are; a row's layer 0 is read in a fraction of the time, and its score is less certain.
            let margin = 0.46 * LEADING as f64 / dimensions as f64;
            return Self { share: 0.55, least: 16_384, first: 0.25, margin };
        }
        let share = (0.25 * (1.0 - leading) / part).min(1.0);
        Self { share, least: 4096, first: 0.5, margin: 0.1 + 0.6 * leading * leading }
    }
}

/// At most so many times the blocks that would be looked into if all queries were alike are, where much is found that
/// comes near to the best.
pub(crate) const MOST_PARTS: f64 = 3.0;
/// What is found is judged by about the 24th best row: a round returns 20 at least.
pub(crate) const BEST_ROWS: usize = 24;
/// Deviations of an estimate's error.
pub(crate) const EPSILON: f32 = 2.3;
/// How many times as many rows of a round have gone on after each further part of them has, and after the last: where
/// all are equally near nothing would end it before.
pub(crate) const MORE_GO_ON: usize = 2;
pub(crate) const MOST_GO_ON: usize = 8;
/// In later rounds, whose rows are many, and matter less each.
pub(crate) const EPSILON_LATER: f32 = 1.5;

/// Of the rows that a round has scored, the shares that go on to their exact distances and that may be returned before
/// the next round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shares {
    finished: f64,
    returned: f64,
}

impl Shares {
    /// Those of a round by its number, from 0; `complete` where it has scored all rows there are. The first looks for
    /// the nearest rows; who asks for more of them asks for many, among which the place of each matters less; and
    /// where nothing is left out nothing comes late.
    pub fn of(round: u64, complete: bool) -> Self {
        let (finished, returned) = match round {
            _ if complete => (8.0, 16.0),
            0 => (32.0, 128.0),
            1 => (32.0, 64.0),
            _ => (16.0, 32.0),
        };
        Self { finished: 1.0 / finished, returned: 1.0 / returned }
    }

    /// Of so many rows scored, by a query that reads `part` of their codes, those that go on.
    pub fn finished(self, scored: usize, part: f64) -> usize {
        const LEAST: usize = 256;
        ((scored as f64 * part * self.finished) as usize).max(LEAST)
    }

    /// Of so many rows scored, those that may be returned.
    pub fn returned(self, scored: u64) -> u64 {
        const LEAST: u64 = 20;
        ((scored as f64 * self.returned) as u64).max(LEAST)
    }
}

/// By what the lists that a round looks into, and the rows that it scores, are more than those of the round before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Growth {
    pub lists: usize,
    pub rows: f64,
}

impl Growth {
    /// That of a round by its number, from 1. The first has scored the rows that are likely to be near, and the second
    /// looks mostly into the lists that it adds.
    pub fn of(round: u64) -> Self {
        if round == 1 { Self { lists: 2, rows: 1.5 } } else { Self { lists: 4, rows: 4.0 } }
    }
}
