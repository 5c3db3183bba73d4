//! Snapshots of everything. They are restored when a server starts (`--storage-snapshot`).

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use twofold_types::SnapshotDescription;
use twofold_types::api::Envelope;

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::bad_path;
use super::snapshots::send;

/// The name of a snapshot, or why it is none.
type Named = Result<Path<String>, PathRejection>;

/// Makes a snapshot of everything: collections, aliases, tasks and what waits.
#[utoipa::path(post, path = "/snapshots", tag = "snapshots", operation_id = "create_full_snapshot",
    responses((status = 200, body = Envelope<SnapshotDescription>)))]
pub(super) async fn create(State(api): State<Api>) -> Result<Answer<SnapshotDescription>, ApiError> {
    api.run(|engine| engine.create_storage_snapshot()).await
}

/// The snapshots of everything.
#[utoipa::path(get, path = "/snapshots", tag = "snapshots", operation_id = "list_full_snapshots",
    responses((status = 200, body = Envelope<Vec<SnapshotDescription>>)))]
pub(super) async fn list(State(api): State<Api>) -> Result<Answer<Vec<SnapshotDescription>>, ApiError> {
    api.run(|engine| Ok(engine.store().storage_snapshots()?)).await
}

/// The file itself; parts of it to those who ask for a range, so that a download can go on where it broke off.
#[utoipa::path(get, path = "/snapshots/{snapshot}", tag = "snapshots", operation_id = "get_full_snapshot",
    responses((status = 200, body = [u8], content_type = "application/octet-stream")))]
pub(super) async fn download(State(api): State<Api>, path: Named, request: Request) -> Result<Response, ApiError> {
    let Path(name) = path.map_err(bad_path)?;
    let snapshot = name.clone();
    let file = api
        .call(move |engine| Ok(engine.store().storage_snapshot_path(&snapshot)?))
        .await?;
    Ok(send(file, &name, request).await)
}

/// Deletes a snapshot of everything.
#[utoipa::path(delete, path = "/snapshots/{snapshot}", tag = "snapshots", operation_id = "delete_full_snapshot",
    responses((status = 200, body = Envelope<bool>)))]
pub(super) async fn delete(State(api): State<Api>, path: Named) -> Result<Answer<bool>, ApiError> {
    let Path(name) = path.map_err(bad_path)?;
    api.run(move |engine| {
        engine.store().delete_storage_snapshot(&name)?;
        Ok(true)
    })
    .await
}
