//! How candidates are found, and how that went.

use std::time::{Duration, Instant};

use twofold_vector::Effort;

use crate::index::Estimate;

/// How candidates are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Every candidate is compared in full precision.
    Exact,
    /// Every candidate is compared by its byte code, the best in full precision.
    Gather,
    /// The index finds them.
    Index(&'static str),
    /// The inverted index finds them.
    Inverted,
    /// Every candidate's vectors are compared with every vector of the query.
    MaxSim,
    /// Every candidate is compared with every example.
    Examples,
    /// Ids are read in their order, or drawn.
    Ids,
    /// The payload of every candidate is read.
    Payloads,
    /// What prefetches found is fused.
    Fusion,
    /// What prefetches found is ranked by a formula.
    Formula,
}

/// How a query went.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// How candidates were found.
    pub plan: Plan,
    /// Points that match the filter and have the vector.
    pub matching: u64,
    /// Points that have the vector.
    pub present: u64,
    /// What asking the index was expected to take; none without an index.
    pub expected_index: Option<Duration>,
    /// What comparing every candidate was expected to take; none without an index.
    pub expected_scan: Option<Duration>,
    /// What was read.
    pub effort: Effort,
    /// The time to find the points that match.
    pub filtering: Duration,
    /// The time to find the nearest.
    pub searching: Duration,
    /// The time to read what is answered.
    pub fetching: Duration,
    /// How its prefetches went, in their order.
    pub prefetches: Vec<Explanation>,
}

pub(crate) fn plan(exact: bool, has_codes: bool, index: Option<(&'static str, Estimate)>) -> Plan {
    let scan = if has_codes { Plan::Gather } else { Plan::Exact };
    match index {
        _ if exact => Plan::Exact,
        Some((kind, estimate)) if estimate.index < estimate.scan => Plan::Index(kind),
        _ => scan,
    }
}

impl Explanation {
    pub(crate) fn new(plan: Plan, matching: u64, present: u64) -> Self {
        Self {
            plan,
            matching,
            present,
            expected_index: None,
            expected_scan: None,
            effort: Effort::default(),
            filtering: Duration::ZERO,
            searching: Duration::ZERO,
            fetching: Duration::ZERO,
            prefetches: Vec::new(),
        }
    }

    pub(crate) fn with(self, effort: Effort) -> Self {
        Self { effort, ..self }
    }

    pub(crate) fn after(self, prefetches: Vec<Explanation>) -> Self {
        Self { prefetches, ..self }
    }

    /// With the times since a query was begun and since its points were filtered.
    pub(crate) fn timed(self, started: Instant, filtered: Instant) -> Self {
        Self {
            filtering: filtered - started,
            searching: filtered.elapsed(),
            ..self
        }
    }
}

pub(crate) fn nanoseconds(nanoseconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(nanoseconds / 1e9).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheaper_way_is_taken_and_exact_means_exact() {
        let index = |index, scan| Some(("ivf", Estimate { index, scan }));
        assert_eq!(plan(false, true, index(1.0, 2.0)), Plan::Index("ivf"));
        assert_eq!(plan(false, true, index(2.0, 1.0)), Plan::Gather);
        assert_eq!(plan(true, true, index(1.0, 2.0)), Plan::Exact);
        assert_eq!(plan(false, true, None), Plan::Gather);
        assert_eq!(plan(false, false, None), Plan::Exact);
    }
}
