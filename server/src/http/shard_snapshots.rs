//! Snapshots of shards: a collection has one, number 0, which is all of it.

use axum::extract::{Request, State};
use axum::response::Response;
use twofold_types::api::Envelope;
use twofold_types::{RecoverSnapshot, SnapshotDescription};

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, Form, InShard, Params};
use super::snapshots::{self, Upload, UploadForm};

/// Makes a snapshot of a shard.
#[utoipa::path(post, path = "/collections/{collection}/shards/{shard}/snapshots", tag = "snapshots", operation_id = "create_shard_snapshot",
    responses((status = 200, body = Envelope<SnapshotDescription>)))]
pub(super) async fn create(api: State<Api>, InShard(path): InShard) -> Result<Answer<SnapshotDescription>, ApiError> {
    snapshots::create(api, path).await
}

/// The snapshots of a shard.
#[utoipa::path(get, path = "/collections/{collection}/shards/{shard}/snapshots", tag = "snapshots", operation_id = "list_shard_snapshots",
    responses((status = 200, body = Envelope<Vec<SnapshotDescription>>)))]
pub(super) async fn list(
    api: State<Api>,
    InShard(path): InShard,
) -> Result<Answer<Vec<SnapshotDescription>>, ApiError> {
    snapshots::list(api, path).await
}

/// A new snapshot of a shard as a file, of which the server keeps nothing.
#[utoipa::path(get, path = "/collections/{collection}/shards/{shard}/snapshot", tag = "snapshots", operation_id = "stream_shard_snapshot",
    responses((status = 200, body = [u8], content_type = "application/octet-stream")))]
pub(super) async fn stream(
    State(api): State<Api>,
    InShard(path): InShard,
    request: Request,
) -> Result<Response, ApiError> {
    let collection = path.collection;
    let (name, file) = {
        let collection = collection.clone();
        api.clone()
            .call(move |engine| {
                let name = engine.create_snapshot(&collection)?.name;
                let file = engine.store().snapshot_path(&collection, &name)?;
                Ok((name, file))
            })
            .await?
    };
    let response = snapshots::send(file, &name, request).await;
    // It is open by now, and goes with the answer.
    api.call(move |engine| Ok(engine.store().delete_snapshot(&collection, &name)?))
        .await?;
    Ok(response)
}

/// The file itself; parts of it to those who ask for a range, so that a download can go on where it broke off.
#[utoipa::path(get, path = "/collections/{collection}/shards/{shard}/snapshots/{snapshot}", tag = "snapshots",
    operation_id = "get_shard_snapshot",
    responses((status = 200, body = [u8], content_type = "application/octet-stream")))]
pub(super) async fn download(
    api: State<Api>,
    InShard(path): InShard<String>,
    request: Request,
) -> Result<Response, ApiError> {
    snapshots::download(api, path, request).await
}

/// Deletes a snapshot of a shard.
#[utoipa::path(delete, path = "/collections/{collection}/shards/{shard}/snapshots/{snapshot}", tag = "snapshots",
    operation_id = "delete_shard_snapshot",
    responses((status = 200, body = Envelope<bool>)))]
pub(super) async fn delete(api: State<Api>, InShard(path): InShard<String>) -> Result<Answer<bool>, ApiError> {
    snapshots::delete(api, path).await
}

/// Makes a shard what a snapshot on the server holds.
#[utoipa::path(put, path = "/collections/{collection}/shards/{shard}/snapshots/recover", tag = "snapshots",
    operation_id = "recover_shard_from_snapshot", request_body = RecoverSnapshot,
    responses((status = 200, body = Envelope<bool>)))]
pub(super) async fn recover(
    api: State<Api>,
    InShard(path): InShard,
    request: Body<RecoverSnapshot>,
) -> Result<Answer<bool>, ApiError> {
    snapshots::recover(api, path, request).await
}

/// Takes a snapshot of a shard from the part `snapshot` of a form, through a file on the disk of the data directory.
#[utoipa::path(post, path = "/collections/{collection}/shards/{shard}/snapshots/upload", tag = "snapshots",
    operation_id = "recover_shard_from_uploaded_snapshot", params(Upload),
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses((status = 200, body = Envelope<bool>)))]
pub(super) async fn upload(
    api: State<Api>,
    InShard(path): InShard,
    upload: Params<Upload>,
    form: Form,
) -> Result<Answer<bool>, ApiError> {
    snapshots::upload(api, path, upload, form).await
}
