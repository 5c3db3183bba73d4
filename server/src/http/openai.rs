//! Embeddings and models in the shapes of OpenAI's API.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use twofold_encode::EncodeError;
use twofold_storage::{InvalidInput, StorageError};
use twofold_types::embeddings::{
    CreateEmbeddings, EmbeddingObject, EmbeddingValue, Embeddings, EncodingFormat, List, ModelObject, OpenAiError,
    OpenAiErrorBody, TextsInput, Usage,
};
use twofold_types::{Details, Embedding, EmbeddingKind, EncoderParams, ModelInfo, Role};
use twofold_worker::{ModelsDir, TooLong, WorkerError};

use super::blocking::Api;
use super::error::{ApiError, Shape};
use super::extract::Body;

/// The shape of OpenAI.
pub(super) struct OpenAi;

pub(super) type Failure = super::error::Failure<OpenAi>;

/// Embeddings in the shape of OpenAI's API.
#[utoipa::path(post, path = "/v1/embeddings", tag = "models", operation_id = "create_embeddings",
    request_body = CreateEmbeddings,
    responses((status = 200, body = Embeddings), (status = "default", body = OpenAiError)))]
pub(super) async fn embeddings(
    State(api): State<Api>,
    request: Result<Body<CreateEmbeddings>, ApiError>,
) -> Result<Json<Embeddings>, Failure> {
    let Body(request) = request?;
    let TextsInput::Texts(texts) = request.input else {
        return Err(WorkerError::Tokens.into());
    };
    let params = EncoderParams {
        dimensions: request.dimensions,
        ..EncoderParams::new(request.model.clone())
    };
    let role = request.input_type.map_or(Role::Document, Role::from);
    let embedded = api
        .call(move |engine| engine.embed(&params, EmbeddingKind::Dense, &texts, role, TooLong::Cut))
        .await?;
    let format = request.encoding_format.unwrap_or_default();
    let object = |(index, embedding): (usize, Embedding)| {
        Ok(EmbeddingObject {
            object: "embedding".to_owned(),
            index,
            embedding: written(embedding.into_dense()?, format),
        })
    };
    let objects = embedded.embeddings.into_iter().enumerate().map(object);
    Ok(Json(Embeddings {
        list: List::new(objects.collect::<Result<_, WorkerError>>()?),
        model: request.model,
        usage: Usage {
            prompt_tokens: embedded.tokens,
            total_tokens: embedded.tokens,
        },
    }))
}

fn written(embedding: Vec<f32>, format: EncodingFormat) -> EmbeddingValue {
    match format {
        EncodingFormat::Float => EmbeddingValue::Float(embedding),
        EncodingFormat::Base64 => {
            let bytes: Vec<u8> = embedding.iter().flat_map(|component| component.to_le_bytes()).collect();
            EmbeddingValue::Base64(BASE64_STANDARD.encode(bytes))
        }
    }
}

/// Models that can be used here; `GET /models` lists the others as well.
#[utoipa::path(get, path = "/v1/models", tag = "models", operation_id = "list_openai_models",
    responses((status = 200, body = List<ModelObject>), (status = "default", body = OpenAiError)))]
pub(super) async fn models(State(api): State<Api>) -> Result<Json<List<ModelObject>>, Failure> {
    let models = api.call(|engine| {
        let models = engine.models().list().into_iter();
        let is_dense = |model: &ModelInfo| match &model.details {
            Some(Details::Encoder(details)) => details.space.kind() == EmbeddingKind::Dense,
            Some(Details::CrossEncoder(_)) | None => false,
        };
        let usable = models.filter(|model| model.error.is_none() && is_dense(model));
        Ok(usable.map(|model| model_object(model, engine.models().dir())).collect())
    });
    Ok(Json(List::new(models.await?)))
}

fn model_object(model: ModelInfo, dir: &ModelsDir) -> ModelObject {
    let modified = dir
        .find(&model.id)
        .ok()
        .and_then(|dir| dir.metadata().ok()?.modified().ok());
    let since_1970 = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let publisher = model.id.as_str().split_once('/').map_or("", |(publisher, _)| publisher);
    ModelObject {
        object: "model".to_owned(),
        created: since_1970.map_or(0, |time| time.as_secs()),
        owned_by: publisher.to_owned(),
        id: model.id,
    }
}

impl Shape for OpenAi {
    fn answer(error: &ApiError) -> Response {
        let (mut status, mut kind, mut param, mut code) = (error.status(), "invalid_request_error", None, None);
        match (error.cause(), status) {
            (_, StatusCode::TOO_MANY_REQUESTS) => (kind, code) = ("rate_limit_error", Some("rate_limit_exceeded")),
            (Some(WorkerError::ModelMissing { .. } | WorkerError::ModelName(_)), _) => {
                (status, param, code) = (StatusCode::NOT_FOUND, Some("model"), Some("model_not_found"));
            }
            (_, status) if status.is_server_error() => kind = "server_error",
            (Some(cause), _) => param = culprit(cause),
            (None, _) => {}
        }
        let body = OpenAiError {
            error: OpenAiErrorBody {
                message: error.message().to_owned(),
                kind: kind.to_owned(),
                param: param.map(str::to_owned),
                code: code.map(str::to_owned),
            },
        };
        error.respond(status, body)
    }
}

/// The key of the request that an error is about.
fn culprit(cause: &WorkerError) -> Option<&'static str> {
    match cause {
        WorkerError::Model {
            source: EncodeError::Parameter { name, .. } | EncodeError::Inapplicable { name, .. },
            ..
        } => Some(name),
        WorkerError::OtherKind { .. } => Some("model"),
        WorkerError::Tokens
        | WorkerError::NoTexts
        | WorkerError::Storage(StorageError::Invalid(InvalidInput::Limit { .. })) => Some("input"),
        _ => None,
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
        let OpenAiError { error } = serde_json::from_slice(&body).unwrap();
        assert_eq!(error.code.as_deref(), Some("rate_limit_exceeded"));
    }
}
