//! Collections and their payload indexes.

use reqwest::Method;
use twofold_types::CollectionName;
use twofold_types::api::{
    CollectionExists, CollectionInfo, CollectionsList, CreateCollection, CreatePayloadIndex, UpdateCollection,
    UpdateResult,
};

use crate::path::path;
use crate::{Client, Error};

impl Client {
    /// The names of all collections.
    pub async fn list_collections(&self) -> Result<Vec<CollectionName>, Error> {
        let list: CollectionsList = self.call(Method::GET, "/collections").await?;
        Ok(list.collections.into_iter().map(|collection| collection.name).collect())
    }

    /// Creates a collection.
    ///
    /// # Errors
    /// [`Error::is_conflict`] where it exists.
    pub async fn create_collection(&self, name: &CollectionName, config: &CreateCollection) -> Result<(), Error> {
        self.send::<bool>(Method::PUT, &collection(name, &[])?, config)
            .await
            .map(drop)
    }

    /// A collection's state and configuration.
    ///
    /// # Errors
    /// [`Error::is_not_found`] where it does not exist.
    pub async fn get_collection(&self, name: &CollectionName) -> Result<CollectionInfo, Error> {
        self.call(Method::GET, &collection(name, &[])?).await
    }

    /// Whether a collection exists.
    pub async fn collection_exists(&self, name: &CollectionName) -> Result<bool, Error> {
        let answer: CollectionExists = self.call(Method::GET, &collection(name, &["exists"])?).await?;
        Ok(answer.exists)
    }

    /// Changes what can be changed of a collection: its notes.
    pub async fn update_collection(&self, name: &CollectionName, change: &UpdateCollection) -> Result<(), Error> {
        self.send::<bool>(Method::PATCH, &collection(name, &[])?, change)
            .await
            .map(drop)
    }

    /// Deletes a collection with everything in it; answers whether there was one.
    pub async fn delete_collection(&self, name: &CollectionName) -> Result<bool, Error> {
        self.call(Method::DELETE, &collection(name, &[])?).await
    }

    /// Indexes a payload key, which makes filters on it cheaper; filters work without an index too.
    pub async fn create_payload_index(
        &self,
        name: &CollectionName,
        index: &CreatePayloadIndex,
    ) -> Result<UpdateResult, Error> {
        let path = collection(name, &["index"])?;
        self.send(Method::PUT, &format!("{path}?wait=true"), index).await
    }

    /// Removes the index of a payload key.
    pub async fn delete_payload_index(&self, name: &CollectionName, key: &str) -> Result<UpdateResult, Error> {
        let path = collection(name, &["index", key])?;
        self.call(Method::DELETE, &format!("{path}?wait=true")).await
    }
}

/// The path of a collection and what follows it.
pub(crate) fn collection(name: &CollectionName, rest: &[&str]) -> Result<String, Error> {
    path(&[&["collections", name.as_str()], rest].concat())
}
