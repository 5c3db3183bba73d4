//! Texts on their way to a lane: what is known already is not encoded, every other text is encoded once, however often it is
//! there, in batches of about one length.

use std::collections::HashMap;
use std::iter::repeat_n;
use std::sync::Arc;

use crossbeam::channel::{Receiver, bounded};
use twofold_encode::{Encoder, TokenBudget, Tokens, plan};
use twofold_storage::{EmbeddingCache, EmbeddingKey};
use twofold_types::Role;

use crate::failure::Failure;
use crate::fingerprint::embedding_key;
use crate::lanes::{Job, TextResult, job_tokens};

/// Texts of documents on their way through one encoder.
pub(crate) struct Documents {
    /// Results that are there without a lane, with their places.
    pub(crate) ready: Vec<(usize, TextResult)>,
    /// What lanes have to do for the others.
    pub(crate) jobs: Vec<(Job, Waiting)>,
}

/// A batch that a lane has been given, or will be.
pub(crate) struct Waiting {
    /// For each of its texts the places of all that are equal.
    pub(crate) places: Vec<Vec<usize>>,
    /// Where its results will come from, in the order of its texts.
    pub(crate) results: Receiver<Vec<TextResult>>,
}

impl Documents {
    /// `tokenise` is asked for the texts that are not in the cache, by their places.
    pub(crate) fn new(
        cache: Option<&EmbeddingCache>,
        encoder: &Arc<dyn Encoder>,
        texts: &[impl AsRef<str>],
        mut tokenise: impl FnMut(usize) -> Result<Tokens, Failure>,
    ) -> Self {
        let cached = cache.and_then(|cache| Some((cache, encoder.identity()?)));
        let (mut known, keys) = match cached {
            Some((cache, identity)) => {
                let keys = texts.iter().map(|text| embedding_key(&identity, text.as_ref()));
                let keys: Vec<EmbeddingKey> = keys.collect();
                (cache.get(&keys, encoder.space()), Some(keys))
            }
            None => (vec![None; texts.len()], None),
        };
        let (mut ready, mut missing) = (Vec::new(), Vec::new());
        for (place, known) in known.iter_mut().enumerate() {
            match known.take() {
                Some(embedding) => ready.push((place, Ok(embedding))),
                None => match tokenise(place) {
                    Ok(tokens) => missing.push((place, tokens)),
                    // A text that cannot be tokenised fails alone.
                    Err(failure) => ready.push((place, Err(failure))),
                },
            }
        }
        let jobs = batches(
            encoder,
            Role::Document,
            missing,
            keys.as_deref(),
            job_tokens(encoder.as_ref()),
        );
        Self { ready, jobs }
    }
}

/// The batches of queries.
pub(crate) fn queries(encoder: &Arc<dyn Encoder>, tokens: Vec<Tokens>) -> Vec<(Job, Waiting)> {
    let texts = tokens.into_iter().enumerate();
    batches(encoder, Role::Query, texts, None, TokenBudget::default())
}

/// The batches of texts under a budget. Every text comes with its place, by which `keys` say what its embedding is kept under.
fn batches(
    encoder: &Arc<dyn Encoder>,
    role: Role,
    texts: impl IntoIterator<Item = (usize, Tokens)>,
    keys: Option<&[EmbeddingKey]>,
    budget: TokenBudget,
) -> Vec<(Job, Waiting)> {
    let (tokens, mut places) = distinct(texts);
    let lengths: Vec<usize> = tokens.iter().map(Tokens::len).collect();
    let batch = |texts: Vec<usize>| {
        let (reply, results) = bounded(1);
        let job = Job {
            encoder: encoder.clone(),
            role,
            tokens: texts.iter().map(|&text| tokens[text].clone()).collect(),
            keys: keys.map(|keys| texts.iter().map(|&text| keys[places[text][0]]).collect()),
            reply,
        };
        let places = texts.iter().map(|&text| std::mem::take(&mut places[text])).collect();
        (job, Waiting { places, results })
    };
    plan(&lengths, budget).into_iter().map(batch).collect()
}

/// Every text once, and the places of each.
pub(crate) fn distinct(texts: impl IntoIterator<Item = (usize, Tokens)>) -> (Vec<Tokens>, Vec<Vec<usize>>) {
    let mut places: HashMap<Tokens, Vec<usize>> = HashMap::new();
    for (place, tokens) in texts {
        places.entry(tokens).or_default().push(place);
    }
    let mut texts: Vec<_> = places.into_iter().collect();
    texts.sort_unstable_by_key(|(_, places)| places.first().copied());
    texts.into_iter().unzip()
}

/// What was made of distinct texts, at all places of each.
pub(crate) fn placed<T: Clone>(places: Vec<Vec<usize>>, made: Vec<T>) -> impl Iterator<Item = (usize, T)> {
    places.into_iter().zip(made).flat_map(|(places, made)| {
        let copies = repeat_n(made, places.len());
        places.into_iter().zip(copies)
    })
}

/// The tokens of a text of a document.
pub(crate) fn tokenize(encoder: &dyn Encoder, text: &str) -> Result<Tokens, Failure> {
    let mut tokens = encoder
        .tokenizer(Role::Document)
        .tokenize(&[text], Role::Document)
        .map_err(|error| Failure::from(&error))?;
    tokens
        .pop()
        .ok_or_else(|| Failure::permanent("the tokenizer gave no tokens"))
}
