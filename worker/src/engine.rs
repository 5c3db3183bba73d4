//! The engine: storage, models and the threads between them. Starting and stopping mirror each other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::bounded;
use parking_lot::Mutex;
use twofold_encode::{Device, DeviceSpec, EncodeError, Endpoints};
use twofold_storage::{Options as StorageOptions, Store};
use twofold_types::ModelId;

use crate::commit::Committer;
use crate::error::Result;
use crate::heartbeat::{Stage, watch};
use crate::histogram::Distribution;
use crate::indexer::Indexer;
use crate::ingest::Scheduler;
use crate::lanes::Lanes;
use crate::models::Models;
use crate::query_cache::QueryCache;
use crate::reembed::Reembedder;
use crate::reembedding::Troubles;
use crate::retry::{Backoffs, RetryPolicy};
use crate::snapshots::StorageSnapshot;
use crate::stop::{Doorbell, Stopper, doorbell, stop_signal};
use crate::timings::{TimedStep, Timings};
use crate::webhook::{Counts, Delivery, Webhooks};

/// Windows that may wait for the committer: enough that the lanes never wait for a commit.
const WAITING_WINDOWS: usize = 2;

/// Options of the engine.
#[derive(Debug, Clone)]
pub struct Options {
    /// Options of storage.
    pub storage: StorageOptions,
    /// A snapshot of everything that the data directory is to hold. Default: none; what is there is opened.
    pub storage_snapshot: Option<StorageSnapshot>,
    /// Where models are, in the hub's layout: `publisher/model`.
    pub models_dir: PathBuf,
    /// Services that run models for this server. Default: none.
    pub endpoints: Endpoints,
    /// Who is told of every task that is finished. Default: nobody.
    pub webhooks: Webhooks,
    /// What encodes. Default: all GPUs where there are some and the build can use them, else the CPU.
    pub devices: Vec<DeviceSpec>,
    /// Bytes that the weights of loaded models may take together, before the least recently used is unloaded. Default: a
    /// quarter of the memory. Too low loads models again and again, too high ends in swapping or in the process being killed.
    pub models_memory_bytes: u64,
    /// The model of a request for embeddings that names none. Default: the only one that is installed.
    pub default_model: Option<ModelId>,
    /// Vectors of recent queries that are kept; 0: none. Default: 4,096, some 10 to 30 MB when it is full.
    pub query_cache: usize,
    /// Threads that encode documents. Default: the number of cores on the CPU, one for each GPU. More than there are cores makes
    /// everything slower, queries included.
    pub ingest_lanes: Option<usize>,
    /// Threads that build ANN indexes. Default: half of the cores, at least one.
    pub index_threads: Option<usize>,
    /// How often documents are tried again whose encoding failed of something that may pass.
    pub retry: RetryPolicy,
    /// How long a window of documents may take, and a batch of it, until it is reported as hanging. Default: 5 minutes. Too low
    /// reports what is only slow.
    pub stage_timeout: Duration,
}

impl Options {
    /// The defaults, for a data directory and a directory of models.
    pub fn new(data_dir: impl Into<PathBuf>, models_dir: impl Into<PathBuf>) -> Self {
        Self {
            storage: StorageOptions::new(data_dir),
            storage_snapshot: None,
            models_dir: models_dir.into(),
            endpoints: Endpoints::default(),
            webhooks: Webhooks::default(),
            devices: vec![DeviceSpec::Auto],
            models_memory_bytes: twofold_storage::memory_bytes().map_or(u64::MAX, |bytes| bytes / 4),
            default_model: None,
            query_cache: 4096,
            ingest_lanes: None,
            index_threads: None,
            retry: RetryPolicy::default(),
            stage_timeout: Duration::from_secs(300),
        }
    }
}

/// Why the engine could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Storage(#[from] twofold_storage::StorageError),
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] EncodeError),
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// A running engine. Its methods block; any thread but that of an async runtime may call them.
pub struct Engine {
    pub(crate) store: Arc<Store>,
    pub(crate) models: Arc<Models>,
    pub(crate) lanes: Lanes,
    pub(crate) queries: QueryCache,
    pub(crate) scheduler: Doorbell,
    pub(crate) indexer: Doorbell,
    pub(crate) reembedder: Doorbell,
    pub(crate) troubles: Arc<Troubles>,
    pub(crate) backoffs: Arc<Backoffs>,
    pub(crate) stages: Vec<Stage>,
    pub(crate) stage_timeout: Duration,
    pub(crate) timings: Arc<Timings>,
    /// Those who are told of tasks, by their names.
    pub(crate) webhooks: BTreeMap<String, Arc<Counts>>,
    running: Mutex<Option<Running>>,
}

struct Running {
    stopper: Stopper,
    threads: Vec<JoinHandle<()>>,
}

impl Engine {
    /// Opens the data directory and starts the threads. Work that an earlier run left behind is taken up again.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let devices = DeviceSpec::open_all(&options.devices)?;
        let device_names: Vec<String> = devices.iter().map(Device::to_string).collect();
        let on_cpu = devices.iter().any(Device::is_cpu);
        let ingest_lanes = options
            .ingest_lanes
            .unwrap_or(if on_cpu { cores } else { devices.len() })
            .max(1);
        let index_threads = options.index_threads.unwrap_or(cores / 2).max(1);
        let storage = StorageOptions {
            webhooks: options.webhooks.names(),
            ..options.storage
        };
        if let Some(StorageSnapshot { file, replace }) = &options.storage_snapshot {
            Store::restore_storage(&storage, file, *replace)?;
            tracing::info!(snapshot = %file.display(), "the storage snapshot was restored");
        }
        let store = Arc::new(Store::open(storage)?);
        let has_remote = !options.endpoints.is_empty();
        let models = Models::new(
            options.models_dir,
            options.endpoints,
            devices,
            options.models_memory_bytes,
            options.default_model,
        );
        let models = Arc::new(models);

        let (stopper, stop) = stop_signal();
        let (scheduler, scheduler_bell) = doorbell();
        let (indexer, indexer_bell) = doorbell();
        let (reembedder, reembedder_bell) = doorbell();
        let (committer, windows) = bounded(WAITING_WINDOWS);
        let backoffs = Arc::new(Backoffs::new(options.retry));
        let troubles = Arc::new(Troubles::default());
        let timings = Arc::new(Timings::default());
        let mut stages = vec![
            Stage::new("scheduler"),
            Stage::new("committer"),
            Stage::new("reembedder"),
        ];
        let (scheduler_stage, committer_stage, reembedder_stage) =
            (stages[0].clone(), stages[1].clone(), stages[2].clone());
        let (lanes, mut threads) = Lanes::start(
            ingest_lanes,
            has_remote,
            store.embedding_cache().cloned(),
            &mut stages,
            &timings,
            &stop,
        )?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(index_threads)
            .thread_name(|n| format!("index-{n}"))
            .build();
        let scheduling = Scheduler {
            store: store.clone(),
            models: models.clone(),
            lanes: lanes.clone(),
            committer,
            bell: scheduler_bell,
            backoffs: backoffs.clone(),
            stage: scheduler_stage,
            timings: timings.clone(),
            stop: stop.clone(),
        };
        let committing = Committer {
            store: store.clone(),
            windows,
            indexer: indexer.clone(),
            scheduler: scheduler.clone(),
            retry: options.retry,
            backoffs: backoffs.clone(),
            stage: committer_stage,
            timings: timings.clone(),
            stop: stop.clone(),
        };
        let reembedding = Reembedder {
            store: store.clone(),
            scheduler: scheduler.clone(),
            indexer: indexer.clone(),
            backoffs: backoffs.clone(),
            troubles: troubles.clone(),
            bell: reembedder_bell,
            stage: reembedder_stage,
            stop: stop.clone(),
        };
        let indexing = Indexer {
            store: store.clone(),
            pool: pool.map_err(std::io::Error::other)?,
            bell: indexer_bell,
            stop: stop.clone(),
        };
        let stage_timeout = options.stage_timeout;
        let watched = stages.clone();
        let mut webhooks = BTreeMap::new();
        for (name, receiver) in options.webhooks.receivers() {
            let counts = Arc::new(Counts::default());
            webhooks.insert(name.clone(), counts.clone());
            let delivery = Delivery {
                store: store.clone(),
                name: name.clone(),
                receiver: receiver.clone(),
                counts,
                stop: stop.clone(),
            };
            threads.push(spawn(&format!("webhook-{name}"), move || delivery.run())?);
        }
        threads.push(spawn("watchdog", move || watch(&watched, stage_timeout, &stop))?);
        threads.push(spawn("scheduler", move || scheduling.run())?);
        threads.push(spawn("committer", move || committing.run())?);
        threads.push(spawn("reembedder", move || reembedding.run())?);
        threads.push(spawn("indexer", move || indexing.run())?);
        tracing::info!(
            cores,
            devices = device_names.join(","),
            encode = ingest_lanes,
            encode_query = 1,
            scheduler = 1,
            committer = 1,
            reembedder = 1,
            index = index_threads,
            watchdog = 1,
            webhook = webhooks.len(),
            "threads"
        );
        scheduler.ring();
        indexer.ring();
        Ok(Self {
            store,
            models,
            lanes,
            queries: QueryCache::new(options.query_cache),
            scheduler,
            indexer,
            reembedder,
            troubles,
            backoffs,
            stages,
            stage_timeout,
            timings,
            webhooks,
            running: Mutex::new(Some(Running { stopper, threads })),
        })
    }

    /// The data directory.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How long a step of queries or of ingestion took, each time since the start.
    pub fn timing(&self, step: TimedStep) -> Distribution {
        self.timings.read(step)
    }

    /// The models.
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// Stops the threads and waits for them. Documents that were not committed are taken up at the next start. Later calls do
    /// nothing.
    pub fn stop(&self) {
        let Some(Running { stopper, threads }) = self.running.lock().take() else {
            return;
        };
        drop(stopper);
        for thread in threads {
            let name = thread.thread().name().unwrap_or("?").to_owned();
            if thread.join().is_err() {
                tracing::error!(thread = name, "a thread had panicked");
            }
        }
        self.store.flush();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}
