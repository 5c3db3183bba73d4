//! Embeddings of texts that were encoded before, for as long as there is room.
//!
//! A cache and nothing else: an entry that cannot be read is not there, one that cannot be written is not kept, and a crash loses
//! those of the last moments. RocksDB's files are dropped as a whole, the oldest first, and never rewritten.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use twofold_types::{Embedding, EmbeddingCacheInfo, EmbeddingSpace};

use crate::embedding::{read, to_bytes};
use crate::options::Options;
use crate::rocks::{Cf, Rocks};

/// What an embedding is kept under: a hash of everything that it depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EmbeddingKey(pub [u8; 16]);

impl AsRef<[u8]> for EmbeddingKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The cache of a data directory. Any thread may use it; none waits for the disk to be written.
pub struct EmbeddingCache {
    rocks: Arc<Rocks>,
    options: Arc<Options>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl EmbeddingCache {
    /// The cache, unless the options leave no room for one.
    pub(crate) fn open(rocks: &Arc<Rocks>, options: &Arc<Options>) -> Option<Arc<Self>> {
        (options.embedding_cache_bytes > 0).then(|| {
            Arc::new(Self {
                rocks: rocks.clone(),
                options: options.clone(),
                hits: AtomicU64::new(0),
                misses: AtomicU64::new(0),
            })
        })
    }

    /// What is kept under each key, where it lies in that space.
    pub fn get(&self, keys: &[EmbeddingKey], space: EmbeddingSpace) -> Vec<Option<Embedding>> {
        let values = self.rocks.get_cached(Cf::Embeddings, keys).into_iter();
        let found: Vec<_> = values.map(|value| read(&value?, space).ok()).collect();
        let hits = found.iter().flatten().count();
        self.hits.fetch_add(hits as u64, Ordering::Relaxed);
        self.misses.fetch_add((found.len() - hits) as u64, Ordering::Relaxed);
        found
    }

    /// Keeps embeddings, unless the disk is nearly full or RocksDB has too much to write already.
    pub fn put<'a>(&self, entries: impl IntoIterator<Item = (&'a EmbeddingKey, &'a Embedding)>) {
        let entries = entries
            .into_iter()
            .map(|(key, embedding)| (key.as_ref(), to_bytes(embedding)));
        if self.options.check_disk().is_err() || !self.rocks.put_cached(Cf::Embeddings, entries) {
            tracing::debug!("embeddings are not kept");
        }
    }

    /// How the cache does.
    pub fn info(&self) -> EmbeddingCacheInfo {
        EmbeddingCacheInfo {
            bytes: self.rocks.bytes(Cf::Embeddings),
            capacity_bytes: self.options.embedding_cache_bytes,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use twofold_types::{Distance, SparseVector};

    use super::*;

    const DENSE: EmbeddingSpace = EmbeddingSpace::Dense {
        dimensions: 4,
        distance: Distance::Cosine,
    };

    fn open(dir: &Path, bytes: u64) -> (Arc<Rocks>, Option<Arc<EmbeddingCache>>) {
        let options = Options {
            embedding_cache_bytes: bytes,
            ..Options::new(dir)
        };
        let rocks = Arc::new(Rocks::open(dir, 1 << 20, bytes).unwrap());
        let cache = EmbeddingCache::open(&rocks, &Arc::new(options));
        (rocks, cache)
    }

    fn key(n: u64) -> EmbeddingKey {
        EmbeddingKey(u128::from(n).to_be_bytes())
    }

    #[test]
    fn embeddings_of_every_kind_survive_a_restart_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let multi = EmbeddingSpace::Multi {
            dimensions: 2,
            distance: Distance::Cosine,
        };
        let sparse = SparseVector::new(vec![7, 3], vec![0.5, -1.5]).unwrap();
        let entries = [
            (Embedding::Dense(vec![0.1, -0.2, 1e-9, 3.0]), DENSE),
            (Embedding::Sparse(sparse), EmbeddingSpace::Sparse { idf: false }),
            (
                Embedding::Multi(vec![vec![1.0, 2.0], vec![3.0, 4.0], vec![5.0, 6.0]]),
                multi,
            ),
        ];
        let (rocks, cache) = open(dir.path(), 1 << 20);
        let cache = cache.unwrap();
        for (n, (embedding, space)) in (0..).zip(&entries) {
            assert_eq!(cache.get(&[key(n)], *space), [None]);
            cache.put([(&key(n), embedding)]);
        }
        rocks.flush().unwrap();
        drop((rocks, cache));
        let (_, cache) = open(dir.path(), 1 << 20);
        let cache = cache.unwrap();
        for (n, (embedding, space)) in (0..).zip(&entries) {
            assert_eq!(cache.get(&[key(n), key(99)], *space), [Some(embedding.clone()), None]);
        }
        let info = cache.info();
        assert_eq!((info.hits, info.misses, info.capacity_bytes), (3, 3, 1 << 20));
    }

    #[test]
    fn what_cannot_be_read_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let (rocks, cache) = open(dir.path(), 1 << 20);
        let cache = cache.unwrap();
        cache.put([
            (&key(0), &Embedding::Dense(vec![1.0; 4])),
            (&key(1), &Embedding::Dense(vec![1.0; 3])),
        ]);
        let garbage = [vec![], vec![9; 17], vec![1, 2]];
        let keys: Vec<EmbeddingKey> = (2..).map(key).take(garbage.len()).collect();
        let entries = keys.iter().map(AsRef::as_ref).zip(garbage);
        assert!(rocks.put_cached(Cf::Embeddings, entries));
        let all: Vec<EmbeddingKey> = (0..6).map(key).collect();
        let found = cache.get(&all, DENSE);
        assert_eq!(found.iter().flatten().count(), 1, "{found:?}");
        assert!(found[0].is_some());
    }

    #[test]
    fn the_oldest_make_room_and_a_cache_without_room_is_emptied() {
        const BYTES: u64 = 4 << 20;
        // Four times what there is room for.
        const MANY: u64 = 4096;
        let dir = tempfile::tempdir().unwrap();
        let (rocks, cache) = open(dir.path(), BYTES);
        let cache = cache.unwrap();
        let (space, large) = (
            EmbeddingSpace::Dense {
                dimensions: 1024,
                distance: Distance::Dot,
            },
            Embedding::Dense(vec![0.5; 1024]),
        );
        for n in 0..MANY {
            // A write that would have to wait is none.
            while cache.get(&[key(n)], space) == [None] {
                cache.put([(&key(n), &large)]);
            }
        }
        rocks.flush().unwrap();
        let within = |rocks: &Rocks, bytes: u64| {
            let started = Instant::now();
            while rocks.bytes(Cf::Embeddings) > bytes && started.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(5));
            }
            rocks.bytes(Cf::Embeddings)
        };
        let bytes = within(&rocks, BYTES + BYTES / 8);
        assert!((BYTES / 2..=BYTES + BYTES / 8).contains(&bytes), "{bytes} bytes");
        let kept = |n: u64| cache.get(&[key(n)], space)[0].is_some();
        assert!(!kept(0) && kept(MANY - 1));
        drop((rocks, cache));
        let (rocks, cache) = open(dir.path(), 0);
        assert!(cache.is_none());
        let bytes = within(&rocks, 64 << 10);
        assert!(bytes < 64 << 10, "{bytes} bytes");
    }
}
