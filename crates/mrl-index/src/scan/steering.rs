//! How to scan: what whoever asks decides on.

/// How many lists the first round probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Probes {
    /// As many as have enough rows, by how many lists there are.
    #[default]
    Auto,
    /// Every one.
    All,
    /// So many; where they are more than by default, more blocks of each are looked into too.
    Lists(usize),
}

/// How many deviations of an estimate's error count, and so how near to what is found a block must come that is looked
/// into.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Epsilon {
    /// As many as were measured to be enough: fewer in later rounds, unless these are strict.
    #[default]
    Auto,
    /// Every row is scored exactly.
    Exact,
    /// So many, in every round.
    Deviations(f32),
}

/// What happens after the first round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rounds {
    /// A nearer row found in a later round comes late.
    #[default]
    Relaxed,
    /// It is left out.
    Strict,
    /// There is none.
    One,
}

/// Which rows are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wanted {
    /// All, those without distances last.
    #[default]
    All,
    /// Those that have a vector.
    NotNull,
    /// Those whose vector is NULL.
    OnlyNull,
}

/// How to scan.
#[derive(Debug, Clone, Copy, Default)]
pub struct Steering {
    /// Of the first round; each later one makes the lists probed two or four times as many.
    pub probes: Probes,
    /// A row waits by its estimate plus so many deviations; the funnel's margin goes by them too.
    pub epsilon: Epsilon,
    /// Whether there are later rounds, and what becomes of nearer rows found there.
    pub rounds: Rounds,
    /// Rows with a vector, without one, or both.
    pub wanted: Wanted,
    /// Score the rows of every block (to measure what the funnel saves).
    pub no_funnel: bool,
    /// The most rows to score exactly; `None` for no limit.
    pub most_reranked: Option<u64>,
}
