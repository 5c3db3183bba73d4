//! The seam between those who need vectors and the networks that make them.

use std::sync::Arc;

use twofold_types::{Distance, EncoderParams, ModelId, Role};

use crate::{Checkpoint, Device, EncodeError, ModelFiles, TokenBudget, Tokenizer, Tokens};

/// A dense embedding: [`Encoder::dimensions`] numbers, of unit length if the model normalises.
pub type Embedding = Vec<f32>;

/// Turns tokenised texts into embeddings: one per model and device, shared between threads.
///
/// Blocking and CPU-bound: never called on an async runtime's thread. On the CPU it uses the rayon pool that the calling
/// thread belongs to, so a lane of its own is a thread that calls it inside a one-thread pool
/// ([`rayon::ThreadPool::install`]); several such lanes may share one encoder.
pub trait Encoder: Send + Sync {
    /// Which model this is; vectors of different models are not comparable.
    fn model(&self) -> &ModelId;

    /// Length of every embedding.
    fn dimensions(&self) -> usize;

    /// The comparison that the model was trained for.
    fn distance(&self) -> Distance;

    /// The tokenizer whose tokens this encoder takes for a role.
    fn tokenizer(&self, role: Role) -> &Tokenizer;

    /// Whether encoding waits for another machine instead of working on this one: threads that are as many as there are cores
    /// are not for it.
    fn is_remote(&self, _role: Role) -> bool {
        false
    }

    /// One embedding per text, `[batch, dimensions]`, in the order of `batch`. A text's embedding does not depend on the
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
    Checkpoint::load(files, device, options)?.encoder(params)
}
