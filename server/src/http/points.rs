//! Points: put in, taken out, read, listed, counted.

use axum::extract::State;
use twofold_storage::{Collection, Fetch, InvalidInput, Operation, Selector, SeqNo};
use twofold_types::api::{
    CountPoints, CountResult, Envelope, GetPoints, PointsSelector, ScrollPoints, ScrollResult, UpdateMode,
    UpdateResult, UpsertBody, WithPayload, WithVector,
};
use twofold_types::{PointId, Record};
use twofold_worker::{DEFAULT_LIMIT, Engine, Result, check_limit};

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, InCollection, bad_path};

/// Points that one request may put in.
const MAX_POINTS: usize = 100_000;

/// Puts points in; points of the same ids are replaced.
#[utoipa::path(put, path = "/collections/{collection}/points", tag = "points", operation_id = "upsert_points",
    request_body = UpsertBody,
    responses((status = 200, body = Envelope<UpdateResult>)))]
pub(super) async fn upsert(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<UpsertBody>,
) -> Result<Answer<UpdateResult>, ApiError> {
    api.on(path.collection, move |engine, collection| {
        Ok(completed(upsert_points(engine, collection, request)?))
    })
    .await
}

pub(super) fn upsert_points(engine: &Engine, collection: &Collection, body: UpsertBody) -> Result<SeqNo> {
    let points = body.points.into_points()?;
    check_points(points.len())?;
    match (body.update_filter, body.update_mode.unwrap_or_default()) {
        (None, UpdateMode::Upsert) => engine.upsert(collection, points),
        (filter, mode) => engine.upsert_if(collection, points, filter, mode),
    }
}

pub(super) fn check_points(received: usize) -> Result<()> {
    match received {
        0 => Err(InvalidInput::Query("Empty update request").into()),
        1..=MAX_POINTS => Ok(()),
        _ => Err(InvalidInput::Limit {
            what: "points of one request",
            received,
            limit: MAX_POINTS,
        }
        .into()),
    }
}

/// Deletes points.
#[utoipa::path(post, path = "/collections/{collection}/points/delete", tag = "points", operation_id = "delete_points",
    request_body = PointsSelector,
    responses((status = 200, body = Envelope<UpdateResult>)))]
pub(super) async fn delete(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<PointsSelector>,
) -> Result<Answer<UpdateResult>, ApiError> {
    apply(api, path, Operation::Delete(selector(request))).await
}

/// Points by their ids.
#[utoipa::path(post, path = "/collections/{collection}/points", tag = "points", operation_id = "get_points",
    request_body = GetPoints,
    responses((status = 200, body = Envelope<Vec<Record>>)))]
pub(super) async fn get_many(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<GetPoints>,
) -> Result<Answer<Vec<Record>>, ApiError> {
    api.on(path.collection, move |_, collection| {
        check_limit(request.ids.len())?;
        Ok(collection.get(&request.ids, &fetch(request.with_payload, request.with_vector)?)?)
    })
    .await
}

/// One point.
#[utoipa::path(get, path = "/collections/{collection}/points/{id}", tag = "points", operation_id = "get_point",
    responses((status = 200, body = Envelope<Record>)))]
pub(super) async fn get_one(State(api): State<Api>, path: InCollection<String>) -> Result<Answer<Record>, ApiError> {
    let id: PointId = path.rest.parse().map_err(bad_path)?;
    api.on(path.collection, move |_, collection| {
        let fetch = Fetch::new(WithPayload::Bool(true), WithVector::Bool(true))?;
        let record = collection.get(&[id], &fetch)?.pop();
        record.ok_or_else(|| InvalidInput::PointNotFound(id).into())
    })
    .await
}

/// Lists points page by page.
#[utoipa::path(post, path = "/collections/{collection}/points/scroll", tag = "points", operation_id = "scroll_points",
    request_body = ScrollPoints,
    responses((status = 200, body = Envelope<ScrollResult>)))]
pub(super) async fn scroll(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<ScrollPoints>,
) -> Result<Answer<ScrollResult>, ApiError> {
    api.on(path.collection, move |_, collection| {
        let limit = request.limit.unwrap_or(DEFAULT_LIMIT);
        check_limit(limit)?;
        let fetch = fetch(request.with_payload, request.with_vector)?;
        if let Some(order_by) = &request.order_by {
            if request.offset.is_some() {
                return Err(InvalidInput::Query("`offset` and `order_by` exclude each other: use `start_from`").into());
            }
            return Ok(ScrollResult {
                points: collection.scroll_by(order_by, limit, request.filter.as_ref(), &fetch)?,
                next_page_offset: None,
            });
        }
        let (points, next_page_offset) = collection.scroll(request.offset, limit, request.filter.as_ref(), &fetch)?;
        Ok(ScrollResult {
            points,
            next_page_offset,
        })
    })
    .await
}

/// Counts points.
#[utoipa::path(post, path = "/collections/{collection}/points/count", tag = "points", operation_id = "count_points",
    request_body = CountPoints,
    responses((status = 200, body = Envelope<CountResult>)))]
pub(super) async fn count(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<CountPoints>,
) -> Result<Answer<CountResult>, ApiError> {
    api.on(path.collection, move |_, collection| {
        Ok(CountResult {
            count: collection.count(request.filter.as_ref())?,
        })
    })
    .await
}

/// What is answered of points that are read, where the request does not say: the payload, not the vectors.
fn fetch(payload: Option<WithPayload>, vector: Option<WithVector>) -> Result<Fetch> {
    Ok(Fetch::new(
        payload.unwrap_or(WithPayload::Bool(true)),
        vector.unwrap_or(WithVector::Bool(false)),
    )?)
}

pub(super) async fn apply(
    api: Api,
    path: InCollection,
    operation: Operation,
) -> Result<Answer<UpdateResult>, ApiError> {
    api.on(path.collection, move |engine, collection| {
        Ok(completed(apply_to(engine, collection, operation)?))
    })
    .await
}

/// Applies an operation to points. Those that exist are written even where some that are named do not, which is an error unless
/// they are deleted.
pub(super) fn apply_to(engine: &Engine, collection: &Collection, operation: Operation) -> Result<SeqNo> {
    let missing = match &operation {
        Operation::Delete(Selector::Ids(ids)) => {
            check_points(ids.len())?;
            None
        }
        Operation::SetPayload { selector, .. }
        | Operation::OverwritePayload { selector, .. }
        | Operation::DeletePayload { selector, .. }
        | Operation::DeleteVectors { selector, .. }
        | Operation::ClearPayload(selector) => match selector {
            Selector::Ids(ids) => {
                check_points(ids.len())?;
                collection.missing(ids)?.first().copied()
            }
            Selector::Filter(_) => None,
        },
        _ => None,
    };
    let seq = engine.apply(collection, operation)?;
    match missing {
        Some(missing) => Err(InvalidInput::PointNotFound(missing).into()),
        None => Ok(seq),
    }
}

pub(super) fn selector(selector: PointsSelector) -> Selector {
    match selector {
        PointsSelector::Points(ids) => Selector::Ids(ids),
        PointsSelector::Filter(filter) => Selector::Filter(filter),
    }
}

/// Writes are durable and searchable when they are answered, whether or not the client asked to wait.
pub(super) fn completed(seq: SeqNo) -> UpdateResult {
    UpdateResult {
        operation_id: seq.0,
        status: "completed".to_owned(),
    }
}
