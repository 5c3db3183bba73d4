//! What is known of the models of services, as their publishers' pages have it: dimensions and longest text in tokens.

use super::protocol::Protocol;

/// A model behind an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KnownRemote {
    protocol: Protocol,
    name: &'static str,
    pub dimensions: usize,
    pub max_tokens: usize,
}

const fn row(protocol: Protocol, name: &'static str, dimensions: usize, max_tokens: usize) -> KnownRemote {
    KnownRemote {
        protocol,
        name,
        dimensions,
        max_tokens,
    }
}

/// Longest text of models that are not known, in tokens: what every service takes.
pub(super) const LEAST_MAX_TOKENS: usize = 512;

const TABLE: &[KnownRemote] = &[
    row(Protocol::OpenAi, "text-embedding-3-small", 1536, 8191),
    row(Protocol::OpenAi, "text-embedding-3-large", 3072, 8191),
    row(Protocol::OpenAi, "text-embedding-ada-002", 1536, 8191),
    row(Protocol::Cohere, "embed-english-v3.0", 1024, 512),
    row(Protocol::Cohere, "embed-english-light-v3.0", 384, 512),
    row(Protocol::Cohere, "embed-multilingual-v3.0", 1024, 512),
    row(Protocol::Cohere, "embed-multilingual-light-v3.0", 384, 512),
    row(Protocol::Cohere, "embed-v4.0", 1536, 128_000),
    row(Protocol::Voyage, "voyage-2", 1024, 4_000),
    row(Protocol::Voyage, "voyage-large-2", 1536, 16_000),
    row(Protocol::Voyage, "voyage-3", 1024, 32_000),
    row(Protocol::Voyage, "voyage-3-lite", 512, 32_000),
    row(Protocol::Voyage, "voyage-3-large", 1024, 32_000),
    row(Protocol::Voyage, "voyage-3.5", 1024, 32_000),
    row(Protocol::Voyage, "voyage-3.5-lite", 1024, 32_000),
    row(Protocol::Voyage, "voyage-code-3", 1024, 32_000),
    row(Protocol::Jina, "jina-embeddings-v2-base-en", 768, 8192),
    row(Protocol::Jina, "jina-embeddings-v3", 1024, 8192),
];

/// The model of that name at a service of that protocol.
pub(super) fn known(protocol: Protocol, name: &str) -> Option<&'static KnownRemote> {
    TABLE
        .iter()
        .find(|known| known.protocol == protocol && known.name.eq_ignore_ascii_case(name))
}
