//! The state of a collection in memory: what a query sees, immutable once published.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use twofold_types::CollectionConfig;
use twofold_vector::{Arena, Bitmap, HeapBytes};

use crate::budget::Held;
use crate::column::Column;
use crate::error::{InvalidInput, Result};
use crate::index::VectorIndex;
use crate::key::SeqNo;
use crate::label::Labels;
use crate::placement::Placement;
use crate::posting::Field;

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
    /// Configuration and payload indexes.
    pub(crate) schema: Arc<Schema>,
    /// By the number of the vector.
    pub(crate) arenas: Vec<Arena>,
    /// By the number of the vector; none where there is no index.
    pub(crate) indexes: Vec<Option<Arc<dyn VectorIndex>>>,
    /// By the place of the payload index in the schema; none where it is on disk.
    pub(crate) columns: Vec<Option<Arc<Column>>>,
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

    /// Bytes on the heap beside those of vectors: of payload indexes and labels.
    pub(crate) fn bytes_beside_vectors(&self) -> u64 {
        let columns: usize = self.columns.iter().flatten().map(|column| column.heap_bytes()).sum();
        (columns + self.labels.heap_bytes()) as u64
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
    /// The number of a vector: its place among the names in order.
    pub(crate) fn vector_number(&self, name: &str) -> Result<u16, InvalidInput> {
        let position = self.config.vectors.keys().position(|known| known == name);
        position
            .map(|number| number as u16)
            .ok_or_else(|| InvalidInput::UnknownVector {
                name: name.to_owned(),
                known: self.vector_names(),
            })
    }

    /// The vector that is meant when none is named: the unnamed one, or the only one.
    pub(crate) fn default_vector(&self) -> Result<&str, InvalidInput> {
        let mut names = self.config.vectors.keys();
        match (names.next(), names.next()) {
            (Some(name), None) => Ok(name),
            (Some(name), Some(_)) if name.is_empty() => Ok(name),
            _ => Err(InvalidInput::AmbiguousVector(self.vector_names())),
        }
    }

    fn vector_names(&self) -> Vec<String> {
        self.config.vectors.keys().cloned().collect()
    }
}
