//! What an encoder does around its network: what the collection asks for, else what the model's files say, else what is
//! known of a model of that name, else what sentence-transformers would do.

use twofold_types::{Distance, EmbeddingKind, EncoderParams, Pooling};

use crate::{EncodeError, ModelFiles, Prompts, files::StageModule, known::known_model};

/// The answers to every question that the network leaves open.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    pub prompts: Prompts,
    pub pooling: Pooling,
    /// Whether the tokens of the prompt are pooled with the others.
    pub include_prompt: bool,
    pub stages: Vec<StageModule>,
    /// Length of an embedding.
    pub dimensions: usize,
    /// Whether these are the first of more, to be scaled to unit length again.
    pub truncates: bool,
    pub max_tokens: usize,
    pub distance: Distance,
}

impl Settings {
    /// # Errors
    /// [`EncodeError::Parameter`] where the model cannot do what is asked for.
    pub fn resolve(files: &ModelFiles, params: &EncoderParams) -> Result<Self, EncodeError> {
        let known = known_model(params.model.as_str());
        let mut stages = files.stages().to_vec();
        let ends_normalised = stages.last() == Some(&StageModule::Normalize);
        // A model whose files stop at the network is completed by what is known of it.
        let by_files = files.pooling().map(|_| ends_normalised);
        let normalises = params
            .normalize
            .or(by_files)
            .or(known.map(|known| known.normalizes))
            .unwrap_or(false);
        match (normalises, ends_normalised) {
            (true, false) => stages.push(StageModule::Normalize),
            (false, true) => {
                stages.pop();
            }
            _ => {}
        }
        let full = files.dimensions();
        let dimensions = within("dimensions", params.dimensions, full)?.unwrap_or(full);
        Ok(Self {
            prompts: prompts(files, params),
            pooling: params
                .pooling
                .or(files.pooling())
                .or(known.map(|known| known.pooling))
                .unwrap_or(files.description().pooling),
            include_prompt: files.include_prompt(),
            stages,
            dimensions,
            truncates: dimensions < full,
            max_tokens: within("max_tokens", params.max_tokens, files.description().max_tokens)?
                .unwrap_or(files.max_tokens()),
            distance: files
                .distance()
                .or(known.map(|known| known.distance))
                .unwrap_or(Distance::Cosine),
        })
    }
}

/// Refuses what is given among the parameters by name although embeddings of this kind have no use for it.
///
/// # Errors
/// [`EncodeError::Inapplicable`] with the first of them.
pub(crate) fn refuse(
    params: &EncoderParams,
    kind: EmbeddingKind,
    given: &[(&'static str, bool)],
) -> Result<(), EncodeError> {
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some(&(name, _)) => Err(EncodeError::Inapplicable {
            model: params.model.clone(),
            name,
            kind,
        }),
    }
}

fn prompts(files: &ModelFiles, params: &EncoderParams) -> Prompts {
    let mut prompts = files.prompts().clone();
    if let Some(known) = known_model(params.model.as_str()).filter(|_| prompts.is_empty()) {
        prompts = Prompts {
            query: known.query_prompt.to_owned(),
            document: known.document_prompt.to_owned(),
        };
    }
    let asked = params.prompts.clone().unwrap_or_default();
    Prompts {
        query: asked.query.unwrap_or(prompts.query),
        document: asked.document.unwrap_or(prompts.document),
    }
}

fn within(
    name: &'static str,
    asked: Option<std::num::NonZeroUsize>,
    most: usize,
) -> Result<Option<usize>, EncodeError> {
    match asked.map(usize::from) {
        Some(received) if received > most => Err(EncodeError::Parameter { name, received, most }),
        asked => Ok(asked),
    }
}
