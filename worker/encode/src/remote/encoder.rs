//! An encoder that runs elsewhere.

use std::sync::Arc;

use twofold_types::{Distance, Embedding, EmbeddingSpace, EncoderParams, ModelId, Precision, Role};

use super::{
    RemoteError,
    agent::Patience,
    endpoint::Endpoint,
    known::{LEAST_MAX_TOKENS, known},
    protocol::Ask,
    tokens,
};
use crate::{EncodeError, Encoder, Identity, Prompts, Tokenizer, Tokens, tokenizer::Texts};

/// A model of an [`Endpoint`]. Texts are sent in requests that the service accepts, each again where an error may pass.
pub struct RemoteEncoder {
    params: EncoderParams,
    /// What it is called there.
    name: String,
    endpoint: Arc<Endpoint>,
    tokenizer: Tokenizer,
    dimensions: usize,
    distance: Distance,
    /// How many dimensions are asked for, where it is not the service's to say.
    asked: Option<usize>,
}

impl RemoteEncoder {
    /// The model that is called `name` at `endpoint`, with what `params` ask for. A model whose dimensions neither `params` nor the
    /// endpoint nor a table know is asked for a vector.
    ///
    /// # Errors
    /// [`EncodeError::RemoteParameter`] for what a service cannot be asked for, [`EncodeError::Remote`] where it has to be asked
    /// and gives no answer, [`EncodeError::ReadFile`] and [`EncodeError::Tokenizer`] for a tokenizer that is named.
    pub fn open(endpoint: Arc<Endpoint>, name: &str, params: &EncoderParams) -> Result<Arc<Self>, EncodeError> {
        if params.pooling.is_some() {
            return Err(EncodeError::RemoteParameter("pooling"));
        }
        if !matches!(params.precision, Precision::F32 | Precision::Auto) {
            return Err(EncodeError::RemoteParameter("precision"));
        }
        if params.normalize == Some(false) && !endpoint.protocol.can_leave_lengths() {
            return Err(EncodeError::RemoteParameter("normalize"));
        }
        let stated = endpoint.model(name);
        let known = known(endpoint.protocol, name);
        let tokenizer = stated
            .tokenizer
            .as_deref()
            .map_or_else(|| Ok(tokens::estimate()), tokens::read);
        let most = stated
            .max_tokens
            .map(usize::from)
            .or(known.map(|known| known.max_tokens));
        let most = most.unwrap_or(LEAST_MAX_TOKENS);
        // An estimate may be too low.
        let spare = if stated.tokenizer.is_some() { 0 } else { most / 10 };
        let max_tokens = params.max_tokens.map_or(most - spare, usize::from);
        let prompts = params.prompts.clone().unwrap_or_default();
        let prompts = Prompts {
            query: prompts.query.unwrap_or_default(),
            document: prompts.document.unwrap_or_default(),
        };
        let asked = params.dimensions.map(usize::from);
        let dimensions = asked
            .or(stated.dimensions.map(usize::from))
            .or(known.map(|known| known.dimensions));
        let mut encoder = Self {
            params: params.clone(),
            name: name.to_owned(),
            tokenizer: Tokenizer::Texts(Texts::new(tokenizer?, prompts, max_tokens)),
            dimensions: dimensions.unwrap_or_default(),
            distance: stated.distance.unwrap_or(Distance::Cosine),
            asked,
            endpoint,
        };
        if dimensions.is_none() {
            let vectors = encoder.request(&["a"], 1, Role::Query);
            let vector = vectors.map_err(|source| encoder.failed(source))?.remove(0);
            encoder.dimensions = vector.len();
        }
        Ok(Arc::new(encoder))
    }

    /// The vectors of texts of one request.
    fn request(&self, texts: &[&str], tokens: usize, role: Role) -> Result<Vec<Vec<f32>>, RemoteError> {
        let protocol = self.endpoint.protocol;
        let body = protocol.body(&Ask {
            model: &self.name,
            texts,
            role,
            dimensions: self.asked,
            normalize: self.params.normalize,
        });
        self.endpoint
            .call(protocol.path(), &body, tokens, Patience::of(role), |answer| {
                in_order(protocol.read(answer)?, texts.len())
            })
    }

    fn failed(&self, source: RemoteError) -> EncodeError {
        EncodeError::Remote {
            model: self.params.model.clone(),
            source,
        }
    }

    /// A vector as it is stored.
    fn checked(&self, mut vector: Vec<f32>) -> Result<Embedding, RemoteError> {
        if vector.len() != self.dimensions {
            return Err(RemoteError::Dimensions {
                expected: self.dimensions,
                received: vector.len(),
            });
        }
        let length = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        if !length.is_finite() {
            return Err(RemoteError::NotFinite);
        }
        if self.params.normalize == Some(true) && length > 0.0 {
            vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
        }
        Ok(Embedding::Dense(vector))
    }
}

impl Encoder for RemoteEncoder {
    fn model(&self) -> &ModelId {
        &self.params.model
    }

    fn space(&self) -> EmbeddingSpace {
        EmbeddingSpace::Dense {
            dimensions: self.dimensions,
            distance: self.distance,
        }
    }

    fn tokenizer(&self, _role: Role) -> &Tokenizer {
        &self.tokenizer
    }

    fn is_remote(&self, _role: Role) -> bool {
        true
    }

    /// That a service changes what it calls by a name is not seen.
    fn identity(&self) -> Option<Identity> {
        let Endpoint { protocol, url, .. } = self.endpoint.as_ref();
        let longest = self.tokenizer.max_tokens();
        let source = format!("{protocol:?} {url} {} {longest}", self.name);
        Some(Identity::new(source.as_bytes(), &self.params))
    }

    fn encode(&self, batch: &[Tokens], role: Role) -> Result<Vec<Embedding>, EncodeError> {
        let lengths: Vec<usize> = batch.iter().map(Tokens::len).collect();
        let mut embeddings = Vec::with_capacity(batch.len());
        let mut rest = batch;
        for size in requests(&lengths, self.endpoint.max_texts, self.endpoint.protocol.max_tokens()) {
            let (part, later) = rest.split_at(size);
            rest = later;
            let texts: Vec<&str> = part.iter().map(Tokens::text).collect();
            let tokens = part.iter().map(Tokens::len).sum();
            let vectors = self.request(&texts, tokens, role);
            let checked = vectors.and_then(|vectors| vectors.into_iter().map(|vector| self.checked(vector)).collect());
            let checked: Vec<Embedding> = checked.map_err(|source| self.failed(source))?;
            embeddings.extend(checked);
        }
        Ok(embeddings)
    }
}

/// How many texts go into each request, in their order: at most so many texts and tokens. A text that is longer goes alone.
fn requests(lengths: &[usize], max_texts: usize, max_tokens: usize) -> Vec<usize> {
    let mut sizes: Vec<usize> = Vec::new();
    let mut tokens = 0;
    for &length in lengths {
        match sizes.last_mut() {
            Some(size) if *size < max_texts && tokens + length <= max_tokens => {
                *size += 1;
                tokens += length;
            }
            _ => {
                sizes.push(1);
                tokens = length;
            }
        }
    }
    sizes
}

/// Puts results where their texts are: services need not answer in order.
pub(super) fn in_order<T>(answered: Vec<(usize, T)>, texts: usize) -> Result<Vec<T>, RemoteError> {
    let mut results: Vec<Option<T>> = (0..texts).map(|_| None).collect();
    let count = answered.len();
    for (index, result) in answered {
        if let Some(place) = results.get_mut(index) {
            *place = Some(result);
        }
    }
    let placed: Vec<T> = results.into_iter().flatten().collect();
    if placed.len() != texts || count != texts {
        return Err(RemoteError::Count {
            expected: texts,
            received: if count == texts { placed.len() } else { count },
        });
    }
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_keep_to_both_limits() {
        assert!(requests(&[], 3, 10).is_empty());
        assert_eq!(requests(&[1, 1, 1, 1], 3, 10), [3, 1]);
        assert_eq!(requests(&[6, 4, 1, 50, 2], 3, 10), [2, 1, 1, 1]);
    }

    #[test]
    fn every_text_gets_its_own_vector_or_none_does() {
        let vector = |n: usize| vec![n as f32];
        let all = [2, 0, 1].map(|n| (n, vector(n))).to_vec();
        assert_eq!(in_order(all, 3).unwrap(), [vector(0), vector(1), vector(2)]);
        for (indices, received) in [(&[0, 1][..], 2), (&[0, 1, 1], 2), (&[0, 1, 9], 2), (&[0, 1, 2, 2], 4)] {
            let answered = indices.iter().map(|&n| (n, vector(n))).collect();
            let error = in_order(answered, 3).unwrap_err();
            assert!(
                matches!(error, RemoteError::Count { expected: 3, received: told } if told == received),
                "{error}"
            );
        }
    }
}
