//! The models of this server.

use axum::extract::State;
use twofold_types::ModelsList;

use super::blocking::{Answer, Api};
use super::error::ApiError;

pub(super) async fn list(State(api): State<Api>) -> Result<Answer<ModelsList>, ApiError> {
    api.run(|engine| Ok(engine.list_models())).await
}
