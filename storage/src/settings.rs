//! Settings of a collection that change while it is there: its record, on disk and in memory at once.

use std::sync::Arc;

use serde_json::{Value, json};
use twofold_types::api::UpdateCollection;
use twofold_types::{CollectionConfig, EncoderParams, HnswConfig, ModelId, VectorParams, VectorParamsDiff};

use crate::collection::{Collection, Writer, open_fields};
use crate::column::Column;
use crate::error::{InvalidInput, Result, StorageError};
use crate::record::{CollectionRecord, DiskRecord};
use crate::rocks::Cf;
use crate::state::{Schema, State};

impl Collection {
    /// Changes what the collection record says.
    pub(crate) fn alter(&self, writer: &mut Writer, record: CollectionRecord) -> Result<()> {
        self.alter_with(writer, record, None)
    }

    /// [`alter`](Self::alter), with the column of a payload index that is new.
    pub(crate) fn alter_with(
        &self,
        writer: &mut Writer,
        record: CollectionRecord,
        filled: Option<Column>,
    ) -> Result<()> {
        let mut state = State::clone(&self.state());
        let fields = open_fields(&record)?;
        let filled = filled.map(Arc::new);
        let columns = fields.iter().map(|field| {
            let old = state.schema.fields.iter().position(|old| old.number == field.number);
            match old {
                Some(place) => state.columns[place].clone(),
                None => filled.clone(),
            }
        });
        state.columns = columns.collect();
        state.schema = Arc::new(Schema {
            config: record.config()?,
            placements: record.placements(),
            fields,
        });
        let mut batch = self.rocks.batch();
        batch.put(Cf::Collections, &self.id.key(), &record.to_bytes());
        self.publish(batch, state)?;
        writer.record = record;
        self.rocks.sync()
    }

    /// Binds a vector to the encoder that fills it. Fails when it is bound to another model already.
    pub fn bind_encoder(&self, vector: &str, encoder: EncoderParams) -> Result<Result<(), ModelId>> {
        let mut writer = self.lock_writer()?;
        let mut config = writer.record.config()?;
        match config.encoders.get(vector) {
            Some(bound) if bound.model == encoder.model => return Ok(Ok(())),
            Some(bound) => return Ok(Err(bound.model.clone())),
            None if writer.reembedding => return Err(StorageError::PointsHeld(self.name().clone())),
            None => {}
        }
        config.encoders.insert(vector.to_owned(), encoder);
        let mut record = writer.record.clone();
        record.set_config(&config);
        self.alter(&mut writer, record).map(Ok)
    }

    /// Changes what may be changed of the configuration: all of it, or nothing.
    pub fn update(&self, changes: UpdateCollection) -> Result<()> {
        let mut writer = self.lock_writer()?;
        let mut config = writer.record.config()?;
        changed(&mut config, changes)?;
        let mut record = writer.record.clone();
        record.set_config(&config);
        self.alter(&mut writer, record)
    }
}

fn changed(config: &mut CollectionConfig, changes: UpdateCollection) -> Result<(), InvalidInput> {
    if let Some(notes) = changes.metadata {
        let metadata = config.metadata.get_or_insert_default();
        for (key, value) in notes {
            match value {
                Value::Null => metadata.remove(&key),
                value => metadata.insert(key, value),
            };
        }
    }
    if let Some(limits) = changes.strict_mode_config {
        config.strict_mode = Some(config.strict_mode.take().unwrap_or_default().changed(limits));
    }
    if let Some(hnsw) = changes.hnsw_config {
        config.hnsw = Some(config.hnsw.unwrap_or_default().changed(hnsw));
    }
    if let Some(optimizers) = changes.optimizers_config {
        config.optimizers = Some(config.optimizers.take().unwrap_or_default().changed(optimizers));
    }
    if let Some(quantisation) = changes.quantization_config {
        for params in config.vectors.values_mut().chain(config.multivectors.values_mut()) {
            params.quantization_config = enabled(quantisation.clone());
        }
    }
    let known: Vec<String> = config.vector_names().cloned().collect();
    let unknown = |name: &str| InvalidInput::UnknownVector {
        name: name.to_owned(),
        known: known.clone(),
    };
    for (name, changes) in changes.vectors.into_iter().flatten() {
        let dense = config.vectors.get_mut(&name);
        let params = dense.or_else(|| config.multivectors.get_mut(&name));
        change_vector(params.ok_or_else(|| unknown(&name))?, changes);
    }
    for (name, changes) in changes.sparse_vectors.into_iter().flatten() {
        let params = config.sparse_vectors.get_mut(&name).ok_or_else(|| unknown(&name))?;
        params.index = changes.index.or(params.index.take());
        params.modifier = changes.modifier.or(params.modifier);
    }
    Ok(())
}

fn change_vector(params: &mut VectorParams, changes: VectorParamsDiff) {
    params.on_disk = changes.on_disk.or(params.on_disk);
    if let Some(quantisation) = changes.quantization_config {
        params.quantization_config = enabled(quantisation);
    }
    if let Some(hnsw) = changes.hnsw_config {
        // What was sent when the collection was made is kept as it was sent, whatever it is.
        let old = params.hnsw_config.take().map(serde_json::from_value::<HnswConfig>);
        let old = old.and_then(Result::ok).unwrap_or_default();
        let changed = (hnsw != HnswConfig::default()).then(|| json!(old.changed(hnsw)));
        params.hnsw_config = changed;
    }
}

/// A configuration of quantised vectors, unless it says that there are none.
fn enabled(quantisation: Value) -> Option<Value> {
    (quantisation != "Disabled").then_some(quantisation)
}
