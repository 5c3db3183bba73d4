//! Other names of collections.

use axum::extract::State;
use twofold_types::api::{AliasesList, ChangeAliases, Envelope};
use twofold_worker::Result;

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, InCollection};

/// Gives, renames and takes away aliases, all of it or nothing.
#[utoipa::path(post, path = "/collections/aliases", tag = "aliases", operation_id = "update_aliases",
    request_body = ChangeAliases,
    responses((status = 200, body = Envelope<bool>)))]
pub(super) async fn change(
    State(api): State<Api>,
    Body(request): Body<ChangeAliases>,
) -> Result<Answer<bool>, ApiError> {
    api.run(move |engine| {
        engine.store().change_aliases(&request.actions)?;
        Ok(true)
    })
    .await
}

/// All aliases.
#[utoipa::path(get, path = "/aliases", tag = "aliases", operation_id = "get_collections_aliases",
    responses((status = 200, body = Envelope<AliasesList>)))]
pub(super) async fn list(State(api): State<Api>) -> Result<Answer<AliasesList>, ApiError> {
    api.run(|engine| {
        Ok(AliasesList {
            aliases: engine.store().aliases(None),
        })
    })
    .await
}

/// The aliases of a collection.
#[utoipa::path(get, path = "/collections/{collection}/aliases", tag = "aliases", operation_id = "get_collection_aliases",
    responses((status = 200, body = Envelope<AliasesList>)))]
pub(super) async fn of_collection(State(api): State<Api>, path: InCollection) -> Result<Answer<AliasesList>, ApiError> {
    api.run(move |engine| {
        let collection = engine.store().collection(&path.collection)?;
        Ok(AliasesList {
            aliases: engine.store().aliases(Some(collection.name())),
        })
    })
    .await
}
