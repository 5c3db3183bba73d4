//! A query is asked in the way of a stage, and its points become documents.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use twofold_encode::Encoder;
use twofold_storage::Collection;
use twofold_types::api::{Fusion, Prefetch, Query, QueryPoints, WithPayload};
use twofold_types::evaluation::{EvaluationStage, JudgedQuery, Ranking};
use twofold_types::{Embedding, ModelId, Role, ScoredPoint};

use super::metrics::sort;
use crate::engine::Engine;
use crate::error::Result;
use crate::queries::MAX_LIMIT;
use crate::rerank::RankOptions;

/// Where ingestion puts the id of a chunk's document.
const DOCUMENT_KEY: &str = "document_id";
/// Where ingestion puts the text of a chunk.
const TEXT_KEY: &str = "text";

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
}

/// What a query is encoded to by vector, and the time that took.
pub(super) type Encoded = BTreeMap<String, (Embedding, Duration)>;

/// A document by its best chunk.
struct Found {
    id: String,
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
        for vector in stages.iter().flat_map(|stage| &stage.using) {
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
    pub fn ask(&self, stage: &EvaluationStage, query: &JudgedQuery, encoded: &Encoded) -> Result<Ranking> {
        let encoding: Duration = stage.using.iter().map(|vector| encoded[vector].1).sum();
        let begin = Instant::now();
        let mut found = self.search(stage, encoded)?;
        if let Some(model) = &stage.rerank {
            self.rerank(model, &query.text, &mut found)?;
        }
        let time = encoding + begin.elapsed();
        let mut documents: Vec<(String, f32)> = found.into_iter().map(|found| (found.id, found.score)).collect();
        sort(&mut documents);
        Ok(Ranking {
            query: query.id.clone(),
            milliseconds: time.as_secs_f64() * 1e3,
            documents,
        })
    }

    /// Searches for more points until there are enough documents among them, or no more points.
    fn search(&self, stage: &EvaluationStage, encoded: &Encoded) -> Result<Vec<Found>> {
        let mut limit = self.limit;
        loop {
            let points = self.engine.query(self.collection, query(stage, encoded, limit))?.points;
            let exhausted = points.len() < limit || limit >= MAX_LIMIT;
            let mut found = best_chunks(points);
            if found.len() >= self.limit || exhausted {
                found.truncate(self.limit);
                if let [vector] = stage.using.as_slice()
                    && self.lower_is_nearer.contains(vector)
                {
                    found.iter_mut().for_each(|found| found.score = -found.score);
                }
                return Ok(found);
            }
            limit = (2 * limit).min(MAX_LIMIT);
        }
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
fn query(stage: &EvaluationStage, encoded: &Encoded, limit: usize) -> QueryPoints {
    let nearest = |vector: &String| Query::Nearest(encoded[vector].0.clone().into());
    let mut keys = vec![DOCUMENT_KEY.to_owned()];
    if stage.rerank.is_some() {
        keys.push(TEXT_KEY.to_owned());
    }
    let query = QueryPoints {
        limit: Some(limit),
        with_payload: Some(WithPayload::Fields(keys)),
        ..QueryPoints::default()
    };
    if let [vector] = stage.using.as_slice() {
        return QueryPoints {
            query: Some(nearest(vector)),
            using: Some(vector.clone()),
            ..query
        };
    }
    let prefetch = stage.using.iter().map(|vector| Prefetch {
        query: Some(nearest(vector)),
        using: Some(vector.clone()),
        limit: Some(limit),
        ..Prefetch::default()
    });
    QueryPoints {
        prefetch: prefetch.collect(),
        query: Some(match &stage.rrf {
            Some(rrf) => Query::Rrf { rrf: rrf.clone() },
            None => Query::Fusion { fusion: Fusion::Rrf },
        }),
        ..query
    }
}

/// The documents of points that are ranked, each by its best chunk. A point that ingestion did not write is a document by itself.
fn best_chunks(points: Vec<ScoredPoint>) -> Vec<Found> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for point in points {
        let mut payload = point.payload.unwrap_or_default();
        let mut text = |key| match payload.remove(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let id = text(DOCUMENT_KEY).unwrap_or_else(|| point.id.to_string());
        if seen.insert(id.clone()) {
            found.push(Found {
                id,
                score: point.score,
                text: text(TEXT_KEY).unwrap_or_default(),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_found_by_its_best_chunk() {
        let chunk = |document: &str, text: &str| json!({"document_id": document, "text": text});
        let points = json!([
            {"id": 1, "version": 1, "score": 0.9, "payload": chunk("a", "best of a")},
            {"id": 2, "version": 1, "score": 0.8, "payload": chunk("b", "best of b")},
            {"id": 3, "version": 1, "score": 0.7, "payload": chunk("a", "second of a")},
            {"id": 4, "version": 1, "score": 0.6, "payload": {"document_id": 7}},
        ]);
        let found = best_chunks(serde_json::from_value(points).unwrap());
        let found: Vec<_> = found
            .iter()
            .map(|found| (found.id.as_str(), found.text.as_str()))
            .collect();
        assert_eq!(found, [("a", "best of a"), ("b", "best of b"), ("4", "")]);
    }
}
