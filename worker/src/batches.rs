//! Texts on their way to a lane: every text is encoded once, however often it is there, in batches of about one length.

use std::collections::HashMap;
use std::iter::repeat_n;
use std::sync::Arc;

use crossbeam::channel::{Receiver, bounded};
use twofold_encode::{Encoder, TokenBudget, Tokens, plan};
use twofold_types::Role;

use crate::lanes::{Job, TextResult};

/// A batch that a lane has been given, or will be.
pub(crate) struct Waiting {
    /// For each of its texts the places of all that are equal.
    pub(crate) places: Vec<Vec<usize>>,
    /// Where its results will come from, in the order of its texts.
    pub(crate) results: Receiver<Vec<TextResult>>,
}

/// The batches of texts under a budget. Every text comes with its place among those of the caller.
pub(crate) fn batches(
    encoder: &Arc<dyn Encoder>,
    role: Role,
    texts: impl IntoIterator<Item = (usize, Tokens)>,
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
