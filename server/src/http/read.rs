//! What can be read of a collection's points beside the points themselves.

use axum::extract::State;
use twofold_types::api::{
    FacetPoints, FacetResult, GroupsResult, MatrixOffsets, MatrixPair, MatrixPairs, QueryGroups, SearchMatrix,
};
use twofold_worker::{DEFAULT_LIMIT, Result, check_limit};

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, InCollection};

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
