//! SPLADE (Formal et al. 2021, arXiv:2109.10086): a network's scores for every word of its vocabulary as a sparse vector, so that
//! a text is also found by words that it might have had.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use twofold_types::{Embedding, EmbeddingKind, EmbeddingSpace, EncoderParams, ModelId, Role, SparseVector};

use crate::{
    Checkpoint, EncodeError, Encoder, Identity, TokenBudget, Tokenizer, Tokens, network::VocabularyHead,
    settings::refuse, tokenizer::Pieces,
};

/// What embeddings of such a model are.
pub(crate) const SPACE: EmbeddingSpace = EmbeddingSpace::Sparse { idf: false };

/// An encoder whose terms are those of its model's vocabulary. One set of weights serves both roles.
pub struct SpladeEncoder {
    params: EncoderParams,
    tokenizer: Tokenizer,
    checkpoint: Arc<Checkpoint>,
    head: Arc<VocabularyHead>,
}

impl SpladeEncoder {
    /// # Errors
    /// [`EncodeError::Inapplicable`] for what only dense models have, [`EncodeError::Parameter`].
    pub(crate) fn new(
        checkpoint: Arc<Checkpoint>,
        head: Arc<VocabularyHead>,
        params: &EncoderParams,
    ) -> std::result::Result<Self, EncodeError> {
        let given = [
            ("pooling", params.pooling.is_some()),
            ("normalize", params.normalize.is_some()),
            ("dimensions", params.dimensions.is_some()),
            ("options", params.options.is_some()),
        ];
        refuse(params, EmbeddingKind::Sparse, &given)?;
        Ok(Self {
            params: params.clone(),
            tokenizer: Tokenizer::Pieces(Pieces::new(checkpoint.tokenizer.clone(), &checkpoint.files, params)?),
            checkpoint,
            head,
        })
    }

    /// The vectors of all tokens of `texts`.
    fn forward(&self, texts: &[&Tokens]) -> Result<Tensor> {
        let ids: Vec<&[u32]> = texts.iter().map(|text| text.ids()).collect();
        self.checkpoint.network.forward(&ids)
    }

    /// The terms of each of the texts.
    fn embeddings(&self, texts: &[&Tokens], hidden: &Tensor) -> Result<Vec<Embedding>> {
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let best = self.head.best(hidden, &lengths)?;
        Ok(best.iter().map(|best| weighted(best)).collect())
    }
}

/// ln(1 + score) of every word whose score is above 0.
fn weighted(best: &[f32]) -> Embedding {
    let terms = (0u32..).zip(best).filter(|(_, score)| **score > 0.0);
    let (indices, values) = terms.map(|(term, score)| (term, score.ln_1p())).unzip();
    Embedding::Sparse(SparseVector::new(indices, values).expect("words are counted in their order"))
}

impl Encoder for SpladeEncoder {
    fn model(&self) -> &ModelId {
        &self.params.model
    }

    fn space(&self) -> EmbeddingSpace {
        SPACE
    }

    fn tokenizer(&self, _role: Role) -> &Tokenizer {
        &self.tokenizer
    }

    fn budget(&self) -> TokenBudget {
        self.checkpoint.budget()
    }

    fn identity(&self) -> Option<Identity> {
        self.checkpoint.identity(&self.params)
    }

    fn encode(&self, batch: &[Tokens], _role: Role) -> std::result::Result<Vec<Embedding>, EncodeError> {
        let begin = |texts: &[&Tokens]| self.forward(texts);
        let finish = |texts: &[&Tokens], hidden: Tensor| self.embeddings(texts, &hidden);
        self.checkpoint
            .in_parts(&self.params.model, batch, Tokens::len, begin, finish)
    }
}
