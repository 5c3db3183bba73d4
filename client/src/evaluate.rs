//! How well a collection finds what people judged relevant.

use reqwest::Method;
use twofold_types::CollectionName;
use twofold_types::evaluation::{Evaluate, Evaluation};

use crate::collections::collection;
use crate::{Client, Error};

impl Client {
    /// Asks a collection queries in several ways and measures what they find by judgements. It takes as long as all the queries
    /// together: set [`timeout`](crate::ClientBuilder::timeout) accordingly.
    ///
    /// # Errors
    /// [`Error::is_rejected`] where none of the queries has judgements, or a stage names a vector without an encoder.
    pub async fn evaluate(&self, name: &CollectionName, request: &Evaluate) -> Result<Evaluation, Error> {
        self.send(Method::POST, &collection(name, &["evaluate"])?, request)
            .await
    }
}
