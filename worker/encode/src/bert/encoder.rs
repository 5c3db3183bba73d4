//! BERT behind the [`Encoder`] seam.

use candle_core::{Result, Tensor};
use twofold_types::{ModelId, Role};

use super::{
    BertConfig,
    network::{Network, Packed},
};
use crate::{
    Device, Embedding, EncodeError, EncodeOptions, Encoder, ModelFiles, Pooling, Tokenizer, Tokens, batch,
    pooling::normalise, weights,
};

/// A sentence encoder of the BERT family, in f32, with the pooling and normalisation of its files. One set of weights
/// serves both roles.
pub struct BertEncoder {
    model: ModelId,
    tokenizer: Tokenizer,
    network: Network,
    device: Device,
    dimensions: usize,
    pooling: Pooling,
    normalises: bool,
    options: EncodeOptions,
}

impl BertEncoder {
    pub(crate) fn open(
        files: &ModelFiles,
        config: &BertConfig,
        model: ModelId,
        device: &Device,
        options: EncodeOptions,
    ) -> std::result::Result<Self, EncodeError> {
        let path = files.weights_path();
        let network = Network::load(weights::open(&path, device)?, config).map_err(|source| EncodeError::Weights {
            path,
            source: source.into(),
        })?;
        Ok(Self {
            model,
            tokenizer: Tokenizer::open(files)?,
            network,
            device: device.clone(),
            dimensions: files.dimensions(),
            pooling: files.pooling(),
            normalises: files.normalises(),
            options,
        })
    }

    /// One forward pass over `texts`.
    fn forward(&self, texts: &[&[u32]]) -> Result<Vec<Embedding>> {
        let packed = Packed::new(texts, self.device.candle())?;
        let hidden = self.network.forward(&packed)?;
        let pooled: Vec<Tensor> = packed
            .ranges()
            .map(|(start, len)| self.pooling.pool(&hidden.narrow(0, start, len)?))
            .collect::<Result<_>>()?;
        let mut embeddings = Tensor::stack(&pooled, 0)?.to_vec2::<f32>()?;
        if self.normalises {
            embeddings.iter_mut().for_each(|embedding| normalise(embedding));
        }
        Ok(embeddings)
    }
}

impl Encoder for BertEncoder {
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
