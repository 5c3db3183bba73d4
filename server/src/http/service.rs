//! What is this, and is it well?

use axum::Json;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;

/// The level of Qdrant's REST API that is spoken here; clients compare it with their own.
const API_LEVEL: &str = "1.19.0";

#[derive(Serialize)]
pub(super) struct Version {
    title: &'static str,
    version: &'static str,
    twofold: &'static str,
}

pub(super) async fn version() -> Json<Version> {
    Json(Version {
        title: "Twofold - vector database with encoders",
        version: API_LEVEL,
        twofold: env!("CARGO_PKG_VERSION"),
    })
}

/// The listener is bound after storage has been opened, so whoever is answered at all is answered by a server that is ready.
pub(super) async fn health() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain")], "ok")
}
