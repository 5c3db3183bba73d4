//! The models of this server.

use axum::extract::State;
use twofold_types::ModelsList;
use twofold_types::api::Envelope;

use super::blocking::{Answer, Api};
use super::error::ApiError;

/// The models of this server.
#[utoipa::path(get, path = "/models", tag = "models", operation_id = "list_models",
    responses((status = 200, body = Envelope<ModelsList>)))]
pub(super) async fn list(State(api): State<Api>) -> Result<Answer<ModelsList>, ApiError> {
    api.run(|engine| Ok(engine.list_models())).await
}
