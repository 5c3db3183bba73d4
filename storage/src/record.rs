//! Values on disk: one version byte, then bincode.

use bincode::{Decode, Encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use twofold_types::{CollectionConfig, CollectionName, Payload, PayloadSchemaType, PointId};

use crate::error::{Result, StorageError};
use crate::placement::Placement;

const CONFIG: bincode::config::Configuration = bincode::config::standard();

/// A record that says its version on disk. A new version keeps the reader of the old one.
pub(crate) trait DiskRecord: Encode + Decode<()> {
    /// What it is, for errors.
    const WHAT: &'static str;
    /// The version that is written.
    const VERSION: u8 = 1;

    /// Reads the body of an earlier version; none where there was no such.
    fn from_earlier(_version: u8, _body: &[u8]) -> Option<Result<Self>> {
        None
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![Self::VERSION];
        bincode::encode_into_std_write(self, &mut bytes, CONFIG).expect("records encode into memory");
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let corrupt = |reason: String| StorageError::Corrupt {
            what: Self::WHAT,
            reason,
        };
        match bytes.split_first() {
            Some((&version, body)) if version == Self::VERSION => decode(Self::WHAT, body),
            Some((&version, body)) => Self::from_earlier(version, body).unwrap_or_else(|| {
                Err(corrupt(format!(
                    "version {version} is unknown to this release, which writes {}",
                    Self::VERSION
                )))
            }),
            None => Err(corrupt("it is empty".to_owned())),
        }
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
enum DiskPointId {
    Num(u64),
    Uuid([u8; 16]),
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
        let id = match id {
            PointId::Num(num) => DiskPointId::Num(num),
            PointId::Uuid(uuid) => DiskPointId::Uuid(uuid.into_bytes()),
        };
        Self {
            id,
            version,
            payload: json(payload),
        }
    }

    pub(crate) fn id(&self) -> PointId {
        match self.id {
            DiskPointId::Num(num) => PointId::Num(num),
            DiskPointId::Uuid(bytes) => PointId::Uuid(uuid::Uuid::from_bytes(bytes)),
        }
    }

    pub(crate) fn payload(&self) -> Result<Payload> {
        from_json(Self::WHAT, &self.payload)
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

    fn from_earlier(version: u8, body: &[u8]) -> Option<Result<Self>> {
        (version == 1).then(|| decode::<CollectionRecordV1>(Self::WHAT, body)?.upgraded())
    }
}

/// A collection as version 1 has it: vectors are where their parameters ask for.
#[derive(Decode)]
struct CollectionRecordV1 {
    name: String,
    config: Vec<u8>,
    vectors: Vec<(String, Option<u32>, u32)>,
    fields: Vec<FieldRecord>,
    next_field: u16,
}

impl CollectionRecordV1 {
    fn upgraded(self) -> Result<CollectionRecord> {
        let config: CollectionConfig = from_json(CollectionRecord::WHAT, &self.config)?;
        let vectors = self.vectors.into_iter().zip(config.vectors.values());
        let vectors = vectors.map(|((name, generation, next_generation), params)| VectorRecord {
            name,
            placement: Placement::asked(params),
            generation,
            next_generation,
        });
        Ok(CollectionRecord {
            name: self.name,
            config: self.config,
            vectors: vectors.collect(),
            fields: self.fields,
            next_field: self.next_field,
        })
    }
}

impl CollectionRecord {
    pub(crate) fn new(name: &CollectionName, config: &CollectionConfig) -> Self {
        let vectors = config.vectors.iter();
        Self {
            name: name.to_string(),
            config: json(config),
            vectors: vectors
                .map(|(name, params)| VectorRecord {
                    name: name.clone(),
                    placement: Placement::asked(params),
                    generation: None,
                    next_generation: 0,
                })
                .collect(),
            fields: Vec::new(),
            next_field: 0,
        }
    }

    pub(crate) fn config(&self) -> Result<CollectionConfig> {
        from_json(Self::WHAT, &self.config)
    }

    pub(crate) fn placements(&self) -> Vec<Placement> {
        self.vectors.iter().map(|vector| vector.placement).collect()
    }

    pub(crate) fn set_config(&mut self, config: &CollectionConfig) {
        self.config = json(config);
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
}

/// What a payload index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum FieldKind {
    Keyword,
    Integer,
    Float,
    Bool,
}

impl From<PayloadSchemaType> for FieldKind {
    fn from(schema: PayloadSchemaType) -> Self {
        match schema {
            PayloadSchemaType::Keyword => Self::Keyword,
            PayloadSchemaType::Integer => Self::Integer,
            PayloadSchemaType::Float => Self::Float,
            PayloadSchemaType::Bool => Self::Bool,
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
        }
    }
}

/// A document that has been cut into chunks.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(crate) struct DocumentRecord {
    pub(crate) chunks: u32,
    pub(crate) task: u64,
}

impl DiskRecord for DocumentRecord {
    const WHAT: &'static str = "document record";
}

/// Offsets that one write touched and that an ANN index has yet to follow.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct LogRecord {
    pub(crate) offsets: Vec<u32>,
}

impl DiskRecord for LogRecord {
    const WHAT: &'static str = "index log record";
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
        assert_eq!(LogRecord::from_bytes(&[1, 2, 5, 250]).unwrap().offsets, [5, 250]);
        assert_eq!(
            DocumentRecord::from_bytes(&[1, 2, 3]).unwrap(),
            DocumentRecord { chunks: 2, task: 3 }
        );
        let config = br#"{"vectors":{"":{"size":2,"distance":"Dot","on_disk":true}}}"#;
        let mut bytes = vec![1, 1, b'c', config.len() as u8];
        bytes.extend(config);
        bytes.extend([1, 0, 1, 3, 4, 1, 0, 1, b'k', 0, 1]);
        let record = CollectionRecord::from_bytes(&bytes).unwrap();
        let vector = VectorRecord {
            name: String::new(),
            placement: Placement::Disk,
            generation: Some(3),
            next_generation: 4,
        };
        assert_eq!(
            (record.name.as_str(), record.vectors.as_slice()),
            ("c", [vector].as_slice())
        );
        assert_eq!((record.fields[0].key.as_str(), record.next_field), ("k", 1));
        assert_eq!(CollectionRecord::from_bytes(&record.to_bytes()).unwrap(), record);
    }
}
