//! How well a collection finds what people judged relevant.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use twofold_types::api::Envelope;
use twofold_types::evaluation::{Evaluate, Evaluation};
use twofold_worker::{Result, WorkerError};

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, InCollection};

/// Measures how well queries find the documents that were judged relevant to them.
#[utoipa::path(post, path = "/collections/{collection}/evaluate", tag = "search", operation_id = "evaluate",
    request_body = Evaluate,
    responses((status = 200, body = Envelope<Evaluation>)))]
pub(super) async fn evaluate(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<Evaluate>,
) -> Result<Answer<Evaluation>, ApiError> {
    // Whoever goes away drops this future, and with it the work ends.
    let canceled = Cancel(Arc::default());
    let flag = canceled.0.clone();
    let evaluation = api.clone().on(path.collection, move |engine, collection| {
        engine.evaluate(collection, request, &flag)
    });
    tokio::select! {
        evaluation = evaluation => evaluation,
        () = api.stopping() => Err(WorkerError::Stopping.into()),
    }
}

/// Sets its flag when it is dropped.
struct Cancel(Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
