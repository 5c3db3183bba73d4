//! What is known of a model without loading it: for lists, and for budgets of memory.

use twofold_types::{
    CrossEncoderDetails, CrossEncoderKind, Details, EmbeddingSpace, EncoderParams, ModelDetails, ModelId, Precision,
    PromptParams, Role,
};

use crate::{
    Device, DeviceSpec, EncodeError, ModelFiles,
    colbert::late_space,
    cpu::Instructions,
    files::{Head, StageModule},
    known_cross_encoder, known_model,
    network::Description,
    settings::Settings,
    splade,
    weights::{WeightFiles, Weights},
};

impl ModelFiles {
    /// What a model of that name does by itself. Reads small files, and of the weights what they hold.
    ///
    /// # Errors
    /// [`EncodeError::ReadFile`] and [`EncodeError::Weights`], naming the file.
    pub fn details(&self, model: &ModelId) -> Result<Details, EncodeError> {
        if let Some(classifier) = self.classifier() {
            let known = known_cross_encoder(model.as_str());
            return Ok(Details::CrossEncoder(CrossEncoderDetails {
                kind: CrossEncoderKind::CrossEncoder,
                family: self.family().to_owned(),
                max_tokens: self.max_tokens(),
                activation: classifier.activation,
                licence: known.map(|known| known.licence.to_owned()),
                weight_bytes: self.weight_bytes(Precision::F32, &DeviceSpec::Cpu.open()?)?,
            }));
        }
        let settings = Settings::resolve(self, &EncoderParams::new(model.clone()))?;
        let known = known_model(model.as_str());
        let prompt = |role| Some(settings.prompts.of(role).to_owned()).filter(|prompt| !prompt.is_empty());
        let (space, normalize) = match self.head() {
            Head::Pooled | Head::Pairs(_) => (
                EmbeddingSpace::Dense {
                    dimensions: settings.dimensions,
                    distance: settings.distance,
                },
                settings.stages.last() == Some(&StageModule::Normalize),
            ),
            Head::Vocabulary(_) => (splade::SPACE, false),
            Head::Tokens(_) => (late_space(self), true),
        };
        Ok(Details::Encoder(ModelDetails {
            family: self.family().to_owned(),
            space,
            max_tokens: Some(settings.max_tokens),
            pooling: matches!(self.head(), Head::Pooled).then_some(settings.pooling),
            normalize,
            prompts: PromptParams {
                query: prompt(Role::Query),
                document: prompt(Role::Document),
            },
            query_model: known.and_then(|known| known.query_model.map(ModelId::new)),
            licence: known.and_then(|known| known.licence.map(str::to_owned)),
            weight_bytes: self.weight_bytes(Precision::F32, &DeviceSpec::Cpu.open()?)?,
        }))
    }

    /// Bytes that the weights take once they are loaded to compute in that precision on such a device, whatever precision the files
    /// have.
    ///
    /// # Errors
    /// [`EncodeError::ReadFile`] and [`EncodeError::Weights`], naming the file.
    pub fn weight_bytes(&self, precision: Precision, device: &Device) -> Result<u64, EncodeError> {
        let bytes = |weights: &WeightFiles| Ok(Weights::open(weights, device)?.bytes());
        let dense = self.stages().iter().filter_map(|stage| match stage {
            // ColBERT's linear layer lies beside the network.
            StageModule::Dense(dense) if dense.weights != *self.weights() => Some(&dense.weights),
            StageModule::Dense(_) | StageModule::Normalize => None,
        });
        let files: u64 = std::iter::once(self.weights())
            .chain(dense)
            .map(bytes)
            .sum::<Result<u64, EncodeError>>()?;
        // Whole numbers take a quarter, and the scales of rows and columns next to nothing; bf16 takes half.
        let saved = match precision {
            Precision::Int8 => 3 * self.description().product_weights(),
            Precision::Bf16 | Precision::F16 if !device.is_cpu() => bytes(self.weights())? / 2,
            Precision::Bf16 if Instructions::chosen().has_bf16() => 2 * self.description().product_weights(),
            Precision::Gguf => Weights::open(self.weights(), device)?.bytes_saved_by_blocks(),
            Precision::F32 | Precision::F16 | Precision::Bf16 | Precision::Auto => 0,
        };
        Ok((files + self.tied_bytes()?).saturating_sub(saved))
    }

    /// Bytes of a decoder that is the table of words: it is packed for products beside the table.
    fn tied_bytes(&self) -> Result<u64, EncodeError> {
        let Head::Vocabulary(names) = self.head() else {
            return Ok(0);
        };
        let weights = Weights::open(self.weights(), &DeviceSpec::Cpu.open()?)?;
        let Description { vocabulary, hidden, .. } = self.description();
        let tied = !weights.contains(&format!("{}.weight", names.decoder));
        Ok(if tied {
            (vocabulary * hidden * size_of::<f32>()) as u64
        } else {
            0
        })
    }
}
