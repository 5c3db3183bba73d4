//! A model's weights on a device. Encoders that want different things of one model (dimensions, prompts, pooling) share
//! them, and its tokenizer.

use std::sync::Arc;

use twofold_types::{EncoderParams, Precision};

use crate::{
    DenseEncoder, Device, EncodeError, EncodeOptions, Encoder, ModelFiles,
    files::StageModule,
    network::{Linear, Network},
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
            dense: dense.collect::<Result<_, _>>()?,
            files: files.clone(),
        }))
    }

    /// An encoder with what `params` ask for; it costs nothing beside these weights.
    ///
    /// # Errors
    /// [`EncodeError::Parameter`] where the model cannot do what is asked for.
    pub fn encoder(self: &Arc<Self>, params: &EncoderParams) -> Result<Arc<dyn Encoder>, EncodeError> {
        Ok(Arc::new(DenseEncoder::new(self.clone(), params)?))
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
