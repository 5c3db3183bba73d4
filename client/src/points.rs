//! Points: written with `wait=true`, so that what was answered is durable and searchable.

use reqwest::Method;
use serde::Serialize;
use twofold_types::api::{
    CountPoints, CountResult, DeletePayload, GetPoints, PointsSelector, ScrollPoints, ScrollResult, SetPayload,
    UpdateResult, UpsertPoints,
};
use twofold_types::{CollectionName, PointId, Record};

use crate::collections::collection;
use crate::{Client, Error};

impl Client {
    /// Inserts points, replacing those whose ids exist.
    pub async fn upsert_points(&self, name: &CollectionName, points: &UpsertPoints) -> Result<UpdateResult, Error> {
        self.write(Method::PUT, name, &["points"], points).await
    }

    /// The points with these ids that exist.
    pub async fn get_points(&self, name: &CollectionName, points: &GetPoints) -> Result<Vec<Record>, Error> {
        self.send(Method::POST, &collection(name, &["points"])?, points).await
    }

    /// One point with payload and vectors.
    ///
    /// # Errors
    /// [`Error::is_not_found`] where it does not exist.
    pub async fn get_point(&self, name: &CollectionName, id: PointId) -> Result<Record, Error> {
        self.call(Method::GET, &collection(name, &["points", &id.to_string()])?)
            .await
    }

    /// Deletes points.
    pub async fn delete_points(&self, name: &CollectionName, which: &PointsSelector) -> Result<UpdateResult, Error> {
        self.write(Method::POST, name, &["points", "delete"], which).await
    }

    /// One page of the points in the order of their ids.
    pub async fn scroll_points(&self, name: &CollectionName, page: &ScrollPoints) -> Result<ScrollResult, Error> {
        self.send(Method::POST, &collection(name, &["points", "scroll"])?, page)
            .await
    }

    /// How many points there are.
    pub async fn count_points(&self, name: &CollectionName, which: &CountPoints) -> Result<u64, Error> {
        let answer: CountResult = self
            .send(Method::POST, &collection(name, &["points", "count"])?, which)
            .await?;
        Ok(answer.count)
    }

    /// Sets keys of payloads and leaves the others alone.
    pub async fn set_payload(&self, name: &CollectionName, change: &SetPayload) -> Result<UpdateResult, Error> {
        self.write(Method::POST, name, &["points", "payload"], change).await
    }

    /// Replaces payloads as a whole.
    pub async fn overwrite_payload(&self, name: &CollectionName, change: &SetPayload) -> Result<UpdateResult, Error> {
        self.write(Method::PUT, name, &["points", "payload"], change).await
    }

    /// Removes keys from payloads.
    pub async fn delete_payload(&self, name: &CollectionName, change: &DeletePayload) -> Result<UpdateResult, Error> {
        self.write(Method::POST, name, &["points", "payload", "delete"], change)
            .await
    }

    /// Removes payloads as a whole.
    pub async fn clear_payload(&self, name: &CollectionName, which: &PointsSelector) -> Result<UpdateResult, Error> {
        self.write(Method::POST, name, &["points", "payload", "clear"], which)
            .await
    }

    async fn write(
        &self,
        method: Method,
        name: &CollectionName,
        rest: &[&str],
        body: &impl Serialize,
    ) -> Result<UpdateResult, Error> {
        self.send(method, &format!("{}?wait=true", collection(name, rest)?), body)
            .await
    }
}
