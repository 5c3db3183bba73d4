//! Requests for embeddings alone: texts in, vectors out, nothing stored.

use std::sync::Arc;

use twofold_encode::{Encoder, Tokens};
use twofold_storage::InvalidInput;
use twofold_types::{Embedding, EmbeddingKind, EncoderParams, ModelsList, OtherKind, Role};

use crate::batches;
use crate::engine::Engine;
use crate::error::{Result, WorkerError};
use crate::timings::TimedStep;

/// Texts of one request for embeddings or scores at most.
pub const MAX_TEXTS: usize = 2048;

/// Embeddings of texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// One per text, in the order of the texts, all of the kind that was asked for.
    pub embeddings: Vec<Embedding>,
    /// Tokens that were encoded or would have been, prompts and special tokens included.
    pub tokens: u64,
}

/// What becomes of texts that are longer than the model's maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooLong {
    /// They are cut at their end.
    Cut,
    /// They are refused.
    Refuse,
}

impl Engine {
    /// Encodes texts: queries in the lane of queries, those that were asked lately not at all; documents in turn with
    /// documents that are ingested, those that were encoded before not at all. A model that makes embeddings of another kind is refused.
    pub fn embed(
        &self,
        params: &EncoderParams,
        kind: EmbeddingKind,
        texts: &[String],
        role: Role,
        too_long: TooLong,
    ) -> Result<Embedded> {
        if texts.is_empty() {
            return Err(WorkerError::NoTexts);
        }
        if texts.len() > MAX_TEXTS {
            let received = texts.len();
            return Err(InvalidInput::Limit {
                what: "texts of one request",
                received,
                limit: MAX_TEXTS,
            }
            .into());
        }
        let params = &self.models.settled(params.clone());
        let encoder = self.models.get(params)?;
        require(encoder.as_ref(), kind)?;
        let tokens = tokenize(encoder.as_ref(), texts, role)?;
        if too_long == TooLong::Refuse
            && let Some(index) = tokens.iter().position(|tokens| tokens.cut() > 0)
        {
            return Err(WorkerError::TooLong {
                index,
                received: tokens[index].len() + tokens[index].cut(),
                most: tokens[index].len(),
            });
        }
        let count = tokens.iter().map(|tokens| tokens.len() as u64).sum();
        let embeddings = match role {
            Role::Query => self.embed_queries(params, &encoder, texts, tokens)?,
            Role::Document => self
                .lanes
                .encode_documents(&encoder, texts, |text| Ok(tokens[text].clone()))?,
        };
        Ok(Embedded {
            embeddings,
            tokens: count,
        })
    }

    /// The vector of a query, which may be known already.
    pub(crate) fn embed_query(
        &self,
        params: &EncoderParams,
        encoder: Arc<dyn Encoder>,
        text: String,
    ) -> Result<Embedding> {
        if let Some(vector) = self.queries.get(params, &text) {
            return Ok(vector);
        }
        let vector = self.encode_query(&encoder, &text)?;
        self.queries.insert(params, &text, &vector);
        Ok(vector)
    }

    /// Encodes a text that is asked. The cache is neither asked nor filled.
    pub(crate) fn encode_query(&self, encoder: &Arc<dyn Encoder>, text: &str) -> Result<Embedding> {
        let encode = || self.encoded_query(encoder, text);
        self.timings.during(TimedStep::EncodeQuery, encode)
    }

    fn encoded_query(&self, encoder: &Arc<dyn Encoder>, text: &str) -> Result<Embedding> {
        let tokens = tokenize(encoder.as_ref(), &[text], Role::Query)?;
        let mut vectors = self.lanes.encode_queries(encoder, tokens)?;
        vectors
            .pop()
            .ok_or_else(|| WorkerError::Encoding("no result".to_owned()))
    }

    /// Encodes texts of documents that the request waits for.
    pub(crate) fn embed_documents(&self, encoder: &Arc<dyn Encoder>, texts: &[String]) -> Result<Vec<Embedding>> {
        self.lanes
            .encode_documents(encoder, texts, |text| batches::tokenize(encoder.as_ref(), &texts[text]))
    }

    /// The models, and what is in memory of them.
    pub fn list_models(&self) -> ModelsList {
        ModelsList {
            models: self.models.list(),
            loaded_bytes: self.models.loaded_bytes(),
            budget_bytes: self.models.budget_bytes(),
            query_cache: self.queries.info(),
            embedding_cache: self
                .store
                .embedding_cache()
                .map(|cache| cache.info())
                .unwrap_or_default(),
        }
    }

    /// Looks every text up, and encodes those that are not found.
    fn embed_queries(
        &self,
        params: &EncoderParams,
        encoder: &Arc<dyn Encoder>,
        texts: &[String],
        tokens: Vec<Tokens>,
    ) -> Result<Vec<Embedding>> {
        let mut vectors: Vec<Option<Embedding>> = texts.iter().map(|text| self.queries.get(params, text)).collect();
        let missing: Vec<usize> = (0..texts.len()).filter(|&text| vectors[text].is_none()).collect();
        let tokens = missing.iter().map(|&text| tokens[text].clone()).collect();
        for (&text, vector) in missing.iter().zip(self.lanes.encode_queries(encoder, tokens)?) {
            self.queries.insert(params, &texts[text], &vector);
            vectors[text] = Some(vector);
        }
        Ok(vectors.into_iter().flatten().collect())
    }
}

/// Refuses an encoder of another kind.
pub(crate) fn require(encoder: &dyn Encoder, kind: EmbeddingKind) -> Result<()> {
    let (expected, received) = (kind, encoder.kind());
    if expected == received {
        return Ok(());
    }
    Err(WorkerError::OtherKind {
        model: encoder.model().clone(),
        source: OtherKind { expected, received },
    })
}

fn tokenize(encoder: &dyn Encoder, texts: &[impl AsRef<str>], role: Role) -> Result<Vec<Tokens>> {
    let tokens = encoder.tokenizer(role).tokenize(texts, role);
    tokens.map_err(|error| WorkerError::Encoding(error.to_string()))
}
