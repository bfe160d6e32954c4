//! How far a round of a scan goes: how many lists it looks into, how many rows it scores, and how many go on, by what
//! is asked for and what the round before has done.
//!
//! Depends on the query and on `tuning`; reads no page.

use crate::build::ROWS_A_LIST;
use crate::lists::directory::Directory;
use crate::scan::query::Query;
use crate::scan::round::Choice;
use crate::scan::tuning::{self, Funnel, Growth, Shares};
use crate::scan::{Epsilon, Probes, Rounds, Steering};

/// More rows than there can be, with room for what is multiplied.
const ALL_ROWS: usize = usize::MAX / 4;

pub(crate) struct Plan {
    steering: Steering,
    /// The round's number, from 0.
    number: u64,
    /// Lists that there are.
    all_lists: usize,
    /// Lists that are looked into at most, those of former rounds among them.
    pub lists: usize,
    /// Rows after which no further list is looked into.
    pub enough_rows: usize,
    /// Whether the query has fewer dimensions than lists are chosen by.
    is_short: bool,
    /// The part of a row's codes that the query reads.
    part: f64,
    funnel: Funnel,
}

impl Plan {
    /// That of a round, before which so many lists have been `probed`.
    pub fn of(
        steering: Steering,
        number: u64,
        directory: &Directory,
        query: &Query,
        probed: usize,
    ) -> Self {
        let all_lists = directory.live_lists().len();
        let dimensions = query.vector.len();
        let is_short = dimensions < directory.meta.coarse_dimensions;
        let (lists, enough_rows) = match steering.probes {
            _ if number > 0 => (probed.max(1) * Growth::of(number).lists, usize::MAX),
            Probes::All => (all_lists, usize::MAX),
            Probes::Lists(lists) => (lists, usize::MAX),
            Probes::Auto => (all_lists, tuning::rows_seen(all_lists, is_short)),
        };
        let part = query.part_of_codes(&directory.encoder.shape);
        let funnel = Funnel::of(dimensions, part, query.leading_share());
        let lists = lists.clamp(probed.min(all_lists), all_lists);
        Self { steering, number, all_lists, lists, enough_rows, is_short, part, funnel }
    }

    /// Whether all rows are scored, whatever summaries say.
    fn takes_everything(&self) -> bool {
        self.steering.epsilon == Epsilon::Exact || self.steering.no_funnel
    }

    /// Whether blocks differ by their summaries.
    pub fn needs_summaries(&self) -> bool {
        !self.takes_everything() && self.funnel.share < 1.0
    }

    /// How many lists will most likely be looked into.
    pub fn likely_lists(&self) -> usize {
        // Some lists are smaller than others, but seldom many.
        self.lists.min(self.enough_rows.div_ceil(ROWS_A_LIST).saturating_mul(5) / 4)
    }

    /// How many rows are scored, were all queries alike: of so many that were seen, where the round before has scored
    /// so many.
    pub fn rows(&self, seen: usize, scored_before: usize) -> usize {
        if self.takes_everything() {
            ALL_ROWS
        } else if self.number == 0 {
            ((seen as f64 * self.funnel.share) as usize).max(self.funnel.least)
        } else {
            (scored_before as f64 * Growth::of(self.number).rows) as usize
        }
    }

    /// Which blocks are looked into for so many rows.
    pub fn choice(&self, rows: usize) -> Choice {
        // In later rounds what comes near to the best rows has gone on before.
        if self.number > 0 || self.takes_everything() {
            return Choice::of(rows);
        }
        let thoroughness = match self.steering.probes {
            Probes::Auto => tuning::default_thoroughness(self.is_short),
            _ => tuning::thoroughness(self.lists, self.all_lists, self.is_short),
        };
        let caution = match self.steering.epsilon {
            Epsilon::Deviations(deviations) => tuning::caution(deviations),
            Epsilon::Auto | Epsilon::Exact => 1.0,
        };
        Choice::by_what_is_found(rows, self.funnel, thoroughness, caution)
    }

    /// Whether nothing that is left out can be nearer: so many lists have been probed, and of so many rows seen so many
    /// scored.
    pub fn is_complete(&self, probed: usize, seen: usize, scored: usize) -> bool {
        probed == self.all_lists && scored >= seen
    }

    /// How many of the rows that were scored go on to their exact distances.
    pub fn finished(&self, scored: usize, is_complete: bool) -> usize {
        match self.takes_everything() {
            true => ALL_ROWS,
            false => Shares::of(self.number, is_complete).finished(scored, self.part),
        }
    }

    /// How many rows may be returned before the next round.
    pub fn returned(&self, scored: usize, is_complete: bool) -> u64 {
        let returned = Shares::of(self.number, is_complete).returned(scored as u64);
        // Of a query of few dimensions fewer rows go on.
        returned.min(self.finished(scored, is_complete) as u64 / 2)
    }

    /// How many deviations of an estimate's error count.
    pub fn epsilon(&self) -> f32 {
        match self.steering.epsilon {
            // In strict order what comes late is lost.
            Epsilon::Auto if self.number == 0 || self.steering.rounds == Rounds::Strict => {
                tuning::EPSILON
            }
            Epsilon::Auto => tuning::EPSILON_LATER,
            Epsilon::Deviations(epsilon) => epsilon,
            Epsilon::Exact => f32::INFINITY,
        }
    }
}
