//! The most relevant texts first.

use twofold_types::rerank::{Rerank, Reranked};

use crate::{Client, Error};

impl Client {
    /// Ranks documents by how relevant they are to a query, as a cross-encoder reads both together.
    pub async fn rerank(&self, request: &Rerank) -> Result<Reranked, Error> {
        self.send_bare("/v1/rerank", request).await
    }
}
