//! Points: put in, taken out, read, listed, counted.

use axum::extract::State;
use twofold_storage::{Fetch, InvalidInput, Operation, Selector, SeqNo};
use twofold_types::api::{
    CountPoints, CountResult, GetPoints, PointsSelector, ScrollPoints, ScrollResult, UpdateResult, UpsertPoints,
    WithPayload, WithVector,
};
use twofold_types::{PointId, Record};
use twofold_worker::{DEFAULT_LIMIT, Result, WorkerError, check_limit};

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, InCollection, bad_path};

/// Points that one request may put in.
const MAX_POINTS: usize = 100_000;

pub(super) async fn upsert(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<UpsertPoints>,
) -> Result<Answer<UpdateResult>, ApiError> {
    api.on(path.collection, move |engine, collection| {
        let points = request.into_points()?;
        if points.len() > MAX_POINTS {
            let received = points.len();
            return Err(InvalidInput::Limit {
                what: "points of one request",
                received,
                limit: MAX_POINTS,
            }
            .into());
        }
        Ok(completed(engine.upsert(collection, points)?))
    })
    .await
}

pub(super) async fn delete(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<PointsSelector>,
) -> Result<Answer<UpdateResult>, ApiError> {
    apply(api, path, Operation::Delete(selector(request))).await
}

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

pub(super) async fn get_one(State(api): State<Api>, path: InCollection<String>) -> Result<Answer<Record>, ApiError> {
    let id: PointId = path.rest.parse().map_err(bad_path)?;
    api.on(path.collection, move |_, collection| {
        let fetch = Fetch::new(WithPayload::Bool(true), WithVector::Bool(true))?;
        let record = collection.get(&[id], &fetch)?.pop();
        record.ok_or_else(|| InvalidInput::PointNotFound(id).into())
    })
    .await
}

pub(super) async fn scroll(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<ScrollPoints>,
) -> Result<Answer<ScrollResult>, ApiError> {
    api.on(path.collection, move |_, collection| {
        if request.order_by.is_some_and(|order| !order.is_null()) {
            return Err(WorkerError::Unsupported("order_by"));
        }
        let limit = request.limit.unwrap_or(DEFAULT_LIMIT);
        check_limit(limit)?;
        let fetch = fetch(request.with_payload, request.with_vector)?;
        let (points, next_page_offset) = collection.scroll(request.offset, limit, request.filter.as_ref(), &fetch)?;
        Ok(ScrollResult {
            points,
            next_page_offset,
        })
    })
    .await
}

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
        Ok(completed(engine.apply(collection, operation)?))
    })
    .await
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
