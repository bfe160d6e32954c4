//! How far a scan looks: the settings `mrl.probes` and `mrl.epsilon`, and an index's own defaults for them.

use mrl_index::scan::{Epsilon, Probes, Rounds, Steering, Wanted};

use crate::index::options::Options;
use crate::settings;

/// `auto`, `all` or a number of lists.
pub fn parse_probes(text: &str) -> Option<Probes> {
    match text {
        text if text.eq_ignore_ascii_case("auto") => Some(Probes::Auto),
        text if text.eq_ignore_ascii_case("all") => Some(Probes::All),
        text => {
            let lists =
                text.parse().ok().filter(|n| (1..=mrl_index::build::MOST_LISTS).contains(n));
            lists.map(Probes::Lists)
        }
    }
}

/// `auto`, `exact` or a number of deviations.
pub fn parse_epsilon(text: &str) -> Option<Epsilon> {
    match text {
        text if text.eq_ignore_ascii_case("auto") => Some(Epsilon::Auto),
        text if text.eq_ignore_ascii_case("exact") => Some(Epsilon::Exact),
        text => {
            let deviations = text.parse().ok().filter(|n: &f32| (0.0..=10.0).contains(n));
            deviations.map(Epsilon::Deviations)
        }
    }
}

/// The session's settings; where one is at its default, the index's.
pub fn steering(options: &Options, wanted: Wanted) -> Steering {
    let probes = match settings::probes() {
        Probes::Auto => options.probes,
        probes => probes,
    };
    let epsilon = match settings::epsilon() {
        Epsilon::Auto => options.epsilon,
        epsilon => epsilon,
    };
    let rounds = match settings::iterative_scan() {
        settings::IterativeScan::RelaxedOrder => Rounds::Relaxed,
        settings::IterativeScan::StrictOrder => Rounds::Strict,
        settings::IterativeScan::Off => Rounds::One,
    };
    Steering {
        probes,
        epsilon,
        rounds,
        wanted,
        no_funnel: !settings::funnel(),
        most_reranked: settings::max_scan_tuples(),
    }
}
