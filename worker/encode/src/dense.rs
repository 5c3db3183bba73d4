//! A network with pooling behind the [`Encoder`] seam: one vector per text.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use twofold_types::{Distance, EncoderParams, ModelId, Role};

use crate::{
    Checkpoint, Embedding, EncodeError, Encoder, Tokenizer, Tokens, batch,
    network::ranges,
    pooling::{Stage, normalise, pool},
    settings::Settings,
};

/// A sentence encoder of any family, in f32. One set of weights serves both roles.
pub struct DenseEncoder {
    model: ModelId,
    tokenizer: Tokenizer,
    checkpoint: Arc<Checkpoint>,
    stages: Vec<Stage>,
    settings: Settings,
}

impl DenseEncoder {
    pub(crate) fn new(checkpoint: Arc<Checkpoint>, params: &EncoderParams) -> std::result::Result<Self, EncodeError> {
        let settings = Settings::resolve(&checkpoint.files, params)?;
        Ok(Self {
            model: params.model.clone(),
            tokenizer: Tokenizer::new(checkpoint.tokenizer.clone(), &checkpoint.files, params)?,
            stages: checkpoint.stages(&settings.stages),
            settings,
            checkpoint,
        })
    }

    /// One forward pass over `texts`.
    fn forward(&self, texts: &[&Tokens]) -> Result<Vec<Embedding>> {
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
        vectors.to_vec2()
    }
}

impl Encoder for DenseEncoder {
    fn model(&self) -> &ModelId {
        &self.model
    }

    fn dimensions(&self) -> usize {
        self.settings.dimensions
    }

    fn distance(&self) -> Distance {
        self.settings.distance
    }

    fn tokenizer(&self, _role: Role) -> &Tokenizer {
        &self.tokenizer
    }

    fn encode(&self, batch: &[Tokens], _role: Role) -> std::result::Result<Vec<Embedding>, EncodeError> {
        let lengths: Vec<usize> = batch.iter().map(Tokens::len).collect();
        let mut embeddings = vec![Embedding::new(); batch.len()];
        for part in batch::plan(&lengths, self.checkpoint.options.budget) {
            let texts: Vec<&Tokens> = part.iter().map(|&i| &batch[i]).collect();
            let made = self.forward(&texts).map_err(|source| EncodeError::Forward {
                model: self.model.clone(),
                texts: part.len(),
                longest: lengths[part[0]],
                source: source.into(),
            })?;
            for (i, embedding) in part.into_iter().zip(made) {
                embeddings[i] = embedding;
            }
        }
        Ok(embeddings)
    }
}
