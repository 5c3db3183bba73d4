//! `GET /metrics`: what Prometheus reads.
//!
//! Requests and steps are measured as they end. Everything else is asked of the engine when it is read, so it costs nothing in between.

use std::fmt;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use twofold_storage::{Collection, Succession, resident_bytes};
use twofold_worker::{Engine, TimedStep, WebhookState};

use super::blocking::Api;
use super::error::ApiError;
use super::requests::{self, Requests};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is measured of a server.
#[derive(Clone)]
pub(super) struct Metrics(Arc<Registry>);

impl Metrics {
    pub(super) fn new(engine: Arc<Engine>, requests: Requests) -> Self {
        let mut registry = Registry::with_prefix("twofold");
        registry.register_collector(Box::new(requests));
        registry.register_collector(Box::new(EngineState(engine)));
        Self(Arc::new(registry))
    }
}

/// The metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "service", operation_id = "metrics",
    responses((status = 200, body = String)))]
pub(super) async fn render(
    State(api): State<Api>,
    Extension(metrics): Extension<Metrics>,
) -> Result<Response, ApiError> {
    let text = api.watch(move |_| {
        let mut text = String::new();
        encode(&mut text, &metrics.0).expect("a string takes all that is written to it");
        Ok(text)
    });
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text.await?).into_response())
}

/// What the engine says of itself.
struct EngineState(Arc<Engine>);

impl fmt::Debug for EngineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EngineState")
    }
}

impl Collector for EngineState {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Self(engine) = self;
        let mut gauge = |name, help, value: u64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        let collections = engine.store().collections();
        gauge("collections", "Collections", collections.len() as u64)?;
        let waiting = engine.store().queue().amount();
        gauge(
            "tasks_unfinished",
            "Tasks with documents that are not dealt with",
            waiting.tasks,
        )?;
        gauge(
            "documents_waiting",
            "Documents that are not dealt with",
            waiting.documents,
        )?;
        gauge("documents_waiting_bytes", "Bytes of these, about", waiting.bytes)?;
        gauge(
            "oldest_task_age_seconds",
            "Since when the oldest of these tasks waits",
            engine.oldest_task_age().map_or(0, |age| age.as_secs()),
        )?;
        let models = engine.list_models();
        let loaded = models.models.iter().filter(|model| model.loaded).count();
        gauge("models_loaded", "Models whose weights are in memory", loaded as u64)?;
        gauge(
            "models_loaded_bytes",
            "Bytes of the weights in memory",
            models.loaded_bytes,
        )?;
        gauge(
            "models_budget_bytes",
            "Bytes that weights may take",
            models.budget_bytes,
        )?;
        gauge(
            "query_cache_entries",
            "Vectors of recent queries that are kept",
            models.query_cache.entries as u64,
        )?;
        gauge(
            "embedding_cache_bytes",
            "Bytes of kept embeddings of documents",
            models.embedding_cache.bytes,
        )?;
        gauge(
            "embedding_cache_capacity_bytes",
            "Bytes that they may take on disk",
            models.embedding_cache.capacity_bytes,
        )?;
        let memory = engine.store().rocksdb_memory();
        gauge(
            "rocksdb_block_cache_bytes",
            "Bytes of what RocksDB has read",
            memory.block_cache,
        )?;
        gauge(
            "rocksdb_memtable_bytes",
            "Bytes of what RocksDB has yet to write to files",
            memory.memtables,
        )?;
        if let Some(bytes) = resident_bytes() {
            gauge(
                "process_resident_memory_bytes",
                "Memory of the process, mapped files included",
                bytes,
            )?;
        }
        for (name, help, value) in [
            (
                "query_cache_hits",
                "Queries whose vector was known",
                models.query_cache.hits,
            ),
            (
                "query_cache_misses",
                "Queries that had to be encoded",
                models.query_cache.misses,
            ),
            (
                "embedding_cache_hits",
                "Texts of documents whose embedding was known",
                models.embedding_cache.hits,
            ),
            (
                "embedding_cache_misses",
                "Texts of documents that had to be encoded",
                models.embedding_cache.misses,
            ),
        ] {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        for (name, help, steps) in [
            (
                "query_stage_duration_seconds",
                "Time of each step of a query",
                TimedStep::OF_QUERIES.as_slice(),
            ),
            (
                "ingestion_stage_duration_seconds",
                "Time of each step of ingestion",
                &TimedStep::OF_INGESTION,
            ),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for step in steps {
                let labels = [("stage", step.name())];
                requests::encode(&engine.timing(*step), metric.encode_family(&labels)?)?;
            }
        }
        let webhooks = engine.webhooks().unwrap_or_default();
        type OfWebhook = fn(&WebhookState) -> u64;
        let of_webhooks: [(&str, &str, OfWebhook); 3] = [
            (
                "webhook_deliveries",
                "Messages about finished tasks that were delivered",
                |webhook| webhook.delivered,
            ),
            (
                "webhook_failed_attempts",
                "Attempts to deliver one that failed",
                |webhook| webhook.failed,
            ),
            ("webhook_given_up", "Messages that had waited for too long", |webhook| {
                webhook.given_up
            }),
        ];
        for (name, help, of) in of_webhooks {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for webhook in &webhooks {
                let labels = [("webhook", webhook.name.as_str())];
                ConstCounter::new(of(webhook)).encode(metric.encode_family(&labels)?)?;
            }
        }
        let help = "Messages that wait to be delivered";
        let mut metric = encoder.encode_descriptor("webhook_messages_waiting", help, None, MetricType::Gauge)?;
        for webhook in &webhooks {
            let labels = [("webhook", webhook.name.as_str())];
            ConstGauge::new(webhook.waiting).encode(metric.encode_family(&labels)?)?;
        }
        type Of = fn(&Collection) -> u64;
        let of_collections: [(&str, &str, Of); 5] = [
            ("collection_points", "Points", Collection::points),
            (
                "collection_indexed_vectors",
                "Vectors that an index holds",
                Collection::indexed_vectors,
            ),
            (
                "collection_index_lag",
                "Points changed by writes that the slowest index has yet to follow",
                Collection::index_lag,
            ),
            (
                "collection_vector_bytes",
                "Bytes of vectors and their indexes in memory",
                |collection| collection.vector_memory().iter().map(|vector| vector.heap_bytes).sum(),
            ),
            (
                "collection_other_bytes",
                "Bytes of ids, payload indexes, sparse vectors and multivectors in memory",
                Collection::bytes_beside_vectors,
            ),
        ];
        for (name, help, of) in of_collections {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for collection in &collections {
                let labels = [("collection", collection.name().as_str())];
                ConstGauge::new(of(collection)).encode(metric.encode_family(&labels)?)?;
            }
        }
        let reembeddings = engine.store().reembeddings();
        type Documents = fn(&Succession) -> &Collection;
        let of_reembeddings: [(&str, &str, Documents); 2] = [
            (
                "reembedding_documents",
                "Documents of a collection that is being re-embedded",
                |reembedding| &reembedding.source,
            ),
            (
                "reembedding_documents_done",
                "Those of them that are encoded anew",
                |reembedding| &reembedding.successor,
            ),
        ];
        for (name, help, of) in of_reembeddings {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for reembedding in &reembeddings {
                let labels = [("collection", reembedding.source.name().as_str())];
                let documents = of(reembedding).count_documents().unwrap_or(0);
                ConstGauge::new(documents).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
