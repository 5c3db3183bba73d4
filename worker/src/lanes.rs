//! Encoder lanes: the threads that encode.
//!
//! Every lane is a thread with a rayon pool of its own and one thread in it, as two lanes use two cores better than one
//! lane with two threads does. Documents are encoded by the ingest lanes; queries have a lane to themselves, so that they
//! never wait behind a batch of documents.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded, select};
use rayon::ThreadPool;
use twofold_encode::{Embedding, Encoder, TokenBudget, Tokens, plan};
use twofold_types::Role;

use crate::error::{Result, WorkerError};
use crate::stop::Stop;

/// Tokens of one job of an ingest lane; every job is split further by the encoder's own budget.
pub(crate) const JOB_TOKENS: TokenBudget = TokenBudget::new(4096);

/// Queries that are encoded together at most.
const QUERY_BATCH: usize = 32;

/// Queries that may wait before more are refused.
const WAITING_QUERIES: usize = 1024;

/// Texts of one model to encode together.
pub(crate) struct Job {
    pub(crate) encoder: Arc<dyn Encoder>,
    pub(crate) role: Role,
    pub(crate) tokens: Vec<Tokens>,
    /// Answered with the results, in the order of the texts.
    pub(crate) reply: Sender<Vec<TextResult>>,
}

/// The embedding of one text, or why it has none.
pub(crate) type TextResult = Result<Embedding, String>;

/// The ends of the lanes' channels.
#[derive(Clone)]
pub(crate) struct Lanes {
    pub(crate) ingest: Sender<Job>,
    query: Sender<Job>,
}

impl Lanes {
    /// Starts `ingest_lanes` lanes for documents and one for queries.
    pub(crate) fn start(ingest_lanes: usize, stop: &Stop) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        // Room for two jobs per lane: the lanes are busy while the scheduler prepares the next window.
        let (ingest, ingest_jobs) = bounded::<Job>(2 * ingest_lanes);
        let (query, query_jobs) = bounded::<Job>(WAITING_QUERIES);
        let mut threads = Vec::new();
        for lane in 0..ingest_lanes {
            threads.push(start_lane(
                &format!("encode-{lane}"),
                ingest_jobs.clone(),
                1,
                stop.clone(),
            )?);
        }
        threads.push(start_lane("encode-query", query_jobs, QUERY_BATCH, stop.clone())?);
        Ok((Self { ingest, query }, threads))
    }

    /// Encodes texts that a caller waits for: queries before all documents, documents in turn with those of the queue.
    pub(crate) fn encode(&self, encoder: Arc<dyn Encoder>, tokens: Vec<Tokens>, role: Role) -> Result<Vec<Embedding>> {
        match role {
            Role::Query => self.encode_query(encoder, tokens),
            Role::Document => self.encode_documents(&encoder, tokens),
        }
    }

    fn encode_query(&self, encoder: Arc<dyn Encoder>, tokens: Vec<Tokens>) -> Result<Vec<Embedding>> {
        let (reply, result) = bounded(1);
        let job = Job {
            encoder,
            role: Role::Query,
            tokens,
            reply,
        };
        self.query.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => WorkerError::Busy,
            TrySendError::Disconnected(_) => WorkerError::Stopping,
        })?;
        let embeddings = result.recv().map_err(|_| WorkerError::Stopping)?;
        embeddings
            .into_iter()
            .map(|embedding| embedding.map_err(WorkerError::Encoding))
            .collect()
    }

    fn encode_documents(&self, encoder: &Arc<dyn Encoder>, tokens: Vec<Tokens>) -> Result<Vec<Embedding>> {
        let lengths: Vec<usize> = tokens.iter().map(Tokens::len).collect();
        let mut waiting = Vec::new();
        for texts in plan(&lengths, JOB_TOKENS) {
            let (reply, result) = bounded(1);
            let tokens = texts.iter().map(|&text| tokens[text].clone()).collect();
            let job = Job {
                encoder: encoder.clone(),
                role: Role::Document,
                tokens,
                reply,
            };
            self.ingest.send(job).map_err(|_| WorkerError::Stopping)?;
            waiting.push((texts, result));
        }
        let mut embeddings = vec![Embedding::new(); tokens.len()];
        for (texts, result) in waiting {
            for (text, embedding) in texts.into_iter().zip(result.recv().map_err(|_| WorkerError::Stopping)?) {
                embeddings[text] = embedding.map_err(WorkerError::Encoding)?;
            }
        }
        Ok(embeddings)
    }
}

fn start_lane(name: &str, jobs: Receiver<Job>, together: usize, stop: Stop) -> std::io::Result<JoinHandle<()>> {
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

/// Encodes a batch; when it fails, its halves, down to the text that is to blame.
fn encode_each(encoder: &dyn Encoder, tokens: &[Tokens], role: Role) -> Vec<TextResult> {
    let outcome = catch_unwind(AssertUnwindSafe(|| encoder.encode(tokens, role)));
    let error = match outcome {
        Ok(Ok(embeddings)) => return embeddings.into_iter().map(Ok).collect(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the encoder panicked".to_owned(),
    };
    match tokens {
        [] => Vec::new(),
        [_] => vec![Err(error)],
        _ => {
            let (left, right) = tokens.split_at(tokens.len() / 2);
            let mut results = encode_each(encoder, left, role);
            results.extend(encode_each(encoder, right, role));
            results
        }
    }
}
