use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use twofold_encode::{Checkpoint, DeviceSpec, EncodeOptions, Model, ModelFiles, Tokenizer};
use twofold_types::rerank::TruncationDirection;
use twofold_types::{EmbeddingSpace, ModelId};

use super::*;

/// Texts as a caller of that side has them encoded.
fn encode(lanes: &Lanes, encoder: &Arc<dyn Encoder>, texts: &[String], role: Role) -> Vec<Embedding> {
    let tokens = encoder.tokenizer(role).tokenize(texts, role).unwrap();
    let encoded = match role {
        Role::Query => lanes.encode_queries(encoder, tokens),
        Role::Document => lanes.encode_documents(encoder, texts, |text| Ok(tokens[text].clone())),
    };
    encoded.unwrap()
}

#[test]
fn a_full_queue_of_queries_is_an_answer() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("encode/tests/fixtures/families/bert");
    let encoder = Model::open(fixture, DeviceSpec::Cpu).unwrap().encoder().clone();
    let tokens = encoder.tokenizer(Role::Query).tokenize(&["a"], Role::Query).unwrap();
    let (ingest, _ingest_jobs) = bounded(0);
    // Nobody takes a job up.
    let (query, _query_jobs) = bounded(0);
    let (scoring, _scorings) = bounded(0);
    let lanes = Lanes {
        remote: ingest.clone(),
        ingest,
        query,
        scoring,
        cache: None,
    };
    let refused = lanes.encode_queries(&encoder, tokens);
    assert!(matches!(refused, Err(WorkerError::Busy)), "{refused:?}");
}

#[test]
fn many_texts_come_back_in_their_order_from_either_lane() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("encode/tests/fixtures/families/bert");
    let model = Model::open(fixture, DeviceSpec::Cpu).unwrap();
    let texts: Vec<String> = (0..300).map(|n| "word ".repeat(n % 37) + &n.to_string()).collect();
    let (stopper, stop) = crate::stop::stop_signal();
    let (lanes, threads) = Lanes::start(2, false, None, &mut Vec::new(), &Arc::default(), &stop).unwrap();
    for role in [Role::Query, Role::Document] {
        let encoded = encode(&lanes, model.encoder(), &texts, role);
        for (alone, together) in model.embed(&texts, role).unwrap().iter().zip(encoded) {
            assert!(twofold_encode::cosine(alone, &together.into_dense().unwrap()) > 0.99999);
        }
    }
    drop(stopper);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Counts the texts that reach a model.
struct Counting {
    inner: Arc<dyn Encoder>,
    texts: AtomicUsize,
}

impl Encoder for Counting {
    fn model(&self) -> &ModelId {
        self.inner.model()
    }

    fn space(&self) -> EmbeddingSpace {
        self.inner.space()
    }

    fn tokenizer(&self, role: Role) -> &Tokenizer {
        self.inner.tokenizer(role)
    }

    fn encode(&self, batch: &[Tokens], role: Role) -> Result<Vec<Embedding>, EncodeError> {
        self.texts.fetch_add(batch.len(), Ordering::Relaxed);
        self.inner.encode(batch, role)
    }
}

fn counting() -> (Arc<Counting>, Arc<dyn Encoder>) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("encode/tests/fixtures/families/bert");
    let model = Model::open(fixture, DeviceSpec::Cpu).unwrap();
    let counting = Arc::new(Counting {
        inner: model.encoder().clone(),
        texts: AtomicUsize::new(0),
    });
    (counting.clone(), counting)
}

#[test]
fn equal_texts_of_one_caller_are_encoded_once() {
    let (counting, encoder) = counting();
    let texts: Vec<String> = (0..600).map(|n| "word ".repeat(n % 37)).collect();
    let (stopper, stop) = crate::stop::stop_signal();
    let (lanes, threads) = Lanes::start(2, false, None, &mut Vec::new(), &Arc::default(), &stop).unwrap();
    for role in [Role::Query, Role::Document] {
        counting.texts.store(0, Ordering::Relaxed);
        let encoded = encode(&lanes, &encoder, &texts, role);
        assert_eq!(
            (encoded.len(), counting.texts.load(Ordering::Relaxed)),
            (600, 37),
            "{role:?}"
        );
        for (place, embedding) in encoded.iter().enumerate() {
            assert_eq!(*embedding, encoded[place % 37]);
        }
        assert_ne!(encoded[0], encoded[1]);
    }
    drop(stopper);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn equal_queries_that_wait_together_are_encoded_once() {
    let (counting, encoder) = counting();
    let tokenize = |text: &str| encoder.tokenizer(Role::Query).tokenize(&[text], Role::Query).unwrap();
    let (jobs, results): (Vec<_>, Vec<_>) = ["word", "word word", "word", "word"]
        .map(|text| {
            let (reply, result) = bounded(1);
            let job = Job {
                encoder: encoder.clone(),
                role: Role::Query,
                tokens: tokenize(text),
                keys: None,
                reply,
            };
            (job, result)
        })
        .into_iter()
        .unzip();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    encode_together(&pool, jobs, None);
    assert_eq!(counting.texts.load(Ordering::Relaxed), 2);
    let made: Vec<Vec<TextResult>> = results.iter().map(|result| result.recv().unwrap()).collect();
    assert!(made.iter().all(|results| results.len() == 1));
    assert!(made[0] == made[2] && made[0] == made[3] && made[0] != made[1]);
}

#[test]
fn a_long_list_to_rank_lets_queries_pass() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("encode/tests/fixtures");
    let device = DeviceSpec::Cpu.open().unwrap();
    let files = ModelFiles::open(fixtures.join("cross_encoders/bert")).unwrap();
    let checkpoint = Checkpoint::load(&files, &device, EncodeOptions::default()).unwrap();
    let cross_encoder = checkpoint.cross_encoder(&ModelId::new("test")).unwrap();
    let texts = vec!["cat ".repeat(200); 600];
    let pairs = cross_encoder.pairs("a", &texts, TruncationDirection::Right).unwrap();
    let model = Model::open(fixtures.join("families/bert"), DeviceSpec::Cpu).unwrap();
    let query = model
        .encoder()
        .tokenizer(Role::Query)
        .tokenize(&["a"], Role::Query)
        .unwrap();
    let (stopper, stop) = crate::stop::stop_signal();
    let (lanes, threads) = Lanes::start(1, false, None, &mut Vec::new(), &Arc::default(), &stop).unwrap();
    std::thread::scope(|scope| {
        let ranking = scope.spawn(|| lanes.score(&cross_encoder, &pairs, None).unwrap());
        let mut answered = 0;
        while !ranking.is_finished() {
            lanes.encode_queries(model.encoder(), query.clone()).unwrap();
            answered += 1;
        }
        assert!(
            answered > 30,
            "{answered} queries were answered while a list was ranked"
        );
        let scores = ranking.join().unwrap();
        assert!(scores.len() == 600 && scores.iter().all(|score| (score - scores[0]).abs() < 1e-5));
    });
    drop(stopper);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
