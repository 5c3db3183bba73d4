//! Search by text in one request: what is asked, and the passages that answer it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::{
    Fusion, GroupId, QueryExplanation, RerankReport, RerankStage, Rrf, SearchParams, WithPayload, WithVector,
};
use crate::{Filter, ModelId, Payload, PointId, VectorsOutput};

/// `POST /collections/{collection}/search`: encoded by every encoder of the collection, fused, and answered with the best passage of
/// each document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchPassages {
    /// What is asked.
    pub text: String,
    /// How many documents are answered, or groups. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// How many of the best are skipped. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<usize>,
    /// Only points that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Only points with better scores, before they are reranked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_threshold: Option<f32>,
    /// Groups by the values at this payload key, instead of the best passage of each document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<String>,
    /// The most passages of a group. Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_size: Option<usize>,
    /// Which vectors are searched. Default: all that have an encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub using: Option<Vec<String>>,
    /// How the answers of several vectors become one. Default: `rrf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fusion: Option<SearchFusion>,
    /// How much a vector counts, by name. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<BTreeMap<String, f32>>,
    /// A second look at the best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank: Option<RerankStage>,
    /// How many chunks before and after a passage are answered with it. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<u32>,
    /// Whether the sentences of a passage that match best are named. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highlight: Option<bool>,
    /// What of payloads is answered beside the passages. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_payload: Option<WithPayload>,
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_vector: Option<WithVector>,
    /// Accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<SearchParams>,
    /// Whether it is told how the answer was found. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<bool>,
}

/// How the answers of several vectors become one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "`fusion` is \"rrf\", \"dbsf\", or {\"rrf\": {\"k\", \"weights\"}}"
)]
pub enum SearchFusion {
    /// By name.
    Named(Fusion),
    /// By reciprocal ranks with parameters. Weights are in the order of `using`, or of the names of vectors.
    Rrf {
        /// The parameters.
        rrf: Rrf,
    },
}

/// The answer to [`SearchPassages`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SearchResult {
    /// The best first. Empty where there are groups.
    pub passages: Vec<Passage>,
    /// Where `group_by` asks for them, the group of the best passage first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<PassageGroup>>,
    /// How reranking went, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank: Option<RerankReport>,
    /// How the answer was found, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<SearchExplanation>,
}

/// Passages with a value in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PassageGroup {
    /// The value.
    pub id: GroupId,
    /// The best first.
    pub passages: Vec<Passage>,
}

/// A chunk of a document that answers a search, or a point that is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Passage {
    /// The point's id.
    pub id: PointId,
    /// The score of the last stage: the reranker, the fusion, or the only vector.
    pub score: f32,
    /// The document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_id: Option<String>,
    /// What it is of the document.
    #[serde(flatten)]
    pub place: ChunkPlace,
    /// The document's metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Payload>,
    /// Scores and ranks by stage.
    pub stages: PassageStages,
    /// The sentences that match best, the best first, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highlights: Option<Vec<Highlight>>,
    /// The chunks around it, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<Neighbours>,
    /// What of the payload was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub payload: Option<Payload>,
    /// The vectors, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<VectorsOutput>,
}

/// Where a chunk is in its document, and its text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChunkPlace {
    /// Its number, from 0 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<u32>,
    /// Where it begins, in bytes of the document's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<u64>,
    /// Where it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
    /// The headings that it stands below, the highest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headings: Vec<String>,
    /// Its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Scores and ranks of a passage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PassageStages {
    /// By vector, of those that found it.
    pub vectors: BTreeMap<String, StageScore>,
    /// Where several vectors were fused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fusion: Option<f32>,
    /// Where it was reranked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank: Option<f32>,
}

/// What a vector says of a passage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StageScore {
    /// Its rank among all points that the vector found, from 1 on.
    pub rank: usize,
    /// Its score.
    pub score: f32,
}

/// A sentence of a passage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Highlight {
    /// Where it begins, in bytes of the passage's text.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The sentence.
    pub text: String,
    /// How many different words it shares with what was asked, by their stems and without stop words.
    pub words: usize,
}

/// The chunks around a passage, in the order of the document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Neighbours {
    /// Those before it.
    pub before: Vec<NeighbourChunk>,
    /// Those after it.
    pub after: Vec<NeighbourChunk>,
}

/// A chunk beside a passage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NeighbourChunk {
    /// The point's id.
    pub id: PointId,
    /// What it is of the document.
    #[serde(flatten)]
    pub place: ChunkPlace,
}

/// How an answer to a search was found. Times are in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SearchExplanation {
    /// What each vector did, by name.
    pub vectors: BTreeMap<String, VectorExplanation>,
    /// Points that were found by any of them, as far as they were looked through.
    pub candidates: usize,
    /// The time to fuse what several vectors found.
    pub fusion_time: f64,
    /// The payload key that passages were put together by.
    pub collapse_key: String,
    /// Documents or groups that were found, those that are skipped and those for the reranker included.
    pub collapsed: usize,
    /// How often vectors were searched, each time for more points, until there were enough documents or groups.
    pub rounds: usize,
    /// The time to put points together.
    pub collapse_time: f64,
    /// The time to read payloads and vectors of what was found.
    pub fetch_time: f64,
    /// The time to find highlights and neighbours.
    pub passages_time: f64,
    /// The time of everything.
    pub total_time: f64,
}

/// What a vector did for a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VectorExplanation {
    /// The model that encoded the text.
    pub model: ModelId,
    /// How much the vector counts.
    pub weight: f32,
    /// The time to encode the text.
    pub encode_time: f64,
    /// Points that were found.
    pub found: usize,
    /// How.
    pub search: QueryExplanation,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<SearchPassages, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn fusion_is_a_name_or_parameters() {
        let fusion = |json: &str| parse(&format!(r#"{{"text": "a", "fusion": {json}}}"#)).map(|search| search.fusion);
        assert_eq!(fusion(r#""dbsf""#), Ok(Some(SearchFusion::Named(Fusion::Dbsf))));
        let rrf = Rrf {
            k: Some(60),
            weights: Some(vec![1.0, 0.5]),
        };
        assert_eq!(
            fusion(r#"{"rrf": {"k": 60, "weights": [1, 0.5]}}"#),
            Ok(Some(SearchFusion::Rrf { rrf }))
        );
        assert!(fusion(r#""sum""#).unwrap_err().contains("dbsf"));
    }

    #[test]
    fn keys_that_mean_nothing_are_refused() {
        assert!(
            parse(r#"{"text": "a", "filters": {}}"#)
                .unwrap_err()
                .contains("`filters`")
        );
        let unknown = parse(r#"{"text": "a", "rerank": {"model": "m", "top_k": 3}}"#).unwrap_err();
        assert!(unknown.contains("`top_k`") && unknown.contains("`limit`"), "{unknown}");
        assert!(parse(r#"{"limit": 3}"#).unwrap_err().contains("`text`"));
    }
}
