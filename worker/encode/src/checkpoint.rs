//! A model's weights on a device. Encoders that want different things of one model (dimensions, prompts, pooling) share
//! them, and its tokenizer.

use std::sync::{Arc, OnceLock};

use twofold_types::{EncoderParams, ModelId, Precision};

use crate::{
    ColbertEncoder, CrossEncoder, DenseEncoder, Device, EncodeError, EncodeOptions, Encoder, Identity, ModelFiles,
    SpladeEncoder, Tokens, batch,
    files::{Head, StageModule},
    network::{self, Linear, Network, VocabularyHead},
    pooling::Stage,
    precision, tokenizer,
    weights::Weights,
};

/// A loaded model. Its memory is given back when the last encoder made of it is gone.
pub struct Checkpoint {
    pub(crate) files: ModelFiles,
    pub(crate) options: EncodeOptions,
    pub(crate) tokenizer: Arc<tokenizers::Tokenizer>,
    pub(crate) network: Network,
    head: LoadedHead,
    /// The dense modules behind the pooling or the network, in their order.
    dense: Vec<Stage>,
    /// Of its files, once it was asked for and where they can be read.
    fingerprint: OnceLock<Option<[u8; 32]>>,
}

/// What has weights of its own behind the network, beside the dense modules.
enum LoadedHead {
    None,
    /// A sparse model's.
    Vocabulary(Arc<VocabularyHead>),
    /// A cross-encoder's.
    Pairs(Arc<network::Head>),
}

impl Checkpoint {
    /// Loads weights and tokenizer, to compute in [`EncodeOptions::precision`].
    ///
    /// # Errors
    /// [`EncodeError::ReadFile`], [`EncodeError::Tokenizer`] and [`EncodeError::Weights`], naming the file, and
    /// [`EncodeError::Precision`].
    pub fn load(files: &ModelFiles, device: &Device, options: EncodeOptions) -> Result<Arc<Self>, EncodeError> {
        let tokenizer = tokenizer::load(files)?;
        let network = Network::open(files, device)?;
        let network = match options.precision {
            Precision::F32 | Precision::Auto => network,
            Precision::Bf16 => network.in_bf16().map_err(|source| files.weights().at_fault(source))?,
            Precision::Int8 => precision::quantised(network, files, &tokenizer, device)?,
        };
        let dense = files.stages().iter().filter_map(|stage| load_dense(stage, device));
        Ok(Arc::new(Self {
            options,
            tokenizer: Arc::new(tokenizer),
            network,
            head: LoadedHead::load(files, device)?,
            dense: dense.collect::<Result<_, _>>()?,
            files: files.clone(),
            fingerprint: OnceLock::new(),
        }))
    }

    /// An encoder with what `params` ask for; it costs nothing beside these weights.
    ///
    /// # Errors
    /// [`EncodeError::Parameter`] where the model cannot do what is asked for, [`EncodeError::CrossEncoder`] where it makes no
    /// embeddings.
    pub fn encoder(self: &Arc<Self>, params: &EncoderParams) -> Result<Arc<dyn Encoder>, EncodeError> {
        let encoder: Arc<dyn Encoder> = match (self.files.head(), &self.head) {
            (_, LoadedHead::Pairs(_)) => return Err(EncodeError::CrossEncoder),
            (_, LoadedHead::Vocabulary(head)) => Arc::new(SpladeEncoder::new(self.clone(), head.clone(), params)?),
            (Head::Tokens(late), LoadedHead::None) => Arc::new(ColbertEncoder::new(self.clone(), late, params)?),
            (_, LoadedHead::None) => Arc::new(DenseEncoder::new(self.clone(), params)?),
        };
        Ok(encoder)
    }

    /// See [`Encoder::identity`].
    pub(crate) fn identity(&self, params: &EncoderParams) -> Option<Identity> {
        let fingerprint = self.fingerprint.get_or_init(|| {
            let fingerprint = self.files.fingerprint();
            fingerprint
                .inspect_err(|error| tracing::warn!(%error, "embeddings are not kept"))
                .ok()
        });
        let params = EncoderParams {
            precision: self.options.precision,
            ..params.clone()
        };
        Some(Identity::new(&(*fingerprint)?, &params))
    }

    /// Calls `forward` with parts of `batch` that keep to the budget; what it makes of each text comes back in the order of
    /// `batch`.
    ///
    /// # Errors
    /// [`EncodeError::Forward`], in the name of `model`.
    pub(crate) fn in_parts<T>(
        &self,
        model: &ModelId,
        batch: &[Tokens],
        forward: impl Fn(&[&Tokens]) -> candle_core::Result<Vec<T>>,
    ) -> Result<Vec<T>, EncodeError> {
        let lengths: Vec<usize> = batch.iter().map(Tokens::len).collect();
        let mut made = Vec::with_capacity(batch.len());
        for part in batch::plan(&lengths, self.options.budget) {
            let texts: Vec<&Tokens> = part.iter().map(|&i| &batch[i]).collect();
            let of_part = forward(&texts).map_err(|source| EncodeError::Forward {
                model: model.clone(),
                texts: part.len(),
                longest: lengths[part[0]],
                source: source.into(),
            })?;
            made.extend(part.into_iter().zip(of_part));
        }
        Ok(batch::in_order(made))
    }

    /// The cross-encoder that this is.
    ///
    /// # Errors
    /// [`EncodeError::NoCrossEncoder`] where it is none.
    pub fn cross_encoder(self: &Arc<Self>, model: &ModelId) -> Result<Arc<CrossEncoder>, EncodeError> {
        let (LoadedHead::Pairs(head), Some(classifier)) = (&self.head, self.files.classifier()) else {
            return Err(EncodeError::NoCrossEncoder);
        };
        let cross_encoder = CrossEncoder::new(model.clone(), self.clone(), head.clone(), classifier.activation);
        Ok(Arc::new(cross_encoder))
    }

    /// The steps behind the pooling. What is asked of an encoder adds and removes normalisations only, so the dense modules
    /// among `stages` are those of the files.
    pub(crate) fn stages(&self, stages: &[StageModule]) -> Vec<Stage> {
        let mut dense = self.dense.iter();
        let loaded = stages.iter().filter_map(|stage| match stage {
            StageModule::Normalize => Some(Stage::Normalize),
            StageModule::Dense(_) => dense.next().cloned(),
        });
        loaded.collect()
    }
}

impl LoadedHead {
    fn load(files: &ModelFiles, device: &Device) -> Result<Self, EncodeError> {
        let weights = || Weights::open(files.weights(), device);
        let head = match files.head() {
            Head::Pooled | Head::Tokens(_) => return Ok(Self::None),
            Head::Vocabulary(names) => {
                let head = VocabularyHead::load(&weights()?, files.description(), *names);
                head.map(|head| Self::Vocabulary(Arc::new(head)))
            }
            Head::Pairs(classifier) => {
                let head = network::Head::load(&weights()?, &classifier.head, files.description().hidden);
                head.map(|head| Self::Pairs(Arc::new(head)))
            }
        };
        head.map_err(|source| files.weights().at_fault(source))
    }
}

/// Loads a stage that has weights.
fn load_dense(stage: &StageModule, device: &Device) -> Option<Result<Stage, EncodeError>> {
    let StageModule::Dense(dense) = stage else { return None };
    let load = || {
        let weights = Weights::open(&dense.weights, device)?;
        let linear = Linear::load(&weights, "linear", dense.shape, dense.bias);
        let linear = linear.map_err(|source| dense.weights.at_fault(source))?;
        Ok(Stage::Dense(Arc::new(linear), dense.activation))
    };
    Some(load())
}
