//! Requests that carry points: texts among their vectors are encoded, then storage is asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use twofold_encode::{Bm25Encoder, Encoder};
use twofold_storage::{Collection, InvalidInput, NewPoint, Operation, SeqNo};
use twofold_types::api::{PointVectors, UpdateMode, UpdateVectors};
use twofold_types::{
    Bm25Options, Embedding, EncoderParams, Filter, ModelId, PointStruct, Role, TextInput, VectorInput, VectorsInput,
};

use crate::collections::{check_space, kind_of};
use crate::engine::Engine;
use crate::error::{Result, WorkerError};

/// Texts to encode with the places of their points, by vector, model and the model's options.
type TextsByEncoder = HashMap<(String, Option<ModelId>, Option<Value>), Vec<(usize, String)>>;

impl Engine {
    /// Puts points in, encoding the texts among their vectors first.
    pub fn upsert(&self, collection: &Collection, points: Vec<PointStruct>) -> Result<SeqNo> {
        let points = self.encode_points(collection, points)?;
        self.apply(collection, Operation::Upsert(points))
    }

    /// The same, under conditions.
    pub fn upsert_if(
        &self,
        collection: &Collection,
        points: Vec<PointStruct>,
        filter: Option<Filter>,
        mode: UpdateMode,
    ) -> Result<SeqNo> {
        let points = self.encode_points(collection, points)?;
        self.apply(collection, Operation::UpsertIf { points, filter, mode })
    }

    /// Replaces vectors of points, encoding the texts among them first. Points that exist are written even where others do not,
    /// which is an error.
    pub fn update_vectors(&self, collection: &Collection, update: UpdateVectors) -> Result<SeqNo> {
        let ids: Vec<_> = update.points.iter().map(|point| point.id).collect();
        let missing = collection.missing(&ids)?;
        let (ids, vectors): (Vec<_>, Vec<_>) = update
            .points
            .into_iter()
            .map(|PointVectors { id, vector }| (id, vector))
            .unzip();
        let vectors = self.encode_vectors(collection, vectors)?;
        let operation = Operation::UpdateVectors {
            vectors: ids.into_iter().zip(vectors).collect(),
            filter: update.update_filter,
        };
        let seq = self.apply(collection, operation)?;
        match missing.first() {
            Some(missing) => Err(InvalidInput::PointNotFound(*missing).into()),
            None => Ok(seq),
        }
    }

    /// Applies an operation and lets the indexes follow.
    pub fn apply(&self, collection: &Collection, operation: Operation) -> Result<SeqNo> {
        let seq = collection.apply(operation)?;
        self.indexer.ring();
        Ok(seq)
    }

    fn encode_points(&self, collection: &Collection, points: Vec<PointStruct>) -> Result<Vec<NewPoint>> {
        let (points, vectors): (Vec<_>, Vec<_>) = points
            .into_iter()
            .map(|PointStruct { id, vector, payload }| ((id, payload.unwrap_or_default()), vector))
            .unzip();
        let vectors = self.encode_vectors(collection, vectors)?;
        let points = points.into_iter().zip(vectors);
        Ok(points
            .map(|((id, payload), vectors)| NewPoint { id, vectors, payload })
            .collect())
    }

    /// The vectors of points, with the texts among them encoded.
    fn encode_vectors(
        &self,
        collection: &Collection,
        points: Vec<VectorsInput>,
    ) -> Result<Vec<BTreeMap<String, Embedding>>> {
        let mut texts = TextsByEncoder::new();
        let mut ready = Vec::with_capacity(points.len());
        for (index, point) in points.into_iter().enumerate() {
            let mut vectors = BTreeMap::new();
            for (name, vector) in point.into_named() {
                let vector = match vector {
                    VectorInput::Dense(vector) => Embedding::Dense(vector),
                    VectorInput::Sparse(vector) => Embedding::Sparse(vector),
                    VectorInput::Multi(vectors) => Embedding::Multi(vectors),
                    VectorInput::Text(TextInput { text, model, options }) => {
                        texts.entry((name, model, options)).or_default().push((index, text));
                        continue;
                    }
                };
                vectors.insert(name, vector);
            }
            ready.push(vectors);
        }
        for ((vector, model, options), texts) in texts {
            let (_, encoder) =
                self.bound_encoder(collection, &vector, model.as_ref(), options.as_ref(), Role::Document)?;
            let (indexes, texts): (Vec<usize>, Vec<String>) = texts.into_iter().unzip();
            for (index, embedding) in indexes.into_iter().zip(self.embed_documents(&encoder, &texts)?) {
                ready[index].insert(vector.clone(), embedding);
            }
        }
        Ok(ready)
    }

    /// The encoder of a vector. A text that is stored with a model in a vector without one binds the vector to that model.
    pub(crate) fn bound_encoder(
        &self,
        collection: &Collection,
        vector: &str,
        model: Option<&ModelId>,
        options: Option<&Value>,
        role: Role,
    ) -> Result<(EncoderParams, Arc<dyn Encoder>)> {
        let config = collection.config();
        kind_of(&config, vector)?;
        let other_model = |expected: ModelId, received: &ModelId| WorkerError::OtherModel {
            vector: vector.to_owned(),
            expected,
            received: received.clone(),
        };
        let bound = config.encoder(vector);
        let asked = match (bound, model) {
            (Some(bound), Some(model)) if bound.model != *model => return Err(other_model(bound.model.clone(), model)),
            (Some(bound), _) => bound.clone(),
            (None, Some(model)) => EncoderParams::new(model.clone()),
            (None, None) => return Err(WorkerError::NoEncoder(vector.to_owned())),
        };
        let asked = self.models.settled(with_options(asked, options)?);
        let encoder = self.models.get(&asked)?;
        check_space(&config, vector, encoder.space())?;
        if bound.is_none() && role == Role::Document {
            // What one text asks of BM25 is not meant for all.
            let bound = EncoderParams {
                options: None,
                ..asked.clone()
            };
            if let Err(winner) = collection.bind_encoder(vector, bound)? {
                return Err(other_model(winner, &asked.model));
            }
        }
        Ok((asked, encoder))
    }
}

/// The options of a text overrule those of its vector's encoder, one by one. Only BM25 has any: what clients say of other models is about
/// how they would run them.
fn with_options(params: EncoderParams, options: Option<&Value>) -> Result<EncoderParams, InvalidInput> {
    let Some(options) = options.filter(|_| Bm25Encoder::is_meant(&params.model)) else {
        return Ok(params);
    };
    let options = Bm25Options::deserialize(options).map_err(|error| InvalidInput::Setting {
        key: "options",
        reason: error.to_string(),
    })?;
    Ok(EncoderParams {
        options: Some(params.options.clone().unwrap_or_default().overruled_by(options)),
        ..params
    })
}
