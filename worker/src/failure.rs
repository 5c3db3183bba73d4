//! Why a text has no embedding, and whether another attempt is worth it.

use std::fmt;

use twofold_encode::EncodeError;

/// What went wrong with one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    /// It may work later without anybody doing anything.
    pub(crate) transient: bool,
}

impl Failure {
    /// Nothing that is tried again changes it.
    pub(crate) fn permanent(reason: impl fmt::Display) -> Self {
        Self {
            reason: reason.to_string(),
            transient: false,
        }
    }

    pub(crate) fn transient(reason: impl fmt::Display) -> Self {
        Self {
            reason: reason.to_string(),
            transient: true,
        }
    }
}

impl From<&EncodeError> for Failure {
    fn from(error: &EncodeError) -> Self {
        match error {
            // What the network failed of is the device's (its memory, its driver) as often as the text's.
            EncodeError::Forward { .. } => Self::transient(error),
            error if error.is_transient() => Self::transient(error),
            error => Self::permanent(error),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}
