//! A network with pooling behind the [`Encoder`] seam: one vector per text.

use candle_core::{Result, Tensor};
use twofold_types::{ModelId, Role};

use crate::{
    Device, Embedding, EncodeError, EncodeOptions, Encoder, ModelFiles, Pooling, Tokenizer, Tokens, batch,
    network::{Network, ranges},
    pooling::normalise,
    weights::Weights,
};

/// A sentence encoder of any family, in f32, with the pooling and normalisation of its files. One set of weights serves
/// both roles.
pub struct DenseEncoder {
    model: ModelId,
    tokenizer: Tokenizer,
    network: Network,
    dimensions: usize,
    pooling: Pooling,
    normalises: bool,
    options: EncodeOptions,
}

impl DenseEncoder {
    pub(crate) fn open(
        files: &ModelFiles,
        model: ModelId,
        device: &Device,
        options: EncodeOptions,
    ) -> std::result::Result<Self, EncodeError> {
        let weights = Weights::open(files.weights(), device)?;
        let network =
            Network::load(&weights, files.description(), device.candle()).map_err(|source| EncodeError::Weights {
                path: files.weights().first().clone(),
                source: source.into(),
            })?;
        Ok(Self {
            model,
            tokenizer: Tokenizer::open(files)?,
            network,
            dimensions: files.dimensions(),
            pooling: files.pooling(),
            normalises: files.normalises(),
            options,
        })
    }

    /// One forward pass over `texts`.
    fn forward(&self, texts: &[&[u32]]) -> Result<Vec<Embedding>> {
        let hidden = self.network.forward(texts)?;
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let pooled: Vec<Tensor> = ranges(&lengths)
            .map(|(start, len)| self.pooling.pool(&hidden.narrow(0, start, len)?))
            .collect::<Result<_>>()?;
        let mut embeddings = Tensor::stack(&pooled, 0)?.to_vec2::<f32>()?;
        if self.normalises {
            embeddings.iter_mut().for_each(|embedding| normalise(embedding));
        }
        Ok(embeddings)
    }
}

impl Encoder for DenseEncoder {
    fn model(&self) -> &ModelId {
        &self.model
    }

    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn max_tokens(&self) -> usize {
        self.tokenizer.max_tokens()
    }

    fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    fn encode(&self, batch: &[Tokens], _role: Role) -> std::result::Result<Vec<Embedding>, EncodeError> {
        let lengths: Vec<usize> = batch.iter().map(Tokens::len).collect();
        let mut embeddings = vec![Embedding::new(); batch.len()];
        for part in batch::plan(&lengths, self.options.budget) {
            let texts: Vec<&[u32]> = part.iter().map(|&i| batch[i].ids()).collect();
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
