//! What can be read of a collection's points beside the points themselves.

use axum::extract::State;
use twofold_types::api::{
    Envelope, FacetPoints, FacetResult, GroupsResult, MatrixOffsets, MatrixPair, MatrixPairs, QueryGroups, SearchMatrix,
};
use twofold_worker::{DEFAULT_LIMIT, Result, check_limit};

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, InCollection};

/// A query, answered in groups.
#[utoipa::path(post, path = "/collections/{collection}/points/query/groups", tag = "search", operation_id = "query_points_groups",
    request_body = QueryGroups,
    responses((status = 200, body = Envelope<GroupsResult>)))]
pub(super) async fn groups(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<QueryGroups>,
) -> Result<Answer<GroupsResult>, ApiError> {
    api.on(path.collection, move |engine, collection| {
        engine.query_groups(collection, request)
    })
    .await
}

/// The most frequent values of a payload key.
#[utoipa::path(post, path = "/collections/{collection}/facet", tag = "points", operation_id = "facet",
    request_body = FacetPoints,
    responses((status = 200, body = Envelope<FacetResult>)))]
pub(super) async fn facet(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<FacetPoints>,
) -> Result<Answer<FacetResult>, ApiError> {
    api.on(path.collection, move |_, collection| {
        let limit = request.limit.unwrap_or(DEFAULT_LIMIT);
        check_limit(limit)?;
        Ok(FacetResult {
            hits: collection.facet(&request.key, request.filter.as_ref(), limit)?,
        })
    })
    .await
}

/// How near points of a sample are to each other, as pairs.
#[utoipa::path(post, path = "/collections/{collection}/points/search/matrix/pairs", tag = "search", operation_id = "search_matrix_pairs",
    request_body = SearchMatrix,
    responses((status = 200, body = Envelope<MatrixPairs>)))]
pub(super) async fn matrix_pairs(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<SearchMatrix>,
) -> Result<Answer<MatrixPairs>, ApiError> {
    api.on(path.collection, move |engine, collection| {
        let matrix = engine.matrix(collection, &request)?;
        let rows = matrix.ids.iter().zip(&matrix.nearest);
        let pairs = rows.flat_map(|(&a, nearest)| {
            nearest.iter().map({
                let ids = &matrix.ids;
                move |&(b, score)| MatrixPair { a, b: ids[b], score }
            })
        });
        Ok(MatrixPairs { pairs: pairs.collect() })
    })
    .await
}

/// The same as a sparse matrix in coordinates.
#[utoipa::path(post, path = "/collections/{collection}/points/search/matrix/offsets", tag = "search", operation_id = "search_matrix_offsets",
    request_body = SearchMatrix,
    responses((status = 200, body = Envelope<MatrixOffsets>)))]
pub(super) async fn matrix_offsets(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<SearchMatrix>,
) -> Result<Answer<MatrixOffsets>, ApiError> {
    api.on(path.collection, move |engine, collection| {
        let matrix = engine.matrix(collection, &request)?;
        let mut offsets = MatrixOffsets {
            offsets_row: Vec::new(),
            offsets_col: Vec::new(),
            scores: Vec::new(),
            ids: matrix.ids,
        };
        for (row, nearest) in matrix.nearest.iter().enumerate() {
            for &(column, score) in nearest {
                offsets.offsets_row.push(row as u64);
                offsets.offsets_col.push(column as u64);
                offsets.scores.push(score);
            }
        }
        Ok(offsets)
    })
    .await
}
