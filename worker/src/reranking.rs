//! The rerank stage of queries and searches: the best points in the order of a cross-encoder, or of another vector.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::Value;
use twofold_storage::{Collection, Group, InvalidInput, PayloadPath, Query, RankedPoint, Reading};
use twofold_types::api::{RerankReport, RerankStage};
use twofold_types::{Embedding, ModelId, Payload, PointId, Role, ScoredPoint};

use crate::embeddings::MAX_TEXTS;
use crate::engine::Engine;
use crate::error::{Result, WorkerError};
use crate::rerank::RankOptions;
use crate::timings::TimedStep;

/// Points that are scored where it is not said.
const DEFAULT_CANDIDATES: usize = 50;

/// The time that a cross-encoder has where it is not said.
const DEFAULT_TIME: Duration = Duration::from_secs(10);

/// Where chunks have their text.
pub(crate) const TEXT: &str = "text";

/// A stage that is ready to score.
pub(crate) struct Reranking<'a> {
    engine: &'a Engine,
    by: By,
    /// How many points, or groups of them, it is to be given.
    pub(crate) limit: usize,
}

enum By {
    CrossEncoder(Reader),
    /// How near points are to the query in a vector.
    Vector {
        name: String,
        query: Embedding,
    },
}

/// A cross-encoder, and what it reads.
struct Reader {
    model: ModelId,
    query: String,
    text_key: String,
    text: PayloadPath,
    threshold: Option<f32>,
    time: Duration,
}

impl<'a> Reranking<'a> {
    /// The stage that is asked for, where `wanted` groups of `size` points are answered and `text` is what the query asks.
    pub(crate) fn new(
        engine: &'a Engine,
        collection: &Collection,
        stage: RerankStage,
        (wanted, size): (usize, usize),
        text: Option<&str>,
    ) -> Result<Self> {
        let limit = match stage.limit {
            Some(0) => return Err(wrong("rerank.limit", "it is 0; at least 1 is accepted")),
            Some(limit) => limit,
            None => wanted.max(DEFAULT_CANDIDATES.div_ceil(size.max(1))),
        };
        if limit.saturating_mul(size) > MAX_TEXTS {
            return Err(InvalidInput::Limit {
                what: "points to rerank",
                received: limit.saturating_mul(size),
                limit: MAX_TEXTS,
            }
            .into());
        }
        let query = stage.query.or(text.map(str::to_owned));
        let query = query.filter(|query| !query.trim().is_empty()).ok_or_else(|| {
            let reason = "say what is asked, as the query itself has no text that could be taken for it";
            wrong("rerank.query", reason)
        })?;
        let by = match (stage.model, stage.using) {
            (Some(model), None) => {
                // A mistake is found before anything is searched.
                engine.models.reranker(&model)?;
                let text_key = stage.text_key.unwrap_or_else(|| TEXT.to_owned());
                By::CrossEncoder(Reader {
                    model,
                    query,
                    text: PayloadPath::parse(&text_key)?,
                    text_key,
                    threshold: stage.score_threshold,
                    time: stage.timeout_ms.map_or(DEFAULT_TIME, Duration::from_millis),
                })
            }
            (None, Some(name)) => {
                if stage.text_key.is_some() || stage.score_threshold.is_some() || stage.timeout_ms.is_some() {
                    let reason = "`text_key`, `score_threshold` and `timeout_ms` are for a `model`, not for `using`";
                    return Err(wrong("rerank", reason));
                }
                let (params, encoder) = engine.bound_encoder(collection, &name, None, None, Role::Query)?;
                let query = engine.embed_query(&params, encoder, query)?;
                By::Vector { name, query }
            }
            _ => {
                let reason = "name a cross-encoder as `model`, or a vector of the collection as `using`, and not both";
                return Err(wrong("rerank", reason));
            }
        };
        Ok(Self { engine, by, limit })
    }

    /// Puts groups of points that were read with their whole payloads in order, and the points of each.
    pub(crate) fn reorder(&self, reading: &Reading<'_>, groups: &mut Vec<Group>) -> Result<RerankReport> {
        let points = groups.iter().flat_map(|group| &group.points);
        let order = self.order(reading, points.map(|ranked| &ranked.point))?;
        order.apply_to_groups(groups);
        Ok(order.report)
    }

    /// What the stage says of points that were read with their whole payloads.
    pub(crate) fn order<'p>(
        &self,
        reading: &Reading<'_>,
        points: impl Iterator<Item = &'p ScoredPoint>,
    ) -> Result<Order> {
        let started = Instant::now();
        let mut seen = HashSet::new();
        let points: Vec<&ScoredPoint> = points.filter(|point| seen.insert(point.id)).collect();
        let outcome = match &self.by {
            _ if points.is_empty() => Ok((Vec::new(), 0)),
            By::Vector { name, query } => {
                let ids: Vec<PointId> = points.iter().map(|point| point.id).collect();
                let limit = ids.len();
                let nearest = nearest(name.clone(), query.clone());
                let scored = reading.scores(&ids, &Query { limit, ..nearest })?;
                let count = scored.len();
                Ok((scored, count))
            }
            By::CrossEncoder(reader) => reader.read(self.engine, &points, started),
        };
        let (places, scored, note) = match outcome {
            Ok((ranked, scored)) => {
                let places = ranked.into_iter().enumerate();
                (
                    Some(places.map(|(place, (id, score))| (id, (place, score))).collect()),
                    scored,
                    None,
                )
            }
            Err(error) => match &error {
                WorkerError::OutOfTime { scored, .. } => (None, *scored, Some(error.to_string())),
                WorkerError::Model { source, .. } if source.is_transient() => (None, 0, Some(error.to_string())),
                _ => return Err(error),
            },
        };
        let took = started.elapsed();
        self.engine.timings.observe(TimedStep::Rerank, took);
        Ok(Order {
            report: RerankReport {
                applied: places.is_some(),
                candidates: points.len(),
                scored,
                note,
                time: took.as_secs_f64() * 1e6,
            },
            places,
        })
    }
}

impl Reader {
    /// The points that are good enough, best first, and how many were read.
    fn read(&self, engine: &Engine, points: &[&ScoredPoint], started: Instant) -> Result<(Vec<(PointId, f32)>, usize)> {
        let with_text = points
            .iter()
            .filter_map(|point| Some((point.id, text_at(point.payload.as_ref()?, &self.text)?)));
        let (ids, texts): (Vec<PointId>, Vec<String>) = with_text.unzip();
        if texts.is_empty() {
            let (found, key) = (points.len(), &self.text_key);
            let reason = format!("none of the {found} points that were found has a text at `{key}`");
            return Err(wrong("rerank.text_key", &reason));
        }
        let options = RankOptions {
            // A budget that ends after the clock does is none.
            deadline: started.checked_add(self.time),
            ..RankOptions::default()
        };
        let ranks = engine
            .rank(&self.model, &self.query, &texts, options)?
            .ranks
            .into_iter();
        let good = ranks.filter(|(_, score)| self.threshold.is_none_or(|threshold| *score >= threshold));
        Ok((good.map(|(index, score)| (ids[index], score)).collect(), texts.len()))
    }
}

/// The query for what is nearest to an embedding in a vector.
pub(crate) fn nearest(vector: String, embedding: Embedding) -> Query {
    Query {
        using: Some(vector),
        ..Query::nearest(embedding, 0)
    }
}

/// The text at a key, several one below the other.
fn text_at(payload: &Payload, key: &PayloadPath) -> Option<String> {
    let texts: Vec<&str> = key.elements(payload).filter_map(Value::as_str).collect();
    let text = texts.join("\n");
    (!text.trim().is_empty()).then_some(text)
}

pub(crate) fn wrong(key: &'static str, reason: &str) -> WorkerError {
    let reason = reason.to_owned();
    InvalidInput::Setting { key, reason }.into()
}

/// A point that may get another score.
pub(crate) trait Candidate {
    fn id(&self) -> PointId;
    fn set_score(&mut self, score: f32);
}

impl Candidate for ScoredPoint {
    fn id(&self) -> PointId {
        self.id
    }

    fn set_score(&mut self, score: f32) {
        self.score = score;
    }
}

impl Candidate for RankedPoint {
    fn id(&self) -> PointId {
        self.point.id
    }

    fn set_score(&mut self, score: f32) {
        self.point.score = score;
    }
}

/// What a stage says of points.
pub(crate) struct Order {
    /// The place of each with its score; none where points keep what they have.
    places: Option<HashMap<PointId, (usize, f32)>>,
    pub(crate) report: RerankReport,
}

impl Order {
    /// Puts points in order, with their new scores. Those without a place go.
    pub(crate) fn apply<T: Candidate>(&self, points: &mut Vec<T>) {
        let Some(places) = &self.places else { return };
        let place = |point: &T| places.get(&point.id()).copied();
        points.retain_mut(|point| match place(point) {
            Some((_, score)) => {
                point.set_score(score);
                true
            }
            None => false,
        });
        points.sort_by_key(|point| place(point).map(|(place, _)| place));
    }

    /// Puts groups in the order of their best points, and the points of each in theirs. Groups without any go.
    pub(crate) fn apply_to_groups(&self, groups: &mut Vec<Group>) {
        let Some(places) = &self.places else { return };
        groups.iter_mut().for_each(|group| self.apply(&mut group.points));
        groups.retain(|group| !group.points.is_empty());
        groups.sort_by_key(|group| places.get(&group.points[0].point.id).map(|&(place, _)| place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(id: u64) -> RankedPoint {
        let point = ScoredPoint {
            id: id.into(),
            version: 1,
            score: 0.5,
            payload: None,
            vector: None,
            order_value: None,
        };
        RankedPoint {
            point,
            ranks: Vec::new(),
        }
    }

    fn order(ranked: Option<&[(u64, f32)]>) -> Order {
        let places = |ranked: &[(u64, f32)]| {
            let places = ranked.iter().enumerate();
            places
                .map(|(place, &(id, score))| (id.into(), (place, score)))
                .collect()
        };
        Order {
            places: ranked.map(places),
            report: RerankReport {
                applied: ranked.is_some(),
                candidates: 0,
                scored: 0,
                note: None,
                time: 0.0,
            },
        }
    }

    fn ids(points: &[RankedPoint]) -> Vec<(PointId, f32)> {
        points
            .iter()
            .map(|ranked| (ranked.point.id, ranked.point.score))
            .collect()
    }

    #[test]
    fn points_without_a_place_go_and_groups_follow_their_best() {
        let ranked = order(Some(&[(4, 9.0), (1, 2.0), (3, 2.0)]));
        let mut points = vec![point(1), point(2), point(3), point(4)];
        ranked.apply(&mut points);
        assert_eq!(ids(&points), [(4.into(), 9.0), (1.into(), 2.0), (3.into(), 2.0)]);
        let group = |ids: &[u64]| Group {
            id: None,
            points: ids.iter().copied().map(point).collect(),
        };
        let mut groups = vec![group(&[2]), group(&[2, 3, 1]), group(&[4])];
        ranked.apply_to_groups(&mut groups);
        let groups: Vec<_> = groups.iter().map(|group| ids(&group.points)).collect();
        assert_eq!(groups, [vec![(4.into(), 9.0)], vec![(1.into(), 2.0), (3.into(), 2.0)]]);
    }

    #[test]
    fn without_an_order_everything_stays() {
        let mut points = vec![point(2), point(1)];
        order(None).apply(&mut points);
        assert_eq!(ids(&points), [(2.into(), 0.5), (1.into(), 0.5)]);
    }
}
