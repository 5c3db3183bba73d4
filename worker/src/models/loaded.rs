//! What is in memory of the models: a budget of bytes, and the least recently used goes first.
//!
//! Every model has a slot with a lock of its own, which is held while the model loads: those who want the same model wait for
//! it, those who want another do not. The table of slots is locked for moments only.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::Result;

/// Loaded models, by what `K` tells them apart. What is unloaded here stays in memory until its last user is done with it.
pub(super) struct Loaded<K, T> {
    budget: u64,
    table: Mutex<Table<K, T>>,
}

struct Table<K, T> {
    slots: HashMap<K, Entry<T>>,
    /// Counts uses, so that they have an order.
    clock: u64,
}

struct Entry<T> {
    slot: Arc<Mutex<Option<Arc<T>>>>,
    /// Bytes that it takes or, while it loads, will take; 0 where it is not in memory.
    bytes: u64,
    last_used: u64,
    error: Option<String>,
}

/// How a model is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) loaded: bool,
    /// Why it could not be loaded the last time.
    pub(super) error: Option<String>,
}

impl<K: Clone + Eq + Hash, T> Loaded<K, T> {
    pub(super) fn new(budget: u64) -> Self {
        let (slots, clock) = (HashMap::new(), 0);
        Self {
            budget,
            table: Mutex::new(Table { slots, clock }),
        }
    }

    /// The model, loaded if it is not in memory, where it will take `bytes`. Others are unloaded first, as far as that is
    /// needed and possible; `unload` is told which. A single model may be larger than the budget: it is loaded alone.
    pub(super) fn get(
        &self,
        model: &K,
        bytes: u64,
        load: impl FnOnce() -> Result<Arc<T>>,
        unload: impl Fn(&K),
    ) -> Result<Arc<T>> {
        let slot = self.table.lock().entry(model).slot.clone();
        let mut slot = slot.lock();
        if let Some(loaded) = slot.as_ref() {
            return Ok(loaded.clone());
        }
        for unloaded in self.make_room(model, bytes) {
            unload(&unloaded);
        }
        let outcome = load();
        let mut table = self.table.lock();
        let entry = table.entry(model);
        entry.error = outcome.as_ref().err().map(ToString::to_string);
        if outcome.is_err() {
            entry.bytes = 0;
        }
        let loaded = outcome?;
        *slot = Some(loaded.clone());
        Ok(loaded)
    }

    /// Says that a model is used.
    pub(super) fn touch(&self, model: &K) {
        self.table.lock().entry(model);
    }

    /// Bytes of all models in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.table.lock().bytes()
    }

    /// Bytes that they may take.
    pub(super) fn budget(&self) -> u64 {
        self.budget
    }

    pub(super) fn state(&self, model: &K) -> State {
        let table = self.table.lock();
        let Some(entry) = table.slots.get(model) else {
            return State::default();
        };
        State {
            // A slot that is locked loads.
            loaded: entry.slot.try_lock().is_some_and(|slot| slot.is_some()),
            error: entry.error.clone(),
        }
    }

    /// Counts `bytes` as those of `model`, and takes others out of memory until the budget is kept; those that are being
    /// loaded stay.
    fn make_room(&self, model: &K, bytes: u64) -> Vec<K> {
        let mut table = self.table.lock();
        table.entry(model).bytes = bytes;
        let mut others: Vec<(u64, K)> = table
            .slots
            .iter()
            .filter(|(other, entry)| *other != model && entry.bytes > 0)
            .map(|(other, entry)| (entry.last_used, other.clone()))
            .collect();
        others.sort_unstable_by_key(|(last_used, _)| *last_used);
        let mut unloaded = Vec::new();
        for (_, other) in others {
            if table.bytes() <= self.budget {
                break;
            }
            let Some(entry) = table.slots.get_mut(&other) else {
                continue;
            };
            let Some(freed) = entry.slot.try_lock().map(|mut slot| slot.take()) else {
                continue;
            };
            drop(freed);
            entry.bytes = 0;
            unloaded.push(other);
        }
        unloaded
    }
}

impl<K: Clone + Eq + Hash, T> Table<K, T> {
    /// The entry of a model that is used now.
    fn entry(&mut self, model: &K) -> &mut Entry<T> {
        self.clock += 1;
        let entry = self.slots.entry(model.clone()).or_insert_with(|| Entry {
            slot: Arc::new(Mutex::new(None)),
            bytes: 0,
            last_used: 0,
            error: None,
        });
        entry.last_used = self.clock;
        entry
    }

    fn bytes(&self) -> u64 {
        self.slots.values().map(|entry| entry.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use crossbeam::channel::bounded;
    use twofold_types::ModelId;

    use super::*;
    use crate::error::WorkerError;

    fn id(name: &str) -> ModelId {
        ModelId::new(name)
    }

    fn get(loaded: &Loaded<ModelId, String>, model: &str, bytes: u64) -> Vec<String> {
        let unloaded = Mutex::new(Vec::new());
        let load = || Ok(Arc::new(model.to_owned()));
        let got = loaded.get(&id(model), bytes, load, |model| unloaded.lock().push(model.to_string()));
        assert_eq!(*got.unwrap(), model);
        unloaded.into_inner()
    }

    #[test]
    fn the_least_recently_used_goes_first_and_no_more_than_needed() {
        let loaded = Loaded::new(100);
        assert!(get(&loaded, "a", 40).is_empty());
        assert!(get(&loaded, "b", 40).is_empty());
        loaded.touch(&id("a"));
        assert_eq!(get(&loaded, "c", 60), ["b"]);
        assert_eq!(loaded.bytes(), 100);
        assert_eq!(get(&loaded, "large", 1_000), ["a", "c"]);
        assert!(loaded.state(&id("large")).loaded && !loaded.state(&id("a")).loaded);
        assert_eq!(get(&loaded, "b", 40), ["large"]);
    }

    #[test]
    fn a_model_that_loads_keeps_nobody_from_one_that_is_loaded() {
        let loaded = &Loaded::new(100);
        get(loaded, "here", 10);
        let (started, wait_for_start) = bounded(0);
        let (finish, wait_for_end) = bounded::<()>(0);
        std::thread::scope(|scope| {
            let slow = move || {
                started.send(()).unwrap();
                wait_for_end.recv().unwrap();
                Ok(Arc::new("slow".to_owned()))
            };
            let loading = scope.spawn(move || loaded.get(&id("slow"), 200, slow, |_| {}));
            wait_for_start.recv().unwrap();
            assert!(!loaded.state(&id("slow")).loaded);
            assert!(get(loaded, "other", 10).is_empty(), "what loads is not unloaded");
            get(loaded, "other", 10);
            finish.send(()).unwrap();
            assert_eq!(*loading.join().unwrap().unwrap(), "slow");
        });
        assert!(loaded.state(&id("slow")).loaded);
    }

    #[test]
    fn an_error_is_kept_until_a_load_succeeds_and_takes_no_memory() {
        let loaded = Loaded::new(100);
        let refuse = || Err(WorkerError::Busy);
        assert!(loaded.get(&id("a"), 40, refuse, |_| {}).is_err());
        assert_eq!(loaded.bytes(), 0);
        assert!(
            loaded
                .state(&id("a"))
                .error
                .is_some_and(|error| error.contains("try again"))
        );
        get(&loaded, "a", 40);
        assert_eq!(loaded.state(&id("a")).error, None);
    }
}
