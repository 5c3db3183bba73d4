//! The HTTP API: wire-compatible with Qdrant's REST API where that has an endpoint, with OpenAI's and
//! text-embeddings-inference's for embeddings alone and for relevance, and our own beside them.

mod access;
mod aliases;
mod blocking;
mod collections;
mod documents;
mod embed;
mod error;
mod extract;
mod ingestion;
mod legacy;
mod metrics;
mod models;
mod ndjson;
mod openai;
mod payload;
mod points;
mod query;
mod read;
mod rerank;
mod search;
mod service;
mod snapshots;
mod tasks;
mod update;
mod vectors;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::HeaderValue;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post, put};
use axum::{Extension, Router};
use tokio::sync::watch;
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{Any, CorsLayer};
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::{DefaultOnResponse, TraceLayer};
use tracing::Level;
use twofold_types::api::{DiscoverPoints, RecommendPoints, SearchPoints};
use twofold_worker::Engine;

use self::blocking::Api;
use self::metrics::Metrics;

pub use self::access::{Access, ApiKey, InvalidAccess, InvalidApiKey};
pub use self::blocking::Limits;

/// How a server answers.
#[derive(Debug, Clone, Default)]
pub struct HttpOptions {
    /// What requests may ask for.
    pub limits: Limits,
    /// Who may ask.
    pub access: Access,
    /// Web pages of these origins (`https://example.org`) may call the server from a browser. Default: none.
    pub cors_origins: Vec<HeaderValue>,
}

/// All routes. Requests that wait end when `stopping` becomes true.
pub fn router(engine: Arc<Engine>, options: HttpOptions, stopping: watch::Receiver<bool>) -> Router {
    let (api, metrics) = (Api::new(engine.clone(), options.limits, stopping), Metrics::new(engine));
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
        .route("/points/payload", post(payload::put).put(payload::overwrite))
        .route("/points/payload/delete", post(payload::delete))
        .route("/points/payload/clear", post(payload::clear))
        .route("/points/query", post(query::query))
        .route("/points/query/batch", post(query::batch))
        .route("/snapshots", get(snapshots::list).post(snapshots::create))
        .route("/snapshots/recover", put(snapshots::recover))
        .route(
            "/snapshots/upload",
            // As large as it is; it is written to disk as it comes.
            post(snapshots::upload).layer(DefaultBodyLimit::disable()),
        )
        .route(
            "/snapshots/{snapshot}",
            get(snapshots::download).delete(snapshots::delete),
        )
        .route("/points/query/groups", post(read::groups))
        .route("/points/vectors", put(vectors::update))
        .route("/points/vectors/delete", post(vectors::delete))
        .route("/points/batch", post(update::batch))
        .route("/points/search", post(legacy::one::<SearchPoints>))
        .route("/points/search/batch", post(legacy::batch::<SearchPoints>))
        .route("/points/search/groups", post(legacy::groups::<SearchPoints>))
        .route("/points/recommend", post(legacy::one::<RecommendPoints>))
        .route("/points/recommend/batch", post(legacy::batch::<RecommendPoints>))
        .route("/points/recommend/groups", post(legacy::groups::<RecommendPoints>))
        .route("/points/discover", post(legacy::one::<DiscoverPoints>))
        .route("/points/discover/batch", post(legacy::batch::<DiscoverPoints>))
        .route("/points/search/matrix/pairs", post(read::matrix_pairs))
        .route("/points/search/matrix/offsets", post(read::matrix_offsets))
        .route("/search", post(search::search))
        .route("/facet", post(read::facet))
        .route("/aliases", get(aliases::of_collection))
        .route("/documents", get(documents::list).post(documents::add))
        .route(
            "/documents/{id}",
            get(documents::get).delete(documents::delete).post(documents::act),
        )
        .route("/ingestion", get(ingestion::get))
        .route("/ingestion/pause", post(ingestion::pause))
        .route("/ingestion/resume", post(ingestion::resume))
        .route(
            "/dead-letters",
            get(ingestion::dead_letters).delete(ingestion::delete_dead_letters),
        )
        .route(
            "/dead-letters/{id}",
            get(ingestion::dead_letter)
                .delete(ingestion::delete_dead_letter)
                .post(ingestion::act),
        );
    Router::new()
        .route("/", get(service::version))
        .route("/healthz", get(service::health))
        .route("/livez", get(service::health))
        .route("/readyz", get(service::health))
        .route("/metrics", get(metrics::render).layer(Extension(metrics.clone())))
        .route("/models", get(models::list))
        .route("/v1/models", get(openai::models))
        .route("/v1/embeddings", post(openai::embeddings))
        .route("/embed", post(embed::embed))
        .route("/rerank", post(rerank::rank))
        .route("/v1/rerank", post(rerank::rerank))
        .route("/v2/rerank", post(rerank::rerank))
        .route("/embed_sparse", post(embed::embed_sparse))
        .route("/embed_all", post(embed::embed_all))
        .route("/collections", get(collections::list))
        .route("/collections/aliases", post(aliases::change))
        .route("/aliases", get(aliases::list))
        .nest("/collections/{collection}", collection)
        .route("/ingestion", get(ingestion::all))
        .route("/tasks", get(tasks::list))
        .route("/tasks/{task}", get(tasks::get))
        .route("/tasks/{task}/cancel", post(tasks::cancel))
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(DefaultBodyLimit::max(options.limits.body_bytes))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn_with_state(options.access, access::authorize))
        .layer(from_fn_with_state(metrics, metrics::measure))
        .layer(option_layer(cors(options.cors_origins)))
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
        .with_state(api)
}

/// Lets browsers call from pages of these origins; of none, no header is sent at all.
fn cors(origins: Vec<HeaderValue>) -> Option<CorsLayer> {
    (!origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods(Any)
            .allow_headers(Any)
    })
}
