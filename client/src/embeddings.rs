//! Texts in, vectors out, and the models that make them.

use reqwest::Method;
use twofold_types::ModelsList;
use twofold_types::embeddings::{CreateEmbeddings, Embed, Embeddings};

use crate::{Client, Error};

impl Client {
    /// The vectors of texts, one each, in their order; nothing is stored.
    pub async fn embed(&self, request: &Embed) -> Result<Vec<Vec<f32>>, Error> {
        self.send_bare("/embed", request).await
    }

    /// The same in OpenAI's shape: with the tokens that were encoded, and in base 64 where that is asked for.
    pub async fn create_embeddings(&self, request: &CreateEmbeddings) -> Result<Embeddings, Error> {
        self.send_bare("/v1/embeddings", request).await
    }

    /// The models of the server, what is in memory of them, and how its caches do.
    pub async fn list_models(&self) -> Result<ModelsList, Error> {
        self.call(Method::GET, "/models").await
    }
}
