//! A model in one call each: open, embed.

use std::{path::Path, sync::Arc};

use twofold_types::{Embedding, EncoderParams, ModelId, Role};

use crate::{DeviceSpec, EncodeError, EncodeOptions, Encoder, ModelFiles, TokenBudget, open_encoder};

/// A loaded model that takes plain texts: tokeniser and encoder together.
#[derive(Clone)]
pub struct Model {
    encoder: Arc<dyn Encoder>,
}

impl Model {
    /// Loads the model in directory `dir` onto a device, with default options. Its id is the directory's name with its
    /// parent's, `publisher/model` in the hub's layout.
    ///
    /// # Errors
    /// Whatever [`ModelFiles::open`], [`DeviceSpec::open`] and [`open_encoder`] report.
    pub fn open(dir: impl AsRef<Path>, device: DeviceSpec) -> Result<Self, EncodeError> {
        let files = ModelFiles::open(dir)?;
        let id = id_of(files.dir());
        let device = device.open()?;
        let options = EncodeOptions {
            budget: TokenBudget::of(&device),
            ..EncodeOptions::default()
        };
        open_encoder(&files, &EncoderParams::new(id), &device, options).map(Self::from)
    }

    /// One vector per text, in the order of the texts, of a dense model. A text longer than the model's maximum is cut.
    ///
    /// # Errors
    /// [`EncodeError::OtherKind`] where the model is not dense, and those of [`encode`](Self::encode).
    pub fn embed(&self, texts: &[impl AsRef<str>], role: Role) -> Result<Vec<Vec<f32>>, EncodeError> {
        let dense = |embedding: Embedding| {
            embedding.into_dense().map_err(|source| EncodeError::OtherKind {
                model: self.encoder.model().clone(),
                source,
            })
        };
        self.encode(texts, role)?.into_iter().map(dense).collect()
    }

    /// One embedding per text, of whatever kind the model makes.
    ///
    /// # Errors
    /// [`EncodeError::Tokenize`] and [`EncodeError::Forward`]; then none of the texts has a result.
    pub fn encode(&self, texts: &[impl AsRef<str>], role: Role) -> Result<Vec<Embedding>, EncodeError> {
        let tokens = self.encoder.tokenizer(role).tokenize(texts, role)?;
        self.encoder.encode(&tokens, role)
    }

    /// The encoder underneath, to share or to take the steps apart.
    pub fn encoder(&self) -> &Arc<dyn Encoder> {
        &self.encoder
    }
}

impl From<Arc<dyn Encoder>> for Model {
    fn from(encoder: Arc<dyn Encoder>) -> Self {
        Self { encoder }
    }
}

fn id_of(dir: &Path) -> ModelId {
    let names: Vec<_> = dir.iter().map(|name| name.to_string_lossy()).collect();
    ModelId::new(names[names.len().saturating_sub(2)..].join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_the_hubs_layout_gives_the_hubs_name() {
        assert_eq!(
            id_of(Path::new("/models/intfloat/e5-large-v2/")).as_str(),
            "intfloat/e5-large-v2"
        );
        assert_eq!(id_of(Path::new("minilm")).as_str(), "minilm");
    }
}
