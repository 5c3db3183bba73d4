//! Requests of older clients, each of which is a query.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::one_or_many;
use crate::api::{
    ContextPair, DiscoverInput, Example, LookupLocation, Query, QueryGroups, QueryPoints, RecommendInput,
    RecommendStrategy, SearchParams, WithLookup, WithPayload, WithVector,
};
use crate::schema::OneOrMany;
use crate::{Filter, VectorInput};

/// What these requests have in common: a [`QueryPoints`] without what is looked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
struct Common {
    filter: Option<Filter>,
    params: Option<SearchParams>,
    limit: Option<usize>,
    offset: Option<usize>,
    with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    score_threshold: Option<f32>,
    lookup_from: Option<LookupLocation>,
}

impl Common {
    fn into_query(self, query: Query, using: Option<String>) -> QueryPoints {
        QueryPoints {
            query: Some(query),
            prefetch: Vec::new(),
            using,
            filter: self.filter,
            params: self.params,
            score_threshold: self.score_threshold,
            limit: self.limit,
            offset: self.offset,
            with_payload: self.with_payload,
            with_vector: self.with_vector,
            lookup_from: self.lookup_from,
            rerank: None,
        }
    }
}

/// `POST /collections/{collection}/points/search`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SearchPoints {
    /// What is looked for.
    vector: NamedVector,
    #[serde(flatten)]
    common: Common,
}

/// A vector, or one with the name under which it is searched.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "`vector` is a vector, or an object with the `name` under which it is searched and a `vector`"
)]
enum NamedVector {
    Named { name: String, vector: VectorInput },
    Unnamed(VectorInput),
}

impl From<SearchPoints> for QueryPoints {
    fn from(search: SearchPoints) -> Self {
        let (using, vector) = match search.vector {
            NamedVector::Named { name, vector } => (Some(name), vector),
            NamedVector::Unnamed(vector) => (None, vector),
        };
        search.common.into_query(Query::Nearest(vector), using)
    }
}

/// `POST /collections/{collection}/points/recommend`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RecommendPoints {
    #[serde(default, deserialize_with = "one_or_many")]
    #[schema(value_type = Option<OneOrMany<Example>>)]
    positive: Vec<Example>,
    #[serde(default, deserialize_with = "one_or_many")]
    #[schema(value_type = Option<OneOrMany<Example>>)]
    negative: Vec<Example>,
    strategy: Option<RecommendStrategy>,
    using: Option<String>,
    #[serde(flatten)]
    common: Common,
}

impl From<RecommendPoints> for QueryPoints {
    fn from(request: RecommendPoints) -> Self {
        let recommend = RecommendInput {
            positive: request.positive,
            negative: request.negative,
            strategy: request.strategy,
        };
        request.common.into_query(Query::Recommend { recommend }, request.using)
    }
}

/// `POST /collections/{collection}/points/discover`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DiscoverPoints {
    target: Option<Example>,
    #[serde(default, deserialize_with = "one_or_many")]
    #[schema(value_type = Option<OneOrMany<ContextPair>>)]
    context: Vec<ContextPair>,
    using: Option<String>,
    #[serde(flatten)]
    common: Common,
}

impl From<DiscoverPoints> for QueryPoints {
    fn from(request: DiscoverPoints) -> Self {
        let context = request.context;
        let query = match request.target {
            Some(target) => Query::Discover {
                discover: DiscoverInput { target, context },
            },
            None => Query::Context { context },
        };
        request.common.into_query(query, request.using)
    }
}

/// Several of these requests.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LegacyBatch<T> {
    /// The requests.
    pub searches: Vec<T>,
}

/// One of these requests, answered in groups.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LegacyGroups<T> {
    #[serde(flatten)]
    request: T,
    group_by: String,
    group_size: Option<usize>,
    with_lookup: Option<WithLookup>,
}

impl<T: Into<QueryPoints>> From<LegacyGroups<T>> for QueryGroups {
    fn from(groups: LegacyGroups<T>) -> Self {
        Self {
            query: groups.request.into(),
            group_by: groups.group_by,
            group_size: groups.group_size,
            with_lookup: groups.with_lookup,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query<T: serde::de::DeserializeOwned + Into<QueryPoints>>(json: &str) -> QueryPoints {
        serde_json::from_str::<T>(json).unwrap().into()
    }

    #[test]
    fn older_requests_are_queries() {
        let search =
            query::<SearchPoints>(r#"{"vector": {"name": "a", "vector": [1, 2]}, "limit": 3, "params": null}"#);
        assert_eq!((search.using.as_deref(), search.limit), (Some("a"), Some(3)));
        assert_eq!(search.query, Some(Query::Nearest(VectorInput::Dense(vec![1.0, 2.0]))));
        let sparse = query::<SearchPoints>(
            r#"{"vector": {"name": "s", "vector": {"indices": [1], "values": [2]}}, "limit": 3}"#,
        );
        assert!(matches!(sparse.query, Some(Query::Nearest(VectorInput::Sparse(_)))));
        let recommend = query::<RecommendPoints>(r#"{"positive": [1, [0.5]], "strategy": "best_score", "limit": 1}"#);
        assert!(matches!(recommend.query, Some(Query::Recommend { recommend }) if recommend.positive.len() == 2));
        let context = query::<DiscoverPoints>(r#"{"context": [{"positive": 1, "negative": 2}], "limit": 1}"#);
        assert!(matches!(context.query, Some(Query::Context { .. })));
        let groups: LegacyGroups<SearchPoints> =
            serde_json::from_str(r#"{"vector": [1], "limit": 4, "group_by": "k", "group_size": 2}"#).unwrap();
        assert_eq!(QueryGroups::from(groups).query.limit, Some(4));
    }
}
