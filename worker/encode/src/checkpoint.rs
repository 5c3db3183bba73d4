//! A model's weights on a device. Encoders that want different things of one model (dimensions, prompts, pooling) share
//! them, and its tokenizer.

use std::sync::Arc;

use twofold_types::{EncoderParams, ModelId, Precision};

use crate::{
    CrossEncoder, DenseEncoder, Device, EncodeError, EncodeOptions, Encoder, ModelFiles, Tokens, batch,
    files::{Classifier, StageModule},
    network::{Head, Linear, Network},
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
    /// The dense modules behind the pooling, in their order.
    dense: Vec<Stage>,
    /// What makes scores of pairs, in a cross-encoder.
    head: Option<Arc<Head>>,
}

impl Checkpoint {
    /// Loads weights and tokenizer, to compute in [`EncodeOptions::precision`].
    ///
    /// # Errors
    /// [`EncodeError::ReadFile`], [`EncodeError::Tokenizer`] and [`EncodeError::Weights`], naming the file, and
    /// [`EncodeError::Precision`].
    pub fn load(files: &ModelFiles, device: &Device, options: EncodeOptions) -> Result<Arc<Self>, EncodeError> {
        let tokenizer = tokenizer::load(files)?;
        let mut network = Network::open(files, device)?;
        if options.precision == Precision::Int8 {
            network = precision::quantised(network, files, &tokenizer, device)?;
        }
        let dense = files.stages().iter().filter_map(|stage| load_dense(stage, device));
        Ok(Arc::new(Self {
            options,
            tokenizer: Arc::new(tokenizer),
            network,
            head: files
                .classifier()
                .map(|classifier| load_head(files, classifier, device))
                .transpose()?,
            dense: dense.collect::<Result<_, _>>()?,
            files: files.clone(),
        }))
    }

    /// An encoder with what `params` ask for; it costs nothing beside these weights.
    ///
    /// # Errors
    /// [`EncodeError::Parameter`] where the model cannot do what is asked for, [`EncodeError::CrossEncoder`] where it makes no
    /// embeddings.
    pub fn encoder(self: &Arc<Self>, params: &EncoderParams) -> Result<Arc<dyn Encoder>, EncodeError> {
        self.files.check_encoder()?;
        Ok(Arc::new(DenseEncoder::new(self.clone(), params)?))
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
        let (Some(head), Some(classifier)) = (&self.head, self.files.classifier()) else {
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

fn load_head(files: &ModelFiles, classifier: &Classifier, device: &Device) -> Result<Arc<Head>, EncodeError> {
    let weights = Weights::open(files.weights(), device)?;
    let head = Head::load(&weights, &classifier.head, files.description().hidden);
    head.map(Arc::new).map_err(|source| files.weights().at_fault(source))
}
