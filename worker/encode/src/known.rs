//! What is known of published models beside their own files: what a table of models shows before one is fetched, and
//! prompts and poolings that a publisher wrote on the model's page and nowhere else.

mod cross_encoders;
mod table;

use twofold_types::{Distance, EmbeddingKind, Pooling};

use self::cross_encoders::CROSS_ENCODERS;
use self::table::TABLE;

/// A published model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KnownModel {
    /// As its publisher writes it.
    pub id: &'static str,
    /// What its embeddings are.
    pub kind: EmbeddingKind,
    /// Length of its vectors; of sparse ones how many terms there are.
    pub dimensions: usize,
    /// Longest text in tokens.
    pub max_tokens: usize,
    /// How its token vectors become one, if it is dense.
    pub pooling: Pooling,
    /// Whether its embeddings have unit length.
    pub normalizes: bool,
    /// What it wants before queries.
    pub query_prompt: &'static str,
    /// What it wants before documents.
    pub document_prompt: &'static str,
    /// The comparison it was trained for.
    pub distance: Distance,
    /// The model that encodes queries where this one encodes documents only.
    pub query_model: Option<&'static str>,
    /// SPDX identifier; `None` where the publisher names no licence.
    pub licence: Option<&'static str>,
    /// The languages it was trained on, as their codes or as their number.
    pub languages: &'static str,
    /// The revision whose files are known by hash.
    pub pinned: Option<Pinned>,
}

/// A published cross-encoder. Its files say all that is needed to run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownCrossEncoder {
    /// As its publisher writes it.
    pub id: &'static str,
    /// Longest query and document in tokens together.
    pub max_tokens: usize,
    /// SPDX identifier.
    pub licence: &'static str,
    /// The languages it was trained on, as their codes or as their number.
    pub languages: &'static str,
}

/// A revision of a model whose files are known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pinned {
    /// The hub's commit that has these files.
    pub revision: &'static str,
    /// Names and SHA-256 in lower-case hexadecimal.
    pub files: &'static [(&'static str, &'static str)],
}

/// All known models, the small before the large within a family.
pub fn known_models() -> &'static [KnownModel] {
    TABLE
}

/// The known model of that name, whatever the case of its letters.
pub fn known_model(id: &str) -> Option<&'static KnownModel> {
    TABLE.iter().find(|known| known.id.eq_ignore_ascii_case(id))
}

/// All known cross-encoders, the small before the large within a family.
pub fn known_cross_encoders() -> &'static [KnownCrossEncoder] {
    CROSS_ENCODERS
}

/// The known cross-encoder of that name, whatever the case of its letters.
pub fn known_cross_encoder(id: &str) -> Option<&'static KnownCrossEncoder> {
    CROSS_ENCODERS.iter().find(|known| known.id.eq_ignore_ascii_case(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_stands_there_once_and_whole() {
        for (i, known) in TABLE.iter().enumerate() {
            assert!(known_model(known.id) == Some(known), "{} is there twice", known.id);
            assert!(
                known.id.split('/').count() == 2 && known.dimensions > 0 && known.max_tokens > 0,
                "{i}"
            );
            if let Some(queries) = known.query_model {
                assert_eq!(
                    known_model(queries).map(|queries| queries.dimensions),
                    Some(known.dimensions)
                );
            }
        }
    }

    #[test]
    fn every_cross_encoder_stands_there_once_and_is_no_encoder() {
        for known in CROSS_ENCODERS {
            assert_eq!(
                known_cross_encoder(known.id),
                Some(known),
                "{} is there twice",
                known.id
            );
            assert_eq!(known_model(known.id), None);
        }
    }

    #[test]
    fn kinds_are_told() {
        for (id, kind) in [
            ("naver/splade-cocondenser-ensembledistil", EmbeddingKind::Sparse),
            ("colbert-ir/colbertv2.0", EmbeddingKind::Multi),
            ("intfloat/e5-large-v2", EmbeddingKind::Dense),
        ] {
            assert_eq!(known_model(id).map(|known| known.kind), Some(kind), "{id}");
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(
            known_model("baai/BGE-small-EN-v1.5").unwrap().id,
            "BAAI/bge-small-en-v1.5"
        );
        assert_eq!(known_model("bge-small-en-v1.5"), None);
    }
}
