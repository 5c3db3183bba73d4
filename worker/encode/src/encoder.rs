//! The seam between those who need vectors and the networks that make them.

use std::sync::Arc;

use twofold_types::{Embedding, EmbeddingKind, EmbeddingSpace, EncoderParams, ModelId, Precision, Role};

use crate::{Checkpoint, Device, EncodeError, Identity, ModelFiles, TokenBudget, Tokenizer, Tokens, settled};

/// Turns tokenised texts into embeddings: one per model and device, shared between threads.
///
/// Blocking and CPU-bound: never called on an async runtime's thread. On the CPU it uses the rayon pool that the calling
/// thread belongs to, so a lane of its own is a thread that calls it inside a one-thread pool
/// ([`rayon::ThreadPool::install`]); several such lanes may share one encoder.
pub trait Encoder: Send + Sync {
    /// Which model this is; vectors of different models are not comparable.
    fn model(&self) -> &ModelId;

    /// What embeddings it makes. Everything that only some kinds have, such as a number of dimensions, is told there.
    fn space(&self) -> EmbeddingSpace;

    /// The kind of all of its embeddings.
    fn kind(&self) -> EmbeddingKind {
        self.space().kind()
    }

    /// The tokenizer whose tokens this encoder takes for a role.
    fn tokenizer(&self, role: Role) -> &Tokenizer;

    /// Whether encoding waits for another machine instead of working on this one: threads that are as many as there are cores
    /// are not for it.
    fn is_remote(&self, _role: Role) -> bool {
        false
    }

    /// How many tokens a forward pass over documents has at most; larger batches are split.
    fn budget(&self) -> TokenBudget {
        TokenBudget::default()
    }

    /// What its embeddings of documents depend on beside the text, where they are worth keeping. None where encoding takes no longer
    /// than reading, and where a model's files cannot be read any more. The first call reads the weights.
    fn identity(&self) -> Option<Identity> {
        None
    }

    /// One embedding per text, of this encoder's [kind](Self::kind), in the order of `batch`. A text's embedding does not depend on the
    /// texts beside it. `role` selects the tower where the two differ; prompts were applied by the tokenizer.
    ///
    /// A batch of any size and mix of lengths is welcome: it is split under [`EncodeOptions::budget`], and every part is
    /// one forward pass.
    ///
    /// # Errors
    /// [`EncodeError::Forward`]; then no text of the batch has a result.
    fn encode(&self, batch: &[Tokens], role: Role) -> Result<Vec<Embedding>, EncodeError>;
}

/// How an encoder works, where the model's files leave a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EncodeOptions {
    /// Size of one forward pass; see [`TokenBudget`].
    pub budget: TokenBudget,
    /// What the network computes in, [settled](crate::settled): it is part of what vectors are, so
    /// [`EncoderParams::precision`] has to be the same.
    pub precision: Precision,
}

/// Loads a model onto a device, as the family that its files name and with what `params` ask for beside them. Of two
/// towers this opens one, `params.model`; [`TwoTowers`](crate::TwoTowers) joins them.
///
/// # Errors
/// [`EncodeError::ReadFile`], [`EncodeError::Tokenizer`] and [`EncodeError::Weights`] name the file that is to blame,
/// [`EncodeError::Parameter`] the parameter.
pub fn open_encoder(
    files: &ModelFiles,
    params: &EncoderParams,
    device: &Device,
    options: EncodeOptions,
) -> Result<Arc<dyn Encoder>, EncodeError> {
    let precision = settled(params, device);
    Checkpoint::load(files, device, EncodeOptions { precision, ..options })?.encoder(params)
}
