//! Searching: the plan, what carries it out, and the hits.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use twofold_types::{Filter, PointId, ScoredPoint};
use twofold_vector::kernel::score;
use twofold_vector::{Effort, Neighbour, exact, gather};

use crate::collection::Collection;
use crate::error::{InvalidInput, Result};
use crate::index::{Ask, Estimate};
use crate::key::PointOffset;
use crate::view::{Fetch, View};
use crate::write::checked_query;

/// The accuracy knob at which an index makes its usual effort.
const USUAL_EF: f32 = 128.0;

/// What a search looks for.
#[derive(Debug, Clone)]
pub enum Target {
    /// The points nearest to this vector.
    Vector(Vec<f32>),
    /// The points nearest to this point, without it.
    Point(PointId),
}

/// A search in one vector of a collection.
#[derive(Debug, Clone)]
pub struct Search {
    /// What is looked for.
    pub target: Target,
    /// In which vector; the unnamed or only one when absent.
    pub using: Option<String>,
    /// Only points that match.
    pub filter: Option<Filter>,
    /// How many points are answered.
    pub limit: usize,
    /// How many of the nearest are skipped.
    pub offset: usize,
    /// Only points at least this near.
    pub score_threshold: Option<f32>,
    /// Compare every candidate in full precision.
    pub exact: bool,
    /// The accuracy knob of the index; 128 is its usual effort.
    pub ef: Option<usize>,
    /// What of the points is answered.
    pub fetch: Fetch,
}

/// How candidates are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Every candidate is compared in full precision.
    Exact,
    /// Every candidate is compared by its byte code, the best in full precision.
    Gather,
    /// The index finds them.
    Index(&'static str),
}

/// How a search went.
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
}

fn plan(exact: bool, has_codes: bool, index: Option<(&'static str, Estimate)>) -> Plan {
    let scan = if has_codes { Plan::Gather } else { Plan::Exact };
    match index {
        _ if exact => Plan::Exact,
        Some((kind, estimate)) if estimate.index < estimate.scan => Plan::Index(kind),
        _ => scan,
    }
}

impl Collection {
    /// The nearest points, nearest first. Every write that was acknowledged before is considered.
    pub fn search(&self, search: &Search) -> Result<Vec<ScoredPoint>> {
        self.explain(search).map(|(points, _)| points)
    }

    /// [`search`](Self::search), and how it went.
    pub fn explain(&self, search: &Search) -> Result<(Vec<ScoredPoint>, Explanation)> {
        let started = Instant::now();
        let view = self.view();
        let schema = &view.state.schema;
        let name = match &search.using {
            Some(name) => name.as_str(),
            None => schema.default_vector()?,
        };
        let number = usize::from(schema.vector_number(name)?);
        let arena = &view.state.arenas[number];
        let mut mask = match &search.filter {
            None => arena.present().clone(),
            Some(filter) => {
                let mut mask = view.select(Some(filter))?;
                mask &= arena.present();
                mask
            }
        };
        let query = match &search.target {
            Target::Vector(vector) => checked_query(&view, name, vector.clone())?,
            Target::Point(id) => {
                let offset = view
                    .offsets(&[*id])?
                    .pop()
                    .flatten()
                    .ok_or(InvalidInput::PointNotFound(*id))?;
                mask.remove(offset.0);
                let missing = InvalidInput::VectorMissing {
                    id: *id,
                    vector: name.to_owned(),
                };
                arena.get(offset.0).ok_or(missing)?.to_vec()
            }
        };
        let filtered = Instant::now();
        let ask = Ask {
            state: &view.state,
            number,
            query: &query,
            k: search.limit.saturating_add(search.offset).min(mask.len() as usize),
            mask: &mask,
            effort: search.ef.map_or(1.0, |ef| (ef as f32 / USUAL_EF).max(1e-3).powf(0.25)),
        };
        let (neighbours, mut explanation) = self.nearest(&ask, search.exact);
        let found = Instant::now();
        let points = self.fetch(&view, search, arena.distance(), neighbours)?;
        explanation.filtering = filtered - started;
        explanation.searching = found - filtered;
        explanation.fetching = found.elapsed();
        Ok((points, explanation))
    }

    fn nearest(&self, ask: &Ask<'_>, exactly: bool) -> (Vec<Neighbour>, Explanation) {
        let arena = ask.arena();
        let (matching, present) = (ask.mask.len(), arena.present().len());
        let broken = &self.indexes[ask.number].broken;
        let index = ask.state.indexes[ask.number]
            .as_ref()
            .filter(|_| !broken.load(Ordering::Relaxed));
        let estimate = index.map(|index| index.estimate(matching, present, ask.k, ask.effort));
        let mut explanation = Explanation {
            plan: plan(
                exactly,
                arena.has_codes(),
                index.map(|index| index.kind()).zip(estimate),
            ),
            matching,
            present,
            expected_index: estimate.and_then(|estimate| nanoseconds(estimate.index)),
            expected_scan: estimate.and_then(|estimate| nanoseconds(estimate.scan)),
            effort: Effort::default(),
            filtering: Duration::ZERO,
            searching: Duration::ZERO,
            fetching: Duration::ZERO,
        };
        if let (Plan::Index(_), Some(index)) = (explanation.plan, index) {
            match index.search(ask) {
                Ok((neighbours, effort)) => {
                    explanation.effort = effort;
                    return (neighbours, explanation);
                }
                Err(error) => {
                    tracing::error!(collection = %self.name(), %error, "an index failed: every point is compared until it is built again");
                    broken.store(true, Ordering::Relaxed);
                    explanation.plan = plan(exactly, arena.has_codes(), None);
                }
            }
        }
        let (neighbours, effort) = match (explanation.plan, index) {
            (Plan::Gather, Some(index)) => index.gather(ask),
            (Plan::Gather, None) => gather(arena, ask.query, ask.k, ask.mask),
            _ => exact(arena, ask.query, ask.k, ask.mask),
        };
        explanation.effort = effort;
        (neighbours, explanation)
    }

    fn fetch(
        &self,
        view: &View<'_>,
        search: &Search,
        distance: twofold_types::Distance,
        neighbours: Vec<Neighbour>,
    ) -> Result<Vec<ScoredPoint>> {
        let hits = neighbours
            .into_iter()
            .skip(search.offset)
            .map(|neighbour| (PointOffset(neighbour.offset), score(distance, neighbour.nearness)));
        let near_enough = |&(_, score): &(PointOffset, f32)| match search.score_threshold {
            Some(threshold) if distance.higher_is_nearer() => score >= threshold,
            Some(threshold) => score <= threshold,
            None => true,
        };
        let hits: Vec<_> = hits.filter(near_enough).collect();
        let payloads = if search.fetch.needs_payload() {
            let offsets: Vec<_> = hits.iter().map(|&(offset, _)| offset).collect();
            let records = view.points(&offsets)?.into_iter();
            records
                .map(|record| record.map_or(Ok(None), |record| search.fetch.payload(&record)))
                .collect::<Result<Vec<_>>>()?
        } else {
            vec![None; hits.len()]
        };
        let points = hits.into_iter().zip(payloads).map(|((offset, score), payload)| {
            let label = view.state.labels.get(offset);
            ScoredPoint {
                id: label.id,
                version: label.version,
                score,
                payload,
                vector: view.vectors(offset, &search.fetch),
            }
        });
        Ok(points.collect())
    }
}

fn nanoseconds(nanoseconds: f64) -> Option<Duration> {
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
