//! The tail of changes of a collection, as a page or as what comes next.

use std::time::{Duration, Instant};

use axum::extract::State;
use serde::Deserialize;
use twofold_storage::InvalidInput;
use twofold_types::api::{ChangesPage, Envelope};
use twofold_worker::WorkerError;
use utoipa::IntoParams;
use uuid::Uuid;

use super::blocking::{Answer, Api};
use super::deadline;
use super::documents::{FIRST_POLL, SLOWEST_POLL, wait};
use super::error::ApiError;
use super::extract::{InCollection, Params};

/// Writes of a page when the request does not say.
const DEFAULT_LIMIT: usize = 100;

/// Writes of a page at most.
const MAX_LIMIT: usize = 1_000;

/// So long before its deadline a request that waits is answered with what there is.
const MARGIN: Duration = Duration::from_millis(500);

/// Which changes, and how long they are waited for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ChangesOptions {
    /// The last write that is known: `next` of the answer before. Without it no changes are answered, but where to begin.
    since: Option<u64>,
    /// `epoch` of the answer before.
    #[param(value_type = Option<String>)]
    epoch: Option<Uuid>,
    /// Writes of the answer. Default: 100, at most 1,000.
    limit: Option<usize>,
    /// How long the answer waits for a change where there is none: `true`, `false`, or seconds.
    #[serde(default, deserialize_with = "wait")]
    #[param(value_type = Option<String>)]
    wait: Option<Duration>,
}

/// What writes have changed: ids of points and documents, for those who mirror the collection.
#[utoipa::path(get, path = "/collections/{collection}/changes", tag = "points", operation_id = "changes", params(ChangesOptions),
    responses((status = 200, body = Envelope<ChangesPage>)))]
pub(super) async fn changes(
    State(api): State<Api>,
    path: InCollection,
    Params(options): Params<ChangesOptions>,
) -> Result<Answer<ChangesPage>, ApiError> {
    let limit = options.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        let reason = format!("{limit} is not from 1 to {MAX_LIMIT}");
        return Err(WorkerError::from(InvalidInput::Setting { key: "limit", reason }).into());
    }
    let (since, epoch) = (options.since, options.epoch);
    // Without a number to go on from there is nothing to wait for.
    let wait = options.wait.filter(|_| since.is_some()).unwrap_or_default();
    let left = deadline::wanted().map_or(Duration::MAX, |wanted| wanted.left().saturating_sub(MARGIN));
    let (started, wait) = (Instant::now(), wait.min(left));
    let mut pause = FIRST_POLL;
    loop {
        let name = path.collection.clone();
        let page = api
            .clone()
            .on(name, move |_, collection| Ok(collection.changes(since, epoch, limit)?));
        let page = page.await?;
        let left = wait.saturating_sub(started.elapsed());
        if !page.result.changes.is_empty() || left.is_zero() || api.is_stopping() {
            return Ok(page);
        }
        tokio::select! {
            () = tokio::time::sleep(pause.min(left)) => {}
            () = api.stopping() => {}
        }
        pause = (2 * pause).min(SLOWEST_POLL);
    }
}
