//! A network with pooling behind the [`Encoder`] seam: one vector per text.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use twofold_types::{Embedding, EmbeddingKind, EmbeddingSpace, EncoderParams, ModelId, Role};

use crate::{
    Checkpoint, EncodeError, Encoder, Identity, TokenBudget, Tokenizer, Tokens,
    network::ranges,
    pooling::{Stage, normalise, pool},
    settings::{Settings, refuse},
    tokenizer::Pieces,
};

/// A sentence encoder of any family. One set of weights serves both roles.
pub struct DenseEncoder {
    params: EncoderParams,
    tokenizer: Tokenizer,
    checkpoint: Arc<Checkpoint>,
    stages: Vec<Stage>,
    settings: Settings,
}

impl DenseEncoder {
    pub(crate) fn new(checkpoint: Arc<Checkpoint>, params: &EncoderParams) -> std::result::Result<Self, EncodeError> {
        refuse(params, EmbeddingKind::Dense, &[("options", params.options.is_some())])?;
        let settings = Settings::resolve(&checkpoint.files, params)?;
        Ok(Self {
            params: params.clone(),
            tokenizer: Tokenizer::Pieces(Pieces::new(checkpoint.tokenizer.clone(), &checkpoint.files, params)?),
            stages: checkpoint.stages(&settings.stages),
            settings,
            checkpoint,
        })
    }

    /// One forward pass over `texts`: `[texts, dimensions]`.
    fn forward(&self, texts: &[&Tokens]) -> Result<Tensor> {
        let ids: Vec<&[u32]> = texts.iter().map(|text| text.ids()).collect();
        let hidden = self.checkpoint.network.forward(&ids)?;
        let lengths: Vec<usize> = ids.iter().map(|ids| ids.len()).collect();
        let pooled: Vec<Tensor> = ranges(&lengths)
            .zip(texts)
            .map(|((start, len), text)| {
                let skipped = if self.settings.include_prompt { 0 } else { text.prompt() };
                pool(self.settings.pooling, &hidden.narrow(0, start, len)?, skipped)
            })
            .collect::<Result<_>>()?;
        let mut vectors = Tensor::stack(&pooled, 0)?;
        for stage in &self.stages {
            vectors = stage.apply(&vectors)?;
        }
        if self.settings.truncates {
            vectors = normalise(&vectors.narrow(1, 0, self.settings.dimensions)?.contiguous()?)?;
        }
        Ok(vectors)
    }
}

impl Encoder for DenseEncoder {
    fn model(&self) -> &ModelId {
        &self.params.model
    }

    fn space(&self) -> EmbeddingSpace {
        EmbeddingSpace::Dense {
            dimensions: self.settings.dimensions,
            distance: self.settings.distance,
        }
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
        let finish = |_: &[&Tokens], vectors: Tensor| vectors.to_vec2();
        let vectors = self
            .checkpoint
            .in_parts(&self.params.model, batch, Tokens::len, begin, finish)?;
        Ok(vectors.into_iter().map(Embedding::Dense).collect())
    }
}
