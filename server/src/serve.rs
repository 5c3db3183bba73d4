//! `twofold serve`: from options to a running server and back.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::http::HeaderValue;
use axum::serve::Listener;
use tokio::net::TcpListener;
use twofold_encode::{DeviceSpec, Endpoints};
use twofold_storage::Options as StorageOptions;
use twofold_types::ModelId;
use twofold_worker::{Engine, Options, RetryPolicy, StorageSnapshot, Webhooks};

use crate::http::{Access, ApiKey, HttpOptions, Limits, router};
use crate::models_dir::default_models_dir;
use crate::tls::{Certificate, TlsListener};

/// Options of a server.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeOptions {
    /// Where to listen
    #[arg(
        long,
        env = "TWOFOLD_LISTEN",
        default_value = "127.0.0.1:6333",
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,
    /// Where everything is stored; one server at a time may use it
    #[arg(long, env = "TWOFOLD_DATA_DIR", default_value = "twofold-data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// A storage snapshot that the data directory is to hold; it must not hold collections yet
    #[arg(long, env = "TWOFOLD_STORAGE_SNAPSHOT", value_name = "FILE")]
    pub storage_snapshot: Option<PathBuf>,
    /// Collections that are there go for those of the storage snapshot
    #[arg(long, env = "TWOFOLD_FORCE_SNAPSHOT", requires = "storage_snapshot")]
    pub force_snapshot: bool,
    /// Where models are, as `publisher/model` directories [default: models/ in the user's cache directory for twofold]
    #[arg(long, env = "TWOFOLD_MODELS_DIR", value_name = "DIR")]
    pub models_dir: Option<PathBuf>,
    /// A file of services that run models for this server, as docs/models.md describes
    #[arg(long, env = "TWOFOLD_ENDPOINTS", value_name = "FILE")]
    pub endpoints: Option<PathBuf>,
    /// A file of addresses that are told of every finished task, as docs/operating.md describes
    #[arg(long, env = "TWOFOLD_WEBHOOKS", value_name = "FILE")]
    pub webhooks: Option<PathBuf>,
    /// What encodes: auto (all GPUs, else the CPU), cpu, metal, or one or several of cuda:N, as in cuda:0,cuda:1
    #[arg(long, env = "TWOFOLD_DEVICE", default_value = "auto", value_delimiter = ',')]
    pub device: Vec<DeviceSpec>,
    /// Bytes that loaded models may take before the least recently used is unloaded [default: a quarter of the memory]
    #[arg(long, env = "TWOFOLD_MODELS_MEMORY", value_name = "BYTES")]
    pub models_memory: Option<u64>,
    /// The model of requests for embeddings that name none [default: the only one that is installed]
    #[arg(long, env = "TWOFOLD_DEFAULT_MODEL", value_name = "MODEL")]
    pub default_model: Option<String>,
    /// Vectors of recent queries that are kept in memory; 0 keeps none
    #[arg(long, env = "TWOFOLD_QUERY_CACHE", value_name = "N", default_value_t = Options::new("", "").query_cache)]
    pub query_cache: usize,
    /// Bytes on disk of embeddings of documents that are kept, so that a text is not encoded again; 0 keeps none
    #[arg(long, env = "TWOFOLD_EMBEDDING_CACHE", value_name = "BYTES", default_value_t = StorageOptions::new("").embedding_cache_bytes)]
    pub embedding_cache: u64,
    /// Threads that encode documents [default: the number of cores, or of GPUs]
    #[arg(long, env = "TWOFOLD_INGEST_LANES", value_name = "N")]
    pub ingest_lanes: Option<usize>,
    /// Threads that build ANN indexes [default: half of the cores]
    #[arg(long, env = "TWOFOLD_INDEX_THREADS", value_name = "N")]
    pub index_threads: Option<usize>,
    /// Vectors of a collection up to which a search compares every one instead of asking an index
    #[arg(long, env = "TWOFOLD_INDEX_THRESHOLD", value_name = "N", default_value_t = StorageOptions::new("").index_threshold)]
    pub index_threshold: u64,
    /// Changed vectors that are compared beside an index before it follows
    #[arg(long, env = "TWOFOLD_INDEX_LAG", value_name = "N", default_value_t = StorageOptions::new("").index_lag)]
    pub index_lag: u64,
    /// Changed vectors, besides a fifth of all (a fiftieth where nobody writes), after which the index is saved again
    #[arg(long, env = "TWOFOLD_CHECKPOINT_CHANGES", value_name = "N", default_value_t = StorageOptions::new("").checkpoint_changes)]
    pub checkpoint_changes: u64,
    /// Components (points times dimensions) up to which vectors on disk are all compared instead of asking an index
    #[arg(long, env = "TWOFOLD_EXACT_SCAN_COMPONENTS", value_name = "N", default_value_t = StorageOptions::new("").exact_scan_components)]
    pub exact_scan_components: u64,
    /// Bytes that vectors and their indexes may take in memory before they are moved to disk [default: half of the memory]
    #[arg(long, env = "TWOFOLD_MEMORY_BUDGET", value_name = "BYTES")]
    pub memory_budget: Option<u64>,
    /// Key that requests must show as `api-key` or bearer token [default: none; then only addresses of this machine are listened on]
    #[arg(long, env = "TWOFOLD_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub api_key: Option<ApiKey>,
    /// Another key, for requests that change nothing
    #[arg(long, env = "TWOFOLD_READ_ONLY_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub read_only_api_key: Option<ApiKey>,
    /// Listen on addresses that other machines reach, though there is no key
    #[arg(long, env = "TWOFOLD_ALLOW_PUBLIC_WITHOUT_KEY")]
    pub allow_public_without_key: bool,
    /// Certificates for TLS, PEM, the server's own first; read again on SIGHUP
    #[arg(long, env = "TWOFOLD_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of the certificate, PEM
    #[arg(long, env = "TWOFOLD_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Origin (such as https://example.org) whose pages may call the server from a browser; may be repeated
    #[arg(long, env = "TWOFOLD_CORS_ORIGINS", value_delimiter = ',', value_name = "ORIGIN")]
    pub cors_origin: Vec<HeaderValue>,
    /// Documents that may wait to be encoded before more are refused
    #[arg(long, env = "TWOFOLD_MAX_QUEUED_DOCUMENTS", value_name = "N", default_value_t = StorageOptions::new("").max_queued_documents)]
    pub max_queued_documents: u64,
    /// Bytes of documents that may wait to be encoded before more are refused
    #[arg(long, env = "TWOFOLD_MAX_QUEUED_BYTES", value_name = "BYTES", default_value_t = StorageOptions::new("").max_queued_bytes)]
    pub max_queued_bytes: u64,
    /// Bytes of the disk that stay free: below, what takes room is refused
    #[arg(long, env = "TWOFOLD_MIN_FREE_DISK", value_name = "BYTES", default_value_t = StorageOptions::new("").min_free_disk_bytes)]
    pub min_free_disk: u64,
    /// Finished tasks that are kept to be asked for
    #[arg(long, env = "TWOFOLD_FINISHED_TASKS", value_name = "N", default_value_t = StorageOptions::new("").finished_tasks)]
    pub finished_tasks: u64,
    /// Seconds for which finished tasks are kept
    #[arg(long, env = "TWOFOLD_FINISHED_TASK_AGE", value_name = "SECONDS", default_value_t = StorageOptions::new("").finished_task_age.as_secs())]
    pub finished_task_age: u64,
    /// Writes of a collection whose changes are kept for those who mirror it; 0 keeps none
    #[arg(long, env = "TWOFOLD_CHANGE_WRITES", value_name = "N", default_value_t = StorageOptions::new("").change_writes)]
    pub change_writes: u64,
    /// Bytes of these changes
    #[arg(long, env = "TWOFOLD_CHANGE_BYTES", value_name = "BYTES", default_value_t = StorageOptions::new("").change_bytes)]
    pub change_bytes: u64,
    /// Attempts to encode a document, when what goes wrong may pass, until it becomes a dead letter
    #[arg(long, env = "TWOFOLD_INGEST_ATTEMPTS", value_name = "N", default_value_t = RetryPolicy::default().attempts)]
    pub ingest_attempts: u32,
    /// Seconds after the first of these attempts; each pause is twice the one before
    #[arg(long, env = "TWOFOLD_INGEST_FIRST_PAUSE", value_name = "SECONDS", default_value_t = RetryPolicy::default().first.as_secs_f64())]
    pub ingest_first_pause: f64,
    /// Seconds of the longest such pause
    #[arg(long, env = "TWOFOLD_INGEST_LONGEST_PAUSE", value_name = "SECONDS", default_value_t = RetryPolicy::default().longest.as_secs_f64())]
    pub ingest_longest_pause: f64,
    /// Seconds after which a stage of ingestion is reported as hanging
    #[arg(long, env = "TWOFOLD_STAGE_TIMEOUT", value_name = "SECONDS", default_value_t = Options::new("", "").stage_timeout.as_secs())]
    pub stage_timeout: u64,
    /// Seconds that a read may take which does not set a `timeout` itself
    #[arg(long, env = "TWOFOLD_REQUEST_TIMEOUT", value_name = "SECONDS", default_value_t = Limits::default().timeout.as_secs_f64())]
    pub request_timeout: f64,
    /// Bytes of a request's body at most, and of a line of a stream
    #[arg(long, env = "TWOFOLD_MAX_BODY_BYTES", default_value_t = Limits::default().body_bytes, value_name = "BYTES")]
    pub max_body_bytes: usize,
}

/// Serves until the process is told to end (SIGINT, SIGTERM).
pub async fn run(options: ServeOptions) -> anyhow::Result<()> {
    let access = Access::new(options.api_key, options.read_only_api_key)?;
    if !options.allow_public_without_key {
        access.may_listen(options.listen)?;
    }
    let certificate = match (options.tls_cert, options.tls_key) {
        (Some(chain), Some(key)) => Some(Certificate::read(chain, key)?),
        _ => None,
    };
    let models_dir = match options.models_dir {
        Some(dir) => dir,
        None => default_models_dir()?,
    };
    let defaults = StorageOptions::new(&options.data_dir);
    let engine_defaults = Options::new(&options.data_dir, models_dir);
    let engine_options = Options {
        models_memory_bytes: options.models_memory.unwrap_or(engine_defaults.models_memory_bytes),
        default_model: options.default_model.map(ModelId::new),
        query_cache: options.query_cache,
        storage_snapshot: options.storage_snapshot.map(|file| StorageSnapshot {
            file,
            replace: options.force_snapshot,
        }),
        storage: StorageOptions {
            embedding_cache_bytes: options.embedding_cache,
            index_threshold: options.index_threshold,
            index_lag: options.index_lag,
            checkpoint_changes: options.checkpoint_changes,
            exact_scan_components: options.exact_scan_components,
            memory_budget_bytes: options.memory_budget.unwrap_or(defaults.memory_budget_bytes),
            max_queued_documents: options.max_queued_documents,
            max_queued_bytes: options.max_queued_bytes,
            min_free_disk_bytes: options.min_free_disk,
            finished_tasks: options.finished_tasks,
            finished_task_age: Duration::from_secs(options.finished_task_age),
            change_writes: options.change_writes,
            change_bytes: options.change_bytes,
            ..defaults
        },
        endpoints: options
            .endpoints
            .as_deref()
            .map(Endpoints::open)
            .transpose()?
            .unwrap_or_default(),
        webhooks: options
            .webhooks
            .as_deref()
            .map(Webhooks::open)
            .transpose()?
            .unwrap_or_default(),
        devices: options.device,
        ingest_lanes: options.ingest_lanes,
        index_threads: options.index_threads,
        retry: RetryPolicy {
            attempts: options.ingest_attempts,
            first: Duration::try_from_secs_f64(options.ingest_first_pause)?,
            longest: Duration::try_from_secs_f64(options.ingest_longest_pause)?,
        },
        stage_timeout: Duration::from_secs(options.stage_timeout),
        ..engine_defaults
    };
    let engine = tokio::task::spawn_blocking(|| Engine::start(engine_options)).await?;
    let engine = Arc::new(engine.with_context(|| format!("cannot start on {}", options.data_dir.display()))?);
    // Bound last: whoever is answered is answered by a server that is ready.
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    tracing::info!(
        address = %listener.local_addr()?,
        tls = certificate.is_some(),
        data_dir = %options.data_dir.display(),
        "serving"
    );
    let http = HttpOptions {
        limits: Limits {
            body_bytes: options.max_body_bytes,
            timeout: Duration::try_from_secs_f64(options.request_timeout)?,
            ..Limits::default()
        },
        access,
        cors_origins: options.cors_origin,
    };
    let served = match certificate {
        None => serve(listener, engine.clone(), http, told_to_end()).await,
        Some(certificate) => {
            let listener = TlsListener::new(listener, certificate.clone())?;
            let reloading = tokio::spawn(reload_when_told(certificate));
            let served = serve(listener, engine.clone(), http, told_to_end()).await;
            reloading.abort();
            served
        }
    };
    tracing::info!("stopping");
    tokio::task::spawn_blocking(move || engine.stop()).await?;
    served
}

/// Serves on a listener until `shutdown` is done: then no request is accepted, and those that run are answered.
async fn serve<L>(
    listener: L,
    engine: Arc<Engine>,
    options: HttpOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()>
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let shutdown = async move {
        shutdown.await;
        // Who waits for documents, or reads a stream of them, ends early.
        stop.send_replace(true);
    };
    axum::serve(listener, router(engine, options, stopping))
        .with_graceful_shutdown(shutdown)
        .await?;
    Ok(())
}

/// Reads the certificate again at every SIGHUP.
async fn reload_when_told(certificate: Certificate) {
    #[cfg(unix)]
    if let Ok(mut told) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) {
        while told.recv().await.is_some() {
            match certificate.reload() {
                Ok(()) => tracing::info!("the certificate was read again"),
                Err(error) => tracing::error!(error = format!("{error:#}"), "the certificate is kept as it was"),
            }
        }
    }
    #[cfg(not(unix))]
    drop(certificate);
}

async fn told_to_end() {
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        () = interrupted => {}
        () = terminated => {}
    }
}
