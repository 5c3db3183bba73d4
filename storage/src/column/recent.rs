//! What was found last: applications ask with the same few filters again and again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use twofold_vector::Bitmap;

use crate::posting::Lookup;

/// So many answers are kept of a column.
const KEPT: usize = 4;

/// The last answers of a column, shared by its clones until one of them changes.
#[derive(Debug, Clone, Default)]
pub(super) struct Recent(Arc<Mutex<VecDeque<(Lookup, Bitmap)>>>);

impl Recent {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Lookup, Bitmap)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The points of a lookup, found only if they were not among the last answers.
    pub(super) fn get_or_find(&self, lookup: &Lookup, find: impl FnOnce() -> Bitmap) -> Bitmap {
        if let Some((_, points)) = self.lock().iter().find(|(known, _)| known == lookup) {
            return points.clone();
        }
        let points = find();
        let mut recent = self.lock();
        recent.truncate(KEPT - 1);
        recent.push_front((lookup.clone(), points.clone()));
        points
    }

    /// Forgets everything, here and not in clones.
    pub(super) fn forget(&mut self) {
        match Arc::get_mut(&mut self.0) {
            Some(recent) => recent.get_mut().unwrap_or_else(PoisonError::into_inner).clear(),
            None => self.0 = Arc::default(),
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.lock().iter().map(|(_, points)| points.heap_bytes()).sum()
    }
}
