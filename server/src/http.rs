//! The HTTP API: wire-compatible with Qdrant's REST API where that has an endpoint, with OpenAI's and
//! text-embeddings-inference's for embeddings alone, and our own beside them.

mod blocking;
mod collections;
mod documents;
mod embed;
mod error;
mod extract;
mod models;
mod openai;
mod payload;
mod points;
mod query;
mod service;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::routing::{delete, get, post, put};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::{DefaultOnResponse, TraceLayer};
use tracing::Level;
use twofold_worker::Engine;

use blocking::Api;
pub use blocking::Limits;

/// All routes.
pub fn router(engine: Arc<Engine>, limits: Limits) -> Router {
    let collection = Router::new()
        .route(
            "/",
            get(collections::get)
                .put(collections::create)
                .patch(collections::update)
                .delete(collections::delete),
        )
        .route("/exists", get(collections::exists))
        .route("/index", put(collections::create_index))
        .route("/index/{field}", delete(collections::delete_index))
        .route("/points", put(points::upsert).post(points::get_many))
        .route("/points/{id}", get(points::get_one))
        .route("/points/delete", post(points::delete))
        .route("/points/scroll", post(points::scroll))
        .route("/points/count", post(points::count))
        .route("/points/payload", post(payload::set).put(payload::overwrite))
        .route("/points/payload/delete", post(payload::delete))
        .route("/points/payload/clear", post(payload::clear))
        .route("/points/query", post(query::query))
        .route("/points/query/batch", post(query::batch))
        .route("/documents", post(documents::add))
        .route("/documents/{id}", get(documents::get).delete(documents::delete));
    Router::new()
        .route("/", get(service::version))
        .route("/healthz", get(service::health))
        .route("/livez", get(service::health))
        .route("/readyz", get(service::health))
        .route("/models", get(models::list))
        .route("/v1/models", get(openai::models))
        .route("/v1/embeddings", post(openai::embeddings))
        .route("/embed", post(embed::embed))
        .route("/embed_sparse", post(embed::embed_sparse))
        .route("/embed_all", post(embed::embed_all))
        .route("/collections", get(collections::list))
        .nest("/collections/{collection}", collection)
        .route("/tasks", get(documents::tasks))
        .route("/tasks/{task}", get(documents::task))
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(DefaultBodyLimit::max(limits.body_bytes))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(|request: &Request| {
                    let id = request
                        .headers()
                        .get("x-request-id")
                        .and_then(|id| id.to_str().ok())
                        .unwrap_or_default();
                    tracing::info_span!("request", method = %request.method(), path = request.uri().path(), id)
                })
                .on_response(DefaultOnResponse::new().level(Level::INFO)),
        )
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .with_state(Api::new(engine, limits))
}
