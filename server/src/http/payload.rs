//! Payloads of stored points.

use axum::extract::State;
use twofold_storage::Operation;
use twofold_types::api::{DeletePayload, PointsSelector, SetPayload, UpdateResult};

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, InCollection};
use super::points::{apply, selector};

pub(super) async fn set(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<SetPayload>,
) -> Result<Answer<UpdateResult>, ApiError> {
    let SetPayload {
        payload,
        key,
        selector: points,
    } = request;
    apply(
        api,
        path,
        Operation::SetPayload {
            selector: selector(points),
            payload,
            key,
        },
    )
    .await
}

pub(super) async fn overwrite(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<SetPayload>,
) -> Result<Answer<UpdateResult>, ApiError> {
    let SetPayload {
        payload,
        key,
        selector: points,
    } = request;
    let selector = selector(points);
    // Below a key there is nothing else to overwrite than what is set there.
    let operation = match key {
        None => Operation::OverwritePayload { selector, payload },
        key => Operation::SetPayload { selector, payload, key },
    };
    apply(api, path, operation).await
}

pub(super) async fn delete(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<DeletePayload>,
) -> Result<Answer<UpdateResult>, ApiError> {
    apply(
        api,
        path,
        Operation::DeletePayload {
            selector: selector(request.selector),
            keys: request.keys,
        },
    )
    .await
}

pub(super) async fn clear(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<PointsSelector>,
) -> Result<Answer<UpdateResult>, ApiError> {
    apply(api, path, Operation::ClearPayload(selector(request))).await
}
