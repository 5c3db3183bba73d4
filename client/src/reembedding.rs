//! Re-embedding: a collection gets other encoders or chunks while it answers.

use std::time::Duration;

use reqwest::Method;
use twofold_types::{CollectionName, Reembed, Reembedding};

use crate::collections::collection;
use crate::{Client, Error};

const FIRST_POLL: Duration = Duration::from_millis(50);
const SLOWEST_POLL: Duration = Duration::from_secs(2);

impl Client {
    /// Begins to encode all documents of a collection anew, from their stored text; it answers as before until that is done.
    ///
    /// # Errors
    /// [`Error::is_conflict`] where that is being done already.
    pub async fn reembed(&self, name: &CollectionName, change: &Reembed) -> Result<Reembedding, Error> {
        self.send(Method::POST, &collection(name, &["reembed"])?, change).await
    }

    /// How the re-embedding of a collection goes, or how the last one went.
    ///
    /// # Errors
    /// [`Error::is_not_found`] where there never was one.
    pub async fn get_reembedding(&self, name: &CollectionName) -> Result<Reembedding, Error> {
        self.call(Method::GET, &collection(name, &["reembed"])?).await
    }

    /// Gives the re-embedding of a collection up; the collection stays as it is.
    ///
    /// # Errors
    /// [`Error::is_not_found`] where it is not being re-embedded.
    pub async fn cancel_reembedding(&self, name: &CollectionName) -> Result<Reembedding, Error> {
        self.call(Method::DELETE, &collection(name, &["reembed"])?).await
    }

    /// Tries again the documents that a re-embedding could not encode.
    ///
    /// # Errors
    /// [`Error::is_not_found`] where the collection is not being re-embedded.
    pub async fn retry_reembedding(&self, name: &CollectionName) -> Result<Reembedding, Error> {
        self.call(Method::POST, &collection(name, &["reembed", "retry"])?).await
    }

    /// Asks how a re-embedding goes, less often as time goes on (every 50 ms at first, every 2 s at last), until it is done, canceled,
    /// or blocked by documents that cannot be encoded, and answers that. Every state that was seen is handed to `progress`. There is
    /// no time limit; dropping the call does not cancel the re-embedding.
    pub async fn wait_for_reembedding(
        &self,
        name: &CollectionName,
        mut progress: impl FnMut(&Reembedding),
    ) -> Result<Reembedding, Error> {
        let mut pause = FIRST_POLL;
        loop {
            let reembedding = self.get_reembedding(name).await?;
            progress(&reembedding);
            if reembedding.state.is_at_rest() {
                return Ok(reembedding);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(SLOWEST_POLL);
        }
    }
}
