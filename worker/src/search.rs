//! Search by text in one request: every encoder of a collection, fused, put together by documents, reranked, as passages.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use twofold_storage::{Collection, DOCUMENT_ID, Depth, Fetch, Group, Grouping, Groups, InvalidInput, Query, Ranking};
use twofold_types::api::{
    Fusion, PassageGroup, PassageStages, Rrf, SearchExplanation, SearchFusion, SearchPassages, SearchResult,
    VectorExplanation, WithPayload, WithVector,
};
use twofold_types::{Embedding, EncoderParams, ModelId, PointId, Role, ScoredPoint};

use crate::engine::Engine;
use crate::error::{Result, WorkerError};
use crate::groups::DEFAULT_GROUP_SIZE;
use crate::highlight::Highlighter;
use crate::passage::{add_neighbours, passages};
use crate::queries::{DEFAULT_LIMIT, check_limit, corpus, explained, microseconds};
use crate::reranking::{Reranking, nearest, wrong};

/// Chunks on either side of a passage at most.
const MAX_NEIGHBOURS: u32 = 50;

/// A vector that is searched.
struct Searched {
    name: String,
    model: ModelId,
    weight: f32,
    embedding: Embedding,
    encoding: Duration,
}

impl Engine {
    /// Finds the passages that answer a text.
    pub fn search(&self, collection: &Collection, request: SearchPassages) -> Result<SearchResult> {
        let started = Instant::now();
        let (wanted, size) = page(&request)?;
        let explain = request.explain == Some(true) || request.params.as_ref().is_some_and(|params| params.explain);
        let offset = request.offset.unwrap_or(0);
        let fetch = Fetch::new(
            request.with_payload.clone().unwrap_or(WithPayload::Bool(false)),
            request.with_vector.clone().unwrap_or(WithVector::Bool(false)),
        )?;
        let config = collection.config();
        let highlighter = match request.highlight {
            Some(true) => Some(Highlighter::new(&config, &request.text)?),
            Some(false) | None => None,
        };
        let names = match &request.using {
            Some(names) => names.clone(),
            None => config.encoders.keys().cloned().collect(),
        };
        let weights = weights(&names, &request)?;
        let searched = self.searched(collection, names, weights, &request.text)?;
        let reranking = request.rerank.clone().map(|stage| {
            let seen = wanted.saturating_add(offset);
            Reranking::new(self, collection, stage, (seen, size), Some(request.text.as_str()))
        });
        let reranking = reranking.transpose()?;
        let grouping = Grouping {
            key: request.group_by.clone().unwrap_or_else(|| DOCUMENT_ID.to_owned()),
            groups: reranking
                .as_ref()
                .map_or(wanted.saturating_add(offset), |reranking| reranking.limit),
            size,
            singles: request.group_by.is_none(),
            depth: Depth::BOUNDED,
        };

        let reading = collection.reading();
        let query = query(&searched, &request);
        let mut found = reading.query_groups(&query, &grouping, &fetch.whole())?;
        self.timings.observe_query(&found.explanation);
        let collapsed = found.groups.len();
        let mut groups = std::mem::take(&mut found.groups);
        let fused = fused(&searched, &groups);
        let report = match reranking {
            Some(reranking) => Some(reranking.reorder(&reading, &mut groups)?),
            None => None,
        };
        let reranked = report.as_ref().is_some_and(|report| report.applied);

        let answering = Instant::now();
        let vectors: Vec<&str> = searched.iter().map(|vector| vector.name.as_str()).collect();
        let stages = |point: &ScoredPoint| PassageStages {
            fusion: fused.get(&point.id).copied(),
            rerank: reranked.then_some(point.score),
            ..PassageStages::default()
        };
        let groups = groups.into_iter().skip(offset).take(wanted);
        let mut groups = passages(groups, &vectors, &fetch, stages);
        if let Some(most) = request.neighbours.filter(|most| *most > 0) {
            add_neighbours(&reading, groups.iter_mut().flat_map(|(_, passages)| passages), most)?;
        }
        if let Some(highlighter) = highlighter {
            for passage in groups.iter_mut().flat_map(|(_, passages)| passages) {
                let text = passage.place.text.as_deref().unwrap_or_default();
                passage.highlights = Some(highlighter.highlights(text)?);
            }
        }
        let explain = explain.then(|| SearchExplanation {
            collapsed,
            passages_time: microseconds(answering.elapsed()),
            total_time: microseconds(started.elapsed()),
            ..explanation(&searched, &found, grouping.key)
        });
        let (passages, groups) = match request.group_by {
            None => (groups.into_iter().flat_map(|(_, passages)| passages).collect(), None),
            Some(_) => {
                let named = |(id, passages): (Option<_>, _)| Some(PassageGroup { id: id?, passages });
                (Vec::new(), Some(groups.into_iter().filter_map(named).collect()))
            }
        };
        Ok(SearchResult {
            passages,
            groups,
            rerank: report,
            explain,
        })
    }

    /// What is searched, each with the text as its encoder has it. Each encoder runs once.
    fn searched(
        &self,
        collection: &Collection,
        names: Vec<String>,
        weights: Vec<f32>,
        text: &str,
    ) -> Result<Vec<Searched>> {
        if names.is_empty() {
            return Err(WorkerError::NothingToSearch);
        }
        let mut made: Vec<(EncoderParams, Embedding)> = Vec::new();
        let mut searched = Vec::new();
        for (name, weight) in names.into_iter().zip(weights) {
            let started = Instant::now();
            let (params, encoder) = self.bound_encoder(collection, &name, None, None, Role::Query)?;
            let embedding = match made.iter().find(|(known, _)| *known == params) {
                Some((_, embedding)) => embedding.clone(),
                None => self.embed_query(&params, encoder, text.to_owned())?,
            };
            searched.push(Searched {
                name,
                weight,
                model: params.model.clone(),
                embedding: embedding.clone(),
                encoding: started.elapsed(),
            });
            made.push((params, embedding));
        }
        Ok(searched)
    }
}

/// How many groups are answered, and of how many passages; refuses what cannot be meant.
fn page(request: &SearchPassages) -> Result<(usize, usize)> {
    if request.text.trim().is_empty() {
        return Err(wrong("text", "it is empty; say what to search for"));
    }
    if request.using.as_ref().is_some_and(Vec::is_empty) {
        return Err(wrong(
            "using",
            "it names no vector; without it, all that have an encoder are searched",
        ));
    }
    let size = match (&request.group_by, request.group_size) {
        (Some(_), size) => size.unwrap_or(DEFAULT_GROUP_SIZE),
        (None, None) => 1,
        (None, Some(_)) => return Err(wrong("group_size", "it needs a `group_by`")),
    };
    let wanted = request.limit.unwrap_or(DEFAULT_LIMIT);
    for (key, number) in [("limit", wanted), ("group_size", size)] {
        if number == 0 {
            return Err(wrong(key, "it is 0; at least 1 is accepted"));
        }
    }
    check_limit(wanted.saturating_add(request.offset.unwrap_or(0)).saturating_mul(size))?;
    match request.neighbours {
        Some(received) if received > MAX_NEIGHBOURS => Err(InvalidInput::Limit {
            what: "neighbours",
            received: received as usize,
            limit: MAX_NEIGHBOURS as usize,
        }
        .into()),
        _ => Ok((wanted, size)),
    }
}

/// How much each of the vectors counts.
fn weights(names: &[String], request: &SearchPassages) -> Result<Vec<f32>> {
    if let Some(twice) = (1..names.len()).find(|&name| names[..name].contains(&names[name])) {
        return Err(wrong("using", &format!("it names `{}` twice", names[twice])));
    }
    let of_fusion = match &request.fusion {
        Some(SearchFusion::Rrf { rrf }) => rrf.weights.as_ref(),
        _ => None,
    };
    let weights = match (&request.weights, of_fusion) {
        (Some(_), Some(_)) => {
            return Err(wrong("weights", "they are given twice: here, and in `fusion`"));
        }
        (Some(weights), None) => {
            if let Some(unknown) = weights.keys().find(|name| !names.contains(name)) {
                let reason = format!("`{unknown}` is not searched; these are: {names:?}");
                return Err(wrong("weights", &reason));
            }
            names
                .iter()
                .map(|name| weights.get(name).copied().unwrap_or(1.0))
                .collect()
        }
        (None, Some(weights)) if weights.len() != names.len() => {
            let reason = format!(
                "there are {}, but {} vectors are searched: {names:?}",
                weights.len(),
                names.len()
            );
            return Err(wrong("fusion.rrf.weights", &reason));
        }
        (None, Some(weights)) => weights.clone(),
        (None, None) => vec![1.0; names.len()],
    };
    match weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0) {
        true => Ok(weights),
        false => Err(wrong("weights", "each is a number from 0 on")),
    }
}

/// A search of every vector, and of several the fusion.
fn query(searched: &[Searched], request: &SearchPassages) -> Query {
    let params = request.params.clone().unwrap_or_default();
    let mut sources: Vec<Query> = searched
        .iter()
        .map(|vector| Query {
            exact: params.exact,
            indexed_only: params.indexed_only,
            ef: params.hnsw_ef,
            oversampling: params.quantization.and_then(|quantization| quantization.oversampling),
            corpus: corpus(params.idf.clone()),
            ..nearest(vector.name.clone(), vector.embedding.clone())
        })
        .collect();
    let weights = searched.iter().map(|vector| vector.weight).collect();
    let ranking = match &request.fusion {
        Some(SearchFusion::Named(Fusion::Dbsf)) => Ranking::Dbsf(Some(weights)),
        Some(SearchFusion::Named(Fusion::Rrf)) | None => Ranking::Rrf(Rrf {
            k: None,
            weights: Some(weights),
        }),
        Some(SearchFusion::Rrf { rrf }) => Ranking::Rrf(Rrf {
            k: rrf.k,
            weights: Some(weights),
        }),
    };
    let query = match sources.len() {
        1 => sources.remove(0),
        _ => Query {
            prefetch: sources,
            ..Query::by(ranking, 0)
        },
    };
    Query {
        filter: request.filter.clone(),
        score_threshold: request.score_threshold,
        ..query
    }
}

/// The scores of points after fusion, where something was fused.
fn fused(searched: &[Searched], groups: &[Group]) -> HashMap<PointId, f32> {
    match searched {
        [_] => HashMap::new(),
        _ => {
            let points = groups.iter().flat_map(|group| &group.points);
            points.map(|ranked| (ranked.point.id, ranked.point.score)).collect()
        }
    }
}

/// How points were found, without what became of them then.
fn explanation(searched: &[Searched], found: &Groups, collapse_key: String) -> SearchExplanation {
    let searches = match searched {
        [_] => std::slice::from_ref(&found.explanation),
        _ => found.explanation.prefetches.as_slice(),
    };
    let vectors = searched.iter().zip(searches).zip(&found.found);
    let vectors = vectors.map(|((vector, search), &found)| {
        let explanation = VectorExplanation {
            model: vector.model.clone(),
            weight: vector.weight,
            encode_time: microseconds(vector.encoding),
            found,
            search: explained(search),
        };
        (vector.name.clone(), explanation)
    });
    let fusion = match searched {
        [_] => Duration::ZERO,
        _ => found.explanation.searching,
    };
    SearchExplanation {
        vectors: vectors.collect::<BTreeMap<_, _>>(),
        candidates: found.hits,
        fusion_time: microseconds(fusion),
        collapse_key,
        collapsed: 0,
        rounds: found.rounds,
        collapse_time: microseconds(found.grouping),
        fetch_time: microseconds(found.explanation.fetching),
        passages_time: 0.0,
        total_time: 0.0,
    }
}
