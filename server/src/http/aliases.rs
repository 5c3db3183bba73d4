//! Other names of collections.

use axum::extract::State;
use twofold_types::api::{AliasesList, ChangeAliases};
use twofold_worker::Result;

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, InCollection};

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

pub(super) async fn list(State(api): State<Api>) -> Result<Answer<AliasesList>, ApiError> {
    api.run(|engine| {
        Ok(AliasesList {
            aliases: engine.store().aliases(None),
        })
    })
    .await
}

pub(super) async fn of_collection(State(api): State<Api>, path: InCollection) -> Result<Answer<AliasesList>, ApiError> {
    api.run(move |engine| {
        let collection = engine.store().collection(&path.collection)?;
        Ok(AliasesList {
            aliases: engine.store().aliases(Some(collection.name())),
        })
    })
    .await
}
