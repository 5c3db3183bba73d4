//! A query is asked in the way of a stage, and its points become documents.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use twofold_encode::Encoder;
use twofold_storage::{Collection, DOCUMENT_ID, Depth, Fetch, Grouping, Query, RankedPoint, Ranking, Reading};
use twofold_types::api::{WithPayload, WithVector};
use twofold_types::evaluation::{self, EvaluationStage, JudgedQuery};
use twofold_types::{Embedding, ModelId, PointId, Role};

use super::metrics::sort;
use crate::engine::Engine;
use crate::error::Result;
use crate::rerank::RankOptions;
use crate::reranking::{TEXT, nearest, wrong};

/// Asks queries.
pub(super) struct Asker<'a> {
    engine: &'a Engine,
    collection: &'a Collection,
    /// The encoders of all vectors that stages search.
    encoders: BTreeMap<String, Arc<dyn Encoder>>,
    /// Vectors whose scores are distances.
    lower_is_nearer: HashSet<String>,
    /// Documents of a query.
    limit: usize,
    /// What is read of points.
    fetch: Fetch,
}

/// What a query is encoded to by vector, and the time that took.
pub(super) type Encoded = BTreeMap<String, (Embedding, Duration)>;

/// A document by its best chunk.
struct Found {
    id: String,
    chunk: PointId,
    score: f32,
    text: String,
}

impl<'a> Asker<'a> {
    /// Looks up what the stages need.
    pub fn new(
        engine: &'a Engine,
        collection: &'a Collection,
        stages: &[EvaluationStage],
        limit: usize,
    ) -> Result<Self> {
        let mut encoders = BTreeMap::new();
        for stage in stages {
            if stage.rerank.is_some() && stage.rerank_using.is_some() {
                return Err(wrong(
                    "stages",
                    "a stage reranks by `rerank` or by `rerank_using`, not by both",
                ));
            }
        }
        for vector in stages
            .iter()
            .flat_map(|stage| stage.using.iter().chain(&stage.rerank_using))
        {
            let (_, encoder) = engine.bound_encoder(collection, vector, None, None, Role::Query)?;
            encoders.insert(vector.clone(), encoder);
        }
        for model in stages.iter().filter_map(|stage| stage.rerank.as_ref()) {
            engine.models.reranker(model)?;
        }
        let config = collection.config();
        let vectors = config.vectors.into_iter();
        let distances = vectors.filter(|(_, params)| !params.distance.higher_is_nearer());
        Ok(Self {
            engine,
            collection,
            encoders,
            lower_is_nearer: distances.map(|(vector, _)| vector).collect(),
            limit,
            fetch: Fetch::new(
                WithPayload::Fields(vec![DOCUMENT_ID.to_owned(), TEXT.to_owned()]),
                WithVector::Bool(false),
            )?,
        })
    }

    /// Encodes a text for every vector that is searched. The cache of queries is neither asked nor filled.
    pub fn encode(&self, text: &str) -> Result<Encoded> {
        let encoders = self.encoders.iter();
        encoders
            .map(|(vector, encoder)| {
                let begin = Instant::now();
                let embedding = self.engine.encode_query(encoder, text)?;
                Ok((vector.clone(), (embedding, begin.elapsed())))
            })
            .collect()
    }

    /// The documents that a query finds.
    pub fn ask(&self, stage: &EvaluationStage, query: &JudgedQuery, encoded: &Encoded) -> Result<evaluation::Ranking> {
        let vectors = stage.using.iter().chain(&stage.rerank_using);
        let encoding: Duration = vectors.map(|vector| encoded[vector].1).sum();
        let begin = Instant::now();
        // Searching and reranking see the same state.
        let reading = self.collection.reading();
        let mut found = self.search(&reading, stage, encoded)?;
        if let Some(model) = &stage.rerank {
            self.rerank(model, &query.text, &mut found)?;
        }
        if let Some(vector) = &stage.rerank_using {
            let target = nearest(vector.clone(), encoded[vector].0.clone());
            self.rerank_by(&reading, target, vector, &mut found)?;
        }
        let time = encoding + begin.elapsed();
        let mut documents: Vec<(String, f32)> = found.into_iter().map(|found| (found.id, found.score)).collect();
        sort(&mut documents);
        Ok(evaluation::Ranking {
            query: query.id.clone(),
            milliseconds: time.as_secs_f64() * 1e3,
            documents,
        })
    }

    /// The documents of the best points, each by its best chunk. A point that ingestion did not write is a document by itself.
    fn search(&self, reading: &Reading<'_>, stage: &EvaluationStage, encoded: &Encoded) -> Result<Vec<Found>> {
        let grouping = Grouping {
            key: DOCUMENT_ID.to_owned(),
            groups: self.limit,
            size: 1,
            singles: true,
            depth: Depth::BOUNDED,
        };
        let groups = reading
            .query_groups(&query(stage, encoded), &grouping, &self.fetch)?
            .groups;
        // More is better in a ranking.
        let sign = match stage.using.as_slice() {
            [vector] => self.sign(vector),
            _ => 1.0,
        };
        let points = groups.into_iter().flat_map(|group| group.points);
        let found = points.map(|RankedPoint { point, .. }| {
            let mut payload = point.payload.unwrap_or_default();
            let mut text = |key| match payload.remove(key) {
                Some(Value::String(text)) => Some(text),
                _ => None,
            };
            Found {
                id: text(DOCUMENT_ID).unwrap_or_else(|| point.id.to_string()),
                chunk: point.id,
                score: sign * point.score,
                text: text(TEXT).unwrap_or_default(),
            }
        });
        Ok(found.collect())
    }

    fn sign(&self, vector: &str) -> f32 {
        if self.lower_is_nearer.contains(vector) {
            -1.0
        } else {
            1.0
        }
    }

    /// Scores chunks as a query of a vector does. Those without it are not found.
    fn rerank_by(&self, reading: &Reading<'_>, target: Query, vector: &str, found: &mut Vec<Found>) -> Result<()> {
        let chunks: Vec<PointId> = found.iter().map(|found| found.chunk).collect();
        let limit = chunks.len();
        let scores = reading.scores(&chunks, &Query { limit, ..target })?;
        let scores: BTreeMap<PointId, f32> = scores.into_iter().collect();
        found.retain_mut(|found| {
            let score = scores.get(&found.chunk);
            found.score = score.map_or(0.0, |score| self.sign(vector) * score);
            score.is_some()
        });
        Ok(())
    }

    fn rerank(&self, model: &ModelId, query: &str, found: &mut [Found]) -> Result<()> {
        if found.is_empty() {
            return Ok(());
        }
        let texts: Vec<String> = found.iter_mut().map(|found| std::mem::take(&mut found.text)).collect();
        for (index, score) in self.engine.rank(model, query, &texts, RankOptions::default())?.ranks {
            found[index].score = score;
        }
        Ok(())
    }
}

/// What a stage asks of the collection.
fn query(stage: &EvaluationStage, encoded: &Encoded) -> Query {
    let nearest = |vector: &String| nearest(vector.clone(), encoded[vector].0.clone());
    match stage.using.as_slice() {
        [vector] => nearest(vector),
        several => Query {
            prefetch: several.iter().map(nearest).collect(),
            ..Query::by(Ranking::Rrf(stage.rrf.clone().unwrap_or_default()), 0)
        },
    }
}
