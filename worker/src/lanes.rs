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
use twofold_storage::{EmbeddingCache, EmbeddingKey};
use twofold_types::{Embedding, Role};

use crate::batches::{Documents, Waiting, distinct, placed, queries};
use crate::error::{Result, WorkerError};
use crate::failure::Failure;
use crate::heartbeat::Stage;
use crate::stop::Stop;
use crate::timings::{TimedStep, Timings};

/// Tokens of one job of an ingest lane at least, where there are as many.
const JOB_TOKENS: usize = 4096;

/// Requests of documents that models elsewhere work on at the same time.
const REMOTE_LANES: usize = 8;

/// Queries that are encoded together at most.
const QUERY_BATCH: usize = 32;

/// Queries that may wait before more are refused.
const WAITING_QUERIES: usize = 1024;

/// How long documents that a caller waits for stand before a full queue until they are refused.
const PATIENCE: Duration = Duration::from_secs(30);

const PANICKED: &str = "the encoder panicked";

/// Tokens of one job of an ingest lane; every job is split further by the encoder's own budget. Of a GPU, two batches: it computes the
/// second while the first is read.
pub(crate) fn job_tokens(encoder: &dyn Encoder) -> TokenBudget {
    TokenBudget::new(JOB_TOKENS.max(2 * encoder.budget().tokens()))
}

/// Texts of one model to encode together.
pub(crate) struct Job {
    pub(crate) encoder: Arc<dyn Encoder>,
    pub(crate) role: Role,
    pub(crate) tokens: Vec<Tokens>,
    /// What their embeddings are kept under, where they are.
    pub(crate) keys: Option<Vec<EmbeddingKey>>,
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
    /// What is encoded of documents is kept here.
    cache: Option<Arc<EmbeddingCache>>,
}

impl Lanes {
    /// Starts `ingest_lanes` lanes for documents and one for queries, and those for models elsewhere where there are any. `stages` gets
    /// those of documents, `timings` how long their batches take.
    pub(crate) fn start(
        ingest_lanes: usize,
        has_remote: bool,
        cache: Option<Arc<EmbeddingCache>>,
        stages: &mut Vec<Stage>,
        timings: &Arc<Timings>,
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
            let stage = Stage::new(name.as_str()).timed(timings, TimedStep::Encode);
            stages.push(stage.clone());
            threads.push(start_lane(
                &name,
                ingest_jobs.clone(),
                1,
                never(),
                cache.clone(),
                stage,
                stop.clone(),
            )?);
        }
        for lane in 0..if has_remote { REMOTE_LANES } else { 0 } {
            let name = format!("encode-remote-{lane}");
            let stage = Stage::new(name.as_str()).timed(timings, TimedStep::Encode);
            stages.push(stage.clone());
            threads.push(start_lane(
                &name,
                remote_jobs.clone(),
                1,
                never(),
                cache.clone(),
                stage,
                stop.clone(),
            )?);
        }
        threads.push(start_lane(
            "encode-query",
            query_jobs,
            QUERY_BATCH,
            scorings,
            None,
            Stage::new("encode-query"),
            stop.clone(),
        )?);
        let lanes = Self {
            ingest,
            remote,
            query,
            scoring,
            cache,
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

    /// Encodes queries, before all documents. Many of one caller take turns with those of others: each turn is one forward pass.
    pub(crate) fn encode_queries(&self, encoder: &Arc<dyn Encoder>, tokens: Vec<Tokens>) -> Result<Vec<Embedding>> {
        let mut embeddings = Vec::with_capacity(tokens.len());
        if encoder.is_remote(Role::Query) {
            let (tokens, places) = distinct(tokens.into_iter().enumerate());
            let made = encoder.encode(&tokens, Role::Query).map_err(WorkerError::Remote)?;
            embeddings.extend(placed(places, made));
            return Ok(in_order(embeddings));
        }
        for (job, waiting) in queries(encoder, tokens) {
            self.query.try_send(job).map_err(|error| match error {
                TrySendError::Full(_) => WorkerError::Busy,
                TrySendError::Disconnected(_) => WorkerError::Stopping,
            })?;
            receive(waiting, &mut embeddings)?;
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
        for turn in plan(&lengths, cross_encoder.budget()) {
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

    /// Encodes texts of documents that a caller waits for, in turn with documents of the queue; `tokenise` is asked for those that are not
    /// known. All lanes may work for one caller: the queue is short, so documents that are ingested get their turns in between.
    pub(crate) fn encode_documents(
        &self,
        encoder: &Arc<dyn Encoder>,
        texts: &[String],
        tokenise: impl FnMut(usize) -> Result<Tokens, Failure>,
    ) -> Result<Vec<Embedding>> {
        let mut embeddings = Vec::with_capacity(texts.len());
        let mut sent = Vec::new();
        let documents = Documents::new(self.cache.as_deref(), encoder, texts, tokenise);
        for (job, waiting) in documents.jobs {
            let lanes = self.documents(encoder.as_ref());
            lanes.send_timeout(job, PATIENCE).map_err(|error| match error {
                SendTimeoutError::Timeout(_) => WorkerError::Busy,
                SendTimeoutError::Disconnected(_) => WorkerError::Stopping,
            })?;
            sent.push(waiting);
        }
        add(documents.ready, &mut embeddings)?;
        for waiting in sent {
            receive(waiting, &mut embeddings)?;
        }
        Ok(in_order(embeddings))
    }
}

/// Adds the results of a batch, each with the place of its text.
fn receive(waiting: Waiting, embeddings: &mut Vec<(usize, Embedding)>) -> Result<()> {
    let results = waiting.results.recv().map_err(|_| WorkerError::Stopping)?;
    add(placed(waiting.places, results), embeddings)
}

fn add(results: impl IntoIterator<Item = (usize, TextResult)>, embeddings: &mut Vec<(usize, Embedding)>) -> Result<()> {
    for (place, embedding) in results {
        let embedding = embedding.map_err(|failure| WorkerError::Encoding(failure.reason))?;
        embeddings.push((place, embedding));
    }
    Ok(())
}

fn start_lane(
    name: &str,
    jobs: Receiver<Job>,
    together: usize,
    scorings: Receiver<Scoring>,
    cache: Option<Arc<EmbeddingCache>>,
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
                    encode_together(&pool, waiting, cache.as_deref());
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
fn encode_together(pool: &ThreadPool, mut jobs: Vec<Job>, cache: Option<&EmbeddingCache>) {
    while let Some(first) = jobs.first() {
        let (encoder, role) = (first.encoder.clone(), first.role);
        let (same, others): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .partition(|job| Arc::ptr_eq(&job.encoder, &encoder) && job.role == role);
        jobs = others;
        let mut tokens = Vec::new();
        let mut replies = Vec::new();
        for mut job in same {
            replies.push((job.reply, job.keys, job.tokens.len()));
            tokens.append(&mut job.tokens);
        }
        // Many may ask the same at the same time.
        let (tokens, places) = distinct(tokens.into_iter().enumerate());
        let results = pool.install(|| encode_each(encoder.as_ref(), &tokens, role));
        let mut results = in_order(placed(places, results).collect()).into_iter();
        for (reply, keys, texts) in replies {
            let results: Vec<TextResult> = results.by_ref().take(texts).collect();
            if let (Some(cache), Some(keys)) = (cache, keys) {
                let made = keys.iter().zip(&results);
                cache.put(made.filter_map(|(key, result)| Some((key, result.as_ref().ok()?))));
            }
            // Whoever asked may have gone.
            let _ = reply.send(results);
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
mod tests;
