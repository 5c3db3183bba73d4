//! Where vectors are: the lists of every offset, in chunks that indexes share until one of them changes.

use std::sync::Arc;

/// No list.
pub(super) const NONE: u32 = u32::MAX;

/// The lists that a vector is in.
pub(super) type Home = [u32; 2];

/// The lists of every offset.
#[derive(Debug, Clone, Default)]
pub(crate) struct Homes {
    chunks: Vec<Arc<[Home; Self::CHUNK]>>,
}

impl Homes {
    const CHUNK: usize = 1024;

    pub(super) fn get(&self, offset: u32) -> Home {
        let chunk = self.chunks.get(offset as usize / Self::CHUNK);
        chunk.map_or([NONE; 2], |chunk| chunk[offset as usize % Self::CHUNK])
    }

    pub(super) fn set(&mut self, offset: u32, home: Home) {
        let chunk = offset as usize / Self::CHUNK;
        if self.chunks.len() <= chunk {
            self.chunks
                .resize_with(chunk + 1, || Arc::new([[NONE; 2]; Self::CHUNK]));
        }
        Arc::make_mut(&mut self.chunks[chunk])[offset as usize % Self::CHUNK] = home;
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.chunks.len() * Self::CHUNK * size_of::<Home>()
    }
}
