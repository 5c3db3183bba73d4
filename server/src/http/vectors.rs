//! Vectors of stored points.

use axum::extract::State;
use twofold_storage::{Collection, InvalidInput, Operation, SeqNo};
use twofold_types::api::{DeleteVectors, Envelope, UpdateResult, UpdateVectors};
use twofold_worker::{Engine, Result};

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, InCollection};
use super::points::{apply_to, check_points, completed, selector};

/// Replaces vectors of points; those that are not named stay.
#[utoipa::path(put, path = "/collections/{collection}/points/vectors", tag = "points", operation_id = "update_vectors",
    request_body = UpdateVectors,
    responses((status = 200, body = Envelope<UpdateResult>)))]
pub(super) async fn update(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<UpdateVectors>,
) -> Result<Answer<UpdateResult>, ApiError> {
    api.on(path.collection, move |engine, collection| {
        Ok(completed(update_vectors(engine, collection, request)?))
    })
    .await
}

/// Takes vectors out of points.
#[utoipa::path(post, path = "/collections/{collection}/points/vectors/delete", tag = "points", operation_id = "delete_vectors",
    request_body = DeleteVectors,
    responses((status = 200, body = Envelope<UpdateResult>)))]
pub(super) async fn delete(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<DeleteVectors>,
) -> Result<Answer<UpdateResult>, ApiError> {
    api.on(path.collection, move |engine, collection| {
        Ok(completed(delete_vectors(engine, collection, request)?))
    })
    .await
}

pub(super) fn update_vectors(engine: &Engine, collection: &Collection, request: UpdateVectors) -> Result<SeqNo> {
    check_points(request.points.len())?;
    engine.update_vectors(collection, request)
}

pub(super) fn delete_vectors(engine: &Engine, collection: &Collection, request: DeleteVectors) -> Result<SeqNo> {
    if request.vector.is_empty() {
        return Err(InvalidInput::Query("`vector` names at least one vector").into());
    }
    let selector = selector(request.selector);
    let names = request.vector;
    apply_to(engine, collection, Operation::DeleteVectors { selector, names })
}
