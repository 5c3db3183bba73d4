//! What points are called, by offset: in memory, as every answer names its points.

use std::sync::Arc;

use twofold_types::PointId;

use crate::key::PointOffset;

/// Labels of a block. A write copies the blocks it touches while readers hold the old ones.
const BLOCK: usize = 256;

/// The id of a point and the write that changed it last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Label {
    pub(crate) id: PointId,
    pub(crate) version: u64,
}

/// The labels of a collection. What stands at an offset without a point has no meaning.
#[derive(Debug, Clone, Default)]
pub(crate) struct Labels {
    blocks: Vec<Arc<[Label; BLOCK]>>,
}

impl Labels {
    /// The label of a point that there is.
    pub(crate) fn get(&self, offset: PointOffset) -> Label {
        self.blocks[offset.0 as usize / BLOCK][offset.0 as usize % BLOCK]
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.blocks.len() * BLOCK * size_of::<Label>()
    }

    pub(crate) fn set(&mut self, offset: PointOffset, label: Label) {
        const NOBODY: Label = Label {
            id: PointId::Num(0),
            version: 0,
        };
        let block = offset.0 as usize / BLOCK;
        if self.blocks.len() <= block {
            self.blocks.resize_with(block + 1, || Arc::new([NOBODY; BLOCK]));
        }
        Arc::make_mut(&mut self.blocks[block])[offset.0 as usize % BLOCK] = label;
    }
}
