//! Requests that carry points or queries: texts in them are encoded, then storage is asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use twofold_encode::Encoder;
use twofold_storage::{Collection, Explanation, Fetch, InvalidInput, NewPoint, Operation, Plan, Search, SeqNo, Target};
use twofold_types::api::{Query, QueryExplanation, QueryPoints, QueryResult, WithPayload, WithVector};
use twofold_types::{EncoderParams, ModelId, PointStruct, Record, Role, ScoredPoint, TextInput, VectorInput};

use crate::collections::stored_space;
use crate::engine::Engine;
use crate::error::{Result, WorkerError};

/// How many points a query answers when it does not say.
pub const DEFAULT_LIMIT: usize = 10;

/// Points that one query may ask for, those it skips included.
pub const MAX_LIMIT: usize = 100_000;

/// Texts to encode with the places of their points, by vector and model.
type TextsByEncoder = HashMap<(String, Option<ModelId>), Vec<(usize, String)>>;

impl Engine {
    /// Puts points in, encoding the texts among their vectors first.
    pub fn upsert(&self, collection: &Collection, points: Vec<PointStruct>) -> Result<SeqNo> {
        let mut texts = TextsByEncoder::new();
        let mut ready = Vec::with_capacity(points.len());
        for (index, point) in points.into_iter().enumerate() {
            let mut vectors = BTreeMap::new();
            for (name, vector) in point.vector.into_named() {
                match vector {
                    VectorInput::Dense(vector) => {
                        vectors.insert(name, vector);
                    }
                    VectorInput::Text(TextInput { text, model, .. }) => {
                        texts.entry((name, model)).or_default().push((index, text));
                    }
                }
            }
            ready.push(NewPoint {
                id: point.id,
                vectors,
                payload: point.payload.unwrap_or_default(),
            });
        }
        for ((vector, model), texts) in texts {
            let (_, encoder) = self.bound_encoder(collection, &vector, model.as_ref(), Role::Document)?;
            let (indexes, texts): (Vec<usize>, Vec<String>) = texts.into_iter().unzip();
            for (index, embedding) in indexes.into_iter().zip(self.encode(encoder, &texts, Role::Document)?) {
                ready[index].vectors.insert(vector.clone(), embedding.into_dense()?);
            }
        }
        self.apply(collection, Operation::Upsert(ready))
    }

    /// Applies an operation and lets the indexes follow.
    pub fn apply(&self, collection: &Collection, operation: Operation) -> Result<SeqNo> {
        let seq = collection.apply(operation)?;
        self.indexer.ring();
        Ok(seq)
    }

    /// Answers a query.
    pub fn query(&self, collection: &Collection, query: QueryPoints) -> Result<QueryResult> {
        if query
            .prefetch
            .is_some_and(|prefetch| !prefetch.is_null() && prefetch != serde_json::json!([]))
        {
            return Err(WorkerError::Unsupported("prefetch"));
        }
        if query.lookup_from.is_some_and(|lookup| !lookup.is_null()) {
            return Err(WorkerError::Unsupported("lookup_from"));
        }
        let (limit, offset) = (query.limit.unwrap_or(DEFAULT_LIMIT), query.offset.unwrap_or(0));
        check_limit(limit.saturating_add(offset))?;
        let fetch = Fetch::new(
            query.with_payload.unwrap_or(WithPayload::Bool(false)),
            query.with_vector.unwrap_or(WithVector::Bool(false)),
        )?;
        let target = match query.query {
            None => {
                let points = list(collection, limit, offset, query.filter.as_ref(), &fetch)?;
                return Ok(QueryResult { points, explain: None });
            }
            Some(Query::Point(id)) => Target::Point(id),
            Some(Query::Nearest(VectorInput::Dense(vector))) => Target::Vector(vector),
            Some(Query::Nearest(VectorInput::Text(text))) => {
                let vector = match &query.using {
                    Some(vector) => vector.clone(),
                    None => collection.default_vector()?,
                };
                let (params, encoder) = self.bound_encoder(collection, &vector, text.model.as_ref(), Role::Query)?;
                Target::Vector(self.embed_query(&params, encoder, text.text)?.into_dense()?)
            }
        };
        let params = query.params.unwrap_or_default();
        let (points, explanation) = collection.explain(&Search {
            target,
            using: query.using,
            filter: query.filter,
            limit,
            offset,
            score_threshold: query.score_threshold,
            exact: params.exact,
            ef: params.hnsw_ef,
            fetch,
        })?;
        let explain = params.explain.then(|| explained(&explanation));
        Ok(QueryResult { points, explain })
    }

    /// The encoder of a vector. A text that is stored with a model in a vector without one binds the vector to that model.
    fn bound_encoder(
        &self,
        collection: &Collection,
        vector: &str,
        model: Option<&ModelId>,
        role: Role,
    ) -> Result<(EncoderParams, Arc<dyn Encoder>)> {
        let config = collection.config();
        let params = config.vectors.get(vector).ok_or_else(|| InvalidInput::UnknownVector {
            name: vector.to_owned(),
            known: config.vectors.keys().cloned().collect(),
        })?;
        let other_model = |expected: ModelId, received: &ModelId| WorkerError::OtherModel {
            vector: vector.to_owned(),
            expected,
            received: received.clone(),
        };
        let bound = config.encoders.get(vector);
        let asked = match (bound, model) {
            (Some(bound), Some(model)) if bound.model != *model => return Err(other_model(bound.model.clone(), model)),
            (Some(bound), _) => bound.clone(),
            (None, Some(model)) => EncoderParams::new(model.clone()),
            (None, None) => return Err(WorkerError::NoEncoder(vector.to_owned())),
        };
        let encoder = self.models.get(&asked)?;
        let ((expected, _), received) = (stored_space(encoder.as_ref())?, params.size);
        if expected != received {
            return Err(InvalidInput::EncoderDimension {
                vector: vector.to_owned(),
                expected,
                received,
            }
            .into());
        }
        if bound.is_none()
            && role == Role::Document
            && let Err(winner) = collection.bind_encoder(vector, &asked.model)?
        {
            return Err(other_model(winner, &asked.model));
        }
        Ok((asked, encoder))
    }
}

/// A query without a target lists points by id.
fn list(
    collection: &Collection,
    limit: usize,
    offset: usize,
    filter: Option<&twofold_types::Filter>,
    fetch: &Fetch,
) -> Result<Vec<ScoredPoint>> {
    let (records, _) = collection.scroll(None, limit + offset, filter, fetch)?;
    let scored = |Record { id, payload, vector }| ScoredPoint {
        id,
        version: 0,
        score: 0.0,
        payload,
        vector,
    };
    Ok(records.into_iter().skip(offset).map(scored).collect())
}

/// Refuses a page that is too large.
pub fn check_limit(received: usize) -> Result<()> {
    if received > MAX_LIMIT {
        return Err(InvalidInput::Limit {
            what: "limit and offset",
            received,
            limit: MAX_LIMIT,
        }
        .into());
    }
    Ok(())
}

fn explained(explanation: &Explanation) -> QueryExplanation {
    let microseconds = |time: Duration| time.as_secs_f64() * 1e6;
    let effort = &explanation.effort;
    QueryExplanation {
        plan: match explanation.plan {
            Plan::Exact => "exact",
            Plan::Gather => "gather",
            Plan::Index(kind) => kind,
        }
        .to_owned(),
        matching: explanation.matching,
        present: explanation.present,
        expected_index: explanation.expected_index.map(microseconds),
        expected_scan: explanation.expected_scan.map(microseconds),
        lists: effort.lists,
        codes: effort.codes,
        bytes: effort.bytes,
        rows: effort.rows,
        filter_time: microseconds(explanation.filtering),
        search_time: microseconds(explanation.searching),
        fetch_time: microseconds(explanation.fetching),
    }
}
