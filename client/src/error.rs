//! What can go wrong with a call, and whose fault it is.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client was given a URL it cannot use.
    #[error("`{url}` is not the URL of a server: `http://host:port` or `https://host` is accepted")]
    InvalidUrl {
        /// What was given.
        url: String,
    },
    /// The API key holds characters that an HTTP header cannot carry.
    #[error("the API key holds characters that an HTTP header cannot carry")]
    InvalidApiKey,
    /// A name that cannot stand in the path of a URL: it is empty, `.` or `..`.
    #[error("`{segment}` cannot be addressed: a name in a path is neither empty nor `.` nor `..`")]
    InvalidPath {
        /// The name.
        segment: String,
    },
    /// The request cannot be written as JSON.
    #[error("cannot write the request as JSON")]
    Encode(#[source] serde_json::Error),
    /// A file here cannot be read or written.
    #[error("cannot use the file {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No answer came: refused, timed out, broken off, or no TLS.
    #[error("no answer from the server")]
    Transport(#[source] reqwest::Error),
    /// The server answered with an error.
    #[error("{message} (HTTP {status})")]
    Api {
        /// The HTTP status.
        status: u16,
        /// The server's own words; the beginning of the body where it is not the server's JSON.
        message: String,
        /// When the server asks to come back, from `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The server answered with success, but not with what the endpoint promises.
    #[error("cannot read the server's answer to {request}")]
    Decode {
        /// Method and path.
        request: String,
        /// What does not fit.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    /// What an error of a file becomes.
    pub(crate) fn file(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::File {
            path: path.to_owned(),
            source,
        }
    }

    /// The HTTP status, where the server answered with an error.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The collection, point, document or task does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// What was named was there and will not be again, such as changes that a mirror has missed.
    pub fn is_gone(&self) -> bool {
        self.status() == Some(410)
    }

    /// What was to be created exists already.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// The server understood the request and refuses what is in it; sending it again does not help.
    pub fn is_rejected(&self) -> bool {
        matches!(self.status(), Some(400 | 413 | 422))
    }

    /// Nothing accepted the connection: wrong address, or no server is running.
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Transport(source) if source.is_connect())
    }

    /// The same call may succeed later: the server is busy (429), not ready (503), or gave no answer.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Transport(_)) || self.is_busy()
    }

    /// The server asks to be left alone for a while.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.status(), Some(429 | 503))
    }
}
