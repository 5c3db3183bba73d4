//! Errors as they are answered. The HTTP status is derived here and nowhere else.

use std::any::Any;
use std::marker::PhantomData;

use axum::Json;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use twofold_storage::{Fault, InvalidInput, StorageError};
use twofold_types::StreamAccepted;
use twofold_types::api::{ErrorEnvelope, ErrorStatus};
use twofold_worker::WorkerError;

/// An error on its way into the envelope.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
    cause: Option<Box<WorkerError>>,
    accepted: Option<Box<StreamAccepted>>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            cause: None,
            accepted: None,
        }
    }

    /// With what had been accepted of a stream before.
    pub(super) fn with_accepted(self, accepted: StreamAccepted) -> Self {
        Self {
            accepted: Some(Box::new(accepted)),
            ..self
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The engine's error, where it is one.
    pub(super) fn cause(&self) -> Option<&WorkerError> {
        self.cause.as_deref()
    }

    /// The answer, in the shape that the endpoint's clients know.
    pub(super) fn respond(&self, status: StatusCode, body: impl Serialize) -> Response {
        let mut response = (status, Json(body)).into_response();
        if matches!(
            self.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            let seconds = match self.cause() {
                Some(WorkerError::Storage(StorageError::QueueFull { retry_after, .. })) => *retry_after,
                Some(WorkerError::Storage(StorageError::RateLimited { retry_after, .. })) => {
                    retry_after.as_secs_f64().ceil() as u64
                }
                _ => 1,
            };
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }

    pub(super) fn panicked() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal error; the server's log has the details",
        )
    }
}

impl From<WorkerError> for ApiError {
    fn from(error: WorkerError) -> Self {
        let status = match (&error, error.fault()) {
            (
                WorkerError::Busy
                | WorkerError::Storage(StorageError::QueueFull { .. } | StorageError::RateLimited { .. }),
                _,
            ) => StatusCode::TOO_MANY_REQUESTS,
            (_, Fault::Missing) => StatusCode::NOT_FOUND,
            (_, Fault::Gone) => StatusCode::GONE,
            (_, Fault::Conflict) => StatusCode::CONFLICT,
            (_, Fault::Caller) => StatusCode::BAD_REQUEST,
            (_, Fault::Timeout) => StatusCode::REQUEST_TIMEOUT,
            (_, Fault::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
            (_, Fault::DiskFull) => StatusCode::INSUFFICIENT_STORAGE,
            (_, Fault::Server) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::error!(%error, "request failed");
        }
        let message = match status {
            StatusCode::BAD_REQUEST => match &error {
                WorkerError::Storage(StorageError::Invalid(InvalidInput::Strict(_))) => format!("Bad request: {error}"),
                _ => format!("Wrong input: {error}"),
            },
            _ => error.to_string(),
        };
        Self {
            status,
            message,
            cause: Some(Box::new(error)),
            accepted: None,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorEnvelope {
            status: ErrorStatus {
                error: self.message.clone(),
                accepted: self.accepted.as_deref().cloned(),
            },
            time: 0.0,
        };
        self.respond(self.status, body)
    }
}

/// An error on its way into the shape of another API.
pub(super) struct Failure<S> {
    error: ApiError,
    shape: PhantomData<S>,
}

/// The shape that an API has for errors.
pub(super) trait Shape {
    fn answer(error: &ApiError) -> Response;
}

impl<S, E: Into<ApiError>> From<E> for Failure<S> {
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            shape: PhantomData,
        }
    }
}

impl<S: Shape> IntoResponse for Failure<S> {
    fn into_response(self) -> Response {
        S::answer(&self.error)
    }
}

pub(super) async fn no_such_route(uri: Uri) -> ApiError {
    no_such_endpoint(&uri)
}

pub(super) fn no_such_endpoint(uri: &Uri) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        format!("Not found: there is no endpoint `{}`", uri.path()),
    )
}

pub(super) async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("`{}` does not take {method}", uri.path()),
    )
}

/// The answer to a request whose handler panicked.
pub(super) fn panicked(payload: Box<dyn Any + Send>) -> Response {
    let message = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or(payload.downcast_ref::<&str>().copied());
    tracing::error!(message, "a handler panicked");
    ApiError::panicked().into_response()
}
