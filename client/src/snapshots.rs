//! Snapshots of collections and of everything: made, listed, fetched, restored, deleted.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use twofold_types::{CollectionName, RecoverSnapshot, SnapshotDescription};

use crate::collections::collection;
use crate::path::path;
use crate::{Client, Error};

/// How much longer than other calls these may take: they read and write all that there is.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

impl Client {
    /// Makes a snapshot of a collection, which stays on the server.
    pub async fn create_snapshot(&self, name: &CollectionName) -> Result<SnapshotDescription, Error> {
        let path = collection(name, &["snapshots"])?;
        self.call_waiting(Method::POST, &path, LONG).await
    }

    /// The snapshots of a collection on the server, oldest first, also of a collection that is gone.
    pub async fn list_snapshots(&self, name: &CollectionName) -> Result<Vec<SnapshotDescription>, Error> {
        self.call(Method::GET, &collection(name, &["snapshots"])?).await
    }

    /// Fetches a snapshot of a collection into a file, in place of one that is there, and says its bytes.
    ///
    /// # Errors
    /// [`Error::File`] where the file cannot be written. After any error the file may hold a part of the snapshot.
    pub async fn download_snapshot(&self, name: &CollectionName, snapshot: &str, file: &Path) -> Result<u64, Error> {
        self.download(&collection(name, &["snapshots", snapshot])?, file).await
    }

    /// Deletes a snapshot of a collection from the server.
    ///
    /// # Errors
    /// [`Error::is_not_found`] where there is none.
    pub async fn delete_snapshot(&self, name: &CollectionName, snapshot: &str) -> Result<(), Error> {
        let path = collection(name, &["snapshots", snapshot])?;
        self.call::<bool>(Method::DELETE, &path).await.map(drop)
    }

    /// Makes a collection what a snapshot on the server holds, in place of the collection of that name if there is one.
    ///
    /// # Errors
    /// [`Error::is_rejected`] where the file is damaged or another's. After any error the collection is as it was.
    pub async fn recover_snapshot(&self, name: &CollectionName, snapshot: &RecoverSnapshot) -> Result<(), Error> {
        let path = collection(name, &["snapshots", "recover"])?;
        let mut request = self.with_body(Method::PUT, &path, snapshot)?;
        self.allow(&mut request, LONG);
        self.answer::<bool>(request).await.map(drop)
    }

    /// The same from a file here, which is sent once: it is not tried again.
    ///
    /// # Errors
    /// [`Error::File`] where the file cannot be read, and as [`recover_snapshot`](Self::recover_snapshot).
    pub async fn upload_snapshot(&self, name: &CollectionName, file: &Path) -> Result<(), Error> {
        let failed = Error::file(file);
        let opened = File::open(file).await.map_err(&failed)?;
        let length = opened.metadata().await.map_err(&failed)?.len();
        let part = Part::stream_with_length(opened, length).file_name("snapshot");
        let form = Form::new().part("snapshot", part);
        let path = collection(name, &["snapshots", "upload"])?;
        self.send_form(&path, form, LONG).await
    }

    /// Makes a snapshot of everything: collections, aliases, tasks and what waits. It is restored when a server starts.
    pub async fn create_storage_snapshot(&self) -> Result<SnapshotDescription, Error> {
        self.call_waiting(Method::POST, "/snapshots", LONG).await
    }

    /// The snapshots of everything on the server, oldest first.
    pub async fn list_storage_snapshots(&self) -> Result<Vec<SnapshotDescription>, Error> {
        self.call(Method::GET, "/snapshots").await
    }

    /// Fetches a snapshot of everything into a file, in place of one that is there, and says its bytes.
    ///
    /// # Errors
    /// As [`download_snapshot`](Self::download_snapshot).
    pub async fn download_storage_snapshot(&self, snapshot: &str, file: &Path) -> Result<u64, Error> {
        self.download(&path(&["snapshots", snapshot])?, file).await
    }

    /// Deletes a snapshot of everything from the server.
    ///
    /// # Errors
    /// [`Error::is_not_found`] where there is none.
    pub async fn delete_storage_snapshot(&self, snapshot: &str) -> Result<(), Error> {
        let path = path(&["snapshots", snapshot])?;
        self.call::<bool>(Method::DELETE, &path).await.map(drop)
    }

    async fn download(&self, path: &str, file: &Path) -> Result<u64, Error> {
        let failed = Error::file(file);
        let mut request = self.request(Method::GET, path)?;
        self.allow(&mut request, LONG);
        let mut response = self.open(&request).await?;
        let mut written = File::create(file).await.map_err(&failed)?;
        let mut bytes = 0;
        while let Some(chunk) = response.chunk().await.map_err(Error::Transport)? {
            written.write_all(&chunk).await.map_err(&failed)?;
            bytes += chunk.len() as u64;
        }
        written.flush().await.map_err(&failed)?;
        Ok(bytes)
    }
}
