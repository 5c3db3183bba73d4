//! Points of documents: their vectors are pooled from those of the document's chunks by the very write that changes these.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use twofold_types::{ChunkPooling, CollectionConfig, Embedding, Payload, PooledVectorParams};

use crate::embedding::checked;
use crate::error::{InvalidInput, Result};
use crate::key::PointOffset;
use crate::operation::{DOCUMENT_ID, METADATA, NewPoint, chunk_id, document_point_id};
use crate::pooling::pool;
use crate::state::Slot;
use crate::write::Write;

/// Where a document's point says how many chunks the document was cut into. Points of chunks have no such key.
const CHUNKS: &str = "chunks";

/// A pooled vector that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPooling {
    /// It is pooled from a vector that no encoder fills.
    #[error("it is pooled `of` a vector that an encoder fills; `{of}` is none of {encoded:?}")]
    NotEncoded {
        /// The vector that it is to be pooled from.
        of: String,
        /// Those that encoders fill.
        encoded: Vec<String>,
    },
    /// It, or what it is pooled from, is not dense.
    #[error("only dense vectors are pooled; `{vector}` is none of {dense:?}")]
    NotDense {
        /// Which one.
        vector: String,
        /// Those that are.
        dense: Vec<String>,
    },
    /// An encoder fills it.
    #[error("it is pooled, so no encoder can fill it: take it out of `encoders`")]
    Encoded,
    /// It has another size than what it is pooled from.
    #[error("its size is {received}, and that of `{of}`, which it is pooled from, is {expected}")]
    Size {
        /// What it is pooled from.
        of: String,
        /// The size of that.
        expected: usize,
        /// The size that was configured.
        received: usize,
    },
    /// Settings of `attention` for another method.
    #[error("`scoring_vector` and `scale` are settings of the method `attention`")]
    NotAttention,
    /// A scoring vector that no cosine can be taken with.
    #[error("its `scoring_vector` has {received} components; {expected} finite ones that are not all 0 are needed")]
    ScoringVector {
        /// The size of what it is pooled from.
        expected: usize,
        /// The components there are.
        received: usize,
    },
    /// A scale below 0, or not finite.
    #[error("its `scale` is {0}; a number from 0 on is needed")]
    Scale(f32),
}

/// Refuses pooled vectors that cannot be.
pub(crate) fn check(config: &CollectionConfig) -> Result<(), InvalidInput> {
    for (name, params) in &config.pooled_vectors {
        check_one(config, name, params).map_err(|reason| InvalidInput::Pooling {
            vector: name.clone(),
            reason,
        })?;
    }
    Ok(())
}

fn check_one(config: &CollectionConfig, name: &str, params: &PooledVectorParams) -> Result<(), InvalidPooling> {
    let of = &params.of;
    if config.encoders.contains_key(name) {
        return Err(InvalidPooling::Encoded);
    }
    if !config.encoders.contains_key(of) {
        return Err(InvalidPooling::NotEncoded {
            of: of.clone(),
            encoded: config.encoders.keys().cloned().collect(),
        });
    }
    let size = |vector: &str| match config.vectors.get(vector) {
        Some(params) => Ok(params.size),
        None => Err(InvalidPooling::NotDense {
            vector: vector.to_owned(),
            dense: config.vectors.keys().cloned().collect(),
        }),
    };
    let (expected, received) = (size(of)?, size(name)?);
    if received != expected {
        return Err(InvalidPooling::Size {
            of: of.clone(),
            expected,
            received,
        });
    }
    if params.method != ChunkPooling::Attention && (params.scoring_vector.is_some() || params.scale.is_some()) {
        return Err(InvalidPooling::NotAttention);
    }
    if let Some(scoring) = &params.scoring_vector {
        let usable = scoring.iter().all(|component| component.is_finite()) && scoring.iter().any(|&x| x != 0.0);
        if scoring.len() != expected || !usable {
            return Err(InvalidPooling::ScoringVector {
                expected,
                received: scoring.len(),
            });
        }
    }
    match params.scale {
        Some(scale) if !scale.is_finite() || scale < 0.0 => Err(InvalidPooling::Scale(scale)),
        _ => Ok(()),
    }
}

impl Write<'_> {
    /// Whether documents have points of their own.
    pub(crate) fn pools(&self) -> bool {
        !self.view.state.schema.config.pooled_vectors.is_empty()
    }

    /// Puts the point of a document in, if documents have one. Its vectors are those of [`pool_documents`](Self::pool_documents).
    pub(crate) fn put_document_point(&mut self, document: &str, chunks: u32, metadata: Option<&Value>) -> Result<()> {
        if !self.pools() {
            return Ok(());
        }
        let mut payload = Payload::new();
        payload.insert(DOCUMENT_ID.to_owned(), json!(document));
        payload.insert(CHUNKS.to_owned(), json!(chunks));
        payload.extend(metadata.map(|metadata| (METADATA.to_owned(), metadata.clone())));
        self.upsert(NewPoint {
            id: document_point_id(document),
            vectors: BTreeMap::new(),
            payload,
        })
    }

    /// Notes the document that a point belongs to, before or after it is changed.
    pub(crate) fn note_document(&mut self, payload: &Payload) {
        if let Some(Value::String(document)) = payload.get(DOCUMENT_ID)
            && self.pools()
        {
            self.documents.changed.insert(document.clone());
        }
    }

    /// Pools the vectors of the documents of which the operation has changed a point.
    pub(crate) fn pool_documents(&mut self) -> Result<()> {
        let schema = self.view.state.schema.clone();
        for document in std::mem::take(&mut self.documents.changed) {
            let point = self.offset(document_point_id(&document))?;
            let (Some(point), Some(record)) = (point, self.stored(&document)?) else {
                continue;
            };
            let chunks = match self.names(point, &document)? {
                true => self.chunks(&document, record.chunks)?,
                false => Vec::new(),
            };
            for (name, params) in &schema.config.pooled_vectors {
                let of = schema.slot(&params.of)?;
                let vectors = chunks.iter().map(|&chunk| self.dense_vector(of, chunk));
                let vectors: Vec<_> = vectors.filter_map(Result::transpose).collect::<Result<_>>()?;
                let pooled = pool(params, &vectors).map(|vector| checked(&schema, name, Embedding::Dense(vector)));
                let pooled = pooled.transpose()?.and_then(|pooled| pooled.into_dense().ok());
                let slot = schema.slot(name)?;
                if pooled != self.dense_vector(slot, point)? {
                    self.touch(point)?;
                    self.put_vector(slot, point, pooled.map(Embedding::Dense));
                }
            }
        }
        Ok(())
    }

    /// The chunks of a document in order: those that there are, and whose payload names it.
    fn chunks(&self, document: &str, count: u32) -> Result<Vec<PointOffset>> {
        let mut chunks = Vec::new();
        for ordinal in 0..count {
            if let Some(offset) = self.offset(chunk_id(document, ordinal))?
                && self.names(offset, document)?
            {
                chunks.push(offset);
            }
        }
        Ok(chunks)
    }

    /// Whether a point's payload names a document.
    fn names(&self, offset: PointOffset, document: &str) -> Result<bool> {
        let payload = self.record(offset)?.map(|record| record.payload()).transpose()?;
        let named = payload.as_ref().and_then(|payload| payload.get(DOCUMENT_ID)?.as_str());
        Ok(named == Some(document))
    }

    /// A dense vector of a point, as this operation has left it so far.
    fn dense_vector(&self, slot: Slot, offset: PointOffset) -> Result<Option<Vec<f32>>> {
        let vector = match self.vectors.get(&(slot, offset)) {
            Some(pending) => pending.clone(),
            None => self.view.vector(slot, offset)?,
        };
        Ok(vector.and_then(|vector| vector.into_dense().ok()))
    }
}

#[cfg(test)]
mod tests {
    use twofold_types::{Distance, EncoderParams, ModelId, SparseVectorParams, VectorParams};

    use super::*;

    fn refusal(change: impl FnOnce(&mut CollectionConfig, &mut PooledVectorParams)) -> Option<String> {
        let mut config = CollectionConfig {
            vectors: ["", "document"]
                .map(|name| (name.to_owned(), VectorParams::new(2, Distance::Cosine)))
                .into(),
            encoders: [(String::new(), EncoderParams::new(ModelId::new("m")))].into(),
            ..CollectionConfig::default()
        };
        let mut params = PooledVectorParams {
            of: String::new(),
            method: ChunkPooling::Attention,
            scoring_vector: Some(vec![1.0, 0.0]),
            scale: Some(1.0),
        };
        change(&mut config, &mut params);
        config.pooled_vectors = BTreeMap::from([("document".to_owned(), params)]);
        check(&config).err().map(|error| error.to_string())
    }

    #[test]
    fn what_cannot_be_pooled_is_refused_with_a_reason() {
        assert_eq!(refusal(|_, _| {}), None);
        let refused = |words: &str, change: fn(&mut CollectionConfig, &mut PooledVectorParams)| {
            let error = refusal(change).unwrap_or_default();
            assert!(
                error.contains("`document`") && error.contains(words),
                "{error:?} has no {words:?}"
            );
        };
        refused("`chapter` is none of [\"\"]", |_, params| {
            params.of = "chapter".to_owned()
        });
        refused("`document` is none of", |_, params| params.of = "document".to_owned());
        refused("take it out of `encoders`", |config, _| {
            config
                .encoders
                .insert("document".to_owned(), EncoderParams::new(ModelId::new("m")));
        });
        refused("`words` is none of", |config, params| {
            config
                .encoders
                .insert("words".to_owned(), EncoderParams::new(ModelId::new("m")));
            config
                .sparse_vectors
                .insert("words".to_owned(), SparseVectorParams::default());
            params.of = "words".to_owned();
        });
        refused("`document` is none of [\"\"]", |config, _| {
            let params = config.vectors.remove("document").unwrap();
            config.multivectors.insert("document".to_owned(), params);
        });
        refused("its size is 3", |config, _| {
            config.vectors.get_mut("document").unwrap().size = 3
        });
        refused("the method `attention`", |_, params| params.method = ChunkPooling::Max);
        refused("has 3 components", |_, params| {
            params.scoring_vector = Some(vec![1.0; 3])
        });
        refused("not all 0", |_, params| params.scoring_vector = Some(vec![0.0; 2]));
        refused("finite", |_, params| params.scoring_vector = Some(vec![f32::NAN; 2]));
        refused("its `scale` is -1", |_, params| params.scale = Some(-1.0));
    }
}
