//! How long each step of a query and of ingestion takes.

use std::time::{Duration, Instant};

use twofold_storage::Explanation;

use crate::histogram::{Distribution, Histogram};

/// A step whose durations are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimedStep {
    /// A query's text, where its vector was not known.
    EncodeQuery,
    /// Finding the points that match the filters of a query.
    Filter,
    /// Finding the best of them.
    Search,
    /// Putting them into a reranker's order.
    Rerank,
    /// Reading what is answered.
    Fetch,
    /// Cutting the documents of a window into chunks.
    Chunk,
    /// Tokenising the chunks of a window for one encoder, those that are known aside.
    Tokenize,
    /// A batch of texts of documents.
    Encode,
    /// Writing a window.
    Commit,
}

impl TimedStep {
    /// Those of queries, in their order.
    pub const OF_QUERIES: [Self; 5] = [Self::EncodeQuery, Self::Filter, Self::Search, Self::Rerank, Self::Fetch];

    /// Those of ingestion, in their order.
    pub const OF_INGESTION: [Self; 4] = [Self::Chunk, Self::Tokenize, Self::Encode, Self::Commit];

    /// What it is called where its durations are answered.
    pub fn name(self) -> &'static str {
        match self {
            Self::EncodeQuery | Self::Encode => "encode",
            Self::Filter => "filter",
            Self::Search => "search",
            Self::Rerank => "rerank",
            Self::Fetch => "fetch",
            Self::Chunk => "chunk",
            Self::Tokenize => "tokenize",
            Self::Commit => "commit",
        }
    }
}

/// The durations of all steps since the start.
#[derive(Debug, Default)]
pub(crate) struct Timings([Histogram; 9]);

impl Timings {
    pub(crate) fn observe(&self, step: TimedStep, duration: Duration) {
        self.0[step as usize].observe(duration);
    }

    /// Does something that is a step.
    pub(crate) fn during<T>(&self, step: TimedStep, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let done = work();
        self.observe(step, started.elapsed());
        done
    }

    /// Adds the steps of a query, those of its prefetches together with its own.
    pub(crate) fn observe_query(&self, explanation: &Explanation) {
        let (filtering, searching) = spent(explanation);
        self.observe(TimedStep::Filter, filtering);
        self.observe(TimedStep::Search, searching);
        self.observe(TimedStep::Fetch, explanation.fetching);
    }

    pub(crate) fn read(&self, step: TimedStep) -> Distribution {
        self.0[step as usize].read()
    }
}

/// The times of a query and its prefetches to filter and to search.
fn spent(explanation: &Explanation) -> (Duration, Duration) {
    let own = (explanation.filtering, explanation.searching);
    let spent = explanation.prefetches.iter().map(spent);
    spent.fold(own, |(filtering, searching), (filtered, searched)| {
        (filtering + filtered, searching + searched)
    })
}

#[cfg(test)]
mod tests {
    use twofold_storage::Plan;

    use super::*;

    #[test]
    fn every_step_has_counters_of_its_own() {
        let timings = Timings::default();
        let steps = [TimedStep::OF_QUERIES.as_slice(), &TimedStep::OF_INGESTION].concat();
        for (times, step) in (1..).zip(&steps) {
            (0..times).for_each(|_| timings.during(*step, || ()));
        }
        let counts: Vec<u64> = steps.iter().map(|step| timings.read(*step).count).collect();
        assert_eq!(counts, (1..=steps.len() as u64).collect::<Vec<_>>());
    }

    #[test]
    fn prefetches_count_with_their_query() {
        let timings = Timings::default();
        let took = |milliseconds, prefetches| Explanation {
            plan: Plan::Exact,
            matching: 0,
            present: 0,
            expected_index: None,
            expected_scan: None,
            effort: Default::default(),
            filtering: Duration::from_millis(milliseconds),
            searching: Duration::from_millis(10 * milliseconds),
            fetching: Duration::ZERO,
            prefetches,
        };
        timings.observe_query(&took(1, vec![took(2, Vec::new()), took(3, vec![took(4, Vec::new())])]));
        assert_eq!(timings.read(TimedStep::Filter).count, 1);
        assert!((timings.read(TimedStep::Filter).sum - 0.010).abs() < 1e-9);
        assert!((timings.read(TimedStep::Search).sum - 0.100).abs() < 1e-9);
    }
}
