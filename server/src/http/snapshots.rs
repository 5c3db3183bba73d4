//! Snapshots of collections.

use std::path::PathBuf;

use axum::extract::{Multipart, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use tower::ServiceExt;
use tower_http::services::ServeFile;
use twofold_storage::{InvalidInput, StorageError};
use twofold_types::api::Envelope;
use twofold_types::{CollectionName, RecoverSnapshot, SnapshotDescription};
use twofold_worker::WorkerError;
use utoipa::{IntoParams, ToSchema};

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, Form, InCollection, Params};

/// Makes a snapshot of a collection.
#[utoipa::path(post, path = "/collections/{collection}/snapshots", tag = "snapshots", operation_id = "create_snapshot",
    responses((status = 200, body = Envelope<SnapshotDescription>)))]
pub(super) async fn create(
    State(api): State<Api>,
    path: InCollection,
) -> Result<Answer<SnapshotDescription>, ApiError> {
    api.run(move |engine| engine.create_snapshot(&path.collection)).await
}

/// The snapshots of a collection.
#[utoipa::path(get, path = "/collections/{collection}/snapshots", tag = "snapshots", operation_id = "list_snapshots",
    responses((status = 200, body = Envelope<Vec<SnapshotDescription>>)))]
pub(super) async fn list(
    State(api): State<Api>,
    path: InCollection,
) -> Result<Answer<Vec<SnapshotDescription>>, ApiError> {
    api.run(move |engine| Ok(engine.store().snapshots(&path.collection)?))
        .await
}

/// The file itself; parts of it to those who ask for a range, so that a download can go on where it broke off.
#[utoipa::path(get, path = "/collections/{collection}/snapshots/{snapshot}", tag = "snapshots", operation_id = "get_snapshot",
    responses((status = 200, body = [u8], content_type = "application/octet-stream")))]
pub(super) async fn download(
    State(api): State<Api>,
    path: InCollection<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let name = path.rest.clone();
    let file = api
        .call(move |engine| Ok(engine.store().snapshot_path(&path.collection, &path.rest)?))
        .await?;
    Ok(send(file, &name, request).await)
}

/// Answers with a file, or with the part of it that is asked for.
pub(super) async fn send(file: PathBuf, name: &str, request: Request) -> Response {
    let Ok(response) = ServeFile::new(file).oneshot(request).await;
    let mut response = response.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    if let Ok(disposition) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

/// Deletes a snapshot.
#[utoipa::path(delete, path = "/collections/{collection}/snapshots/{snapshot}", tag = "snapshots", operation_id = "delete_snapshot",
    responses((status = 200, body = Envelope<bool>)))]
pub(super) async fn delete(State(api): State<Api>, path: InCollection<String>) -> Result<Answer<bool>, ApiError> {
    api.run(move |engine| {
        engine.store().delete_snapshot(&path.collection, &path.rest)?;
        Ok(true)
    })
    .await
}

/// Makes a collection what a snapshot on the server holds.
#[utoipa::path(put, path = "/collections/{collection}/snapshots/recover", tag = "snapshots", operation_id = "recover_from_snapshot",
    request_body = RecoverSnapshot,
    responses((status = 200, body = Envelope<bool>)))]
pub(super) async fn recover(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<RecoverSnapshot>,
) -> Result<Answer<bool>, ApiError> {
    api.run(move |engine| {
        let file = engine.store().locate_snapshot(&path.collection, &request.location)?;
        engine.restore_snapshot(&path.collection, &file, request.checksum.as_deref())?;
        Ok(true)
    })
    .await
}

/// The form of an upload.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is read part by part; this is what it looks like")]
pub(super) struct UploadForm {
    /// The file.
    #[schema(value_type = String, format = Binary)]
    snapshot: Vec<u8>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Upload {
    /// The SHA-256 that the file must have, in hexadecimal.
    checksum: Option<String>,
}

/// Takes a snapshot from the part `snapshot` of a form, through a file on the disk of the data directory.
#[utoipa::path(post, path = "/collections/{collection}/snapshots/upload", tag = "snapshots", operation_id = "recover_from_uploaded_snapshot", params(Upload),
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses((status = 200, body = Envelope<bool>)))]
pub(super) async fn upload(
    State(api): State<Api>,
    path: InCollection,
    Params(upload): Params<Upload>,
    Form(form): Form,
) -> Result<Answer<bool>, ApiError> {
    let dir = api.clone().call(|engine| Ok(engine.store().partial_dir()?)).await?;
    let file = tokio::task::spawn_blocking(move || NamedTempFile::new_in(dir));
    let file = file
        .await
        .map_err(|_| ApiError::panicked())?
        .map_err(|error| refused(&path.collection, error))?;
    receive(form, &file).await?;
    api.run(move |engine| {
        engine.restore_snapshot(&path.collection, file.path(), upload.checksum.as_deref())?;
        Ok(true)
    })
    .await
}

async fn receive(mut form: Multipart, file: &NamedTempFile) -> Result<(), ApiError> {
    let broken = |error: axum::extract::multipart::MultipartError| ApiError::new(error.status(), error.body_text());
    while let Some(mut field) = form.next_field().await.map_err(broken)? {
        if field.name() != Some("snapshot") {
            continue;
        }
        let written = async {
            let mut to = tokio::fs::File::create(file.path()).await?;
            while let Some(bytes) = field.chunk().await.map_err(std::io::Error::other)? {
                to.write_all(&bytes).await?;
            }
            to.flush().await
        };
        return written.await.map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull => WorkerError::from(StorageError::DiskFull).into(),
            _ => ApiError::new(
                StatusCode::BAD_REQUEST,
                format!("the snapshot could not be received: {error}"),
            ),
        });
    }
    let missing = InvalidInput::Snapshot("it is expected in the part `snapshot` of a multipart form".to_owned());
    Err(WorkerError::from(StorageError::from(missing)).into())
}

fn refused(name: &CollectionName, error: std::io::Error) -> ApiError {
    tracing::error!(collection = %name, %error, "no file could be made for an uploaded snapshot");
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the upload could not be stored; the log has the details",
    )
}
