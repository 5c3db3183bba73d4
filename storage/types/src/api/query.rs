//! Queries: what is looked for, in which points, and what of them is answered.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::one_or_many;
use crate::api::{OrderBy, QueryExplanation, RerankReport, RerankStage, WithPayload, WithVector};
use crate::schema::{KeyOrOrder, OneOrMany};
use crate::{CollectionName, Expression, Filter, PointId, ScoredPoint, VectorInput};

/// What a query looks for.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Query {
    /// The points nearest to a vector or text.
    Nearest(VectorInput),
    /// The points nearest to a stored point, without that point itself.
    Point(PointId),
    /// The same, chosen so that they differ from each other.
    Mmr {
        /// What they are near to.
        nearest: Example,
        /// How much they are to differ.
        #[schema(value_type = Option<Mmr>)]
        mmr: Mmr,
    },
    /// Points like some examples and unlike others.
    Recommend {
        /// The examples.
        recommend: RecommendInput,
    },
    /// The points nearest to a target, in the part of the space that pairs of examples mark out.
    Discover {
        /// Target and pairs.
        discover: DiscoverInput,
    },
    /// Points in the part of the space that pairs of examples mark out.
    Context {
        /// The pairs.
        context: Vec<ContextPair>,
    },
    /// Points in the order of the values at a payload key.
    OrderBy {
        /// Which key.
        #[schema(value_type = KeyOrOrder)]
        order_by: OrderBy,
    },
    /// The answers of several prefetches in one.
    Fusion {
        /// How.
        fusion: Fusion,
    },
    /// The same by reciprocal ranks with parameters.
    Rrf {
        /// The parameters.
        rrf: Rrf,
    },
    /// The points of the prefetches by a score of the caller's own.
    Formula {
        /// The score.
        formula: Expression,
        /// What stands for scores and payload values that a point does not have.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        defaults: BTreeMap<String, Value>,
    },
    /// Points by chance.
    Sample {
        /// How.
        sample: Sample,
    },
    /// The points nearest to a target, corrected by how relevant some points were found to be.
    RelevanceFeedback {
        /// Target, points and weights.
        relevance_feedback: FeedbackInput,
    },
}

impl<'de> Deserialize<'de> for Query {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        fn take<T: serde::de::DeserializeOwned, E: serde::de::Error>(
            object: &mut serde_json::Map<String, Value>,
            key: &str,
        ) -> Result<T, E> {
            serde_json::from_value(object.remove(key).unwrap_or_default()).map_err(E::custom)
        }
        let mut object = match Value::deserialize(deserializer)? {
            Value::Object(object) => object,
            query => return Example::deserialize(query).map(Self::from).map_err(D::Error::custom),
        };
        object.retain(|_, value| !value.is_null());
        const VARIANTS: [&str; 10] = [
            "nearest",
            "recommend",
            "discover",
            "context",
            "order_by",
            "fusion",
            "rrf",
            "formula",
            "sample",
            "relevance_feedback",
        ];
        let Some(name) = VARIANTS.into_iter().find(|name| object.contains_key(*name)) else {
            if object.contains_key("text") || object.contains_key("indices") {
                return Example::deserialize(Value::Object(object))
                    .map(Self::from)
                    .map_err(D::Error::custom);
            }
            let keys: Vec<_> = object.keys().map(String::as_str).collect();
            return Err(D::Error::custom(format!(
                "unsupported query with keys [{}]: a vector, a point id, {{\"text\": ..., \"model\": ...}}, or an object with one of \
                 [{}] is accepted",
                keys.join(", "),
                VARIANTS.join(", ")
            )));
        };
        let query = match name {
            "nearest" => match object.contains_key("mmr") {
                true => Self::Mmr {
                    nearest: take(&mut object, "nearest")?,
                    mmr: take(&mut object, "mmr")?,
                },
                false => take::<Example, _>(&mut object, "nearest")?.into(),
            },
            "recommend" => Self::Recommend {
                recommend: take(&mut object, name)?,
            },
            "discover" => Self::Discover {
                discover: take(&mut object, name)?,
            },
            "context" => Self::Context {
                context: one_or_many(object.remove(name).unwrap_or_default()).map_err(D::Error::custom)?,
            },
            "order_by" => Self::OrderBy {
                order_by: take(&mut object, name)?,
            },
            "fusion" => Self::Fusion {
                fusion: take(&mut object, name)?,
            },
            "rrf" => Self::Rrf {
                rrf: take(&mut object, name)?,
            },
            "formula" => Self::Formula {
                formula: take(&mut object, name)?,
                defaults: match object.contains_key("defaults") {
                    true => take(&mut object, "defaults")?,
                    false => BTreeMap::new(),
                },
            },
            "sample" => Self::Sample {
                sample: take(&mut object, name)?,
            },
            _ => Self::RelevanceFeedback {
                relevance_feedback: take(&mut object, name)?,
            },
        };
        match object.keys().next() {
            Some(key) => Err(D::Error::custom(format!("`{key}` beside `{name}` is not supported"))),
            None => Ok(query),
        }
    }
}

/// A vector, a text that stands for one, or the id of a point that has it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Example {
    /// A vector or text.
    Vector(VectorInput),
    /// A stored point, which is left out of the answer.
    Id(PointId),
}

impl<'de> Deserialize<'de> for Example {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            id @ (Value::Number(_) | Value::String(_)) => PointId::deserialize(id).map(Self::Id),
            vector => VectorInput::deserialize(vector).map(Self::Vector),
        }
        .map_err(D::Error::custom)
    }
}

impl From<Example> for Query {
    fn from(example: Example) -> Self {
        match example {
            Example::Vector(vector) => Self::Nearest(vector),
            Example::Id(id) => Self::Point(id),
        }
    }
}

/// Maximal marginal relevance: each next point is the best by relevance less its similarity to those that were chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Mmr {
    /// 0: only relevance counts, 1: only difference. Default: 0.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diversity: Option<f32>,
    /// From how many of the nearest points is chosen. Default: the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidates_limit: Option<usize>,
}

/// Examples of what is wanted and what is not.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecommendInput {
    /// What is wanted.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schema(value_type = Option<OneOrMany<Example>>)]
    pub positive: Vec<Example>,
    /// What is not.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schema(value_type = Option<OneOrMany<Example>>)]
    pub negative: Vec<Example>,
    /// How examples make a score. Default: their average vector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<RecommendStrategy>,
}

/// How examples make a score.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecommendStrategy {
    /// The nearest to twice the mean of what is wanted, less the mean of what is not.
    #[default]
    AverageVector,
    /// By the nearest example: for it where it is wanted, against it where it is not.
    BestScore,
    /// The sum over what is wanted less that over what is not.
    SumScores,
}

/// Target and pairs of a discovery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DiscoverInput {
    /// What is looked for.
    pub target: Example,
    /// Where.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schema(value_type = Option<OneOrMany<ContextPair>>)]
    pub context: Vec<ContextPair>,
}

/// An example to be nearer to than to the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContextPair {
    /// To be near.
    pub positive: Example,
    /// To be far.
    pub negative: Example,
}

/// How answers are fused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fusion {
    /// The sum of reciprocal ranks.
    Rrf,
    /// The sum of scores, in each answer relative to its mean and deviation.
    Dbsf,
}

/// Parameters of reciprocal rank fusion.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rrf {
    /// How much ranks further down count. Default: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<u32>,
    /// The weight of each prefetch. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Vec<f32>>,
}

/// How points are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sample {
    /// Each as likely as any other.
    Random,
}

/// Points that were found to be more or less relevant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FeedbackInput {
    /// What is looked for.
    pub target: Example,
    /// The points.
    pub feedback: Vec<FeedbackItem>,
    /// How they count.
    pub strategy: FeedbackStrategy,
}

/// One point of a [`FeedbackInput`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FeedbackItem {
    /// The point.
    pub example: Example,
    /// How relevant it is.
    pub score: f32,
}

/// How feedback counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FeedbackStrategy {
    /// By a weighted sum.
    Naive(NaiveFeedback),
}

/// `a` times the similarity to the target, and for each two points of which one is more relevant by `d`, `c d^b` times how much
/// nearer that one is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NaiveFeedback {
    /// See [`NaiveFeedback`].
    pub a: f32,
    /// See [`NaiveFeedback`].
    pub b: f32,
    /// See [`NaiveFeedback`].
    pub c: f32,
}

/// Accuracy of a search.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SearchParams {
    /// Compare every candidate in full precision instead of asking an index.
    #[serde(default, deserialize_with = "null_is_false")]
    pub exact: bool,
    /// The accuracy knob. 128, the default, aims at a recall of 0.98 at `limit` 10; more reads more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hnsw_ef: Option<usize>,
    /// Leave out points whose vector the index has not taken in yet, so that no search has to compare them all; of a collection without
    /// an index none.
    #[serde(default, deserialize_with = "null_is_false")]
    pub indexed_only: bool,
    /// Accepted without meaning, but that strict mode may limit `oversampling`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<QuantizationSearchParams>,
    /// Of which points the statistics of sparse vectors with `idf` are. Default: of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idf: Option<IdfScope>,
    /// Say how the answer was found.
    #[serde(default, deserialize_with = "null_is_false")]
    pub explain: bool,
}

fn null_is_false<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(false))
}

/// How other engines search quantised vectors. Here codes only choose candidates, and scores are always those of full precision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuantizationSearchParams {
    /// Compare in full precision only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore: Option<bool>,
    /// Score the best candidates in full precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescore: Option<bool>,
    /// How many candidates are scored so, by the number of points that are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oversampling: Option<f64>,
}

/// Of which points statistics are.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum IdfScope {
    /// Of all.
    Global,
    /// Of those that match.
    Corpus(Filter),
}

impl<'de> Deserialize<'de> for IdfScope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Corpus {
            corpus: Filter,
        }
        match Value::deserialize(deserializer)? {
            Value::String(scope) if scope == "global" => Ok(Self::Global),
            scope => Corpus::deserialize(scope)
                .map(|Corpus { corpus }| Self::Corpus(corpus))
                .map_err(|error| D::Error::custom(format!("`idf` is \"global\" or an object with `corpus`: {error}"))),
        }
    }
}

/// Where the ids of a query are looked up instead of the collection itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LookupLocation {
    /// The collection.
    pub collection: CollectionName,
    /// Which of its vectors. Default: the one that is searched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<String>,
}

/// A query whose points are what another query works on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Prefetch {
    /// Queries that come before it.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<OneOrMany<Prefetch>>, no_recursion)]
    pub prefetch: Vec<Prefetch>,
    /// What is looked for; without it the points are listed by id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Query>,
    /// Which vector is searched. Default: the unnamed one, or the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub using: Option<String>,
    /// Only points that match, this and the filters around it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<SearchParams>,
    /// Only points with better scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_threshold: Option<f32>,
    /// Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Where ids are looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup_from: Option<LookupLocation>,
}

/// `POST /collections/{collection}/points/query`
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct QueryPoints {
    /// What is looked for; without it the points are listed by id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Query>,
    /// Queries whose points this one works on.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<OneOrMany<Prefetch>>)]
    pub prefetch: Vec<Prefetch>,
    /// Which vector is searched. Default: the unnamed one, or the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub using: Option<String>,
    /// Only points that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<SearchParams>,
    /// Only points at least (Cosine, Dot) or at most (Euclid, Manhattan) this far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_threshold: Option<f32>,
    /// Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// How many of the nearest are skipped. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<usize>,
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_payload: Option<WithPayload>,
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_vector: Option<WithVector>,
    /// Where ids are looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup_from: Option<LookupLocation>,
    /// A second look at the best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank: Option<RerankStage>,
}

/// `POST /collections/{collection}/points/query/batch`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QueryBatch {
    /// The queries.
    pub searches: Vec<QueryPoints>,
}

/// The answer to [`QueryPoints`], nearest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QueryResult {
    /// The points.
    pub points: Vec<ScoredPoint>,
    /// How they were found, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<QueryExplanation>,
    /// How reranking went, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank: Option<RerankReport>,
}
