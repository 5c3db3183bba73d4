//! Two towers: a model for queries and another for documents, trained together (DPR, Karpukhin et al. 2020,
//! arXiv:2004.04906).

use std::sync::Arc;

use twofold_types::{Embedding, EmbeddingSpace, ModelId, Role};

use crate::{EncodeError, Encoder, Identity, TokenBudget, Tokenizer, Tokens};

/// An encoder made of two, each for one role. Their tokenizers may differ; their vectors have one kind and one length.
pub struct TwoTowers {
    query: Arc<dyn Encoder>,
    document: Arc<dyn Encoder>,
}

impl TwoTowers {
    /// # Errors
    /// [`EncodeError::Towers`] if their kinds or dimensions differ.
    pub fn new(query: Arc<dyn Encoder>, document: Arc<dyn Encoder>) -> Result<Self, EncodeError> {
        let (of_queries, of_documents) = (query.space(), document.space());
        if (of_queries.kind(), of_queries.dimensions()) != (of_documents.kind(), of_documents.dimensions()) {
            return Err(EncodeError::Towers {
                query: query.model().clone(),
                query_space: of_queries,
                document: document.model().clone(),
                document_space: of_documents,
            });
        }
        Ok(Self { query, document })
    }

    fn tower(&self, role: Role) -> &dyn Encoder {
        match role {
            Role::Query => self.query.as_ref(),
            Role::Document => self.document.as_ref(),
        }
    }
}

impl Encoder for TwoTowers {
    /// The tower of documents: what is stored is its.
    fn model(&self) -> &ModelId {
        self.document.model()
    }

    fn space(&self) -> EmbeddingSpace {
        self.document.space()
    }

    fn tokenizer(&self, role: Role) -> &Tokenizer {
        self.tower(role).tokenizer(role)
    }

    fn is_remote(&self, role: Role) -> bool {
        self.tower(role).is_remote(role)
    }

    fn budget(&self) -> TokenBudget {
        self.document.budget()
    }

    fn identity(&self) -> Option<Identity> {
        self.document.identity()
    }

    fn encode(&self, batch: &[Tokens], role: Role) -> Result<Vec<Embedding>, EncodeError> {
        self.tower(role).encode(batch, role)
    }
}
