//! The state of a collection in memory: what a query sees, immutable once published.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use twofold_types::{CollectionConfig, VectorParams};
use twofold_vector::{Arena, Bitmap, HeapBytes, MultiArena, SparseIndex};

use crate::budget::Held;
use crate::column::Column;
use crate::error::{InvalidInput, Result};
use crate::index::VectorIndex;
use crate::key::SeqNo;
use crate::label::Labels;
use crate::placement::Placement;
use crate::posting::Field;
use crate::rates::Rates;

/// What a query sees. Writers clone it (which shares the vectors), change the clone and publish that.
#[derive(Clone)]
pub(crate) struct State {
    /// The last write that is in here.
    pub(crate) seq: SeqNo,
    /// The first offset that no point has had.
    pub(crate) next_offset: u32,
    /// The offsets of the points there are.
    pub(crate) alive: Bitmap,
    pub(crate) labels: Labels,
    /// Bytes of their payloads as they are stored.
    pub(crate) payload_bytes: u64,
    /// Configuration and payload indexes.
    pub(crate) schema: Arc<Schema>,
    /// By the number of the vector.
    pub(crate) arenas: Vec<Arena>,
    /// By the number of the multivector.
    pub(crate) multis: Vec<MultiArena>,
    /// By the number of the sparse vector.
    pub(crate) sparse: Vec<SparseIndex>,
    /// By the number of the vector; none where there is no index.
    pub(crate) indexes: Vec<Option<Arc<dyn VectorIndex>>>,
    /// By the place of the payload index in the schema; none where it is on disk.
    pub(crate) columns: Vec<Option<Arc<Column>>>,
    /// What is left of the limits of reads and writes a minute.
    pub(crate) rates: Arc<Rates>,
    /// How many vectors writes have touched since the collection was opened.
    pub(crate) touched: u64,
    /// When the last write was.
    pub(crate) written: Instant,
    /// What the slowest index has yet to follow, oldest first.
    pub(crate) tail: VecDeque<Arc<TailEntry>>,
}

/// Offsets that one write touched.
#[derive(Debug)]
pub(crate) struct TailEntry {
    pub(crate) seq: SeqNo,
    pub(crate) offsets: Bitmap,
}

impl State {
    /// Offsets that were touched after `applied`.
    pub(crate) fn touched_since(&self, applied: SeqNo) -> Bitmap {
        let newer = self.tail.iter().rev().take_while(|entry| entry.seq > applied);
        let mut touched: Vec<u32> = newer.flat_map(|entry| entry.offsets.iter()).collect();
        touched.sort_unstable();
        touched.into_iter().collect()
    }

    /// Offsets whose vectors have changed since an index took them in; none where there is no index.
    pub(crate) fn unindexed(&self, slot: Slot) -> Result<Bitmap> {
        let index = match slot {
            Slot::Dense(number) => self.indexes[number].as_ref(),
            Slot::Multi(_) | Slot::Sparse(_) => None,
        };
        index.map_or(Ok(Bitmap::new()), |index| Ok(self.touched_since(index.applied()?)))
    }

    /// Forgets of the tail what every index has followed, and no write after `hold`.
    pub(crate) fn trim_tail(&mut self, hold: Option<SeqNo>) {
        let applied = self
            .indexes
            .iter()
            .flatten()
            .map(|index| index.applied().unwrap_or_default());
        let followed = applied.chain(hold).min().unwrap_or(self.seq);
        self.tail.retain(|entry| entry.seq > followed);
    }

    /// What the vectors hold on the heap, by their number.
    pub(crate) fn held(&self) -> Vec<Held> {
        let vectors = self.arenas.iter().zip(&self.indexes).zip(&self.schema.placements);
        let held = vectors.map(|((arena, index), &placement)| {
            let HeapBytes { rows, codes } = arena.heap_bytes();
            let index = index.as_ref().and_then(|index| Some(index.in_memory()?.heap_bytes()));
            Held {
                placement,
                rows: rows as u64,
                codes: (codes + index.unwrap_or(0)) as u64,
            }
        });
        held.collect()
    }

    /// The offsets that have a vector.
    pub(crate) fn present(&self, slot: Slot) -> &Bitmap {
        match slot {
            Slot::Dense(number) => self.arenas[number].present(),
            Slot::Multi(number) => self.multis[number].present(),
            Slot::Sparse(number) => self.sparse[number].present(),
        }
    }

    /// Bytes on the heap beside those of vectors that can be moved: of multivectors, sparse vectors, payload indexes and labels.
    pub(crate) fn bytes_beside_vectors(&self) -> u64 {
        let columns: usize = self.columns.iter().flatten().map(|column| column.heap_bytes()).sum();
        let multis: usize = self.multis.iter().map(MultiArena::heap_bytes).sum();
        let sparse: usize = self.sparse.iter().map(SparseIndex::heap_bytes).sum();
        (columns + multis + sparse + self.labels.heap_bytes()) as u64
    }
}

/// Configuration of a collection in the form that reads and writes need.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) config: CollectionConfig,
    /// Where vectors are, by their number.
    pub(crate) placements: Vec<Placement>,
    /// The payload indexes.
    pub(crate) fields: Vec<Field>,
}

impl Schema {
    /// Where vectors of this name are.
    pub(crate) fn slot(&self, name: &str) -> Result<Slot, InvalidInput> {
        fn place<V>(vectors: &BTreeMap<String, V>, name: &str) -> Option<usize> {
            vectors.keys().position(|known| known == name)
        }
        let config = &self.config;
        let dense = place(&config.vectors, name).map(Slot::Dense);
        let multi = || place(&config.multivectors, name).map(Slot::Multi);
        let sparse = || place(&config.sparse_vectors, name).map(Slot::Sparse);
        dense
            .or_else(multi)
            .or_else(sparse)
            .ok_or_else(|| InvalidInput::UnknownVector {
                name: name.to_owned(),
                known: self.vector_names(),
            })
    }

    /// All vectors, and where they are.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (&String, Slot)> {
        let config = &self.config;
        let dense = config.vectors.keys().enumerate();
        let multi = config.multivectors.keys().enumerate();
        let sparse = config.sparse_vectors.keys().enumerate();
        dense
            .map(|(number, name)| (name, Slot::Dense(number)))
            .chain(multi.map(|(number, name)| (name, Slot::Multi(number))))
            .chain(sparse.map(|(number, name)| (name, Slot::Sparse(number))))
    }

    /// The parameters of a vector that has components.
    pub(crate) fn params(&self, name: &str) -> Option<&VectorParams> {
        self.config
            .vectors
            .get(name)
            .or_else(|| self.config.multivectors.get(name))
    }

    /// The vector that is meant when none is named: the unnamed one, or the only one.
    pub(crate) fn default_vector(&self) -> Result<&str, InvalidInput> {
        let unnamed = self.slots().find(|(name, _)| name.is_empty());
        let mut slots = self.slots();
        match (unnamed, slots.next(), slots.next()) {
            (Some((name, _)), ..) | (None, Some((name, _)), None) => Ok(name),
            _ => Err(InvalidInput::AmbiguousVector(self.vector_names())),
        }
    }

    fn vector_names(&self) -> Vec<String> {
        self.config.vector_names().cloned().collect()
    }
}

/// Where the vectors of one name are in the state: a place among those of their kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Slot {
    Dense(usize),
    Multi(usize),
    Sparse(usize),
}

impl Slot {
    /// The first numbers of multivectors and of sparse vectors in keys.
    const MULTI: u16 = 0x4000;
    const SPARSE: u16 = 0x8000;

    /// The number in keys.
    pub(crate) fn number(self) -> u16 {
        match self {
            Self::Dense(number) => number as u16,
            Self::Multi(number) => Self::MULTI + number as u16,
            Self::Sparse(number) => Self::SPARSE + number as u16,
        }
    }
}
