//! Queries: how points are ranked, in which of them, and after which other queries.
//!
//! A query is a tree. Each of its nodes ranks points: all that match, or those that the nodes below it (its prefetches)
//! found. The filters on the way down add up, so a prefetch is never spent on points that could not be answered. All of it
//! sees one state of the collection.

mod examples;
mod formula;
mod fusion;
mod mmr;
mod order;
mod run;
mod score;

use std::collections::BTreeMap;

use serde_json::Value;
use twofold_types::api::{FeedbackStrategy, Mmr, OrderBy, RecommendStrategy, Rrf};
use twofold_types::{Embedding, Expression, Filter, OrderValue, PointId};

use crate::plan::Explanation;

/// How points are ranked, and which.
#[derive(Debug, Clone)]
pub struct Query {
    /// Queries whose points this one ranks.
    pub prefetch: Vec<Query>,
    /// How points are ranked.
    pub by: Ranking,
    /// Which vector is compared; the unnamed or only one when absent.
    pub using: Option<String>,
    /// Which vector of points that are named by id is taken for them; the compared one when absent.
    pub example_vector: Option<String>,
    /// Only points that match.
    pub filter: Option<Filter>,
    /// Only points with better scores.
    pub score_threshold: Option<f32>,
    /// How many points are answered.
    pub limit: usize,
    /// How many of the best are skipped.
    pub offset: usize,
    /// Compare every candidate in full precision.
    pub exact: bool,
    /// Leave out points whose vector the index has not taken in yet.
    pub indexed_only: bool,
    /// The accuracy knob of the index; 128 is its usual effort.
    pub ef: Option<usize>,
    /// What strict mode may limit, without meaning here.
    pub oversampling: Option<f64>,
    /// Of which points document frequencies are counted; all when absent.
    pub corpus: Option<Filter>,
}

/// How points are ranked.
#[derive(Debug, Clone)]
pub enum Ranking {
    /// By id.
    Id,
    /// By how near they are.
    Nearest {
        /// To what.
        target: Example,
        /// And how different from each other.
        mmr: Option<Mmr>,
    },
    /// By how near they are to some examples and how far from others.
    Recommend {
        /// To be near.
        positive: Vec<Example>,
        /// To be far.
        negative: Vec<Example>,
        /// How examples make a score.
        strategy: RecommendStrategy,
    },
    /// By how near they are to a target, within what pairs mark out.
    Discover {
        /// The target.
        target: Example,
        /// What to be nearer to than to the other.
        context: Vec<(Example, Example)>,
    },
    /// By what pairs mark out.
    Context(Vec<(Example, Example)>),
    /// By a target and how relevant some points were found to be.
    Feedback {
        /// The target.
        target: Example,
        /// Points with their relevance.
        feedback: Vec<(Example, f32)>,
        /// How it counts.
        strategy: FeedbackStrategy,
    },
    /// By the values at a payload key.
    OrderBy(OrderBy),
    /// By fusing the prefetches by reciprocal ranks.
    Rrf(Rrf),
    /// By fusing the prefetches by scores relative to their spread, each prefetch with a weight, 1 when absent.
    Dbsf(Option<Vec<f32>>),
    /// By a formula over the scores of the prefetches.
    Formula {
        /// The score.
        formula: Expression,
        /// What stands for what a point does not have.
        defaults: BTreeMap<String, Value>,
    },
    /// By chance.
    Sample,
}

/// What points are compared with.
#[derive(Debug, Clone)]
pub enum Example {
    /// A vector.
    Vector(Embedding),
    /// The vector of a point, which is left out of the answer.
    Point(PointId),
}

impl Query {
    /// The nearest to a vector, among all.
    pub fn nearest(vector: impl Into<Embedding>, limit: usize) -> Self {
        let target = Example::Vector(vector.into());
        Self::by(Ranking::Nearest { target, mmr: None }, limit)
    }

    /// The best by a ranking, among all.
    pub fn by(ranking: Ranking, limit: usize) -> Self {
        Self {
            prefetch: Vec::new(),
            by: ranking,
            using: None,
            example_vector: None,
            filter: None,
            score_threshold: None,
            limit,
            offset: 0,
            exact: false,
            indexed_only: false,
            ef: None,
            oversampling: None,
            corpus: None,
        }
    }

    /// How many of the best are looked for.
    pub(crate) fn wanted(&self) -> usize {
        self.limit.saturating_add(self.offset)
    }
}

/// A point in its rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Hit {
    pub(crate) offset: u32,
    pub(crate) score: f32,
    pub(crate) order: Option<OrderValue>,
}

impl Hit {
    pub(crate) fn new(offset: u32, score: f32) -> Self {
        Self {
            offset,
            score,
            order: None,
        }
    }
}

/// The points of a query, best first, and how they were found.
pub(crate) struct Found {
    pub(crate) hits: Vec<Hit>,
    /// What each of its prefetches found.
    pub(crate) sources: Vec<Vec<Hit>>,
    pub(crate) explanation: Explanation,
}

/// Best first, equals in the order of their offsets.
pub(crate) fn sort(hits: &mut [Hit]) {
    hits.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.offset.cmp(&b.offset)));
}
