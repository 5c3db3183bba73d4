//! Late interaction (ColBERT, Khattab and Zaharia 2020, arXiv:2004.12832): a vector for each token, and the similarity of two texts is
//! the sum of the best match of every token of the query (MaxSim).

use std::{collections::HashSet, sync::Arc};

use candle_core::{Result, Tensor};
use twofold_types::{Distance, Embedding, EmbeddingKind, EmbeddingSpace, EncoderParams, ModelId, Role};

use crate::{
    Checkpoint, EncodeError, Encoder, Identity, ModelFiles, TokenBudget, Tokenizer, Tokens,
    files::LateInteraction,
    pooling::{Stage, normalise},
    settings::refuse,
    tokenizer::Pieces,
};

/// An encoder whose embeddings are a vector of unit length for each token. One set of weights serves both roles.
pub struct ColbertEncoder {
    params: EncoderParams,
    tokenizer: Tokenizer,
    checkpoint: Arc<Checkpoint>,
    stages: Vec<Stage>,
    space: EmbeddingSpace,
    /// Tokens of documents that get no vector.
    skipped: HashSet<u32>,
}

/// What embeddings of such a model are.
pub(crate) fn late_space(files: &ModelFiles) -> EmbeddingSpace {
    EmbeddingSpace::Multi {
        dimensions: files.dimensions(),
        distance: Distance::Cosine,
    }
}

impl ColbertEncoder {
    /// # Errors
    /// [`EncodeError::Inapplicable`] for what only other kinds have, [`EncodeError::Parameter`]; [`EncodeError::Unsupported`] for
    /// a marker that is not in the vocabulary.
    pub(crate) fn new(
        checkpoint: Arc<Checkpoint>,
        late: &LateInteraction,
        params: &EncoderParams,
    ) -> std::result::Result<Self, EncodeError> {
        let given = [
            ("pooling", params.pooling.is_some()),
            ("normalize", params.normalize.is_some()),
            ("dimensions", params.dimensions.is_some()),
            ("options", params.options.is_some()),
        ];
        refuse(params, EmbeddingKind::Multi, &given)?;
        let words = late.skipped.iter();
        Ok(Self {
            params: params.clone(),
            skipped: words
                .filter_map(|word| checkpoint.tokenizer.token_to_id(word))
                .collect(),
            tokenizer: Tokenizer::Pieces(Pieces::new(checkpoint.tokenizer.clone(), &checkpoint.files, params)?),
            stages: checkpoint.stages(checkpoint.files.stages()),
            space: late_space(&checkpoint.files),
            checkpoint,
        })
    }

    /// One forward pass over `texts`: the vectors of all of their tokens.
    fn forward(&self, texts: &[&Tokens]) -> Result<Tensor> {
        let ids: Vec<&[u32]> = texts.iter().map(|text| text.ids()).collect();
        let seen: Vec<usize> = texts.iter().map(|text| text.seen()).collect();
        let mut tokens = self.checkpoint.network.forward_seeing(&ids, &seen)?;
        for stage in &self.stages {
            tokens = stage.apply(&tokens)?;
        }
        normalise(&tokens)
    }

    /// The vectors of each of the texts.
    fn embeddings(&self, texts: &[&Tokens], role: Role, vectors: &Tensor) -> Result<Vec<Embedding>> {
        let mut vectors = vectors.to_vec2::<f32>()?.into_iter();
        let kept = |id: u32| role == Role::Query || !self.skipped.contains(&id);
        let of_text = |text: &&Tokens| {
            let of_text = text.ids().iter().zip(vectors.by_ref());
            Embedding::Multi(of_text.filter(|(id, _)| kept(**id)).map(|(_, vector)| vector).collect())
        };
        Ok(texts.iter().map(of_text).collect())
    }
}

impl Encoder for ColbertEncoder {
    fn model(&self) -> &ModelId {
        &self.params.model
    }

    fn space(&self) -> EmbeddingSpace {
        self.space
    }

    fn tokenizer(&self, _role: Role) -> &Tokenizer {
        &self.tokenizer
    }

    fn budget(&self) -> TokenBudget {
        self.checkpoint.budget()
    }

    fn identity(&self) -> Option<Identity> {
        self.checkpoint.identity(&self.params)
    }

    fn encode(&self, batch: &[Tokens], role: Role) -> std::result::Result<Vec<Embedding>, EncodeError> {
        let begin = |texts: &[&Tokens]| self.forward(texts);
        let finish = |texts: &[&Tokens], vectors: Tensor| self.embeddings(texts, role, &vectors);
        self.checkpoint
            .in_parts(&self.params.model, batch, Tokens::len, begin, finish)
    }
}
