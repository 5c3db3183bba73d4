//! Searches, recommendations and discoveries as older clients ask for them: queries in another dress.

use axum::extract::State;
use serde::de::DeserializeOwned;
use twofold_types::ScoredPoint;
use twofold_types::api::{
    DiscoverPoints, Envelope, GroupsResult, LegacyBatch, LegacyGroups, QueryPoints, RecommendPoints, SearchPoints,
};

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, InCollection};
use super::query::check_batch;

type Points = Result<Answer<Vec<ScoredPoint>>, ApiError>;
type Batch = Result<Answer<Vec<Vec<ScoredPoint>>>, ApiError>;
type Groups = Result<Answer<GroupsResult>, ApiError>;

/// The points nearest to a vector.
#[utoipa::path(post, path = "/collections/{collection}/points/search", tag = "search", operation_id = "search_points",
    request_body = SearchPoints,
    responses((status = 200, body = Envelope<Vec<ScoredPoint>>)))]
pub(super) async fn search(state: State<Api>, path: InCollection, body: Body<SearchPoints>) -> Points {
    points(state, path, body).await
}

/// Several of these requests.
#[utoipa::path(post, path = "/collections/{collection}/points/search/batch", tag = "search", operation_id = "search_batch_points",
    request_body = LegacyBatch<SearchPoints>,
    responses((status = 200, body = Envelope<Vec<Vec<ScoredPoint>>>)))]
pub(super) async fn search_batch(
    state: State<Api>,
    path: InCollection,
    body: Body<LegacyBatch<SearchPoints>>,
) -> Batch {
    batch(state, path, body).await
}

/// One of them, answered in groups.
#[utoipa::path(post, path = "/collections/{collection}/points/search/groups", tag = "search", operation_id = "search_point_groups",
    request_body = LegacyGroups<SearchPoints>,
    responses((status = 200, body = Envelope<GroupsResult>)))]
pub(super) async fn search_groups(
    state: State<Api>,
    path: InCollection,
    body: Body<LegacyGroups<SearchPoints>>,
) -> Groups {
    groups(state, path, body).await
}

/// Points like some examples and unlike others.
#[utoipa::path(post, path = "/collections/{collection}/points/recommend", tag = "search", operation_id = "recommend_points",
    request_body = RecommendPoints,
    responses((status = 200, body = Envelope<Vec<ScoredPoint>>)))]
pub(super) async fn recommend(state: State<Api>, path: InCollection, body: Body<RecommendPoints>) -> Points {
    points(state, path, body).await
}

/// Several of these requests.
#[utoipa::path(post, path = "/collections/{collection}/points/recommend/batch", tag = "search", operation_id = "recommend_batch_points",
    request_body = LegacyBatch<RecommendPoints>,
    responses((status = 200, body = Envelope<Vec<Vec<ScoredPoint>>>)))]
pub(super) async fn recommend_batch(
    state: State<Api>,
    path: InCollection,
    body: Body<LegacyBatch<RecommendPoints>>,
) -> Batch {
    batch(state, path, body).await
}

/// One of them, answered in groups.
#[utoipa::path(post, path = "/collections/{collection}/points/recommend/groups", tag = "search", operation_id = "recommend_point_groups",
    request_body = LegacyGroups<RecommendPoints>,
    responses((status = 200, body = Envelope<GroupsResult>)))]
pub(super) async fn recommend_groups(
    state: State<Api>,
    path: InCollection,
    body: Body<LegacyGroups<RecommendPoints>>,
) -> Groups {
    groups(state, path, body).await
}

/// Points near to a target, in the part of the space that pairs of examples mark out.
#[utoipa::path(post, path = "/collections/{collection}/points/discover", tag = "search", operation_id = "discover_points",
    request_body = DiscoverPoints,
    responses((status = 200, body = Envelope<Vec<ScoredPoint>>)))]
pub(super) async fn discover(state: State<Api>, path: InCollection, body: Body<DiscoverPoints>) -> Points {
    points(state, path, body).await
}

/// Several of these requests.
#[utoipa::path(post, path = "/collections/{collection}/points/discover/batch", tag = "search", operation_id = "discover_batch_points",
    request_body = LegacyBatch<DiscoverPoints>,
    responses((status = 200, body = Envelope<Vec<Vec<ScoredPoint>>>)))]
pub(super) async fn discover_batch(
    state: State<Api>,
    path: InCollection,
    body: Body<LegacyBatch<DiscoverPoints>>,
) -> Batch {
    batch(state, path, body).await
}

/// One request of the kind `T`.
async fn points<T>(State(api): State<Api>, path: InCollection, Body(request): Body<T>) -> Points
where
    T: Into<QueryPoints> + DeserializeOwned + Send + 'static,
{
    api.on(path.collection, move |engine, collection| {
        Ok(engine.query(collection, request.into())?.points)
    })
    .await
}

/// Several.
async fn batch<T>(State(api): State<Api>, path: InCollection, Body(request): Body<LegacyBatch<T>>) -> Batch
where
    T: Into<QueryPoints> + DeserializeOwned + Send + 'static,
{
    api.on(path.collection, move |engine, collection| {
        check_batch(request.searches.len())?;
        collection.check_batch(request.searches.len())?;
        let requests = request.searches.into_iter();
        requests
            .map(|request| Ok(engine.query(collection, request.into())?.points))
            .collect()
    })
    .await
}

/// One, answered in groups.
async fn groups<T>(State(api): State<Api>, path: InCollection, Body(request): Body<LegacyGroups<T>>) -> Groups
where
    T: Into<QueryPoints> + DeserializeOwned + Send + 'static,
{
    api.on(path.collection, move |engine, collection| {
        engine.query_groups(collection, request.into())
    })
    .await
}
