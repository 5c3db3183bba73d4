//! The server itself: is it there, which version is it.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Client, Error};

/// `GET /`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerVersion {
    /// The product.
    pub title: String,
    /// The level of the collection API.
    pub version: String,
    /// The commit the server was built from.
    #[serde(default)]
    pub commit: Option<String>,
}

impl Client {
    /// Succeeds where a server is running. Needs no key.
    pub async fn healthz(&self) -> Result<(), Error> {
        self.fetch("/healthz").await.map(drop)
    }

    /// Succeeds where the server is ready for requests. Needs no key.
    pub async fn readyz(&self) -> Result<(), Error> {
        self.fetch("/readyz").await.map(drop)
    }

    /// What the server is, what it holds and what it was asked, the more the higher `details_level` is (0 to 2), in Qdrant's shape.
    pub async fn telemetry(&self, details_level: u32) -> Result<Value, Error> {
        let path = format!("/telemetry?details_level={details_level}");
        self.call(Method::GET, &path).await
    }

    /// Which product and API level answers. Needs no key.
    pub async fn version(&self) -> Result<ServerVersion, Error> {
        let body = self.fetch("/").await?;
        serde_json::from_slice(&body).map_err(|source| Error::Decode {
            request: "GET /".to_owned(),
            source,
        })
    }
}
