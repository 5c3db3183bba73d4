//! The HTTP API: wire-compatible with Qdrant's REST API where that has an endpoint, with OpenAI's and
//! text-embeddings-inference's for embeddings alone and for relevance, and our own beside them.

mod access;
mod aliases;
mod blocking;
mod changes;
mod cluster;
mod collections;
mod deadline;
mod documents;
mod embed;
mod error;
mod evaluate;
mod extract;
mod ingestion;
mod legacy;
mod metrics;
mod models;
mod ndjson;
mod openai;
mod openapi;
mod optimizations;
mod payload;
mod points;
mod query;
mod quotas;
mod read;
mod reembed;
mod requests;
mod rerank;
mod search;
mod service;
mod shard_snapshots;
mod snapshots;
mod storage_snapshots;
mod tasks;
mod telemetry;
mod update;
mod vectors;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::HeaderValue;
use axum::middleware::from_fn_with_state;
use axum::{Extension, Router};
use tokio::sync::watch;
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{Any, CorsLayer};
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::{DefaultOnResponse, TraceLayer};
use tracing::Level;
use twofold_worker::Engine;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use self::blocking::Api;
use self::metrics::Metrics;
use self::openapi::Document;
use self::requests::Requests;
use self::telemetry::Observed;

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
    let (api, requests) = (Api::new(engine.clone(), options.limits, stopping), Requests::default());
    let metrics = Metrics::new(engine, requests.clone());
    let observed = Observed::new(requests.clone());
    let (routes, document) = routes(&metrics, &observed).split_for_parts();
    routes
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(Extension(Document::new(document)))
        .layer(DefaultBodyLimit::max(options.limits.body_bytes))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn_with_state(options.limits.timeout, deadline::limit))
        .layer(from_fn_with_state(options.access, access::authorize))
        .layer(from_fn_with_state(requests, requests::measure))
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

/// All routes. What a handler says of itself, its path included, is what the OpenAPI document says of it.
fn routes(metrics: &Metrics, observed: &Observed) -> OpenApiRouter<Api> {
    openapi::routes()
        .routes(routes!(service::version))
        .routes(routes!(service::healthz))
        .routes(routes!(service::livez))
        .routes(routes!(service::readyz))
        .routes(routes!(openapi::document))
        .routes(routes!(openapi::docs))
        .routes(routes!(metrics::render).layer(Extension(metrics.clone())))
        .routes(routes!(telemetry::telemetry).layer(Extension(observed.clone())))
        .routes(routes!(models::list))
        .routes(routes!(openai::models))
        .routes(routes!(openai::embeddings))
        .routes(routes!(embed::embed))
        .routes(routes!(embed::embed_sparse))
        .routes(routes!(embed::embed_all))
        .routes(routes!(rerank::rank))
        .routes(routes!(rerank::rerank))
        .routes(routes!(rerank::rerank_v2))
        .routes(routes!(collections::list))
        .routes(routes!(
            collections::get,
            collections::create,
            collections::update,
            collections::delete
        ))
        .routes(routes!(collections::exists))
        .routes(routes!(optimizations::get))
        .routes(routes!(collections::create_index))
        .routes(routes!(collections::delete_index))
        .routes(routes!(aliases::change))
        .routes(routes!(aliases::list))
        .routes(routes!(aliases::of_collection))
        .routes(routes!(points::upsert, points::get_many))
        .routes(routes!(points::get_one))
        .routes(routes!(points::delete))
        .routes(routes!(points::scroll))
        .routes(routes!(points::count))
        .routes(routes!(payload::put, payload::overwrite))
        .routes(routes!(payload::delete))
        .routes(routes!(payload::clear))
        .routes(routes!(vectors::update))
        .routes(routes!(vectors::delete))
        .routes(routes!(update::batch))
        .routes(routes!(query::query))
        .routes(routes!(query::batch))
        .routes(routes!(read::groups))
        .routes(routes!(read::matrix_pairs))
        .routes(routes!(read::matrix_offsets))
        .routes(routes!(search::search))
        .routes(routes!(read::facet))
        .routes(routes!(evaluate::evaluate))
        .routes(routes!(legacy::search))
        .routes(routes!(legacy::search_batch))
        .routes(routes!(legacy::search_groups))
        .routes(routes!(legacy::recommend))
        .routes(routes!(legacy::recommend_batch))
        .routes(routes!(legacy::recommend_groups))
        .routes(routes!(legacy::discover))
        .routes(routes!(legacy::discover_batch))
        .routes(routes!(snapshots::list, snapshots::create))
        .routes(routes!(snapshots::recover))
        // As large as it is; it is written to disk as it comes.
        .routes(routes!(snapshots::upload).layer(DefaultBodyLimit::disable()))
        .routes(routes!(snapshots::download, snapshots::delete))
        .routes(routes!(shard_snapshots::list, shard_snapshots::create))
        .routes(routes!(shard_snapshots::stream))
        .routes(routes!(shard_snapshots::recover))
        .routes(routes!(shard_snapshots::upload).layer(DefaultBodyLimit::disable()))
        .routes(routes!(shard_snapshots::download, shard_snapshots::delete))
        .routes(routes!(storage_snapshots::list, storage_snapshots::create))
        .routes(routes!(storage_snapshots::download, storage_snapshots::delete))
        .routes(routes!(quotas::get, quotas::set))
        .routes(routes!(cluster::status))
        .routes(routes!(cluster::telemetry))
        .routes(routes!(cluster::remove_peer))
        .routes(routes!(cluster::recover))
        .routes(routes!(cluster::of_collection, cluster::update_collection))
        .routes(routes!(cluster::shard_keys, cluster::create_shard_key))
        .routes(routes!(cluster::delete_shard_key))
        .routes(routes!(cluster::issues, cluster::clear_issues))
        .routes(routes!(changes::changes))
        .routes(routes!(documents::list, documents::add))
        .routes(routes!(documents::get, documents::delete, documents::act))
        .routes(routes!(reembed::get, reembed::begin, reembed::cancel))
        .routes(routes!(reembed::retry))
        .routes(routes!(ingestion::all))
        .routes(routes!(ingestion::get))
        .routes(routes!(ingestion::pause))
        .routes(routes!(ingestion::resume))
        .routes(routes!(ingestion::dead_letters, ingestion::delete_dead_letters))
        .routes(routes!(
            ingestion::dead_letter,
            ingestion::delete_dead_letter,
            ingestion::act
        ))
        .routes(routes!(tasks::list))
        .routes(routes!(tasks::get))
        .routes(routes!(tasks::cancel))
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
