//! Searches, recommendations and discoveries as older clients ask for them: queries in another dress.

use axum::extract::State;
use serde::de::DeserializeOwned;
use twofold_types::ScoredPoint;
use twofold_types::api::{GroupsResult, LegacyBatch, LegacyGroups, QueryPoints};
use twofold_worker::Result;

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, InCollection};
use super::query::check_batch;

/// One request of the kind `T`.
pub(super) async fn one<T>(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<T>,
) -> Result<Answer<Vec<ScoredPoint>>, ApiError>
where
    T: Into<QueryPoints> + DeserializeOwned + Send + 'static,
{
    api.on(path.collection, move |engine, collection| {
        Ok(engine.query(collection, request.into())?.points)
    })
    .await
}

/// Several.
pub(super) async fn batch<T>(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<LegacyBatch<T>>,
) -> Result<Answer<Vec<Vec<ScoredPoint>>>, ApiError>
where
    T: Into<QueryPoints> + DeserializeOwned + Send + 'static,
{
    api.on(path.collection, move |engine, collection| {
        check_batch(request.searches.len())?;
        let requests = request.searches.into_iter();
        requests
            .map(|request| Ok(engine.query(collection, request.into())?.points))
            .collect()
    })
    .await
}

/// One, answered in groups.
pub(super) async fn groups<T>(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<LegacyGroups<T>>,
) -> Result<Answer<GroupsResult>, ApiError>
where
    T: Into<QueryPoints> + DeserializeOwned + Send + 'static,
{
    api.on(path.collection, move |engine, collection| {
        engine.query_groups(collection, request.into())
    })
    .await
}
