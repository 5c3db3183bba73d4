//! The tail of changes, for those who mirror a collection.

use std::time::Duration;

use reqwest::Method;
use twofold_types::CollectionName;
use twofold_types::api::{ChangesPage, ChangesPosition};

use crate::collections::collection;
use crate::path;
use crate::{Client, Error};

impl Client {
    /// What writes after a position have changed, `limit` writes at most (1,000 are the most that may be asked for). Where there is
    /// nothing yet the server waits for up to `wait` (whole seconds, at most 300) before it answers so.
    ///
    /// A mirror begins without a position: the answer says where changes begin that a copy, made from then on by
    /// [`Client::scroll_points`] or a snapshot, may lack. It then goes on from each answer's [`ChangesPage::position`], reads
    /// points that were upserted by their ids, and drops those that are not there.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use twofold_client::{Client, Error, types::{CollectionName, api::GetPoints}};
    /// # async fn mirror(client: &Client, notes: &CollectionName) -> Result<(), Error> {
    /// let mut position = client.changes(notes, None, 1, Duration::ZERO).await?.position();
    /// // ... copy the collection ...
    /// loop {
    ///     let page = client.changes(notes, Some(position), 100, Duration::from_secs(60)).await?;
    ///     for change in &page.changes {
    ///         // ... read `change.points.upserted`, drop `change.points.deleted` ...
    ///     }
    ///     position = page.position();
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::is_gone`] where the mirror has to begin again: it was away for too long, or the collection was made anew, restored or
    /// re-embedded.
    pub async fn changes(
        &self,
        name: &CollectionName,
        after: Option<ChangesPosition>,
        limit: usize,
        wait: Duration,
    ) -> Result<ChangesPage, Error> {
        let path = collection(name, &["changes"])? + &path::changes(after, limit, wait);
        self.call_waiting(Method::GET, &path, wait).await
    }
}
