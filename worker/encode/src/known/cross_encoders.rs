//! The table of known cross-encoders.

use super::KnownCrossEncoder;

/// One of sentence-transformers' publisher.
const MS_MARCO: KnownCrossEncoder = KnownCrossEncoder {
    id: "",
    max_tokens: 512,
    licence: "Apache-2.0",
    languages: "en",
};

pub(super) const CROSS_ENCODERS: &[KnownCrossEncoder] = &[
    KnownCrossEncoder {
        id: "cross-encoder/ms-marco-TinyBERT-L2-v2",
        ..MS_MARCO
    },
    KnownCrossEncoder {
        id: "cross-encoder/ms-marco-MiniLM-L2-v2",
        ..MS_MARCO
    },
    KnownCrossEncoder {
        id: "cross-encoder/ms-marco-MiniLM-L4-v2",
        ..MS_MARCO
    },
    KnownCrossEncoder {
        id: "cross-encoder/ms-marco-MiniLM-L6-v2",
        ..MS_MARCO
    },
    KnownCrossEncoder {
        id: "cross-encoder/ms-marco-MiniLM-L12-v2",
        ..MS_MARCO
    },
    KnownCrossEncoder {
        id: "cross-encoder/mmarco-mMiniLMv2-L12-H384-v1",
        languages: "14",
        ..MS_MARCO
    },
    KnownCrossEncoder {
        id: "BAAI/bge-reranker-base",
        licence: "MIT",
        languages: "en, zh",
        ..MS_MARCO
    },
    KnownCrossEncoder {
        id: "BAAI/bge-reranker-large",
        licence: "MIT",
        languages: "en, zh",
        ..MS_MARCO
    },
    KnownCrossEncoder {
        id: "BAAI/bge-reranker-v2-m3",
        max_tokens: 8192,
        languages: "100+",
        ..MS_MARCO
    },
    KnownCrossEncoder {
        id: "Alibaba-NLP/gte-reranker-modernbert-base",
        max_tokens: 8192,
        ..MS_MARCO
    },
];
