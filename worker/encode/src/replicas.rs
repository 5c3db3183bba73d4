//! One model on several devices.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use twofold_types::{Embedding, EmbeddingSpace, ModelId, Role};

use crate::{EncodeError, Encoder, Identity, TokenBudget, Tokenizer, Tokens};

/// The same encoder on each of several devices. A batch goes to the device that has the fewest.
pub struct Replicas(Vec<Replica>);

struct Replica {
    encoder: Arc<dyn Encoder>,
    /// Batches that it has.
    batches: AtomicUsize,
}

/// A batch on a device.
struct Running<'a>(&'a Replica);

impl Replicas {
    /// One encoder of all of `encoders`, which are alike but for their devices.
    ///
    /// # Panics
    /// Without any encoder.
    pub fn join(encoders: Vec<Arc<dyn Encoder>>) -> Arc<dyn Encoder> {
        assert!(!encoders.is_empty(), "a model runs on one device at least");
        if let [only] = &encoders[..] {
            return only.clone();
        }
        let replica = |encoder| Replica {
            encoder,
            batches: AtomicUsize::new(0),
        };
        Arc::new(Self(encoders.into_iter().map(replica).collect()))
    }

    fn first(&self) -> &dyn Encoder {
        self.0[0].encoder.as_ref()
    }

    /// Gives a batch to a replica that has the fewest.
    fn start(&self) -> Running<'_> {
        loop {
            let loads = self
                .0
                .iter()
                .map(|replica| (replica.batches.load(Ordering::Acquire), replica));
            let (batches, least) = loads.min_by_key(|(batches, _)| *batches).expect("there is a first");
            // Another thread may have been quicker.
            let taken = least
                .batches
                .compare_exchange(batches, batches + 1, Ordering::AcqRel, Ordering::Relaxed);
            if taken.is_ok() {
                return Running(least);
            }
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.batches.fetch_sub(1, Ordering::Release);
    }
}

impl Encoder for Replicas {
    fn model(&self) -> &ModelId {
        self.first().model()
    }

    fn space(&self) -> EmbeddingSpace {
        self.first().space()
    }

    fn tokenizer(&self, role: Role) -> &Tokenizer {
        self.first().tokenizer(role)
    }

    fn budget(&self) -> TokenBudget {
        self.first().budget()
    }

    fn identity(&self) -> Option<Identity> {
        self.first().identity()
    }

    fn encode(&self, batch: &[Tokens], role: Role) -> Result<Vec<Embedding>, EncodeError> {
        self.start().0.encoder.encode(batch, role)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use crate::{DeviceSpec, Model};

    use super::*;

    /// An encoder that says its name when it is given a batch, and goes on when it is told to.
    struct Slow {
        name: usize,
        begun: Sender<usize>,
        go: Mutex<Receiver<()>>,
        encoder: Arc<dyn Encoder>,
    }

    impl Encoder for Slow {
        fn model(&self) -> &ModelId {
            self.encoder.model()
        }

        fn space(&self) -> EmbeddingSpace {
            self.encoder.space()
        }

        fn tokenizer(&self, role: Role) -> &Tokenizer {
            self.encoder.tokenizer(role)
        }

        fn encode(&self, batch: &[Tokens], role: Role) -> Result<Vec<Embedding>, EncodeError> {
            self.begun.send(self.name).unwrap();
            self.go.lock().unwrap().recv().unwrap();
            assert!(batch.len() < 3, "a batch that makes it panic");
            self.encoder.encode(batch, role)
        }
    }

    #[test]
    fn every_batch_goes_to_the_device_that_has_the_fewest() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families/bert");
        let model = Model::open(fixture, DeviceSpec::Cpu).unwrap();
        let (begun, begins) = channel();
        let mut goes = Vec::new();
        let mut slow = |name| {
            let (go, wait) = channel();
            goes.push(go);
            let (begun, encoder) = (begun.clone(), model.encoder().clone());
            let slow = Slow {
                name,
                begun,
                go: Mutex::new(wait),
                encoder,
            };
            Arc::new(slow) as Arc<dyn Encoder>
        };
        let replicas = Replicas::join(vec![slow(0), slow(1)]);
        let text = replicas
            .tokenizer(Role::Document)
            .tokenize(&["a text"], Role::Document)
            .unwrap();
        let expected = model.encoder().encode(&text, Role::Document).unwrap();
        std::thread::scope(|scope| {
            let give = |texts: usize| {
                let batch = vec![text[0].clone(); texts];
                let replicas = &replicas;
                let running = scope.spawn(move || replicas.encode(&batch, Role::Document));
                (begins.recv().unwrap(), running)
            };
            let (first, one) = give(1);
            let (second, two) = give(3);
            assert_eq!((first, second), (0, 1), "each has one");
            goes[1].send(()).unwrap();
            assert!(two.join().is_err());
            let (third, three) = give(1);
            assert_eq!(third, 1, "a batch that failed is none any more");
            goes[0].send(()).unwrap();
            assert_eq!(one.join().unwrap().unwrap(), expected);
            let (fourth, four) = give(1);
            assert_eq!(fourth, 0);
            for (go, batch) in goes.iter().zip([four, three]) {
                go.send(()).unwrap();
                assert_eq!(batch.join().unwrap().unwrap(), expected);
            }
        });
    }
}
