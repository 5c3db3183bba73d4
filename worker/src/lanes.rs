//! Encoder lanes: the threads that encode.
//!
//! Every lane is a thread with a rayon pool of its own and one thread in it, as two lanes use two cores better than one
//! lane with two threads does. Documents are encoded by the ingest lanes; queries have a lane to themselves, so that they
//! never wait behind a batch of documents. Pairs of a query and a document are scored in the lane of queries, one forward pass at a
//! time, each in turn with the queries that wait: however long a list to rank is, a query waits for one or two passes of it.
//!
//! Models that run elsewhere have lanes of their own for documents, which wait for the network most of the time; for queries, the
//! thread of the request waits itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, TrySendError, bounded, never, select};
use rayon::ThreadPool;
use twofold_encode::{CrossEncoder, EncodeError, Encoder, Pair, TokenBudget, Tokens, in_order, plan};
use twofold_types::{Embedding, Role};

use crate::error::{Result, WorkerError};
use crate::failure::Failure;
use crate::heartbeat::Stage;
use crate::stop::Stop;

/// Tokens of one job of an ingest lane; every job is split further by the encoder's own budget.
pub(crate) const JOB_TOKENS: TokenBudget = TokenBudget::new(4096);

/// Requests of documents that models elsewhere work on at the same time.
const REMOTE_LANES: usize = 8;

/// Queries that are encoded together at most.
const QUERY_BATCH: usize = 32;

/// Queries that may wait before more are refused.
const WAITING_QUERIES: usize = 1024;

/// How long documents that a caller waits for stand before a full queue until they are refused.
const PATIENCE: Duration = Duration::from_secs(30);

const PANICKED: &str = "the encoder panicked";

/// Texts of one model to encode together.
pub(crate) struct Job {
    pub(crate) encoder: Arc<dyn Encoder>,
    pub(crate) role: Role,
    pub(crate) tokens: Vec<Tokens>,
    /// Answered with the results, in the order of the texts.
    pub(crate) reply: Sender<Vec<TextResult>>,
}

/// The embedding of one text, or why it has none.
pub(crate) type TextResult = Result<Embedding, Failure>;

/// Pairs to score in one forward pass.
struct Scoring {
    cross_encoder: Arc<CrossEncoder>,
    pairs: Vec<Pair>,
    /// Answered with the raw scores, in the order of the pairs.
    reply: Sender<Result<Vec<f32>, String>>,
}

/// The ends of the lanes' channels.
#[derive(Clone)]
pub(crate) struct Lanes {
    ingest: Sender<Job>,
    remote: Sender<Job>,
    query: Sender<Job>,
    scoring: Sender<Scoring>,
}

impl Lanes {
    /// Starts `ingest_lanes` lanes for documents and one for queries, and those for models elsewhere where there are any. `stages` gets
    /// those of documents.
    pub(crate) fn start(
        ingest_lanes: usize,
        has_remote: bool,
        stages: &mut Vec<Stage>,
        stop: &Stop,
    ) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        // Room for two jobs per lane: the lanes are busy while the scheduler prepares the next window.
        let (ingest, ingest_jobs) = bounded::<Job>(2 * ingest_lanes);
        let (remote, remote_jobs) = bounded::<Job>(2 * REMOTE_LANES);
        let (query, query_jobs) = bounded::<Job>(WAITING_QUERIES);
        let (scoring, scorings) = bounded::<Scoring>(WAITING_QUERIES);
        let mut threads = Vec::new();
        for lane in 0..ingest_lanes {
            let name = format!("encode-{lane}");
            let stage = Stage::new(name.as_str());
            stages.push(stage.clone());
            threads.push(start_lane(&name, ingest_jobs.clone(), 1, never(), stage, stop.clone())?);
        }
        for lane in 0..if has_remote { REMOTE_LANES } else { 0 } {
            let name = format!("encode-remote-{lane}");
            let stage = Stage::new(name.as_str());
            stages.push(stage.clone());
            threads.push(start_lane(&name, remote_jobs.clone(), 1, never(), stage, stop.clone())?);
        }
        threads.push(start_lane(
            "encode-query",
            query_jobs,
            QUERY_BATCH,
            scorings,
            Stage::new("encode-query"),
            stop.clone(),
        )?);
        let lanes = Self {
            ingest,
            remote,
            query,
            scoring,
        };
        Ok((lanes, threads))
    }

    /// Where jobs of documents for this encoder go.
    pub(crate) fn documents(&self, encoder: &dyn Encoder) -> &Sender<Job> {
        if encoder.is_remote(Role::Document) {
            &self.remote
        } else {
            &self.ingest
        }
    }

    /// Encodes texts that a caller waits for: queries before all documents, documents in turn with those of the queue.
    pub(crate) fn encode(&self, encoder: Arc<dyn Encoder>, tokens: Vec<Tokens>, role: Role) -> Result<Vec<Embedding>> {
        match role {
            Role::Query => self.encode_queries(&encoder, &tokens),
            Role::Document => self.encode_documents(&encoder, &tokens),
        }
    }

    /// Many queries of one caller take turns with those of others: each turn is one forward pass.
    fn encode_queries(&self, encoder: &Arc<dyn Encoder>, tokens: &[Tokens]) -> Result<Vec<Embedding>> {
        if encoder.is_remote(Role::Query) {
            return encoder.encode(tokens, Role::Query).map_err(WorkerError::Remote);
        }
        let mut embeddings = Vec::with_capacity(tokens.len());
        for texts in turns(tokens, TokenBudget::default()) {
            let (job, result) = job(encoder, Role::Query, &texts, tokens);
            self.query.try_send(job).map_err(|error| match error {
                TrySendError::Full(_) => WorkerError::Busy,
                TrySendError::Disconnected(_) => WorkerError::Stopping,
            })?;
            receive(&result, texts, &mut embeddings)?;
        }
        Ok(in_order(embeddings))
    }

    /// The raw scores of pairs, in their order. After `deadline` nobody waits for what is left of them.
    pub(crate) fn score(
        &self,
        cross_encoder: &Arc<CrossEncoder>,
        pairs: &[Pair],
        deadline: Option<Instant>,
    ) -> Result<Vec<f32>> {
        let lengths: Vec<usize> = pairs.iter().map(Pair::len).collect();
        let mut scores = vec![0.0; pairs.len()];
        let mut scored = 0;
        for turn in plan(&lengths, TokenBudget::default()) {
            let out_of_time = || WorkerError::OutOfTime {
                scored,
                texts: pairs.len(),
            };
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(out_of_time());
            }
            let (reply, result) = bounded(1);
            let scoring = Scoring {
                cross_encoder: cross_encoder.clone(),
                pairs: turn.iter().map(|&pair| pairs[pair].clone()).collect(),
                reply,
            };
            self.scoring.try_send(scoring).map_err(|error| match error {
                TrySendError::Full(_) => WorkerError::Busy,
                TrySendError::Disconnected(_) => WorkerError::Stopping,
            })?;
            let made = match deadline {
                None => result.recv().map_err(|_| WorkerError::Stopping)?,
                Some(deadline) => result.recv_deadline(deadline).map_err(|error| match error {
                    RecvTimeoutError::Timeout => out_of_time(),
                    RecvTimeoutError::Disconnected => WorkerError::Stopping,
                })?,
            };
            scored += turn.len();
            for (pair, score) in turn.into_iter().zip(made.map_err(WorkerError::Encoding)?) {
                scores[pair] = score;
            }
        }
        Ok(scores)
    }

    /// All lanes may work for one caller. The queue is short, so documents that are ingested get their turns in between.
    fn encode_documents(&self, encoder: &Arc<dyn Encoder>, tokens: &[Tokens]) -> Result<Vec<Embedding>> {
        let mut waiting = Vec::new();
        for texts in turns(tokens, JOB_TOKENS) {
            let (job, result) = job(encoder, Role::Document, &texts, tokens);
            let lanes = self.documents(encoder.as_ref());
            lanes.send_timeout(job, PATIENCE).map_err(|error| match error {
                SendTimeoutError::Timeout(_) => WorkerError::Busy,
                SendTimeoutError::Disconnected(_) => WorkerError::Stopping,
            })?;
            waiting.push((texts, result));
        }
        let mut embeddings = Vec::with_capacity(tokens.len());
        for (texts, result) in waiting {
            receive(&result, texts, &mut embeddings)?;
        }
        Ok(in_order(embeddings))
    }
}

/// Which texts are encoded together.
fn turns(tokens: &[Tokens], budget: TokenBudget) -> Vec<Vec<usize>> {
    let lengths: Vec<usize> = tokens.iter().map(Tokens::len).collect();
    plan(&lengths, budget)
}

/// A job of some texts, and where its results will come from.
fn job(encoder: &Arc<dyn Encoder>, role: Role, texts: &[usize], tokens: &[Tokens]) -> (Job, Receiver<Vec<TextResult>>) {
    let (reply, result) = bounded(1);
    let job = Job {
        encoder: encoder.clone(),
        role,
        tokens: texts.iter().map(|&text| tokens[text].clone()).collect(),
        reply,
    };
    (job, result)
}

/// Adds the results of a job, each with the place of its text.
fn receive(
    result: &Receiver<Vec<TextResult>>,
    texts: Vec<usize>,
    embeddings: &mut Vec<(usize, Embedding)>,
) -> Result<()> {
    let results = result.recv().map_err(|_| WorkerError::Stopping)?;
    for (text, embedding) in texts.into_iter().zip(results) {
        let embedding = embedding.map_err(|failure| WorkerError::Encoding(failure.reason))?;
        embeddings.push((text, embedding));
    }
    Ok(())
}

fn start_lane(
    name: &str,
    jobs: Receiver<Job>,
    together: usize,
    scorings: Receiver<Scoring>,
    stage: Stage,
    stop: Stop,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // The lane's own thread is the one thread of its pool.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .use_current_thread()
            .build();
        let pool = pool.expect("a pool of the current thread starts no thread that could fail");
        loop {
            // Where several are ready, chance decides: neither queries nor pairs wait for ever.
            select! {
                recv(jobs) -> job => {
                    let Ok(first) = job else { return };
                    let _busy = stage.begin(format!("a batch of `{}`", first.encoder.model()));
                    let waiting = std::iter::once(first).chain(jobs.try_iter()).take(together).collect();
                    encode_together(&pool, waiting);
                }
                recv(scorings) -> scoring => {
                    let Ok(scoring) = scoring else { return };
                    score(&pool, scoring);
                }
                recv(stop.signal) -> _ => return,
            }
        }
    })
}

fn score(pool: &ThreadPool, scoring: Scoring) {
    let Scoring {
        cross_encoder,
        pairs,
        reply,
    } = scoring;
    let outcome = catch_unwind(AssertUnwindSafe(|| pool.install(|| cross_encoder.score(&pairs))));
    // Whoever asked may have gone.
    let _ = reply.send(match outcome {
        Ok(scores) => scores.map_err(|error| error.to_string()),
        Err(_) => Err(PANICKED.to_owned()),
    });
}

/// Encodes jobs, those of the same model and role in one batch.
fn encode_together(pool: &ThreadPool, mut jobs: Vec<Job>) {
    while let Some(first) = jobs.first() {
        let (encoder, role) = (first.encoder.clone(), first.role);
        let (same, others): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .partition(|job| Arc::ptr_eq(&job.encoder, &encoder) && job.role == role);
        jobs = others;
        let mut tokens = Vec::new();
        let mut replies = Vec::new();
        for mut job in same {
            replies.push((job.reply, job.tokens.len()));
            tokens.append(&mut job.tokens);
        }
        let mut results = pool
            .install(|| encode_each(encoder.as_ref(), &tokens, role))
            .into_iter();
        for (reply, texts) in replies {
            // Whoever asked may have gone.
            let _ = reply.send(results.by_ref().take(texts).collect());
        }
    }
}

/// Encodes a batch; when it fails, its halves, down to the text that is to blame. What a remote model fails of, too much to do
/// above all, is not made better by asking it more often.
fn encode_each(encoder: &dyn Encoder, tokens: &[Tokens], role: Role) -> Vec<TextResult> {
    let outcome = catch_unwind(AssertUnwindSafe(|| encode(encoder, tokens, role)));
    let failure = match outcome {
        Ok(Ok(embeddings)) => return embeddings.into_iter().map(Ok).collect(),
        // Every part of the batch would fail in the same way.
        Ok(Err(error)) if error.is_transient() || !error.may_be_one_text() => {
            return vec![Err(Failure::from(&error)); tokens.len()];
        }
        Ok(Err(error)) => Failure::from(&error),
        Err(_) => Failure::transient(PANICKED),
    };
    match tokens {
        [] => Vec::new(),
        [_] => vec![Err(failure)],
        _ => {
            let (left, right) = tokens.split_at(tokens.len() / 2);
            let mut results = encode_each(encoder, left, role);
            results.extend(encode_each(encoder, right, role));
            results
        }
    }
}

fn encode(encoder: &dyn Encoder, tokens: &[Tokens], role: Role) -> Result<Vec<Embedding>, EncodeError> {
    // Fails as a device does, for texts of more than so many tokens.
    fail::fail_point!("lanes::forward", |most: Option<String>| {
        let most = most.and_then(|most| most.parse().ok()).unwrap_or(0);
        let longest = tokens.iter().map(Tokens::len).max().unwrap_or(0);
        match longest > most {
            true => Err(EncodeError::Forward {
                model: encoder.model().clone(),
                texts: tokens.len(),
                longest,
                source: "fault injection".into(),
            }),
            false => encoder.encode(tokens, role),
        }
    });
    encoder.encode(tokens, role)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use twofold_encode::{Checkpoint, DeviceSpec, EncodeOptions, Model, ModelFiles};
    use twofold_types::ModelId;
    use twofold_types::rerank::TruncationDirection;

    use super::*;

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
        };
        let refused = lanes.encode(encoder, tokens, Role::Query);
        assert!(matches!(refused, Err(WorkerError::Busy)), "{refused:?}");
    }

    #[test]
    fn many_texts_come_back_in_their_order_from_either_lane() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("encode/tests/fixtures/families/bert");
        let model = Model::open(fixture, DeviceSpec::Cpu).unwrap();
        let texts: Vec<String> = (0..300).map(|n| "word ".repeat(n % 37) + &n.to_string()).collect();
        let (stopper, stop) = crate::stop::stop_signal();
        let (lanes, threads) = Lanes::start(2, false, &mut Vec::new(), &stop).unwrap();
        for role in [Role::Query, Role::Document] {
            let tokens = model.encoder().tokenizer(role).tokenize(&texts, role).unwrap();
            let encoded = lanes.encode(model.encoder().clone(), tokens, role).unwrap();
            for (alone, together) in model.embed(&texts, role).unwrap().iter().zip(encoded) {
                assert!(twofold_encode::cosine(alone, &together.into_dense().unwrap()) > 0.99999);
            }
        }
        drop(stopper);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
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
        let (lanes, threads) = Lanes::start(1, false, &mut Vec::new(), &stop).unwrap();
        std::thread::scope(|scope| {
            let ranking = scope.spawn(|| lanes.score(&cross_encoder, &pairs, None).unwrap());
            let mut answered = 0;
            while !ranking.is_finished() {
                lanes
                    .encode(model.encoder().clone(), query.clone(), Role::Query)
                    .unwrap();
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
}
