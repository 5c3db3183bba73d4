//! Vectors in memory and the indexes over them.
//!
//! What it is: an [`Arena`] holds the vectors of a collection, [`Ivf`] finds the nearest of them by estimates that it then
//! checks against the arena, and a [`Bitmap`] says which of them count. What it is not: durable by itself, or aware of
//! payloads and ids. It knows points by their offsets alone.

pub mod kernel;

mod arena;
mod bitmap;
mod calibrate;
mod centroids;
mod deadline;
mod exact;
mod file;
mod ivf;
mod list;
mod multi;
mod pool;
mod probe;
mod rotation;
mod sketch;
mod sparse;
mod subset;

pub use arena::{Arena, BlockIds, HeapBytes};
pub use bitmap::{Bitmap, Union};
pub use deadline::{Deadline, Watch};
pub use exact::{exact, gather};
pub use file::{Checkpoint, CheckpointError, MappedRows, read_checkpoint, write_checkpoint};
pub use ivf::{Cancel, Ivf};
pub use multi::{MaxSim, MultiArena, Trained, max_sim, round_to_half};
pub use probe::{Effort, Neighbour, Probe};
pub use sparse::{Compaction, SparseIndex};
