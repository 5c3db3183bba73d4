//! Queries on their way to storage: texts are encoded, and ids that other collections know are looked up.

use std::time::Duration;

use twofold_storage::{Collection, Example, Explanation, Fetch, InvalidInput, Matrix, Plan, Query as Ranked, Ranking};
use twofold_types::api::{
    ContextPair, Example as ExampleInput, FeedbackItem, Fusion, IdfScope, LookupLocation, Prefetch, Query,
    QueryExplanation, QueryPoints, QueryResult, Rrf, SearchMatrix, WithPayload, WithVector,
};
use twofold_types::{Embedding, Filter, PointId, Record, Role, ScoredPoint, TextInput, VectorInput, VectorsOutput};

use crate::engine::Engine;
use crate::error::Result;
use crate::reranking::Reranking;

/// How many points a query answers when it does not say.
pub const DEFAULT_LIMIT: usize = 10;

/// Points that one query may ask for, those it skips included.
pub const MAX_LIMIT: usize = 100_000;

/// The deepest nesting of prefetches, and how many a query may have at all.
const MAX_PREFETCH_DEPTH: usize = 16;
const MAX_PREFETCHES: usize = 256;

/// Points of a sample whose distances are compared, at most.
const MAX_SAMPLE: usize = 10_000;

impl Engine {
    /// Answers a query.
    pub fn query(&self, collection: &Collection, mut query: QueryPoints) -> Result<QueryResult> {
        check_prefetches(&query.prefetch)?;
        let fetch = fetch(&mut query)?;
        let explain = query.params.as_ref().is_some_and(|params| params.explain);
        let rerank = query.rerank.take();
        let (mut query, offset) = root(query);
        let Some(rerank) = rerank else {
            let ranked = self.ranked(collection, (query, offset))?;
            let (points, explanation) = collection.query(&ranked, &fetch)?;
            self.timings.observe_query(&explanation);
            return Ok(QueryResult {
                points,
                explain: explain.then(|| explained(&explanation)),
                rerank: None,
            });
        };
        let wanted = query.limit.unwrap_or(DEFAULT_LIMIT);
        let seen = wanted.saturating_add(offset);
        let reranking = Reranking::new(self, collection, rerank, (seen, 1), text_of(&query))?;
        query.limit = Some(reranking.limit);
        let ranked = self.ranked(collection, (query, 0))?;
        let reading = collection.reading();
        let (mut points, explanation) = reading.query(&ranked, &fetch.whole())?;
        self.timings.observe_query(&explanation);
        let order = reranking.order(&reading, points.iter())?;
        order.apply(&mut points);
        let mut points: Vec<ScoredPoint> = points.into_iter().skip(offset).take(wanted).collect();
        points.iter_mut().for_each(|point| part(&fetch, point));
        Ok(QueryResult {
            points,
            explain: explain.then(|| explained(&explanation)),
            rerank: Some(order.report),
        })
    }

    /// Compares the points of a sample with each other.
    pub fn matrix(&self, collection: &Collection, request: &SearchMatrix) -> Result<Matrix> {
        let sample = request.sample.unwrap_or(10);
        if sample > MAX_SAMPLE {
            return Err(InvalidInput::Limit {
                what: "sample",
                received: sample,
                limit: MAX_SAMPLE,
            }
            .into());
        }
        let limit = request.limit.unwrap_or(3);
        Ok(collection.matrix(request.using.as_deref(), request.filter.as_ref(), sample, limit)?)
    }

    /// A query with its prefetches as storage takes it.
    pub(crate) fn ranked(&self, collection: &Collection, (query, offset): (Prefetch, usize)) -> Result<Ranked> {
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
        check_limit(limit.saturating_add(offset))?;
        let prefetch = query.prefetch.into_iter();
        let prefetch = prefetch.map(|prefetch| self.ranked(collection, (prefetch, 0)));
        let inputs = Inputs {
            engine: self,
            collection,
            using: query.using.as_deref(),
            lookup: query.lookup_from.as_ref(),
        };
        let by = match query.query {
            Some(by) => inputs.ranking(by)?,
            None => Ranking::Id,
        };
        let params = query.params.unwrap_or_default();
        Ok(Ranked {
            prefetch: prefetch.collect::<Result<_>>()?,
            by,
            example_vector: inputs.example_vector(),
            using: query.using,
            filter: query.filter,
            score_threshold: query.score_threshold,
            limit,
            offset,
            exact: params.exact,
            indexed_only: params.indexed_only,
            ef: params.hnsw_ef,
            oversampling: params.quantization.and_then(|quantization| quantization.oversampling),
            corpus: corpus(params.idf),
        })
    }
}

/// What of the points is answered, where the query does not say: neither payloads nor vectors.
pub(crate) fn fetch(query: &mut QueryPoints) -> Result<Fetch> {
    Ok(Fetch::new(
        query.with_payload.take().unwrap_or(WithPayload::Bool(false)),
        query.with_vector.take().unwrap_or(WithVector::Bool(false)),
    )?)
}

/// A query as the prefetch of nothing, and how many of its points are skipped.
pub(crate) fn root(query: QueryPoints) -> (Prefetch, usize) {
    let prefetch = Prefetch {
        prefetch: query.prefetch,
        query: query.query,
        using: query.using,
        filter: query.filter,
        params: query.params,
        score_threshold: query.score_threshold,
        limit: query.limit,
        lookup_from: query.lookup_from,
    };
    (prefetch, query.offset.unwrap_or(0))
}

/// What a query compares with.
struct Inputs<'a> {
    engine: &'a Engine,
    collection: &'a Collection,
    using: Option<&'a str>,
    lookup: Option<&'a LookupLocation>,
}

impl Inputs<'_> {
    fn ranking(&self, query: Query) -> Result<Ranking> {
        Ok(match query {
            Query::Nearest(vector) => Ranking::Nearest {
                target: self.example(ExampleInput::Vector(vector))?,
                mmr: None,
            },
            Query::Point(id) => Ranking::Nearest {
                target: self.example(ExampleInput::Id(id))?,
                mmr: None,
            },
            Query::Mmr { nearest, mmr } => Ranking::Nearest {
                target: self.example(nearest)?,
                mmr: Some(mmr),
            },
            Query::Recommend { recommend } => Ranking::Recommend {
                positive: self.examples(recommend.positive)?,
                negative: self.examples(recommend.negative)?,
                strategy: recommend.strategy.unwrap_or_default(),
            },
            Query::Discover { discover } => Ranking::Discover {
                target: self.example(discover.target)?,
                context: self.pairs(discover.context)?,
            },
            Query::Context { context } => Ranking::Context(self.pairs(context)?),
            Query::RelevanceFeedback { relevance_feedback } => Ranking::Feedback {
                target: self.example(relevance_feedback.target)?,
                feedback: relevance_feedback
                    .feedback
                    .into_iter()
                    .map(|FeedbackItem { example, score }| Ok((self.example(example)?, score)))
                    .collect::<Result<_>>()?,
                strategy: relevance_feedback.strategy,
            },
            Query::OrderBy { order_by } => Ranking::OrderBy(order_by),
            Query::Fusion { fusion: Fusion::Rrf } => Ranking::Rrf(Rrf::default()),
            Query::Fusion { fusion: Fusion::Dbsf } => Ranking::Dbsf(None),
            Query::Rrf { rrf } => Ranking::Rrf(rrf),
            Query::Formula { formula, defaults } => Ranking::Formula { formula, defaults },
            Query::Sample { .. } => Ranking::Sample,
        })
    }

    fn pairs(&self, pairs: Vec<ContextPair>) -> Result<Vec<(Example, Example)>> {
        let pairs = pairs.into_iter();
        pairs
            .map(|pair| Ok((self.example(pair.positive)?, self.example(pair.negative)?)))
            .collect()
    }

    fn examples(&self, examples: Vec<ExampleInput>) -> Result<Vec<Example>> {
        examples.into_iter().map(|example| self.example(example)).collect()
    }

    fn example(&self, example: ExampleInput) -> Result<Example> {
        Ok(Example::Vector(match example {
            ExampleInput::Vector(VectorInput::Dense(vector)) => Embedding::Dense(vector),
            ExampleInput::Vector(VectorInput::Sparse(vector)) => Embedding::Sparse(vector),
            ExampleInput::Vector(VectorInput::Multi(vectors)) => Embedding::Multi(vectors),
            ExampleInput::Vector(VectorInput::Text(text)) => self.text(text)?,
            ExampleInput::Id(id) => match self
                .lookup
                .filter(|lookup| lookup.collection != *self.collection.name())
            {
                Some(lookup) => self.look_up(lookup, id)?,
                None => return Ok(Example::Point(id)),
            },
        }))
    }

    fn text(&self, text: TextInput) -> Result<Embedding> {
        let vector = self.vector()?;
        let (params, encoder) = self.engine.bound_encoder(
            self.collection,
            &vector,
            text.model.as_ref(),
            text.options.as_ref(),
            Role::Query,
        )?;
        self.engine.embed_query(&params, encoder, text.text)
    }

    /// The vector of a point of another collection.
    fn look_up(&self, lookup: &LookupLocation, id: PointId) -> Result<Embedding> {
        let vector = match &lookup.vector {
            Some(vector) => vector.clone(),
            None => self.vector()?,
        };
        let other = self.engine.store.collection(&lookup.collection)?;
        let fetch = Fetch::new(WithPayload::Bool(false), WithVector::Names(vec![vector.clone()]))?;
        let record = other.get(&[id], &fetch)?.pop();
        let Record { vector: found, .. } = record.ok_or(InvalidInput::PointNotFound(id))?;
        let found = match found {
            Some(VectorsOutput::Single(found)) => Some(found),
            Some(VectorsOutput::Named(mut named)) => named.remove(&vector),
            None => None,
        };
        found.ok_or_else(|| InvalidInput::VectorMissing { id, vector }.into())
    }

    /// The vector that is compared.
    fn vector(&self) -> Result<String> {
        match self.using {
            Some(vector) => Ok(vector.to_owned()),
            None => Ok(self.collection.default_vector()?),
        }
    }

    /// The vector that points of this collection are looked up in, where that is another one.
    fn example_vector(&self) -> Option<String> {
        let lookup = self.lookup?;
        let here = lookup.collection == *self.collection.name();
        lookup.vector.clone().filter(|_| here)
    }
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

/// Refuses more prefetches than a query may have.
pub(crate) fn check_prefetches(prefetches: &[Prefetch]) -> Result<()> {
    let (mut level, mut depth, mut count) = (Vec::from_iter(prefetches), 0, 0);
    while !level.is_empty() {
        depth += 1;
        count += level.len();
        level = level.into_iter().flat_map(|prefetch| &prefetch.prefetch).collect();
    }
    let limits = [
        ("nesting of prefetches", depth, MAX_PREFETCH_DEPTH),
        ("prefetches of one query", count, MAX_PREFETCHES),
    ];
    match limits.into_iter().find(|(_, received, limit)| received > limit) {
        Some((what, received, limit)) => Err(InvalidInput::Limit { what, received, limit }.into()),
        None => Ok(()),
    }
}

/// The points that document frequencies are counted in; none where they are counted in all.
pub(crate) fn corpus(idf: Option<IdfScope>) -> Option<Filter> {
    match idf {
        Some(IdfScope::Corpus(corpus)) => Some(corpus),
        Some(IdfScope::Global) | None => None,
    }
}

/// The text that a query asks, or the first of its prefetches that asks one.
pub(crate) fn text_of(query: &Prefetch) -> Option<&str> {
    let own = match &query.query {
        Some(
            Query::Nearest(VectorInput::Text(text))
            | Query::Mmr {
                nearest: ExampleInput::Vector(VectorInput::Text(text)),
                ..
            },
        ) => Some(text.text.as_str()),
        _ => None,
    };
    own.or_else(|| query.prefetch.iter().find_map(text_of))
}

/// Leaves of a point that was read whole what is answered.
pub(crate) fn part(fetch: &Fetch, point: &mut ScoredPoint) {
    point.payload = point.payload.take().and_then(|whole| fetch.part(whole));
}

pub(crate) fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

pub(crate) fn explained(explanation: &Explanation) -> QueryExplanation {
    let effort = &explanation.effort;
    QueryExplanation {
        plan: match explanation.plan {
            Plan::Exact => "exact",
            Plan::Gather => "gather",
            Plan::Index(kind) => kind,
            Plan::Inverted => "inverted",
            Plan::MaxSim => "max_sim",
            Plan::Examples => "examples",
            Plan::Ids => "ids",
            Plan::Payloads => "payloads",
            Plan::Fusion => "fusion",
            Plan::Formula => "formula",
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
        prefetch: explanation.prefetches.iter().map(explained).collect(),
    }
}
