//! Evaluation: queries with judgements are asked in several ways, and what they find is measured.
//!
//! Points are chunks, judgements are about documents: of every document the best chunk counts.

mod ask;
mod metrics;
mod report;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use twofold_storage::{Collection, InvalidInput};
use twofold_types::evaluation::{Evaluate, Evaluation, EvaluationStage, Ranking};

use self::ask::Asker;
use crate::engine::Engine;
use crate::error::{Result, WorkerError};

pub use self::report::report;

/// How many of the best documents are looked at when a request does not say.
const DEFAULT_K: usize = 10;
/// How many documents are retrieved when a request does not say.
const DEFAULT_LIMIT: usize = 100;
/// Queries of one evaluation at most.
const MAX_QUERIES: usize = 1_000;
/// Stages of one evaluation at most.
const MAX_STAGES: usize = 32;
/// Documents that are retrieved for a query at most, which is also what is reranked.
const MAX_DOCUMENTS: usize = 1_000;

/// An evaluation that cannot be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidEvaluation {
    /// Nothing to compare.
    #[error("the collection has no encoder, so no text can be asked: create it with `encoders`")]
    NoEncoders,
    /// A stage that searches nothing.
    #[error("stage `{0}`: `using` needs at least one vector")]
    NoVectors(String),
    /// Two stages that a report could not tell apart.
    #[error("stage `{0}` is there twice: every stage needs a name of its own")]
    SameName(String),
    /// Two queries that judgements could not tell apart.
    #[error("query `{0}` is there twice: every query needs an id of its own")]
    SameQuery(String),
    /// A `k` that looks at nothing, or further than documents are retrieved.
    #[error("`k` is {k}: from 1 to `limit`, which is {limit}, are accepted")]
    K {
        /// What was asked for.
        k: usize,
        /// The limit that it has to keep within.
        limit: usize,
    },
    /// Nothing to measure by.
    #[error("none of the {0} queries has judgements: `qrels` is an object of grades by query id and document id")]
    NothingJudged(usize),
}

impl Engine {
    /// Asks every judged query in every way and measures what it finds. What a text is encoded to is found once and used by all
    /// stages; its time counts for each of them.
    ///
    /// # Errors
    /// [`WorkerError::Stopping`] soon after `canceled` is set; besides what searching and reranking answer.
    pub fn evaluate(&self, collection: &Collection, request: Evaluate, canceled: &AtomicBool) -> Result<Evaluation> {
        let k = request.k.unwrap_or(DEFAULT_K.min(request.limit.unwrap_or(DEFAULT_K)));
        let limit = request.limit.unwrap_or(DEFAULT_LIMIT.max(k));
        at_most("limit", limit, MAX_DOCUMENTS)?;
        if k == 0 || k > limit {
            return Err(InvalidEvaluation::K { k, limit }.into());
        }
        let stages = match request.stages.is_empty() {
            true => EvaluationStage::of_vectors(collection.config().encoders.keys().map(String::as_str)),
            false => request.stages,
        };
        check_stages(&stages)?;
        let asked = request.queries.len();
        at_most("queries of one evaluation", asked, MAX_QUERIES)?;
        let mut ids = HashSet::new();
        if let Some(query) = request.queries.iter().find(|query| !ids.insert(query.id.as_str())) {
            return Err(InvalidEvaluation::SameQuery(query.id.clone()).into());
        }
        let queries = request.queries.iter();
        let queries: Vec<_> = queries.filter(|query| request.qrels.contains_key(&query.id)).collect();
        if queries.is_empty() {
            return Err(InvalidEvaluation::NothingJudged(asked).into());
        }

        let asker = Asker::new(self, collection, &stages, limit)?;
        let mut rankings: Vec<Vec<Ranking>> = vec![Vec::new(); stages.len()];
        for query in &queries {
            let encoded = asker.encode(&query.text)?;
            for (stage, rankings) in stages.iter().zip(&mut rankings) {
                if canceled.load(Ordering::Relaxed) {
                    return Err(WorkerError::Stopping);
                }
                rankings.push(asker.ask(stage, query, &encoded)?);
            }
        }
        let unjudged = asked - queries.len();
        let stages = stages.into_iter().zip(rankings).collect();
        let mut evaluation = report(stages, &request.qrels, unjudged, k, limit);
        if !request.with_rankings {
            evaluation.stages.iter_mut().for_each(|stage| stage.rankings.clear());
        }
        Ok(evaluation)
    }
}

fn at_most(what: &'static str, received: usize, limit: usize) -> Result<()> {
    match received <= limit {
        true => Ok(()),
        false => Err(InvalidInput::Limit { what, received, limit }.into()),
    }
}

fn check_stages(stages: &[EvaluationStage]) -> Result<()> {
    at_most("stages of one evaluation", stages.len(), MAX_STAGES)?;
    if stages.is_empty() {
        return Err(InvalidEvaluation::NoEncoders.into());
    }
    let mut names = HashSet::new();
    for stage in stages {
        if stage.using.is_empty() {
            return Err(InvalidEvaluation::NoVectors(stage.name.clone()).into());
        }
        if !names.insert(&stage.name) {
            return Err(InvalidEvaluation::SameName(stage.name.clone()).into());
        }
    }
    Ok(())
}
