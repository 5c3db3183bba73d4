//! What filters let through of the lists: copies of their codes without those that a filter excludes.
//!
//! Applications search with the same few filters again and again, and of a list that is scanned behind one, most is scanned in
//! vain. So from the second search with the same mask on, what it lets through is copied out of a list when a search
//! first reads it, and later searches read the copy. An index that follows changes goes on with the copies of the lists that
//! did not change; a mask that did is another one.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::bitmap::Bitmap;
use crate::ivf::Ivf;
use crate::list::List;
use crate::probe::SKETCHED;

/// Masks that are remembered.
const REMEMBERED: usize = 16;

/// Copies hold at most one in so many of the vectors, over all masks.
const COPIED: u64 = 2;

/// The part of an index that a mask lets through, as far as it was read.
#[derive(Debug)]
pub(crate) struct Subset {
    mask: Bitmap,
    lists: Vec<OnceLock<Part>>,
    /// All of it around the origin, as sketches are.
    flat: OnceLock<Arc<List>>,
}

/// What a mask lets through of a list.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) list: Arc<List>,
    /// How long the whole list is: to ask itself would fetch it from memory.
    pub(crate) of: usize,
}

impl Subset {
    fn new(mask: &Bitmap, lists: usize) -> Self {
        Self {
            mask: mask.clone(),
            lists: (0..lists).map(|_| OnceLock::new()).collect(),
            flat: OnceLock::new(),
        }
    }

    /// What it has of a list of the index.
    pub(crate) fn list(&self, index: &Ivf, list: usize) -> &Part {
        self.lists[list].get_or_init(|| Part {
            list: Arc::new(index.lists[list].masked(&self.mask)),
            of: index.lists[list].len(),
        })
    }

    /// The same, if it was read before.
    pub(crate) fn known(&self, list: usize) -> Option<&List> {
        self.lists[list].get().map(|part| &*part.list)
    }

    /// Everything around the origin, made by the first who asks.
    pub(crate) fn flat(&self, make: impl FnOnce(&Bitmap) -> List) -> &List {
        self.flat.get_or_init(|| Arc::new(make(&self.mask)))
    }

    /// The same of an index that has followed changes.
    fn following(&self, from: &Ivf, to: &Ivf, changed: &Bitmap) -> Self {
        let next = Self::new(&self.mask, to.lists.len());
        let lists = from.lists.iter().zip(&to.lists).zip(self.lists.iter().zip(&next.lists));
        for ((old, new), (copy, next)) in lists {
            if Arc::ptr_eq(old, new)
                && let Some(copy) = copy.get()
            {
                let _ = next.set(copy.clone());
            }
        }
        match self.flat.get() {
            Some(flat) if self.mask.intersection_len(changed) == 0 => Self {
                flat: OnceLock::from(flat.clone()),
                ..next
            },
            _ => next,
        }
    }

    fn heap_bytes(&self) -> usize {
        let parts = self.lists.iter().filter_map(OnceLock::get).map(|part| &part.list);
        let lists = parts.chain(self.flat.get());
        lists.map(|list| list.heap_bytes()).sum::<usize>() + self.mask.heap_bytes()
    }
}

/// The masks that an index was last searched with, the last of them first; with a subset for those that came more than once.
#[derive(Debug, Default)]
pub(crate) struct Subsets(Mutex<Vec<(Bitmap, Option<Arc<Subset>>)>>);

impl Subsets {
    fn lock(&self) -> MutexGuard<'_, Vec<(Bitmap, Option<Arc<Subset>>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The subset of the index that a mask lets through, if it is worth a copy and the mask was seen before.
    pub(crate) fn of(&self, index: &Ivf, mask: &Bitmap) -> Option<Arc<Subset>> {
        let most = index.len() / COPIED;
        if !(SKETCHED..=most).contains(&mask.len()) {
            return None;
        }
        let mut recent = self.lock();
        let Some(place) = recent.iter().position(|(known, _)| known == mask) else {
            recent.truncate(REMEMBERED - 1);
            recent.insert(0, (mask.clone(), None));
            return None;
        };
        recent[..=place].rotate_right(1);
        let subset = recent[0].1.take();
        let subset = subset.unwrap_or_else(|| Arc::new(Subset::new(mask, index.lists())));
        let mut room = most - mask.len();
        for (mask, subset) in recent.iter_mut().filter(|(_, subset)| subset.is_some()) {
            match room.checked_sub(mask.len()) {
                Some(left) => room = left,
                None => *subset = None,
            }
        }
        recent[0].1 = Some(subset.clone());
        Some(subset)
    }

    /// Whether a mask has a subset.
    #[cfg(test)]
    pub(crate) fn peek(&self, mask: &Bitmap) -> bool {
        self.lock()
            .iter()
            .any(|(known, subset)| known == mask && subset.is_some())
    }

    /// The same for an index that has followed changes.
    pub(crate) fn following(&self, from: &Ivf, to: &Ivf, changed: &Bitmap) -> Self {
        let follow = |(mask, subset): &(Bitmap, Option<Arc<Subset>>)| {
            let subset = subset
                .as_ref()
                .map(|subset| Arc::new(subset.following(from, to, changed)));
            (mask.clone(), subset)
        };
        Self(Mutex::new(self.lock().iter().map(follow).collect()))
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let recent = self.lock();
        let subsets = recent.iter().filter_map(|(_, subset)| subset.as_ref());
        subsets.map(|subset| subset.heap_bytes()).sum()
    }
}

impl Clone for Subsets {
    /// A clone has seen nothing yet.
    fn clone(&self) -> Self {
        Self::default()
    }
}
