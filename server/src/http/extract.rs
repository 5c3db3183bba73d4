//! Parts of a request, with errors in the shape that clients of this API know.

use axum::body::Bytes;
use axum::extract::multipart::MultipartRejection;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Multipart, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;
use twofold_types::CollectionName;

use super::error::ApiError;

/// A JSON body. The `Content-Type` is not looked at, as clients differ in what they send.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection: BytesRejection| {
                let status = rejection.into_response().status();
                match status {
                    StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(status, "the body is over the limit of this server"),
                    status => ApiError::new(status, "the body could not be read"),
                }
            })?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, format!("Format error in JSON body: {error}")))
    }
}

/// A form of several parts.
pub(super) struct Form(pub(super) Multipart);

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Multipart::from_request(request, state)
            .await
            .map(Self)
            .map_err(|rejection: MultipartRejection| {
                let message = format!(
                    "Wrong input: expected a form with a Content-Type of `multipart/form-data; boundary=...`: {}",
                    rejection.body_text()
                );
                ApiError::new(rejection.status(), message)
            })
    }
}

/// What stands behind the `?`.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(params) = Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(|rejection: QueryRejection| bad_path(rejection.body_text()))?;
        Ok(Self(params))
    }
}

/// The collection of the path, and what else is in it.
pub(super) struct InCollection<T = ()> {
    pub(super) collection: CollectionName,
    pub(super) rest: T,
}

impl<S: Send + Sync> FromRequestParts<S> for InCollection {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(bad_path)?;
        Ok(Self {
            collection: collection(&name)?,
            rest: (),
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for InCollection<String> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path((name, rest)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(bad_path)?;
        Ok(Self {
            collection: collection(&name)?,
            rest,
        })
    }
}

/// The collection of the path and what else is in it, under its only shard.
pub(super) struct InShard<T = ()>(pub(super) InCollection<T>);

impl<S: Send + Sync> FromRequestParts<S> for InShard {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path((name, shard)) = Path::<(String, u32)>::from_request_parts(parts, state)
            .await
            .map_err(bad_path)?;
        of_shard(&name, shard, ())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for InShard<String> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path((name, shard, rest)) = Path::<(String, u32, String)>::from_request_parts(parts, state)
            .await
            .map_err(bad_path)?;
        of_shard(&name, shard, rest)
    }
}

fn of_shard<T>(name: &str, shard: u32, rest: T) -> Result<InShard<T>, ApiError> {
    let collection = collection(name)?;
    match shard {
        0 => Ok(InShard(InCollection { collection, rest })),
        shard => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            format!("Not found: collection `{collection}` has no shard {shard}: its only shard is 0"),
        )),
    }
}

fn collection(name: &str) -> Result<CollectionName, ApiError> {
    name.parse()
        .map_err(|error: twofold_types::InvalidCollectionName| bad_path(error))
}

pub(super) fn bad_path(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, format!("Wrong input: {error}"))
}
