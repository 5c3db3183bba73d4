//! Payloads of stored points.

use axum::extract::State;
use twofold_storage::Operation;
use twofold_types::api::{DeletePayload, Envelope, PointsSelector, SetPayload, UpdateResult};

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, InCollection};
use super::points::{apply, selector};

/// Sets keys of payloads.
#[utoipa::path(post, path = "/collections/{collection}/points/payload", tag = "points", operation_id = "set_payload",
    request_body = SetPayload,
    responses((status = 200, body = Envelope<UpdateResult>)))]
pub(super) async fn put(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<SetPayload>,
) -> Result<Answer<UpdateResult>, ApiError> {
    apply(api, path, set(request)).await
}

/// Replaces payloads.
#[utoipa::path(put, path = "/collections/{collection}/points/payload", tag = "points", operation_id = "overwrite_payload",
    request_body = SetPayload,
    responses((status = 200, body = Envelope<UpdateResult>)))]
pub(super) async fn overwrite(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<SetPayload>,
) -> Result<Answer<UpdateResult>, ApiError> {
    apply(api, path, overwritten(request)).await
}

/// Removes keys of payloads.
#[utoipa::path(post, path = "/collections/{collection}/points/payload/delete", tag = "points", operation_id = "delete_payload",
    request_body = DeletePayload,
    responses((status = 200, body = Envelope<UpdateResult>)))]
pub(super) async fn delete(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<DeletePayload>,
) -> Result<Answer<UpdateResult>, ApiError> {
    apply(api, path, deleted(request)).await
}

/// Empties payloads.
#[utoipa::path(post, path = "/collections/{collection}/points/payload/clear", tag = "points", operation_id = "clear_payload",
    request_body = PointsSelector,
    responses((status = 200, body = Envelope<UpdateResult>)))]
pub(super) async fn clear(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<PointsSelector>,
) -> Result<Answer<UpdateResult>, ApiError> {
    apply(api, path, Operation::ClearPayload(selector(request))).await
}

pub(super) fn set(request: SetPayload) -> Operation {
    Operation::SetPayload {
        selector: selector(request.selector),
        payload: request.payload,
        key: request.key,
    }
}

pub(super) fn overwritten(request: SetPayload) -> Operation {
    // Below a key there is nothing else to overwrite than what is set there.
    match request.key {
        None => Operation::OverwritePayload {
            selector: selector(request.selector),
            payload: request.payload,
        },
        Some(_) => set(request),
    }
}

pub(super) fn deleted(request: DeletePayload) -> Operation {
    Operation::DeletePayload {
        selector: selector(request.selector),
        keys: request.keys,
    }
}
