//! Reading: one consistent state of a collection in memory and on disk.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use twofold_types::api::{PayloadSelector, WithPayload, WithVector};
use twofold_types::{Embedding, FieldTest, Filter, Payload, PointId, Record, VectorsOutput};
use twofold_vector::{Bitmap, Union, Watch};

use crate::column::Column;
use crate::embedding;
use crate::error::{Result, StorageError, check_deadline};
use crate::filter::{CompiledFilter, Narrowed};
use crate::key::{CollectionId, PointOffset};
use crate::path::PayloadPath;
use crate::posting::{Field, Lookup, OTHER, is_above, is_below};
use crate::record::{DiskRecord, PointRecord};
use crate::rocks::{Cf, Snapshot};
use crate::selection::Selection;
use crate::state::{Slot, State};
use crate::strict::Use;

/// Points are read one by one below this share of the collection, and all in order above it.
const SPARSE_READ: u64 = 8;

/// So many postings are read from disk in the time of one payload.
const POSTINGS_PER_READ: u64 = 16;

/// So many values of a column are looked at in the time of one payload.
pub(crate) const VALUES_PER_READ: u64 = 500;

/// One consistent state of a collection: the published [`State`] and the RocksDB snapshot of the same write.
pub(crate) struct View<'a> {
    pub(crate) collection: CollectionId,
    pub(crate) state: Arc<State>,
    pub(crate) snapshot: Snapshot<'a>,
}

impl View<'_> {
    /// The offsets of points, none for those that do not exist.
    pub(crate) fn offsets(&self, ids: &[PointId]) -> Result<Vec<Option<PointOffset>>> {
        let keys: Vec<_> = ids.iter().map(|&id| self.collection.id_key(id)).collect();
        let values = self.snapshot.get_many(Cf::Ids, &keys)?;
        values
            .into_iter()
            .map(|value| value.map(|value| offset_of(&value)).transpose())
            .collect()
    }

    pub(crate) fn point(&self, offset: PointOffset) -> Result<Option<PointRecord>> {
        let value = self.snapshot.get(Cf::Points, &self.collection.point_key(offset))?;
        value.map(|value| PointRecord::from_bytes(&value)).transpose()
    }

    pub(crate) fn points(&self, offsets: &[PointOffset]) -> Result<Vec<Option<PointRecord>>> {
        let keys: Vec<_> = offsets
            .iter()
            .map(|&offset| self.collection.point_key(offset))
            .collect();
        let values = self.snapshot.get_many(Cf::Points, &keys)?;
        values
            .into_iter()
            .map(|value| value.map(|value| PointRecord::from_bytes(&value)).transpose())
            .collect()
    }

    /// Calls `visit` with every one of the given points, in the order of their offsets.
    pub(crate) fn for_each_point(
        &self,
        points: &Bitmap,
        mut visit: impl FnMut(PointOffset, PointRecord) -> Result<()>,
    ) -> Result<()> {
        let mut watch = Watch::every(256);
        let mut visit = |offset, record| match watch.missed() {
            true => check_deadline(),
            false => visit(offset, record),
        };
        if points.len() * SPARSE_READ < self.state.alive.len() {
            for offset in points.iter() {
                let offset = PointOffset(offset);
                if let Some(record) = self.point(offset)? {
                    visit(offset, record)?;
                }
            }
            return Ok(());
        }
        let start = self.collection.point_key(PointOffset(points.min().unwrap_or(0)));
        for entry in self.snapshot.scan(Cf::Points, &self.collection.key(), &start) {
            let (key, value) = entry?;
            match PointOffset::from_key(&key) {
                Some(offset) if points.contains(offset.0) => visit(offset, PointRecord::from_bytes(&value)?)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The payload index of a key with what it looks for in it; none where the index cannot tell.
    fn lookup(&self, key: &str, test: &FieldTest) -> Option<(&Field, Option<&Column>, Lookup)> {
        let mut fields = self.state.schema.fields.iter().zip(&self.state.columns);
        let (field, column) = fields.find(|(field, _)| field.key == key)?;
        Some((field, column.as_deref(), field.lookup(test)?))
    }

    /// The payload index of a key, where it is in memory.
    pub(crate) fn column(&self, key: &str) -> Option<(&Field, &Column)> {
        let mut fields = self.state.schema.fields.iter().zip(&self.state.columns);
        let (field, column) = fields.find(|(field, _)| field.key == key)?;
        Some((field, column.as_deref()?))
    }

    /// How many points a payload index finds for a test, at most; none where no column can tell.
    pub(crate) fn estimate(&self, key: &str, test: &FieldTest) -> Option<u64> {
        let (_, column, lookup) = self.lookup(key, test)?;
        Some(column?.count(&lookup))
    }

    /// The points that a payload index finds for a test; none where no index can tell, or where it takes longer than to
    /// read the payloads of the points that are left.
    pub(crate) fn postings(&self, key: &str, test: &FieldTest, left: u64) -> Result<Option<Narrowed>> {
        let Some((field, column, lookup)) = self.lookup(key, test) else {
            return Ok(None);
        };
        let points = match column {
            Some(column) => Some(column.find(&lookup)),
            None => self.scan_postings(field, &lookup, left.saturating_mul(POSTINGS_PER_READ))?,
        };
        let exact = lookup.is_exact();
        Ok(points.map(|points| Narrowed { points, exact }))
    }

    /// The points that postings on disk name; none where more than `limit` postings would have to be read.
    fn scan_postings(&self, field: &Field, lookup: &Lookup, limit: u64) -> Result<Option<Bitmap>> {
        let (mut union, mut read) = (Union::default(), 0);
        let mut watch = Watch::every(4096);
        let mut visit = |key: &[u8]| {
            read += 1;
            if let Some(offset) = PointOffset::from_key(key) {
                union.insert(offset.0);
            }
            match read > limit || watch.missed() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        match lookup {
            Lookup::Any(values) => {
                for value in values {
                    let prefix = field.value_prefix(self.collection, value);
                    self.snapshot.scan_keys(Cf::Postings, &prefix, &[], &mut visit)?;
                }
            }
            Lookup::All { values, .. } => {
                let mut all: Option<Bitmap> = None;
                for value in values {
                    let one = Lookup::Any(vec![value.clone()]);
                    let Some(points) = self.scan_postings(field, &one, limit)? else {
                        return Ok(None);
                    };
                    match &mut all {
                        Some(all) => *all &= &points,
                        None => all = Some(points),
                    }
                }
                return Ok(Some(all.unwrap_or_default()));
            }
            Lookup::Ranges(ranges) => {
                for range in ranges {
                    match self.scan_postings(field, &Lookup::Range(range.clone()), limit)? {
                        Some(points) => union.add(&points),
                        None => return Ok(None),
                    }
                }
                return Ok(Some(union.into()));
            }
            Lookup::Range((lower, upper)) => {
                let start = match lower {
                    Bound::Included(value) | Bound::Excluded(value) => field.value_prefix(self.collection, value),
                    Bound::Unbounded => Vec::new(),
                };
                let prefix = self.collection.field_prefix(field.number);
                self.snapshot.scan_keys(Cf::Postings, &prefix, &start, |key| {
                    let value = field.value_of_key(self.collection, key);
                    match (is_above(lower, value), is_below(upper, value)) {
                        (true, true) => visit(key),
                        (false, _) => ControlFlow::Continue(()),
                        (_, false) => ControlFlow::Break(()),
                    }
                })?;
            }
        }
        Ok((read <= limit).then(|| union.into()))
    }

    /// How many points have a value in a payload index.
    pub(crate) fn indexed(&self, field: &Field, column: Option<&Column>) -> Result<u64> {
        let everything = Lookup::Range((Bound::Excluded(OTHER.to_vec()), Bound::Unbounded));
        match column {
            Some(column) => Ok(column.find(&everything).len()),
            None => Ok(self
                .scan_postings(field, &everything, u64::MAX)?
                .map_or(0, |points| points.len())),
        }
    }

    /// Refuses to list what strict mode forbids to.
    pub(crate) fn check_listing(&self, limit: usize, filter: Option<&Filter>) -> Result<()> {
        let strict = self.state.strict();
        strict.check_read()?;
        strict.check_limit(limit)?;
        strict.check_filter(filter, Use::Read)
    }

    /// The living points that match a filter; all of them without one.
    pub(crate) fn select(&self, filter: Option<&Filter>) -> Result<Bitmap> {
        match filter {
            Some(filter) => CompiledFilter::new(filter, &self.state.schema)?.select(self),
            None => Ok(self.state.alive.clone()),
        }
    }

    /// A point as it is answered.
    pub(crate) fn record(&self, offset: PointOffset, point: &PointRecord, fetch: &Fetch) -> Result<Record> {
        Ok(Record {
            id: point.id(),
            payload: fetch.payload(point)?,
            vector: self.vectors(offset, fetch)?,
            order_value: None,
        })
    }

    /// The vectors of a point as they are answered.
    pub(crate) fn vectors(&self, offset: PointOffset, fetch: &Fetch) -> Result<Option<VectorsOutput>> {
        let wanted = |name: &String| match &fetch.vector {
            WithVector::Bool(all) => *all,
            WithVector::Names(names) => names.contains(name),
        };
        if fetch.vector == WithVector::Bool(false) {
            return Ok(None);
        }
        let slots = self.state.schema.slots().filter(|(name, _)| wanted(name));
        let found = slots.filter_map(|(name, slot)| {
            let vector = self.vector(slot, offset).transpose()?;
            Some(vector.map(|vector| (name.clone(), vector)))
        });
        Ok(Some(VectorsOutput::from(found.collect::<Result<BTreeMap<_, _>>>()?)))
    }

    /// One vector of a point.
    pub(crate) fn vector(&self, slot: Slot, offset: PointOffset) -> Result<Option<Embedding>> {
        Ok(match slot {
            Slot::Dense(number) => self.state.arenas[number]
                .get(offset.0)
                .map(|vector| Embedding::Dense(vector.to_vec())),
            Slot::Multi(number) => {
                let multis = &self.state.multis[number];
                let rows = |rows: &[f32]| rows.chunks_exact(multis.dimensions()).map(<[f32]>::to_vec).collect();
                multis.get(offset.0).map(|vectors| Embedding::Multi(rows(&vectors)))
            }
            Slot::Sparse(number) if !self.state.sparse[number].present().contains(offset.0) => None,
            Slot::Sparse(_) => {
                let key = self.collection.vector_key(slot.number(), offset);
                let value = self.snapshot.get(Cf::Vectors, &key)?;
                value
                    .map(|value| embedding::read_sparse(&value).map(Embedding::Sparse))
                    .transpose()?
            }
        })
    }
}

pub(crate) fn offset_of(value: &[u8]) -> Result<PointOffset> {
    PointOffset::from_key(value).ok_or(StorageError::Corrupt {
        what: "point offset",
        reason: format!("{} bytes long", value.len()),
    })
}

/// What of a point is answered beside its id.
#[derive(Debug, Clone)]
pub struct Fetch {
    payload: PayloadFields,
    vector: WithVector,
}

#[derive(Debug, Clone)]
enum PayloadFields {
    All,
    Nothing,
    Only(Selection),
    Without(Selection),
}

impl Fetch {
    /// Parses what a request asks for.
    pub fn new(payload: WithPayload, vector: WithVector) -> Result<Self> {
        let parse = |keys: Vec<String>| {
            keys.iter()
                .map(|key| PayloadPath::parse(key))
                .collect::<Result<Vec<_>, _>>()
                .map(|paths| Selection::new(&paths))
        };
        let payload = match payload {
            WithPayload::Bool(true) => PayloadFields::All,
            WithPayload::Bool(false) => PayloadFields::Nothing,
            WithPayload::Fields(keys) | WithPayload::Selector(PayloadSelector::Include(keys)) => {
                PayloadFields::Only(parse(keys)?)
            }
            WithPayload::Selector(PayloadSelector::Exclude(keys)) => PayloadFields::Without(parse(keys)?),
        };
        Ok(Self { payload, vector })
    }

    /// The id alone.
    pub fn id_only() -> Self {
        Self {
            payload: PayloadFields::Nothing,
            vector: WithVector::Bool(false),
        }
    }

    /// The payload and no vectors.
    pub fn payload_only() -> Self {
        Self {
            payload: PayloadFields::All,
            vector: WithVector::Bool(false),
        }
    }

    /// The same with whole payloads.
    pub fn whole(&self) -> Self {
        Self {
            payload: PayloadFields::All,
            vector: self.vector.clone(),
        }
    }

    /// What of a whole payload is answered.
    pub fn part(&self, payload: Payload) -> Option<Payload> {
        match &self.payload {
            PayloadFields::Nothing => None,
            PayloadFields::All => Some(payload),
            PayloadFields::Only(selection) => Some(selection.only(payload)),
            PayloadFields::Without(selection) => Some(selection.without(payload)),
        }
    }

    /// Whether the record of a point has to be read.
    pub(crate) fn needs_payload(&self) -> bool {
        !matches!(self.payload, PayloadFields::Nothing)
    }

    pub(crate) fn payload(&self, point: &PointRecord) -> Result<Option<Payload>> {
        match self.needs_payload() {
            true => Ok(self.part(point.payload()?)),
            false => Ok(None),
        }
    }
}
