//! A reranker that runs elsewhere.

use std::sync::Arc;
use std::time::Instant;

use twofold_types::{ModelId, Role};

use super::{agent::Patience, encoder::in_order, endpoint::Endpoint, tokens};
use crate::EncodeError;

/// A cross-encoder of an [`Endpoint`].
pub struct RemoteReranker {
    model: ModelId,
    /// What it is called there.
    name: String,
    endpoint: Arc<Endpoint>,
    tokenizer: Arc<tokenizers::Tokenizer>,
}

/// Scores of texts, and what they cost.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteScores {
    /// One per text, in the order of the texts.
    pub scores: Vec<f32>,
    /// Estimated tokens of the query with each text.
    pub tokens: usize,
}

impl RemoteReranker {
    /// The model that is called `name` at `endpoint`. Nothing is asked yet.
    pub fn new(endpoint: Arc<Endpoint>, name: &str, model: ModelId) -> Self {
        Self {
            model,
            name: name.to_owned(),
            endpoint,
            tokenizer: tokens::estimate(),
        }
    }

    /// How relevant each text is to the query, as the service says; `raw` asks for scores without an activation. Texts that are too
    /// long are cut by the service. After `deadline` nobody waits for it.
    ///
    /// # Errors
    /// [`EncodeError::RemoteParameter`] where the service has no raw scores, [`EncodeError::Tokenize`], [`EncodeError::Remote`].
    pub fn score(
        &self,
        query: &str,
        texts: &[String],
        raw: bool,
        deadline: Option<Instant>,
    ) -> Result<RemoteScores, EncodeError> {
        let protocol = self.endpoint.protocol;
        if raw && !protocol.has_raw_scores() {
            return Err(EncodeError::RemoteParameter("raw_scores"));
        }
        let (mut scores, mut all_tokens) = (Vec::with_capacity(texts.len()), 0);
        for part in texts.chunks(protocol.max_ranked()) {
            let tokens = self.tokens(query)? * part.len()
                + part.iter().map(|text| self.tokens(text)).sum::<Result<usize, _>>()?;
            let body = protocol.rerank_body(&self.name, query, part, raw);
            let read = |answer: &[u8]| in_order(protocol.read_scores(answer)?, part.len());
            let patience = Patience::of(Role::Query).until(deadline);
            let made = self
                .endpoint
                .call(protocol.rerank_path(), &body, tokens, patience, read);
            scores.extend(made.map_err(|source| EncodeError::Remote {
                model: self.model.clone(),
                source,
            })?);
            all_tokens += tokens;
        }
        Ok(RemoteScores {
            scores,
            tokens: all_tokens,
        })
    }

    fn tokens(&self, text: &str) -> Result<usize, EncodeError> {
        let encoding = self.tokenizer.encode_fast(text, false);
        let encoding = encoding.map_err(|source| EncodeError::Tokenize { index: 0, source })?;
        Ok(encoding.len())
    }
}
