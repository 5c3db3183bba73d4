//! Queries and searches: the best points first.

use reqwest::Method;
use twofold_types::api::{QueryBatch, QueryPoints, QueryResult, SearchPassages, SearchResult};
use twofold_types::{CollectionName, ScoredPoint};

use crate::collections::collection;
use crate::{Client, Error};

impl Client {
    /// The passages that answer a text: encoded by every encoder of the collection, fused, the best of each document.
    pub async fn search(&self, name: &CollectionName, search: &SearchPassages) -> Result<SearchResult, Error> {
        self.send(Method::POST, &collection(name, &["search"])?, search).await
    }

    /// The points nearest to a vector, a stored point, or a text that the server encodes.
    pub async fn query(&self, name: &CollectionName, query: &QueryPoints) -> Result<Vec<ScoredPoint>, Error> {
        Ok(self.explain(name, query).await?.points)
    }

    /// [`query`](Self::query), with how the answer was found where the query asks for that.
    pub async fn explain(&self, name: &CollectionName, query: &QueryPoints) -> Result<QueryResult, Error> {
        self.send(Method::POST, &collection(name, &["points", "query"])?, query)
            .await
    }

    /// The answers to several queries, in their order.
    pub async fn query_batch(&self, name: &CollectionName, batch: &QueryBatch) -> Result<Vec<Vec<ScoredPoint>>, Error> {
        let path = collection(name, &["points", "query", "batch"])?;
        let answers: Vec<QueryResult> = self.send(Method::POST, &path, batch).await?;
        Ok(answers.into_iter().map(|answer| answer.points).collect())
    }
}
