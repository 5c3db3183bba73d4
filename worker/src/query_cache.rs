//! Vectors of recent queries: a text that is asked again is not encoded again.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};

use lru::LruCache;
use parking_lot::Mutex;
use twofold_types::{Embedding, EncoderParams, QueryCacheInfo};

/// Longer texts are not kept: a cache that is bounded by entries is bounded in memory only if these are.
const MAX_TEXT_BYTES: usize = 4096;

/// The least recently used vector goes first. What is asked of the encoder is part of the key, as it decides the vector.
pub(crate) struct QueryCache {
    /// `None`: it is off.
    vectors: Option<Mutex<LruCache<Key, Embedding>>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    params: EncoderParams,
    text: String,
}

impl Key {
    fn new(params: &EncoderParams, text: &str) -> Self {
        Self {
            params: params.clone(),
            text: text.to_owned(),
        }
    }
}

impl QueryCache {
    /// A cache of so many vectors; 0 keeps none.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            vectors: NonZeroUsize::new(capacity).map(|capacity| Mutex::new(LruCache::new(capacity))),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The vector of a query, if it was asked lately.
    pub(crate) fn get(&self, params: &EncoderParams, text: &str) -> Option<Embedding> {
        let vectors = self.vectors.as_ref().filter(|_| text.len() <= MAX_TEXT_BYTES);
        let found = vectors.and_then(|vectors| vectors.lock().get(&Key::new(params, text)).cloned());
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Keeps the vector of a query.
    pub(crate) fn insert(&self, params: &EncoderParams, text: &str, vector: &Embedding) {
        if let Some(vectors) = self.vectors.as_ref().filter(|_| text.len() <= MAX_TEXT_BYTES) {
            vectors.lock().put(Key::new(params, text), vector.clone());
        }
    }

    pub(crate) fn info(&self) -> QueryCacheInfo {
        let vectors = self.vectors.as_ref().map(Mutex::lock);
        QueryCacheInfo {
            entries: vectors.as_ref().map_or(0, |vectors| vectors.len()),
            capacity: vectors.as_ref().map_or(0, |vectors| vectors.cap().get()),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use twofold_types::ModelId;

    use super::*;

    fn params(model: &str) -> EncoderParams {
        EncoderParams::new(ModelId::new(model))
    }

    fn dense(component: f32) -> Embedding {
        Embedding::Dense(vec![component])
    }

    #[test]
    fn the_least_recently_used_vector_goes_first() {
        let cache = QueryCache::new(2);
        cache.insert(&params("m"), "a", &dense(1.0));
        cache.insert(&params("m"), "b", &dense(2.0));
        assert_eq!(cache.get(&params("m"), "a"), Some(dense(1.0)));
        cache.insert(&params("m"), "c", &dense(3.0));
        assert_eq!(cache.get(&params("m"), "b"), None);
        assert_eq!(cache.get(&params("m"), "a"), Some(dense(1.0)));
        let info = cache.info();
        assert_eq!((info.entries, info.capacity, info.hits, info.misses), (2, 2, 2, 1));
    }

    #[test]
    fn a_vector_belongs_to_all_that_was_asked_of_its_encoder() {
        let cache = QueryCache::new(2);
        cache.insert(&params("m"), "a", &dense(1.0));
        assert_eq!(cache.get(&params("other"), "a"), None);
        let short = EncoderParams {
            dimensions: NonZeroUsize::new(1),
            ..params("m")
        };
        assert_eq!(cache.get(&short, "a"), None);
    }

    #[test]
    fn long_texts_and_a_capacity_of_zero_keep_nothing() {
        let long = "x".repeat(MAX_TEXT_BYTES + 1);
        for (cache, text) in [(QueryCache::new(2), long.as_str()), (QueryCache::new(0), "a")] {
            cache.insert(&params("m"), text, &dense(1.0));
            assert_eq!(cache.get(&params("m"), text), None);
            assert_eq!(cache.info().entries, 0);
        }
    }
}
