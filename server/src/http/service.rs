//! What is this, and is it well?

use axum::Json;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

/// The level of Qdrant's REST API that is spoken here; clients compare it with their own.
const API_LEVEL: &str = "1.19.0";

/// What server this is.
#[derive(Serialize, ToSchema)]
pub(super) struct Version {
    title: &'static str,
    /// The level of Qdrant's REST API that is spoken here.
    version: &'static str,
    /// The version of the server.
    twofold: &'static str,
}

/// What server this is.
#[utoipa::path(get, path = "/", tag = "service", operation_id = "root", responses((status = 200, body = Version)))]
pub(super) async fn version() -> Json<Version> {
    Json(Version {
        title: "Twofold - vector database with encoders",
        version: API_LEVEL,
        twofold: env!("CARGO_PKG_VERSION"),
    })
}

/// Whether it is well.
#[utoipa::path(get, path = "/healthz", tag = "service", operation_id = "healthz",
    responses((status = 200, body = String)))]
pub(super) async fn healthz() -> impl IntoResponse {
    well()
}

/// Whether it is alive.
#[utoipa::path(get, path = "/livez", tag = "service", operation_id = "livez",
    responses((status = 200, body = String)))]
pub(super) async fn livez() -> impl IntoResponse {
    well()
}

/// Whether it is ready.
#[utoipa::path(get, path = "/readyz", tag = "service", operation_id = "readyz",
    responses((status = 200, body = String)))]
pub(super) async fn readyz() -> impl IntoResponse {
    well()
}

/// The listener is bound after storage has been opened, so whoever is answered at all is answered by a server that is ready.
fn well() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain")], "ok")
}
