//! Encoder lanes: the threads that encode.
//!
//! Every lane is a thread with a rayon pool of its own and one thread in it, as two lanes use two cores better than one
//! lane with two threads does. Documents are encoded by the ingest lanes; queries have a lane to themselves, so that they
//! never wait behind a batch of documents.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, SendTimeoutError, Sender, TrySendError, bounded, select};
use rayon::ThreadPool;
use twofold_encode::{Embedding, EncodeError, Encoder, TokenBudget, Tokens, plan};
use twofold_types::Role;

use crate::error::{Result, WorkerError};
use crate::failure::Failure;
use crate::heartbeat::Stage;
use crate::stop::Stop;

/// Tokens of one job of an ingest lane; every job is split further by the encoder's own budget.
pub(crate) const JOB_TOKENS: TokenBudget = TokenBudget::new(4096);

/// Queries that are encoded together at most.
const QUERY_BATCH: usize = 32;

/// Queries that may wait before more are refused.
const WAITING_QUERIES: usize = 1024;

/// How long documents that a caller waits for stand before a full queue until they are refused.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// The ends of the lanes' channels.
#[derive(Clone)]
pub(crate) struct Lanes {
    pub(crate) ingest: Sender<Job>,
    query: Sender<Job>,
}

impl Lanes {
    /// Starts `ingest_lanes` lanes for documents and one for queries. `stages` gets those of documents.
    pub(crate) fn start(
        ingest_lanes: usize,
        stages: &mut Vec<Stage>,
        stop: &Stop,
    ) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        // Room for two jobs per lane: the lanes are busy while the scheduler prepares the next window.
        let (ingest, ingest_jobs) = bounded::<Job>(2 * ingest_lanes);
        let (query, query_jobs) = bounded::<Job>(WAITING_QUERIES);
        let mut threads = Vec::new();
        for lane in 0..ingest_lanes {
            let name = format!("encode-{lane}");
            let stage = Stage::new(name.as_str());
            stages.push(stage.clone());
            threads.push(start_lane(&name, ingest_jobs.clone(), 1, stage, stop.clone())?);
        }
        let stage = Stage::new("encode-query");
        threads.push(start_lane(
            "encode-query",
            query_jobs,
            QUERY_BATCH,
            stage,
            stop.clone(),
        )?);
        Ok((Self { ingest, query }, threads))
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
        let mut embeddings = vec![Embedding::new(); tokens.len()];
        for texts in turns(tokens, TokenBudget::default()) {
            let (job, result) = job(encoder, Role::Query, &texts, tokens);
            self.query.try_send(job).map_err(|error| match error {
                TrySendError::Full(_) => WorkerError::Busy,
                TrySendError::Disconnected(_) => WorkerError::Stopping,
            })?;
            receive(&result, texts, &mut embeddings)?;
        }
        Ok(embeddings)
    }

    /// All lanes may work for one caller. The queue is short, so documents that are ingested get their turns in between.
    fn encode_documents(&self, encoder: &Arc<dyn Encoder>, tokens: &[Tokens]) -> Result<Vec<Embedding>> {
        let mut waiting = Vec::new();
        for texts in turns(tokens, JOB_TOKENS) {
            let (job, result) = job(encoder, Role::Document, &texts, tokens);
            self.ingest.send_timeout(job, PATIENCE).map_err(|error| match error {
                SendTimeoutError::Timeout(_) => WorkerError::Busy,
                SendTimeoutError::Disconnected(_) => WorkerError::Stopping,
            })?;
            waiting.push((texts, result));
        }
        let mut embeddings = vec![Embedding::new(); tokens.len()];
        for (texts, result) in waiting {
            receive(&result, texts, &mut embeddings)?;
        }
        Ok(embeddings)
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

/// Puts the results of a job where its texts are.
fn receive(result: &Receiver<Vec<TextResult>>, texts: Vec<usize>, embeddings: &mut [Embedding]) -> Result<()> {
    let results = result.recv().map_err(|_| WorkerError::Stopping)?;
    for (text, embedding) in texts.into_iter().zip(results) {
        embeddings[text] = embedding.map_err(|failure| WorkerError::Encoding(failure.reason))?;
    }
    Ok(())
}

fn start_lane(
    name: &str,
    jobs: Receiver<Job>,
    together: usize,
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
            let first = select! {
                recv(jobs) -> job => match job { Ok(job) => job, Err(_) => return },
                recv(stop.signal) -> _ => return,
            };
            let _busy = stage.begin(format!("a batch of `{}`", first.encoder.model()));
            let waiting = std::iter::once(first).chain(jobs.try_iter()).take(together).collect();
            encode_together(&pool, waiting);
        }
    })
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
        Ok(Err(error)) if error.is_transient() => return vec![Err(Failure::from(&error)); tokens.len()],
        Ok(Err(error)) => Failure::from(&error),
        Err(_) => Failure::transient("the encoder panicked"),
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

    use twofold_encode::{DeviceSpec, Model};

    use super::*;

    #[test]
    fn a_full_queue_of_queries_is_an_answer() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("encode/tests/fixtures/families/bert");
        let encoder = Model::open(fixture, DeviceSpec::Cpu).unwrap().encoder().clone();
        let tokens = encoder.tokenizer(Role::Query).tokenize(&["a"], Role::Query).unwrap();
        let (ingest, _ingest_jobs) = bounded(0);
        // Nobody takes a job up.
        let (query, _query_jobs) = bounded(0);
        let lanes = Lanes { ingest, query };
        let refused = lanes.encode(encoder, tokens, Role::Query);
        assert!(matches!(refused, Err(WorkerError::Busy)), "{refused:?}");
    }

    #[test]
    fn many_texts_come_back_in_their_order_from_either_lane() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("encode/tests/fixtures/families/bert");
        let model = Model::open(fixture, DeviceSpec::Cpu).unwrap();
        let texts: Vec<String> = (0..300).map(|n| "word ".repeat(n % 37) + &n.to_string()).collect();
        let (stopper, stop) = crate::stop::stop_signal();
        let (lanes, threads) = Lanes::start(2, &mut Vec::new(), &stop).unwrap();
        for role in [Role::Query, Role::Document] {
            let tokens = model.encoder().tokenizer(role).tokenize(&texts, role).unwrap();
            let encoded = lanes.encode(model.encoder().clone(), tokens, role).unwrap();
            for (alone, together) in model.embed(&texts, role).unwrap().iter().zip(&encoded) {
                assert!(twofold_encode::cosine(alone, together) > 0.99999);
            }
        }
        drop(stopper);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
