//! Several operations on points in one request.

use axum::extract::State;
use twofold_storage::{Collection, InvalidInput, Operation, SeqNo};
use twofold_types::api::{Envelope, UpdateBatch, UpdateOperation, UpdateResult};
use twofold_worker::{Engine, Result};

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, InCollection};
use super::payload::{deleted, overwritten, set};
use super::points::{apply_to, completed, selector, upsert_points};
use super::vectors::{delete_vectors, update_vectors};

/// Operations of one request at most.
const MAX_OPERATIONS: usize = 10_000;

/// Several operations on points, in order, each for itself.
#[utoipa::path(post, path = "/collections/{collection}/points/batch", tag = "points", operation_id = "batch_update",
    request_body = UpdateBatch,
    responses((status = 200, body = Envelope<Vec<UpdateResult>>)))]
pub(super) async fn batch(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<UpdateBatch>,
) -> Result<Answer<Vec<UpdateResult>>, ApiError> {
    api.on(path.collection, move |engine, collection| {
        let received = request.operations.len();
        if received > MAX_OPERATIONS {
            return Err(InvalidInput::Limit {
                what: "operations of one request",
                received,
                limit: MAX_OPERATIONS,
            }
            .into());
        }
        let operations = request.operations.into_iter();
        operations
            .map(|operation| Ok(completed(carry_out(engine, collection, operation)?)))
            .collect()
    })
    .await
}

fn carry_out(engine: &Engine, collection: &Collection, operation: UpdateOperation) -> Result<SeqNo> {
    let operation = match operation {
        UpdateOperation::Upsert(body) => return upsert_points(engine, collection, body),
        UpdateOperation::UpdateVectors(request) => return update_vectors(engine, collection, request),
        UpdateOperation::DeleteVectors(request) => return delete_vectors(engine, collection, request),
        UpdateOperation::Delete(points) => Operation::Delete(selector(points)),
        UpdateOperation::SetPayload(request) => set(request),
        UpdateOperation::OverwritePayload(request) => overwritten(request),
        UpdateOperation::DeletePayload(request) => deleted(request),
        UpdateOperation::ClearPayload(points) => Operation::ClearPayload(selector(points)),
    };
    apply_to(engine, collection, operation)
}
