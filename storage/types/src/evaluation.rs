//! How well a collection finds what people judged relevant: requests and reports of `POST /collections/{collection}/evaluate`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ModelId;
use crate::api::Rrf;

/// Grades of documents by query and document: 0 is irrelevant, 1 and more relevant, the more the better.
pub type Qrels = BTreeMap<String, BTreeMap<String, i64>>;

/// Queries, and which documents are relevant to them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// The queries. Those without judgements are left out and counted.
    pub queries: Vec<JudgedQuery>,
    /// The judgements. Documents without one count as irrelevant.
    pub qrels: Qrels,
    /// The ways to an answer that are compared. Default: every vector that an encoder fills by itself, and all of them fused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<EvaluationStage>,
    /// How many of the best documents nDCG, MRR, precision and recall look at. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<usize>,
    /// How many documents are retrieved for a query: what MAP and `recall_at_limit` look at. Default: 100, or `k` if that is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Whether the report has the documents that each query found.
    #[serde(default)]
    pub with_rankings: bool,
}

/// A query with the id that judgements know it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JudgedQuery {
    /// Its id in the judgements.
    pub id: String,
    /// What is asked.
    pub text: String,
}

/// A way to an answer: one vector, several that are fused, and perhaps a cross-encoder or another vector that reranks what they find.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluationStage {
    /// What it is called in the report.
    pub name: String,
    /// The vectors that are searched, each filled by an encoder. Several are fused by reciprocal ranks.
    pub using: Vec<String>,
    /// How they are fused. Default: as `{"fusion": "rrf"}` does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rrf: Option<Rrf>,
    /// The cross-encoder that reads the best chunk of every document that was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank: Option<ModelId>,
    /// Instead of it, a vector with an encoder that scores the best chunk of every document that was found: by MaxSim, where it is a
    /// multivector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank_using: Option<String>,
}

impl EvaluationStage {
    /// What a vector is called that has no name.
    pub const UNNAMED: &str = "default";
    /// What all vectors together are called.
    pub const HYBRID: &str = "hybrid";

    /// One vector by itself.
    pub fn of_vector(vector: &str) -> Self {
        Self {
            name: if vector.is_empty() { Self::UNNAMED } else { vector }.to_owned(),
            using: vec![vector.to_owned()],
            rrf: None,
            rerank: None,
            rerank_using: None,
        }
    }

    /// Every vector by itself, and where there are several, all of them fused.
    pub fn of_vectors<'a>(vectors: impl IntoIterator<Item = &'a str>) -> Vec<Self> {
        let mut stages: Vec<Self> = vectors.into_iter().map(Self::of_vector).collect();
        if stages.len() > 1 {
            stages.push(Self {
                name: Self::HYBRID.to_owned(),
                using: stages.iter().flat_map(|stage| stage.using.clone()).collect(),
                rrf: None,
                rerank: None,
                rerank_using: None,
            });
        }
        stages
    }

    /// The same with a cross-encoder behind it.
    pub fn reranked(&self, model: ModelId) -> Self {
        Self {
            name: format!("{} + rerank", self.name),
            rerank: Some(model),
            ..self.clone()
        }
    }

    /// The same with another vector behind it.
    pub fn reranked_using(&self, vector: &str) -> Self {
        Self {
            name: format!("{} + rerank by {vector}", self.name),
            rerank_using: Some(vector.to_owned()),
            ..self.clone()
        }
    }
}

/// How well the stages did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Evaluation {
    /// Queries with judgements, which is what all figures are means of.
    pub queries: usize,
    /// Queries that were left out because they have no judgements.
    pub unjudged_queries: usize,
    /// How many of the best documents nDCG, MRR, precision and recall look at.
    pub k: usize,
    /// How many documents were retrieved for a query.
    pub limit: usize,
    /// The stages, in the order of the request.
    pub stages: Vec<StageReport>,
}

/// How well one stage did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StageReport {
    /// The stage.
    #[serde(flatten)]
    pub stage: EvaluationStage,
    /// Means over the queries.
    pub metrics: Metrics,
    /// How long queries took.
    pub latency: Latency,
    /// What each query found, if that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rankings: Vec<Ranking>,
}

/// Measures as trec_eval defines them, from 0 to 1: a document is relevant from grade 1 on, documents with equal scores stand in
/// descending order of their ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Metrics {
    /// `ndcg_cut.k`: gains are the grades, discounted by the logarithm of the rank, as a share of the best order's.
    pub ndcg: f64,
    /// `recip_rank` of the best `k`: one over the rank of the first relevant document.
    pub mrr: f64,
    /// `P.k`: relevant documents among `k`.
    pub precision: f64,
    /// `recall.k`: the share of the relevant documents that is among `k`.
    pub recall: f64,
    /// `recall.limit`
    pub recall_at_limit: f64,
    /// `map` of what was retrieved: the mean of the precision at every relevant document.
    pub map: f64,
}

/// How long queries took from the text to the documents, within the server, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// 95 of 100 were faster.
    pub p95: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
}

/// What one query found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ranking {
    /// The query's id.
    pub query: String,
    /// How long it took.
    pub milliseconds: f64,
    /// Ids and scores of documents, the best first. The score is that of a document's best chunk; more is better, also where
    /// the vector's distance is not, whose sign is turned.
    pub documents: Vec<(String, f32)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_every_vector_and_all_of_them() {
        let names = |vectors: &[&str]| -> Vec<String> {
            let stages = EvaluationStage::of_vectors(vectors.iter().copied()).into_iter();
            stages
                .map(|stage| format!("{} {:?}", stage.name, stage.using))
                .collect()
        };
        assert_eq!(names(&["words"]), [r#"words ["words"]"#]);
        assert_eq!(
            names(&["", "words"]),
            [r#"default [""]"#, r#"words ["words"]"#, r#"hybrid ["", "words"]"#]
        );
    }

    #[test]
    fn a_request_is_read_and_a_mistake_in_it_is_told() {
        let json = r#"{"queries": [{"id": "q", "text": "t"}], "qrels": {"q": {"d": 2}},
            "stages": [{"name": "a", "using": [""], "rerank": "p/m"}], "k": 3}"#;
        let request: Evaluate = serde_json::from_str(json).unwrap();
        assert_eq!((request.k, request.limit, request.qrels["q"]["d"]), (Some(3), None, 2));
        let error = serde_json::from_str::<Evaluate>(&json.replace("rerank", "reranker")).unwrap_err();
        assert!(error.to_string().contains("`rerank`"), "{error}");
    }
}
