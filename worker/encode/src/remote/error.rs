//! Why a remote model gave nothing that can be used, and whether asking again may help.

use std::time::Duration;

use crate::Source;

/// Why a remote model gave nothing that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// No answer came, or not the whole of it: not reached, timed out, cut off.
    #[error("no answer: {0}")]
    Transport(Source),
    /// The service has too much to do, or is not well.
    #[error("HTTP {status}: {message}")]
    Unavailable {
        /// 408, 425, 429 or 5xx.
        status: u16,
        /// The service's own words.
        message: String,
        /// When it asks to come back, from `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Requests would have to wait longer for their turn under the configured rate than they may.
    #[error("the configured rate lets the request begin in {0:.0?} only")]
    Rate(Duration),
    /// There is no key.
    #[error("the environment variable {0}, which holds the key, is not set to one")]
    NoKey(String),
    /// The service does not accept the key.
    #[error("HTTP {status}: the key is not accepted; it is read from the environment variable {variable}: {message}")]
    Key {
        /// 401 or 403.
        status: u16,
        /// The variable that holds the key, or should.
        variable: String,
        /// The service's own words.
        message: String,
    },
    /// The service refuses what was sent.
    #[error("HTTP {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The service's own words.
        message: String,
    },
    /// The answer is not what the protocol promises.
    #[error("the answer cannot be read: {0}")]
    Malformed(#[source] serde_json::Error),
    /// The answer has more or fewer results than there were texts, or two for one.
    #[error("{received} results were answered for {expected} texts")]
    Count {
        /// Texts that were sent.
        expected: usize,
        /// Texts that have a result.
        received: usize,
    },
    /// The vectors are longer or shorter than they have to be.
    #[error("vectors of {received} dimensions were answered, {expected} are expected")]
    Dimensions {
        /// Components that a vector has to have.
        expected: usize,
        /// Components of the vector that came.
        received: usize,
    },
    /// A vector has components that are no finite numbers.
    #[error("a vector with components that are no finite numbers was answered")]
    NotFinite,
}

impl RemoteError {
    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport(_) | Self::Unavailable { .. } | Self::Rate(_) => true,
            // An answer that ends too early was cut off on its way.
            Self::Malformed(error) => error.is_eof(),
            Self::NoKey(_)
            | Self::Key { .. }
            | Self::Refused { .. }
            | Self::Count { .. }
            | Self::Dimensions { .. }
            | Self::NotFinite => false,
        }
    }

    pub(super) fn unavailable(status: u16, message: String, retry_after: Option<Duration>) -> Self {
        Self::Unavailable {
            status,
            message,
            retry_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn malformed(json: &str) -> RemoteError {
        RemoteError::Malformed(serde_json::from_str::<Vec<f32>>(json).unwrap_err())
    }

    #[test]
    fn what_passes_is_told_from_what_stays() {
        let unavailable = RemoteError::unavailable(429, String::new(), None);
        for transient in [
            unavailable,
            RemoteError::Transport("reset".into()),
            malformed("[1.0, 2"),
        ] {
            assert!(transient.is_transient(), "{transient}");
        }
        let refused = RemoteError::Refused {
            status: 400,
            message: String::new(),
        };
        for permanent in [refused, malformed("[true]"), malformed("{}")] {
            assert!(!permanent.is_transient(), "{permanent}");
        }
    }
}
