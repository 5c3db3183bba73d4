//! The table of known models.

use twofold_types::{Distance, EmbeddingKind, Pooling};

use super::{KnownModel, Pinned};

/// A model with the mean of its tokens at unit length, without prompts; the rows vary it.
const MEAN: KnownModel = KnownModel {
    id: "",
    kind: EmbeddingKind::Dense,
    dimensions: 0,
    max_tokens: 512,
    pooling: Pooling::Mean,
    normalizes: true,
    query_prompt: "",
    document_prompt: "",
    distance: Distance::Cosine,
    query_model: None,
    licence: Some("Apache-2.0"),
    languages: "en",
    pinned: None,
};

/// The same with the first token's vector.
const CLS: KnownModel = KnownModel {
    pooling: Pooling::Cls,
    ..MEAN
};

/// One that was trained for dot products, with vectors of any length.
const DOT: KnownModel = KnownModel {
    normalizes: false,
    distance: Distance::Dot,
    ..CLS
};

const E5: KnownModel = KnownModel {
    query_prompt: "query: ",
    document_prompt: "passage: ",
    licence: Some("MIT"),
    ..MEAN
};

const BGE: KnownModel = KnownModel {
    query_prompt: SEARCHING,
    licence: Some("MIT"),
    ..CLS
};

const SEARCHING: &str = "Represent this sentence for searching relevant passages: ";

const ARCTIC: KnownModel = KnownModel {
    query_prompt: SEARCHING,
    ..CLS
};

const GTE: KnownModel = KnownModel {
    licence: Some("MIT"),
    ..MEAN
};

const NOMIC: KnownModel = KnownModel {
    dimensions: 768,
    max_tokens: 8192,
    query_prompt: "search_query: ",
    document_prompt: "search_document: ",
    ..MEAN
};

const JINA: KnownModel = KnownModel {
    max_tokens: 8192,
    normalizes: false,
    ..MEAN
};

const DPR: KnownModel = KnownModel {
    dimensions: 768,
    licence: Some("CC-BY-NC-4.0"),
    ..DOT
};

/// A learned sparse one, over the vocabulary of BERT.
const SPLADE: KnownModel = KnownModel {
    kind: EmbeddingKind::Sparse,
    dimensions: 30522,
    normalizes: false,
    distance: Distance::Dot,
    ..MEAN
};

/// One of late interaction.
const COLBERT: KnownModel = KnownModel {
    kind: EmbeddingKind::Multi,
    dimensions: 128,
    ..MEAN
};

pub(super) const TABLE: &[KnownModel] = &[
    KnownModel {
        id: "sentence-transformers/all-MiniLM-L6-v2",
        dimensions: 384,
        max_tokens: 256,
        pinned: Some(MINILM_L6),
        ..MEAN
    },
    KnownModel {
        id: "sentence-transformers/all-MiniLM-L12-v2",
        dimensions: 384,
        max_tokens: 128,
        ..MEAN
    },
    KnownModel {
        id: "sentence-transformers/all-mpnet-base-v2",
        dimensions: 768,
        max_tokens: 384,
        ..MEAN
    },
    KnownModel {
        id: "sentence-transformers/all-distilroberta-v1",
        dimensions: 768,
        ..MEAN
    },
    KnownModel {
        id: "sentence-transformers/multi-qa-MiniLM-L6-cos-v1",
        dimensions: 384,
        licence: None,
        ..MEAN
    },
    KnownModel {
        id: "sentence-transformers/multi-qa-distilbert-cos-v1",
        dimensions: 768,
        licence: None,
        ..MEAN
    },
    KnownModel {
        id: "sentence-transformers/multi-qa-mpnet-base-cos-v1",
        dimensions: 768,
        licence: None,
        ..MEAN
    },
    KnownModel {
        id: "sentence-transformers/multi-qa-distilbert-dot-v1",
        dimensions: 768,
        licence: None,
        ..DOT
    },
    KnownModel {
        id: "sentence-transformers/multi-qa-mpnet-base-dot-v1",
        dimensions: 768,
        licence: None,
        ..DOT
    },
    KnownModel {
        id: "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        dimensions: 384,
        max_tokens: 128,
        normalizes: false,
        languages: "50+",
        ..MEAN
    },
    KnownModel {
        id: "sentence-transformers/paraphrase-multilingual-mpnet-base-v2",
        dimensions: 768,
        max_tokens: 128,
        normalizes: false,
        languages: "50+",
        ..MEAN
    },
    KnownModel {
        id: "intfloat/e5-small-v2",
        dimensions: 384,
        ..E5
    },
    KnownModel {
        id: "intfloat/e5-base-v2",
        dimensions: 768,
        ..E5
    },
    KnownModel {
        id: "intfloat/e5-large-v2",
        dimensions: 1024,
        ..E5
    },
    KnownModel {
        id: "intfloat/multilingual-e5-small",
        dimensions: 384,
        languages: "94",
        ..E5
    },
    KnownModel {
        id: "intfloat/multilingual-e5-base",
        dimensions: 768,
        languages: "94",
        ..E5
    },
    KnownModel {
        id: "intfloat/multilingual-e5-large",
        dimensions: 1024,
        languages: "94",
        ..E5
    },
    KnownModel {
        id: "BAAI/bge-small-en-v1.5",
        dimensions: 384,
        ..BGE
    },
    KnownModel {
        id: "BAAI/bge-base-en-v1.5",
        dimensions: 768,
        ..BGE
    },
    KnownModel {
        id: "BAAI/bge-large-en-v1.5",
        dimensions: 1024,
        ..BGE
    },
    KnownModel {
        id: "BAAI/bge-m3",
        dimensions: 1024,
        max_tokens: 8192,
        query_prompt: "",
        languages: "100+",
        ..BGE
    },
    KnownModel {
        id: "thenlper/gte-small",
        dimensions: 384,
        ..GTE
    },
    KnownModel {
        id: "thenlper/gte-base",
        dimensions: 768,
        ..GTE
    },
    KnownModel {
        id: "thenlper/gte-large",
        dimensions: 1024,
        ..GTE
    },
    KnownModel {
        id: "nomic-ai/nomic-embed-text-v1",
        ..NOMIC
    },
    KnownModel {
        id: "nomic-ai/nomic-embed-text-v1.5",
        ..NOMIC
    },
    KnownModel {
        id: "nomic-ai/modernbert-embed-base",
        ..NOMIC
    },
    KnownModel {
        id: "jinaai/jina-embeddings-v2-small-en",
        dimensions: 512,
        ..JINA
    },
    KnownModel {
        id: "jinaai/jina-embeddings-v2-base-en",
        dimensions: 768,
        ..JINA
    },
    KnownModel {
        id: "jinaai/jina-embeddings-v2-base-de",
        dimensions: 768,
        languages: "de, en",
        ..JINA
    },
    KnownModel {
        id: "jinaai/jina-embeddings-v2-base-es",
        dimensions: 768,
        languages: "es, en",
        ..JINA
    },
    KnownModel {
        id: "jinaai/jina-embeddings-v2-base-zh",
        dimensions: 768,
        languages: "zh, en",
        ..JINA
    },
    KnownModel {
        id: "Qwen/Qwen3-Embedding-0.6B",
        dimensions: 1024,
        max_tokens: 32768,
        pooling: Pooling::LastToken,
        query_prompt: "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
        languages: "100+",
        ..MEAN
    },
    KnownModel {
        id: "Snowflake/snowflake-arctic-embed-xs",
        dimensions: 384,
        ..ARCTIC
    },
    KnownModel {
        id: "Snowflake/snowflake-arctic-embed-s",
        dimensions: 384,
        ..ARCTIC
    },
    KnownModel {
        id: "Snowflake/snowflake-arctic-embed-m",
        dimensions: 768,
        ..ARCTIC
    },
    KnownModel {
        id: "Snowflake/snowflake-arctic-embed-m-v1.5",
        dimensions: 768,
        ..ARCTIC
    },
    KnownModel {
        id: "Snowflake/snowflake-arctic-embed-m-long",
        dimensions: 768,
        max_tokens: 2048,
        ..ARCTIC
    },
    KnownModel {
        id: "Snowflake/snowflake-arctic-embed-l",
        dimensions: 1024,
        ..ARCTIC
    },
    KnownModel {
        id: "Snowflake/snowflake-arctic-embed-l-v2.0",
        dimensions: 1024,
        max_tokens: 8192,
        query_prompt: "query: ",
        languages: "74",
        ..ARCTIC
    },
    KnownModel {
        id: "facebook/dpr-question_encoder-single-nq-base",
        ..DPR
    },
    KnownModel {
        id: "facebook/dpr-ctx_encoder-single-nq-base",
        query_model: Some("facebook/dpr-question_encoder-single-nq-base"),
        ..DPR
    },
    KnownModel {
        id: "facebook/dpr-question_encoder-multiset-base",
        ..DPR
    },
    KnownModel {
        id: "facebook/dpr-ctx_encoder-multiset-base",
        query_model: Some("facebook/dpr-question_encoder-multiset-base"),
        ..DPR
    },
    KnownModel {
        id: "prithivida/Splade_PP_en_v1",
        ..SPLADE
    },
    KnownModel {
        id: "naver/splade-cocondenser-ensembledistil",
        licence: Some("CC-BY-NC-SA-4.0"),
        ..SPLADE
    },
    KnownModel {
        id: "answerdotai/answerai-colbert-small-v1",
        dimensions: 96,
        ..COLBERT
    },
    KnownModel {
        id: "colbert-ir/colbertv2.0",
        licence: Some("MIT"),
        ..COLBERT
    },
];

const MINILM_L6: Pinned = Pinned {
    revision: "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
    files: &[
        (
            "1_Pooling/config.json",
            "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
        ),
        (
            "config.json",
            "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        ),
        (
            "config_sentence_transformers.json",
            "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
        ),
        (
            "model.safetensors",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        (
            "modules.json",
            "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
        ),
        (
            "sentence_bert_config.json",
            "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
        ),
        (
            "special_tokens_map.json",
            "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
        ),
        (
            "tokenizer.json",
            "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        ),
        (
            "tokenizer_config.json",
            "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        ),
    ],
};
