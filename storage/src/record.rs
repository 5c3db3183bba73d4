//! Values on disk: one version byte, then bincode.

use bincode::{Decode, Encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use twofold_types::{
    CollectionConfig, CollectionName, Payload, PayloadFieldSchema, PayloadIndexParams, PayloadSchemaType, PointId,
    TaskId,
};

use crate::error::{Result, StorageError};
use crate::operation::Fingerprint;
use crate::placement::Placement;

const CONFIG: bincode::config::Configuration = bincode::config::standard();

/// A record that says its version on disk. A new version keeps the reader of the old one.
pub(crate) trait DiskRecord: Encode + Decode<()> {
    /// What it is, for errors.
    const WHAT: &'static str;
    /// The version that is written.
    const VERSION: u8 = 1;

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![Self::VERSION];
        bincode::encode_into_std_write(self, &mut bytes, CONFIG).expect("records encode into memory");
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        current(bytes)
    }
}

/// A record in the version that is written.
fn current<T: DiskRecord>(bytes: &[u8]) -> Result<T> {
    let corrupt = |reason: String| StorageError::Corrupt { what: T::WHAT, reason };
    match bytes.split_first() {
        Some((&version, body)) if version == T::VERSION => decode(T::WHAT, body),
        Some((version, _)) => Err(corrupt(format!(
            "version {version} is unknown to this release, which writes {}",
            T::VERSION
        ))),
        None => Err(corrupt("it is empty".to_owned())),
    }
}

fn decode<T: Decode<()>>(what: &'static str, body: &[u8]) -> Result<T> {
    let decoded = bincode::decode_from_slice(body, CONFIG);
    decoded
        .map(|(record, _)| record)
        .map_err(|error| StorageError::Corrupt {
            what,
            reason: error.to_string(),
        })
}

/// A [`PointId`] in bincode.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(crate) enum DiskPointId {
    Num(u64),
    Uuid([u8; 16]),
}

impl From<PointId> for DiskPointId {
    fn from(id: PointId) -> Self {
        match id {
            PointId::Num(num) => Self::Num(num),
            PointId::Uuid(uuid) => Self::Uuid(uuid.into_bytes()),
        }
    }
}

impl From<DiskPointId> for PointId {
    fn from(id: DiskPointId) -> Self {
        match id {
            DiskPointId::Num(num) => Self::Num(num),
            DiskPointId::Uuid(bytes) => Self::Uuid(uuid::Uuid::from_bytes(bytes)),
        }
    }
}

/// A point, without its vectors.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct PointRecord {
    id: DiskPointId,
    /// Sequence number of the write that last touched it.
    pub(crate) version: u64,
    /// JSON, as JSON values are not self-describing in bincode.
    payload: Vec<u8>,
}

impl DiskRecord for PointRecord {
    const WHAT: &'static str = "point record";
}

impl PointRecord {
    pub(crate) fn new(id: PointId, version: u64, payload: &Payload) -> Self {
        Self {
            id: id.into(),
            version,
            payload: json(payload),
        }
    }

    pub(crate) fn id(&self) -> PointId {
        self.id.into()
    }

    pub(crate) fn payload(&self) -> Result<Payload> {
        from_json(Self::WHAT, &self.payload)
    }

    /// Bytes of the payload as it is stored.
    pub(crate) fn payload_bytes(&self) -> u64 {
        self.payload.len() as u64
    }
}

/// How far a collection has come.
#[derive(Debug, Clone, Copy, PartialEq, Default, Encode, Decode)]
pub(crate) struct CounterRecord {
    /// The last write.
    pub(crate) seq: u64,
    /// The first offset that no point has had.
    pub(crate) next_offset: u32,
}

impl DiskRecord for CounterRecord {
    const WHAT: &'static str = "counter record";
}

/// A collection.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct CollectionRecord {
    pub(crate) name: String,
    config: Vec<u8>,
    /// The vectors; a vector's number is its place here.
    pub(crate) vectors: Vec<VectorRecord>,
    /// The payload indexes.
    pub(crate) fields: Vec<FieldRecord>,
    /// The first field number that no payload index has had.
    pub(crate) next_field: u16,
}

impl DiskRecord for CollectionRecord {
    const WHAT: &'static str = "collection record";
    const VERSION: u8 = 2;
}

impl CollectionRecord {
    pub(crate) fn new(name: &CollectionName, config: &CollectionConfig) -> Self {
        Self {
            name: name.to_string(),
            config: json(config),
            vectors: fresh_vectors(config),
            fields: Vec::new(),
            next_field: 0,
        }
    }

    /// The record of a collection that is made of what this one's held.
    pub(crate) fn restored_as(self, name: &CollectionName) -> Result<Self> {
        Ok(Self {
            name: name.to_string(),
            ..self.without_indexes()?
        })
    }

    /// The same collection with indexes to be built, and vectors where they are asked for.
    pub(crate) fn without_indexes(self) -> Result<Self> {
        Ok(Self {
            vectors: fresh_vectors(&self.config()?),
            ..self
        })
    }

    pub(crate) fn config(&self) -> Result<CollectionConfig> {
        from_json(Self::WHAT, &self.config)
    }

    /// Takes out the payload indexes of a key and says their numbers.
    pub(crate) fn take_fields(&mut self, key: &str) -> Vec<u16> {
        let taken = self.fields.extract_if(.., |field| field.key == key);
        taken.map(|field| field.number).collect()
    }

    pub(crate) fn placements(&self) -> Vec<Placement> {
        self.vectors.iter().map(|vector| vector.placement).collect()
    }

    pub(crate) fn set_config(&mut self, config: &CollectionConfig) {
        self.config = json(config);
    }

    /// Whether it has the same payload indexes as another.
    pub(crate) fn has_fields_of(&self, other: &Self) -> bool {
        self.fields.len() == other.fields.len()
            && self
                .fields
                .iter()
                .all(|field| other.fields.iter().any(|own| field.is_like(own)))
    }
}

/// One vector of a collection.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct VectorRecord {
    pub(crate) name: String,
    /// Where the vectors are: as their parameters ask for, or below that.
    pub(crate) placement: Placement,
    /// The generation of its index on disk that answers.
    pub(crate) generation: Option<u32>,
    /// The first generation that has never been built.
    pub(crate) next_generation: u32,
}

/// One payload index.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct FieldRecord {
    /// Its number in the keys of the postings.
    pub(crate) number: u16,
    /// The payload key.
    pub(crate) key: String,
    /// The type of the values.
    pub(crate) kind: FieldKind,
    /// What it was asked for with as JSON, where that was more than its type.
    params: Option<Vec<u8>>,
}

impl FieldRecord {
    pub(crate) fn new(number: u16, key: &str, kind: FieldKind, params: Option<&PayloadIndexParams>) -> Self {
        Self {
            number,
            key: key.to_owned(),
            kind,
            params: params.map(json),
        }
    }

    /// Whether it indexes the same in the same way, whatever its number.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (&self.key, self.kind, &self.params) == (&other.key, other.kind, &other.params)
    }

    /// What it was asked for with.
    pub(crate) fn schema(&self) -> Result<PayloadFieldSchema> {
        Ok(match self.params()? {
            Some(params) => params.into(),
            None => PayloadSchemaType::from(self.kind).into(),
        })
    }

    pub(crate) fn params(&self) -> Result<Option<PayloadIndexParams>> {
        let params = self.params.as_deref();
        params
            .map(|params| from_json("payload index record", params))
            .transpose()
    }
}

/// What a payload index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum FieldKind {
    Keyword,
    Integer,
    Float,
    Bool,
    Datetime,
    Uuid,
    Geo,
    Text,
}

impl FieldKind {
    /// Whether ranges of values are looked up; those of places are of the cells that they lie in.
    pub(crate) fn has_ranges(self) -> bool {
        matches!(self, Self::Integer | Self::Float | Self::Datetime | Self::Geo)
    }
}

impl From<PayloadSchemaType> for FieldKind {
    fn from(schema: PayloadSchemaType) -> Self {
        match schema {
            PayloadSchemaType::Keyword => Self::Keyword,
            PayloadSchemaType::Integer => Self::Integer,
            PayloadSchemaType::Float => Self::Float,
            PayloadSchemaType::Bool => Self::Bool,
            PayloadSchemaType::Datetime => Self::Datetime,
            PayloadSchemaType::Uuid => Self::Uuid,
            PayloadSchemaType::Geo => Self::Geo,
            PayloadSchemaType::Text => Self::Text,
        }
    }
}

impl From<FieldKind> for PayloadSchemaType {
    fn from(kind: FieldKind) -> Self {
        match kind {
            FieldKind::Keyword => Self::Keyword,
            FieldKind::Integer => Self::Integer,
            FieldKind::Float => Self::Float,
            FieldKind::Bool => Self::Bool,
            FieldKind::Datetime => Self::Datetime,
            FieldKind::Uuid => Self::Uuid,
            FieldKind::Geo => Self::Geo,
            FieldKind::Text => Self::Text,
        }
    }
}

/// A document that has been cut into chunks.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct DocumentRecord {
    pub(crate) chunks: u32,
    pub(crate) task: u64,
    text: [u8; 16],
    metadata: [u8; 16],
    /// What of the text is in none of the chunks, in its order; not known of documents that version 2 has recorded.
    pub(crate) gaps: Option<String>,
}

/// [`DocumentRecord`] in version 2.
#[derive(Decode)]
struct DocumentRecord2 {
    chunks: u32,
    task: u64,
    text: [u8; 16],
    metadata: [u8; 16],
}

impl DiskRecord for DocumentRecord {
    const WHAT: &'static str = "document record";
    const VERSION: u8 = 3;

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let Some((2, body)) = bytes.split_first() else {
            return current(bytes);
        };
        let DocumentRecord2 {
            chunks,
            task,
            text,
            metadata,
        } = decode(Self::WHAT, body)?;
        Ok(Self {
            chunks,
            task,
            text,
            metadata,
            gaps: None,
        })
    }
}

impl DocumentRecord {
    pub(crate) fn new(chunks: u32, task: TaskId, fingerprint: Fingerprint, gaps: Option<String>) -> Self {
        Self {
            chunks,
            task: task.0,
            text: fingerprint.text,
            metadata: fingerprint.metadata,
            gaps,
        }
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            text: self.text,
            metadata: self.metadata,
        }
    }
}

/// Offsets that one write touched and that an ANN index or a checkpoint has yet to follow.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct LogRecord {
    /// Those whose vectors it touched, and perhaps their payloads.
    pub(crate) vectors: Vec<u32>,
    /// Those of which it touched the payload only.
    pub(crate) payloads: Vec<u32>,
}

impl DiskRecord for LogRecord {
    const WHAT: &'static str = "index log record";
    const VERSION: u8 = 2;
}

/// The vectors of a collection without indexes.
fn fresh_vectors(config: &CollectionConfig) -> Vec<VectorRecord> {
    let vectors = config.vectors.iter().map(|(name, params)| VectorRecord {
        name: name.clone(),
        placement: Placement::asked(params),
        generation: None,
        next_generation: 0,
    });
    vectors.collect()
}

/// A value of ours as JSON inside a record.
pub(crate) fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("our types have string keys and no failing serializer")
}

pub(crate) fn from_json<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| StorageError::Corrupt {
        what,
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back_and_unknown_versions_are_refused() {
        let mut payload = Payload::new();
        payload.insert("a".to_owned(), serde_json::json!([1, null]));
        let record = PointRecord::new(PointId::Uuid(uuid::Uuid::max()), 9, &payload);
        let mut bytes = record.to_bytes();
        let back = PointRecord::from_bytes(&bytes).unwrap();
        assert_eq!(back, record);
        assert_eq!(back.payload().unwrap(), payload);
        bytes[0] = 200;
        let error = PointRecord::from_bytes(&bytes).unwrap_err().to_string();
        assert!(error.contains("version 200"), "{error}");
        assert!(PointRecord::from_bytes(&[]).is_err());
    }

    // What is on disk today must be readable for ever: these bytes are of version 1 and never change.
    #[test]
    fn version_1_is_read() {
        let bytes = [1, 0, 7, 9, 8, b'{', b'"', b'a', b'"', b':', b'1', b'}', b' '];
        let record = PointRecord::from_bytes(&bytes).unwrap();
        assert_eq!((record.id(), record.version), (PointId::Num(7), 9));
        assert_eq!(record.payload().unwrap()["a"], 1);
        assert_eq!(
            CounterRecord::from_bytes(&[1, 3, 4]).unwrap(),
            CounterRecord { seq: 3, next_offset: 4 }
        );
    }

    // The same for these of version 2; of their version 1 there was no release.
    #[test]
    fn version_2_is_read() {
        let log = LogRecord::from_bytes(&[2, 2, 5, 250, 1, 7]).unwrap();
        assert_eq!((log.vectors, log.payloads), (vec![5, 250], vec![7]));
        let bytes = [2, 1, b'c', 0, 0, 1, 3, 1, b'a', 5, 1, 2, b'{', b'}', 4];
        let record = CollectionRecord::from_bytes(&bytes).unwrap();
        assert_eq!((record.name.as_str(), record.next_field), ("c", 4));
        assert_eq!((record.fields[0].number, record.fields[0].kind), (3, FieldKind::Uuid));
        let document = [[2, 9, 3].as_slice(), &[5; 16], &[6; 16]].concat();
        let fingerprint = Fingerprint {
            text: [5; 16],
            metadata: [6; 16],
        };
        assert_eq!(
            DocumentRecord::from_bytes(&document).unwrap(),
            DocumentRecord::new(9, TaskId(3), fingerprint, None)
        );
    }

    #[test]
    fn version_3_is_read() {
        let document = [[3, 9, 3].as_slice(), &[5; 16], &[6; 16], &[1, 2, b'\n', b' ']].concat();
        let fingerprint = Fingerprint {
            text: [5; 16],
            metadata: [6; 16],
        };
        assert_eq!(
            DocumentRecord::from_bytes(&document).unwrap(),
            DocumentRecord::new(9, TaskId(3), fingerprint, Some("\n ".to_owned()))
        );
    }
}
