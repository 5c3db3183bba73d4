//! Settings of a collection that change while it is there: its record, on disk and in memory at once.

use std::sync::Arc;

use twofold_types::{CollectionConfig, EncoderParams, ModelId, Payload, StrictModeConfig};

use crate::collection::{Collection, Writer, open_fields};
use crate::column::Column;
use crate::error::{Result, StorageError};
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

    /// Merges notes into the collection's metadata; null removes a key.
    pub fn update_metadata(&self, changes: &Payload) -> Result<()> {
        self.configure(|config| {
            let metadata = config.metadata.get_or_insert_default();
            for (key, value) in changes {
                if value.is_null() {
                    metadata.remove(key);
                } else {
                    metadata.insert(key.clone(), value.clone());
                }
            }
        })
    }

    /// Sets limits; those that are absent stay.
    pub fn update_strict_mode(&self, changes: StrictModeConfig) -> Result<()> {
        self.configure(|config| {
            let limits = config.strict_mode.take().unwrap_or_default();
            config.strict_mode = Some(limits.changed(changes));
        })
    }

    fn configure(&self, change: impl FnOnce(&mut CollectionConfig)) -> Result<()> {
        let mut writer = self.lock_writer()?;
        let mut config = writer.record.config()?;
        change(&mut config);
        let mut record = writer.record.clone();
        record.set_config(&config);
        self.alter(&mut writer, record)
    }
}
