//! The one crossing from async handlers to the blocking engine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{Semaphore, watch};
use twofold_storage::Collection;
use twofold_types::CollectionName;
use twofold_types::api::Envelope;
use twofold_worker::{Engine, Result, WorkerError};

use super::deadline;
use super::error::ApiError;

/// Requests at the same time that only tell how the server is.
const WATCHERS: usize = 2;

/// Limits of what requests may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a request's body at most. Default: 32 MiB. Too low refuses large batches, too high lets one request fill the
    /// memory.
    pub body_bytes: usize,
    /// Requests that work at the same time. Default: 8 per core. More only makes all of them slower.
    pub concurrent_requests: usize,
    /// How long a request waits for its turn before it is refused. Default: 5 s.
    pub max_wait: Duration,
    /// How long a read may take that does not say it itself (`timeout`). Default: 60 s. Too short refuses what is only slow, too long
    /// lets what nobody waits for take turns from others.
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            body_bytes: 32 << 20,
            concurrent_requests: 8 * cores,
            max_wait: Duration::from_secs(5),
            timeout: Duration::from_secs(60),
        }
    }
}

/// What every handler works with.
#[derive(Clone)]
pub(super) struct Api {
    engine: Arc<Engine>,
    turns: Arc<Semaphore>,
    /// Turns of those who watch the server, which it has when all others are taken.
    watchers: Arc<Semaphore>,
    max_wait: Duration,
    body_bytes: usize,
    stopping: watch::Receiver<bool>,
}

impl Api {
    pub(super) fn new(engine: Arc<Engine>, limits: Limits, stopping: watch::Receiver<bool>) -> Self {
        Self {
            engine,
            turns: Arc::new(Semaphore::new(limits.concurrent_requests)),
            watchers: Arc::new(Semaphore::new(WATCHERS)),
            max_wait: limits.max_wait,
            body_bytes: limits.body_bytes,
            stopping,
        }
    }

    /// Whether the server is told to end.
    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Returns when the server is told to end.
    pub(super) async fn stopping(&self) {
        // An error: whoever tells is gone, and so is the server.
        let _ = self.stopping.clone().wait_for(|stopping| *stopping).await;
    }

    /// Bytes of a body, or of a line of a stream, at most.
    pub(super) fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// Runs `work` on a thread that may block and answers with its result in the envelope.
    pub(super) async fn run<T, F>(self, work: F) -> Result<Answer<T>, ApiError>
    where
        T: Serialize + Send + 'static,
        F: FnOnce(&Engine) -> Result<T> + Send + 'static,
    {
        let started = Instant::now();
        Ok(Answer {
            result: self.call(work).await?,
            status: StatusCode::OK,
            started,
        })
    }

    /// The same for those who [watch](Self::watch).
    pub(super) async fn run_watching<T, F>(self, work: F) -> Result<Answer<T>, ApiError>
    where
        T: Serialize + Send + 'static,
        F: FnOnce(&Engine) -> Result<T> + Send + 'static,
    {
        let started = Instant::now();
        Ok(Answer {
            result: self.watch(work).await?,
            status: StatusCode::OK,
            started,
        })
    }

    /// Runs `work` on a thread that may block.
    pub(super) async fn call<T, F>(self, work: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&Engine) -> Result<T> + Send + 'static,
    {
        let turns = self.turns.clone();
        self.call_in(turns, work).await
    }

    /// Runs `work` on a thread that may block, however much the server has to do, for those who watch it: it looks at what is in
    /// memory and counts rows, and waits for nobody.
    pub(super) async fn watch<T, F>(self, work: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&Engine) -> Result<T> + Send + 'static,
    {
        let turns = self.watchers.clone();
        self.call_in(turns, work).await
    }

    async fn call_in<T, F>(self, turns: Arc<Semaphore>, work: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&Engine) -> Result<T> + Send + 'static,
    {
        let turn = tokio::time::timeout(self.max_wait, turns.acquire_owned());
        let turn = turn
            .await
            .map_err(|_| WorkerError::Busy)?
            .map_err(|_| WorkerError::Stopping)?;
        let engine = self.engine;
        let wanted = deadline::wanted();
        let span = tracing::Span::current();
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            span.in_scope(|| match wanted {
                Some(wanted) => wanted.during(|| work(&engine)),
                None => work(&engine),
            })
        });
        Ok(work.await.map_err(|_| ApiError::panicked())??)
    }

    /// The same for work on one collection.
    pub(super) async fn on<T, F>(self, name: CollectionName, work: F) -> Result<Answer<T>, ApiError>
    where
        T: Serialize + Send + 'static,
        F: FnOnce(&Engine, &Collection) -> Result<T> + Send + 'static,
    {
        self.run(move |engine| work(engine, engine.store().collection(&name)?.as_ref()))
            .await
    }
}

/// A result on its way into the envelope.
pub(super) struct Answer<T> {
    pub(super) result: T,
    status: StatusCode,
    started: Instant,
}

impl<T> Answer<T> {
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let time = self.started.elapsed().as_secs_f64();
        (
            self.status,
            Json(Envelope {
                result: self.result,
                status: "ok".to_owned(),
                time,
            }),
        )
            .into_response()
    }
}

#[cfg(test)]
mod tests {
    use twofold_worker::Options;

    use super::*;

    #[tokio::test]
    async fn a_server_that_has_no_turn_left_can_be_watched() {
        let dir = tempfile::tempdir().unwrap();
        let models = dir.path().join("models");
        std::fs::create_dir(&models).unwrap();
        let engine = Engine::start(Options::new(dir.path().join("data"), models)).unwrap();
        let limits = Limits {
            concurrent_requests: 1,
            max_wait: Duration::from_millis(20),
            ..Limits::default()
        };
        let api = Api::new(Arc::new(engine), limits, watch::channel(false).1);

        let (release, released) = std::sync::mpsc::channel::<()>();
        let held = tokio::spawn(api.clone().call(move |_| {
            // Until the sender is dropped.
            let _ = released.recv();
            Ok(())
        }));
        while api.turns.available_permits() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let refused = api.clone().call(|_| Ok(())).await.unwrap_err();
        assert_eq!(refused.into_response().status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(api.clone().watch(|_| Ok(7)).await.unwrap(), 7);
        drop(release);
        held.await.unwrap().unwrap();
        assert_eq!(api.call(|_| Ok(8)).await.unwrap(), 8);
    }
}
