//! What an index over one vector of a collection is.
//!
//! An index is a follower of the collection: it says up to which write it has followed, and may be thrown away at any time.
//! What it finds is compared with the vectors of the very state that a query sees, and what that state has beyond the index
//! is compared beside it.

use std::sync::Arc;

use twofold_vector::{Arena, Bitmap, Effort, Neighbour, Probe};

use crate::error::Result;
use crate::key::SeqNo;
use crate::state::State;

/// Says whether a long computation is to be given up.
pub(crate) type Cancel<'a> = &'a (dyn Fn() -> bool + Sync);

/// What a search asks of an index.
pub(crate) struct Ask<'a> {
    /// What the query sees.
    pub(crate) state: &'a State,
    /// The number of the vector.
    pub(crate) number: usize,
    pub(crate) query: &'a [f32],
    /// How many points are wanted.
    pub(crate) k: usize,
    /// The only points that count.
    pub(crate) mask: &'a Bitmap,
    /// The caller's accuracy knob; 1 is the default.
    pub(crate) effort: f32,
}

impl Ask<'_> {
    pub(crate) fn arena(&self) -> &Arena {
        &self.state.arenas[self.number]
    }

    fn probe<'a>(&'a self, overlay: &'a Bitmap) -> Probe<'a> {
        Probe {
            k: self.k,
            mask: self.mask,
            overlay,
            effort: self.effort,
        }
    }
}

/// What ways to an answer are expected to cost, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    /// The index.
    pub(crate) index: f64,
    /// Comparing every candidate.
    pub(crate) scan: f64,
}

/// How an attempt to follow ended.
pub(crate) enum Followed {
    /// It has followed, and goes on as this one.
    Done(Arc<dyn VectorIndex>),
    /// It was cancelled.
    Cancelled,
    /// Its space is used up: it has to be built anew.
    Full,
}

/// An index over one vector of a collection.
pub(crate) trait VectorIndex: Send + Sync {
    /// What it is called in explanations.
    fn kind(&self) -> &'static str;

    /// The write up to which it has followed.
    fn applied(&self) -> Result<SeqNo>;

    /// How many vectors it holds.
    fn len(&self) -> Result<u64>;

    /// How many changes it may lag behind, of so many points; the usual number is an option.
    fn allowed_lag(&self, present: u64, usual: u64) -> u64;

    /// Whether it should be built anew, as its data has become different; at rest, when there is nothing else to do, sooner.
    fn is_outgrown(&self, at_rest: bool) -> bool;

    /// Follows to `seq`: every offset of `changed` gets the vector that the arena has for it, or none.
    fn follow(self: Arc<Self>, changed: &Bitmap, arena: &Arena, seq: SeqNo, cancel: Cancel<'_>) -> Result<Followed>;

    /// What an answer would cost where so many points count.
    fn estimate(&self, matching: u64, present: u64, k: usize, effort: f32) -> Estimate;

    /// The nearest of the masked points, nearest first.
    fn search(&self, ask: &Ask<'_>) -> Result<(Vec<Neighbour>, Effort)>;

    /// The same by comparing every masked point, with what the index knows to help.
    fn gather(&self, ask: &Ask<'_>) -> (Vec<Neighbour>, Effort) {
        twofold_vector::gather(ask.arena(), ask.query, ask.k, ask.mask)
    }

    /// The index in memory, for a checkpoint.
    fn in_memory(&self) -> Option<&twofold_vector::Ivf> {
        None
    }

    /// Lets the files go with the last user of the index.
    fn discard(&self) {}
}

/// An index in memory. It never changes: following makes another one.
pub(crate) struct MemoryIndex {
    pub(crate) ivf: twofold_vector::Ivf,
    pub(crate) applied: SeqNo,
}

impl VectorIndex for MemoryIndex {
    fn kind(&self) -> &'static str {
        if self.ivf.lists() == 1 { "flat" } else { "ivf" }
    }

    fn applied(&self) -> Result<SeqNo> {
        Ok(self.applied)
    }

    fn len(&self) -> Result<u64> {
        Ok(self.ivf.len())
    }

    fn allowed_lag(&self, _: u64, usual: u64) -> u64 {
        usual
    }

    fn is_outgrown(&self, at_rest: bool) -> bool {
        self.ivf.is_outgrown(at_rest)
    }

    fn follow(self: Arc<Self>, changed: &Bitmap, arena: &Arena, seq: SeqNo, cancel: Cancel<'_>) -> Result<Followed> {
        let ivf = self
            .ivf
            .follow(arena, changed, rayon::current_num_threads(), &|| cancel());
        Ok(Followed::Done(Arc::new(Self { ivf, applied: seq })))
    }

    fn estimate(&self, matching: u64, _: u64, k: usize, effort: f32) -> Estimate {
        Estimate {
            index: self.ivf.search_cost(matching, k, effort),
            scan: self.ivf.gather_cost(matching),
        }
    }

    fn search(&self, ask: &Ask<'_>) -> Result<(Vec<Neighbour>, Effort)> {
        let overlay = ask.state.touched_since(self.applied);
        Ok(self.ivf.search(ask.arena(), ask.query, ask.probe(&overlay)))
    }

    fn gather(&self, ask: &Ask<'_>) -> (Vec<Neighbour>, Effort) {
        let overlay = ask.state.touched_since(self.applied);
        self.ivf.gather(ask.arena(), ask.query, ask.probe(&overlay))
    }

    fn in_memory(&self) -> Option<&twofold_vector::Ivf> {
        Some(&self.ivf)
    }
}
