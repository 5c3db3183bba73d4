//! Embeddings in the shape of text-embeddings-inference.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use twofold_storage::{InvalidInput, StorageError};
use twofold_types::embeddings::{Embed, EmbedError, EmbedTerms, SparseValue, TextsInput};
use twofold_types::{Embedding, EmbeddingKind, EncoderParams, ModelId, OtherKind, Role};
use twofold_worker::{Engine, TooLong, WorkerError};

use super::blocking::Api;
use super::error::{ApiError, Shape};
use super::extract::Body;

/// The shape of text-embeddings-inference.
pub(super) struct Tei;

pub(super) type Failure = super::error::Failure<Tei>;

/// Embeddings in the shape of text-embeddings-inference.
#[utoipa::path(post, path = "/embed", tag = "models", operation_id = "embed",
    request_body = Embed,
    responses((status = 200, body = Vec<Vec<f32>>), (status = "default", body = EmbedError)))]
pub(super) async fn embed(
    State(api): State<Api>,
    request: Result<Body<Embed>, ApiError>,
) -> Result<Json<Vec<Vec<f32>>>, Failure> {
    let Body(request) = request?;
    let TextsInput::Texts(texts) = request.inputs else {
        return Err(WorkerError::Tokens.into());
    };
    let role = request.prompt_name.map_or(Role::Document, Role::from);
    let too_long = too_long(request.truncate);
    let embedded = api.call(move |engine| {
        let model = model_of(engine, request.model)?;
        let params = EncoderParams {
            normalize: Some(request.normalize.unwrap_or(true)),
            dimensions: request.dimensions,
            ..EncoderParams::new(model)
        };
        let embedded = engine.embed(&params, EmbeddingKind::Dense, &texts, role, too_long)?;
        let vectors = embedded.embeddings.into_iter().map(Embedding::into_dense);
        Ok(vectors.collect::<Result<_, _>>()?)
    });
    Ok(Json(embedded.await?))
}

/// Weighted terms in the same shape.
#[utoipa::path(post, path = "/embed_sparse", tag = "models", operation_id = "embed_sparse",
    request_body = EmbedTerms,
    responses((status = 200, body = Vec<Vec<SparseValue>>), (status = "default", body = EmbedError)))]
pub(super) async fn embed_sparse(
    State(api): State<Api>,
    request: Result<Body<EmbedTerms>, ApiError>,
) -> Result<Json<Vec<Vec<SparseValue>>>, Failure> {
    let values = |embedding: Embedding| {
        let vector = embedding.into_sparse()?;
        Ok(vector
            .iter()
            .map(|(index, value)| SparseValue { index, value })
            .collect())
    };
    embed_terms(api, request?, EmbeddingKind::Sparse, values).await
}

/// A vector for each token in the same shape.
#[utoipa::path(post, path = "/embed_all", tag = "models", operation_id = "embed_all",
    request_body = EmbedTerms,
    responses((status = 200, body = Vec<Vec<Vec<f32>>>), (status = "default", body = EmbedError)))]
pub(super) async fn embed_all(
    State(api): State<Api>,
    request: Result<Body<EmbedTerms>, ApiError>,
) -> Result<Json<Vec<Vec<Vec<f32>>>>, Failure> {
    embed_terms(api, request?, EmbeddingKind::Multi, Embedding::into_multi).await
}

/// Answers with what `write` makes of embeddings of that kind.
async fn embed_terms<T: Send + 'static>(
    api: Api,
    Body(request): Body<EmbedTerms>,
    kind: EmbeddingKind,
    write: impl Fn(Embedding) -> Result<T, OtherKind> + Send + 'static,
) -> Result<Json<Vec<T>>, Failure> {
    let TextsInput::Texts(texts) = request.inputs else {
        return Err(WorkerError::Tokens.into());
    };
    let role = request.prompt_name.map_or(Role::Document, Role::from);
    let too_long = too_long(request.truncate);
    let written = api.call(move |engine| {
        let params = EncoderParams {
            options: request.options,
            ..EncoderParams::new(model_of(engine, request.model)?)
        };
        let embedded = engine.embed(&params, kind, &texts, role, too_long)?;
        Ok(embedded.embeddings.into_iter().map(write).collect::<Result<_, _>>()?)
    });
    Ok(Json(written.await?))
}

fn too_long(truncate: Option<bool>) -> TooLong {
    match truncate {
        Some(false) => TooLong::Refuse,
        None | Some(true) => TooLong::Cut,
    }
}

fn model_of(engine: &Engine, named: Option<ModelId>) -> Result<ModelId, WorkerError> {
    named.map_or_else(|| engine.models().default_model(), Ok)
}

impl Shape for Tei {
    fn answer(error: &ApiError) -> Response {
        let (status, kind) = match (error.cause(), error.status()) {
            (_, StatusCode::TOO_MANY_REQUESTS) => (StatusCode::TOO_MANY_REQUESTS, "overloaded"),
            (_, StatusCode::SERVICE_UNAVAILABLE) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
            (Some(WorkerError::NoTexts), status) => (status, "empty"),
            // There, whatever is over a limit is answered as a body that is too large.
            (
                Some(
                    WorkerError::TooLong { .. }
                    | WorkerError::Storage(StorageError::Invalid(InvalidInput::Limit { .. })),
                ),
                _,
            ) => (StatusCode::PAYLOAD_TOO_LARGE, "validation"),
            (_, status) if status.is_server_error() => (status, "backend"),
            (_, status) => (status, "validation"),
        };
        let body = EmbedError {
            error: error.message().to_owned(),
            error_type: kind.to_owned(),
        };
        error.respond(status, body)
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[tokio::test]
    async fn a_full_server_says_when_to_come_back() {
        let response = Failure::from(WorkerError::Busy).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(response.headers().contains_key("retry-after"));
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let error: EmbedError = serde_json::from_slice(&body).unwrap();
        assert_eq!(error.error_type, "overloaded");
    }
}
