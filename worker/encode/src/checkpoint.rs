//! A model's weights on a device. Encoders that want different things of one model (dimensions, prompts, pooling) share
//! them, and its tokenizer.

use std::{
    collections::VecDeque,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use twofold_types::{EncoderParams, ModelId, Precision};

use crate::{
    ColbertEncoder, CrossEncoder, DenseEncoder, Device, EncodeError, EncodeOptions, Encoder, Identity, ModelFiles,
    SpladeEncoder, TokenBudget, batch, device,
    files::{Head, StageModule},
    network::{self, Linear, Network, VocabularyHead},
    pooling::Stage,
    precision, tokenizer,
    weights::Weights,
};

/// A loaded model. Its memory is given back when the last encoder made of it is gone.
pub struct Checkpoint {
    pub(crate) files: ModelFiles,
    /// Tokens of a forward pass at most. Less than what was asked for once the device had not enough memory for that.
    budget: AtomicUsize,
    precision: Precision,
    pub(crate) tokenizer: Arc<tokenizers::Tokenizer>,
    pub(crate) network: Network,
    head: LoadedHead,
    /// The dense modules behind the pooling or the network, in their order.
    dense: Vec<Stage>,
    /// Of its files, once it was asked for and where they can be read.
    fingerprint: OnceLock<Option<[u8; 32]>>,
}

/// What has weights of its own behind the network, beside the dense modules.
enum LoadedHead {
    None,
    /// A sparse model's.
    Vocabulary(Arc<VocabularyHead>),
    /// A cross-encoder's.
    Pairs(Arc<network::Head>),
}

impl Checkpoint {
    /// Loads weights and tokenizer, to compute in [`EncodeOptions::precision`].
    ///
    /// # Errors
    /// [`EncodeError::ReadFile`], [`EncodeError::Tokenizer`] and [`EncodeError::Weights`], naming the file, and
    /// [`EncodeError::Precision`] and [`EncodeError::NoGguf`].
    pub fn load(files: &ModelFiles, device: &Device, options: EncodeOptions) -> Result<Arc<Self>, EncodeError> {
        let tokenizer = tokenizer::load(files)?;
        let network = Network::new(files, &precision::weights(files, device, options.precision)?)?;
        let network = match options.precision {
            Precision::F32 | Precision::F16 | Precision::Gguf | Precision::Auto => network,
            Precision::Bf16 => network.in_bf16().map_err(|source| files.weights().at_fault(source))?,
            Precision::Int8 => precision::quantised(network, files, &tokenizer, device)?,
        };
        let dense = files.stages().iter().filter_map(|stage| load_dense(stage, device));
        Ok(Arc::new(Self {
            budget: AtomicUsize::new(options.budget.tokens()),
            precision: options.precision,
            tokenizer: Arc::new(tokenizer),
            network,
            head: LoadedHead::load(files, device)?,
            dense: dense.collect::<Result<_, _>>()?,
            files: files.clone(),
            fingerprint: OnceLock::new(),
        }))
    }

    /// An encoder with what `params` ask for; it costs nothing beside these weights.
    ///
    /// # Errors
    /// [`EncodeError::Parameter`] where the model cannot do what is asked for, [`EncodeError::CrossEncoder`] where it makes no
    /// embeddings.
    pub fn encoder(self: &Arc<Self>, params: &EncoderParams) -> Result<Arc<dyn Encoder>, EncodeError> {
        let encoder: Arc<dyn Encoder> = match (self.files.head(), &self.head) {
            (_, LoadedHead::Pairs(_)) => return Err(EncodeError::CrossEncoder),
            (_, LoadedHead::Vocabulary(head)) => Arc::new(SpladeEncoder::new(self.clone(), head.clone(), params)?),
            (Head::Tokens(late), LoadedHead::None) => Arc::new(ColbertEncoder::new(self.clone(), late, params)?),
            (_, LoadedHead::None) => Arc::new(DenseEncoder::new(self.clone(), params)?),
        };
        Ok(encoder)
    }

    /// See [`Encoder::identity`].
    pub(crate) fn identity(&self, params: &EncoderParams) -> Option<Identity> {
        let fingerprint = self.fingerprint.get_or_init(|| {
            let fingerprint = self.files.fingerprint();
            fingerprint
                .inspect_err(|error| tracing::warn!(%error, "embeddings are not kept"))
                .ok()
        });
        let params = EncoderParams {
            precision: self.precision,
            ..params.clone()
        };
        Some(Identity::new(&(*fingerprint)?, &params))
    }

    /// How many tokens a forward pass has at most; see [`Encoder::budget`].
    pub(crate) fn budget(&self) -> TokenBudget {
        TokenBudget::new(self.budget.load(Ordering::Relaxed))
    }

    /// Takes `batch` through the network in parts that keep to the budget: `begin` computes a part, `finish` reads what came of
    /// each of its texts, which comes back in the order of `batch`. A GPU computes while the host goes on, so a part is begun
    /// before the one before it is read. Where its memory does not do for a part, halves of it are tried, and later parts are
    /// smaller.
    ///
    /// # Errors
    /// [`EncodeError::Forward`], in the name of `model`.
    pub(crate) fn in_parts<X, R, T>(
        &self,
        model: &ModelId,
        batch: &[X],
        length: impl Fn(&X) -> usize,
        begin: impl Fn(&[&X]) -> candle_core::Result<R>,
        finish: impl Fn(&[&X], R) -> candle_core::Result<Vec<T>>,
    ) -> Result<Vec<T>, EncodeError> {
        let lengths: Vec<usize> = batch.iter().map(length).collect();
        let texts = |part: &[usize]| -> Vec<&X> { part.iter().map(|&i| &batch[i]).collect() };
        let failed = |part: &[usize], source: candle_core::Error| EncodeError::Forward {
            model: model.clone(),
            texts: part.len(),
            longest: lengths[part[0]],
            source: source.into(),
        };
        let mut made = Vec::with_capacity(batch.len());
        let mut read = |(part, result): (Vec<usize>, R)| {
            let of_part = finish(&texts(&part), result).map_err(|source| failed(&part, source))?;
            made.extend(part.into_iter().zip(of_part));
            Ok(())
        };
        let mut parts = VecDeque::from(batch::plan(&lengths, self.budget()));
        let mut begun = None;
        while let Some(mut part) = parts.pop_front() {
            match begin(&texts(&part)) {
                Ok(result) => begun.replace((part, result)).map_or(Ok(()), &mut read)?,
                Err(error) if device::is_out_of_memory(&error) && (begun.is_some() || part.len() > 1) => {
                    // What was begun holds memory: that may have been all.
                    if let Some(begun) = begun.take() {
                        read(begun)?;
                        parts.push_front(part);
                        continue;
                    }
                    let half = part.split_off(part.len() / 2);
                    let tokens = lengths[part[0]] * part.len();
                    self.budget.fetch_min(tokens, Ordering::Relaxed);
                    tracing::warn!(%model, tokens, "the device has not enough memory for a batch: from now on they are smaller");
                    parts.push_front(half);
                    parts.push_front(part);
                }
                Err(error) => return Err(failed(&part, error)),
            }
        }
        begun.map_or(Ok(()), &mut read)?;
        Ok(batch::in_order(made))
    }

    /// The cross-encoder that this is.
    ///
    /// # Errors
    /// [`EncodeError::NoCrossEncoder`] where it is none.
    pub fn cross_encoder(self: &Arc<Self>, model: &ModelId) -> Result<Arc<CrossEncoder>, EncodeError> {
        let (LoadedHead::Pairs(head), Some(classifier)) = (&self.head, self.files.classifier()) else {
            return Err(EncodeError::NoCrossEncoder);
        };
        let cross_encoder = CrossEncoder::new(model.clone(), self.clone(), head.clone(), classifier.activation);
        Ok(Arc::new(cross_encoder))
    }

    /// The steps behind the pooling. What is asked of an encoder adds and removes normalisations only, so the dense modules
    /// among `stages` are those of the files.
    pub(crate) fn stages(&self, stages: &[StageModule]) -> Vec<Stage> {
        let mut dense = self.dense.iter();
        let loaded = stages.iter().filter_map(|stage| match stage {
            StageModule::Normalize => Some(Stage::Normalize),
            StageModule::Dense(_) => dense.next().cloned(),
        });
        loaded.collect()
    }
}

impl LoadedHead {
    fn load(files: &ModelFiles, device: &Device) -> Result<Self, EncodeError> {
        let weights = || Weights::open(files.weights(), device);
        let head = match files.head() {
            Head::Pooled | Head::Tokens(_) => return Ok(Self::None),
            Head::Vocabulary(names) => {
                let head = VocabularyHead::load(&weights()?, files.description(), *names);
                head.map(|head| Self::Vocabulary(Arc::new(head)))
            }
            Head::Pairs(classifier) => {
                let head = network::Head::load(&weights()?, &classifier.head, files.description().hidden);
                head.map(|head| Self::Pairs(Arc::new(head)))
            }
        };
        head.map_err(|source| files.weights().at_fault(source))
    }
}

/// Loads a stage that has weights.
fn load_dense(stage: &StageModule, device: &Device) -> Option<Result<Stage, EncodeError>> {
    let StageModule::Dense(dense) = stage else { return None };
    let load = || {
        let weights = Weights::open(&dense.weights, device)?;
        let linear = Linear::load(&weights, "linear", dense.shape, dense.bias);
        let linear = linear.map_err(|source| dense.weights.at_fault(source))?;
        Ok(Stage::Dense(Arc::new(linear), dense.activation))
    };
    Some(load())
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, path::Path};

    use crate::DeviceSpec;

    use super::*;

    /// Texts that are their own lengths, and what was done with them.
    #[derive(Default)]
    struct Steps(RefCell<Vec<(&'static str, usize)>>);

    impl Steps {
        /// Takes texts of these lengths through a device that has memory for so many tokens.
        fn run(&self, checkpoint: &Checkpoint, texts: &[usize], memory: usize) -> Result<Vec<usize>, EncodeError> {
            let held = RefCell::new(0);
            let begin = |part: &[&usize]| {
                let tokens = part[0] * part.len();
                if *held.borrow() + tokens > memory {
                    self.0.borrow_mut().push(("out of memory", tokens));
                    candle_core::bail!("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")");
                }
                *held.borrow_mut() += tokens;
                self.0.borrow_mut().push(("begin", tokens));
                Ok(tokens)
            };
            let finish = |part: &[&usize], tokens: usize| {
                *held.borrow_mut() -= tokens;
                self.0.borrow_mut().push(("finish", tokens));
                Ok(part.iter().map(|text| **text).collect())
            };
            checkpoint.in_parts(&ModelId::new("test"), texts, |text| *text, begin, finish)
        }
    }

    fn checkpoint(budget: usize) -> Arc<Checkpoint> {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families/bert");
        let options = EncodeOptions {
            budget: TokenBudget::new(budget),
            ..EncodeOptions::default()
        };
        Checkpoint::load(
            &ModelFiles::open(fixture).unwrap(),
            &DeviceSpec::Cpu.open().unwrap(),
            options,
        )
        .unwrap()
    }

    #[test]
    fn a_part_is_begun_before_the_one_before_it_is_read() {
        let steps = Steps::default();
        let texts = [1, 4, 4, 2, 4];
        assert_eq!(steps.run(&checkpoint(8), &texts, usize::MAX).unwrap(), texts);
        let expected = [
            ("begin", 8),
            ("begin", 8),
            ("finish", 8),
            ("begin", 1),
            ("finish", 8),
            ("finish", 1),
        ];
        assert_eq!(steps.0.take(), expected);
        assert!(steps.run(&checkpoint(8), &[], 8).unwrap().is_empty());
    }

    #[test]
    fn a_device_out_of_memory_gets_smaller_parts_from_then_on() {
        let (steps, checkpoint) = (Steps::default(), checkpoint(64));
        let texts: Vec<usize> = (0..16).map(|i| 4 + i % 2).collect();
        assert_eq!(steps.run(&checkpoint, &texts, 20).unwrap(), texts);
        let tried: Vec<usize> = steps
            .0
            .take()
            .into_iter()
            .filter(|(step, _)| *step == "out of memory")
            .map(|(_, tokens)| tokens)
            .collect();
        assert_eq!(tried[..2], [60, 30], "halves until one is small enough");
        assert!(checkpoint.budget().tokens() <= 20);
        assert_eq!(steps.run(&checkpoint, &texts, 20).unwrap(), texts);
        assert!(
            steps
                .0
                .take()
                .iter()
                .all(|(step, tokens)| *step != "out of memory" || *tokens <= 20),
            "it is only for what was begun"
        );
    }

    #[test]
    fn a_text_that_is_too_large_for_the_device_is_an_error() {
        let steps = Steps::default();
        let message = steps.run(&checkpoint(64), &[3, 30, 3], 20).unwrap_err().to_string();
        assert!(
            message.contains("of 1 texts of up to 30 tokens") && message.contains("OUT_OF_MEMORY"),
            "{message}"
        );
    }
}
