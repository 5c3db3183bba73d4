//! What a document and the text of a chunk are known again by, so that what was encoded already is not encoded again.

use sha2::{Digest, Sha256};
use twofold_encode::Identity;
use twofold_storage::{EmbeddingKey, Fingerprint};
use twofold_types::{CollectionConfig, Document, Payload};

use crate::chunk::prefix;

/// Makes the fingerprints of a collection's documents.
pub(crate) struct Fingerprints {
    /// Has seen everything that decides about chunks and vectors besides the document.
    settings: Sha256,
    template: Option<String>,
}

impl Fingerprints {
    pub(crate) fn new(config: &CollectionConfig) -> Self {
        let mut settings = Sha256::new();
        for setting in [
            serde_json::to_vec(&config.encoders),
            serde_json::to_vec(&config.chunking),
        ] {
            absorb(&mut settings, &setting.expect("settings have string keys"));
        }
        let template = config.chunking.as_ref().and_then(|chunking| chunking.template.clone());
        Self { settings, template }
    }

    pub(crate) fn of(&self, document: &Document) -> Fingerprint {
        let mut text = self.settings.clone();
        absorb(&mut text, prefix::render(self.template.as_deref(), document).as_bytes());
        absorb(&mut text, document.text.as_bytes());
        let mut metadata = Sha256::new();
        absorb(&mut metadata, &json(document.metadata.as_ref()));
        Fingerprint {
            text: half(text),
            metadata: half(metadata),
        }
    }
}

/// What the embedding of a document's text is kept under.
pub(crate) fn embedding_key(identity: &Identity, text: &str) -> EmbeddingKey {
    let mut hash = Sha256::new();
    absorb(&mut hash, identity.as_bytes());
    absorb(&mut hash, text.as_bytes());
    EmbeddingKey(half(hash))
}

fn json(metadata: Option<&Payload>) -> Vec<u8> {
    serde_json::to_vec(&metadata).expect("JSON values have string keys")
}

/// With its length, so that no two sequences of parts are the same bytes.
fn absorb(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_le_bytes());
    hash.update(part);
}

/// 128 bits are enough: nobody gains from two documents of his that are taken for one.
fn half(hash: Sha256) -> [u8; 16] {
    let whole = hash.finalize();
    *whole.first_chunk().expect("a SHA-256 has 32 bytes")
}
