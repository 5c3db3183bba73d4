//! Re-embedding: the documents of a collection by other encoders, or in other chunks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schema::OrNull;
use crate::{ChunkingParams, EncoderParams};

/// `POST /collections/{collection}/reembed`: what changes of a collection's configuration. What is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reembed {
    /// Encoders by the name of the vector they fill: in place of the one it has, or of a vector that is new. Null takes a vector out
    /// that an encoder fills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, OrNull<EncoderParams>>>)]
    pub encoders: Option<BTreeMap<String, Option<EncoderParams>>>,
    /// How documents are cut into chunks, as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunking: Option<ChunkingParams>,
}

/// `GET /collections/{collection}/reembed`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Reembedding {
    /// How it stands.
    pub state: ReembeddingState,
    /// Documents of the collection.
    pub documents: u64,
    /// Documents that are encoded anew.
    pub documents_done: u64,
    /// Documents that could not be encoded anew. They keep the collection from being switched.
    pub documents_failed: u64,
    /// When it was begun, RFC 3339.
    pub started_at: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// What went wrong last, while that keeps it from going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The encoders that it leads to, or has led to; of one that was canceled those that there are.
    pub encoders: BTreeMap<String, EncoderParams>,
    /// How documents are cut then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunking: Option<ChunkingParams>,
}

/// How a re-embedding stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReembeddingState {
    /// Documents are sent to be encoded anew.
    Copying,
    /// All were sent: they are being encoded, and what changes meanwhile is sent after.
    Following,
    /// All were sent, and some of them could not be encoded.
    Blocked,
    /// The new vectors answer.
    Done,
    /// It was canceled: nothing has changed.
    Canceled,
}

impl ReembeddingState {
    /// Whether nothing more happens by itself.
    pub fn is_at_rest(self) -> bool {
        matches!(self, Self::Blocked | Self::Done | Self::Canceled)
    }
}
