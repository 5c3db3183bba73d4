//! The weights of a model, wherever they lie: one safetensors file or several, GGUF, or PyTorch's own format. Unsafe code, as
//! files are mapped instead of read: a large model would otherwise need its size in memory twice while it loads.

mod gguf;

use std::{path::PathBuf, sync::Arc};

use candle_core::{
    DType, Error, Result, Shape, Tensor, pickle::PthTensors, quantized::QTensor, safetensors::MmapedSafetensors,
};

use self::gguf::Gguf;
use crate::{Device, EncodeError};

/// Which files hold the weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WeightFiles {
    /// `model.safetensors`, or the files that `model.safetensors.index.json` names.
    Safetensors(Vec<PathBuf>),
    /// `model.gguf`.
    Gguf(PathBuf),
    /// `pytorch_model.bin`: a pickle, of which nothing but tensors is read.
    Pickle(PathBuf),
}

impl WeightFiles {
    /// The file that is named in errors.
    pub fn first(&self) -> &PathBuf {
        match self {
            // An index names one file at least.
            Self::Safetensors(paths) => &paths[0],
            Self::Gguf(path) | Self::Pickle(path) => path,
        }
    }

    /// All of them.
    pub fn paths(&self) -> &[PathBuf] {
        match self {
            Self::Safetensors(paths) => paths,
            Self::Gguf(path) | Self::Pickle(path) => std::slice::from_ref(path),
        }
    }

    /// The error of a tensor that these files lack, or have in another shape.
    pub fn at_fault(&self, source: Error) -> EncodeError {
        EncodeError::Weights {
            path: self.first().clone(),
            source: source.into(),
        }
    }
}

/// Opened weights, below a prefix of names. Every tensor taken from them is copied to the device, as numbers of one type.
#[derive(Clone)]
pub(crate) struct Weights {
    source: Arc<Source>,
    prefix: String,
    device: Device,
    dtype: DType,
    keeps_blocks: bool,
}

enum Source {
    Safetensors(MmapedSafetensors),
    Gguf(Gguf),
    Pickle(PthTensors),
}

impl Weights {
    /// Opens the files, to take tensors of f32.
    ///
    /// # Errors
    /// [`EncodeError::ReadFile`] if one cannot be opened, [`EncodeError::Weights`] if it is not what its name says.
    pub fn open(files: &WeightFiles, device: &Device) -> std::result::Result<Self, EncodeError> {
        // So that a missing file is reported like every other missing file.
        for path in files.paths() {
            std::fs::File::open(path).map_err(|source| EncodeError::ReadFile {
                path: path.clone(),
                source,
            })?;
        }
        let source = match files {
            WeightFiles::Safetensors(paths) => map(paths).map(Source::Safetensors),
            WeightFiles::Gguf(path) => Gguf::open(path).map(Source::Gguf),
            WeightFiles::Pickle(path) => PthTensors::new(path, None).map(Source::Pickle),
        };
        let source = source.map_err(|source| files.at_fault(source))?;
        Ok(Self {
            source: Arc::new(source),
            prefix: String::new(),
            device: device.clone(),
            dtype: DType::F32,
            keeps_blocks: false,
        })
    }

    /// The same weights as numbers of another type.
    pub fn in_dtype(self, dtype: DType) -> Self {
        Self { dtype, ..self }
    }

    /// The same weights, of which those of products stay in the blocks of their file.
    pub fn keeping_blocks(self) -> Self {
        Self {
            keeps_blocks: true,
            ..self
        }
    }

    /// The tensor where those of these weights are, as numbers of their type.
    pub fn beside(&self, tensor: &Tensor) -> Result<Tensor> {
        tensor.to_dtype(self.dtype)?.to_device(self.device.candle())
    }

    /// Bytes that all tensors take when they are loaded, as f32.
    pub fn bytes(&self) -> u64 {
        let f32s = |shape: &[usize]| shape.iter().map(|&length| length as u64).product::<u64>() * 4;
        match self.source.as_ref() {
            Source::Safetensors(tensors) => tensors.tensors().iter().map(|(_, tensor)| f32s(tensor.shape())).sum(),
            Source::Gguf(gguf) => gguf.tensors().map(|info| f32s(info.shape.dims())).sum(),
            Source::Pickle(tensors) => tensors
                .tensor_infos()
                .values()
                .map(|info| f32s(info.layout.dims()))
                .sum(),
        }
    }

    /// By how much the blocks of their file are smaller.
    pub fn bytes_saved_by_blocks(&self) -> u64 {
        match self.source.as_ref() {
            Source::Gguf(gguf) => gguf.bytes_saved(),
            Source::Safetensors(_) | Source::Pickle(_) => 0,
        }
    }

    /// The weights below the prefix that the checkpoint puts before `name`: `bert.` in a model with a head,
    /// `question_encoder.bert_model.` in DPR's, often none.
    pub fn below_prefix_of(&self, name: &str) -> Result<Self> {
        let names = self.source.names();
        let mut prefixes: Vec<&str> = names
            .iter()
            .filter_map(|full| full.strip_suffix(name))
            .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
            .collect();
        prefixes.sort_unstable();
        match prefixes[..] {
            [] => Err(Error::CannotFindTensor { path: name.to_owned() }.bt()),
            [prefix] => Ok(Self {
                prefix: prefix.to_owned(),
                ..self.clone()
            }),
            _ => candle_core::bail!(
                "there are several networks in it, with {name} behind {}",
                prefixes.join(", ")
            ),
        }
    }

    /// Whether there is a tensor called `name` below the prefix.
    pub fn contains(&self, name: &str) -> bool {
        self.source.spelling(&format!("{}{name}", self.prefix)).is_some()
    }

    /// The tensor called `name` below the prefix.
    pub fn get(&self, name: &str, shape: impl Into<Shape>) -> Result<Tensor> {
        let full = format!("{}{name}", self.prefix);
        let Some(found) = self.source.spelling(&full) else {
            return Err(Error::CannotFindTensor { path: full }.bt());
        };
        let tensor = self.source.load(&found)?;
        check_shape(&found, tensor.shape(), &shape.into())?;
        self.beside(&tensor)
    }

    /// The same in the blocks of its file, where these are kept and it has such.
    pub fn blocks(&self, name: &str, shape: impl Into<Shape>) -> Result<Option<QTensor>> {
        let full = format!("{}{name}", self.prefix);
        match self.source.as_ref() {
            Source::Gguf(gguf) if self.keeps_blocks && gguf.is_in_blocks(&full) => {
                let blocks = gguf.blocks(&full, self.device.candle())?;
                check_shape(&full, blocks.shape(), &shape.into())?;
                Ok(Some(blocks))
            }
            _ => Ok(None),
        }
    }
}

fn check_shape(name: &str, got: &Shape, expected: &Shape) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    let error = Error::UnexpectedShape {
        msg: format!("the shape of {name} is not what config.json says"),
        expected: expected.clone(),
        got: got.clone(),
    };
    Err(error.bt())
}

impl Source {
    fn names(&self) -> Vec<String> {
        match self {
            Self::Safetensors(tensors) => tensors.tensors().into_iter().map(|(name, _)| name).collect(),
            Self::Gguf(gguf) => gguf.names().cloned().collect(),
            Self::Pickle(tensors) => tensors.tensor_infos().keys().cloned().collect(),
        }
    }

    fn contains(&self, name: &str) -> bool {
        match self {
            Self::Safetensors(tensors) => tensors.get(name).is_ok(),
            Self::Gguf(gguf) => gguf.contains(name),
            Self::Pickle(tensors) => tensors.tensor_infos().contains_key(name),
        }
    }

    /// The name as this checkpoint spells it: layer normalisations once had `gamma` and `beta`.
    fn spelling(&self, name: &str) -> Option<String> {
        let old = [(".weight", ".gamma"), (".bias", ".beta")]
            .into_iter()
            .find_map(|(new, old)| Some(format!("{}{old}", name.strip_suffix(new)?)));
        [Some(name.to_owned()), old]
            .into_iter()
            .flatten()
            .find(|name| self.contains(name))
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        match self {
            Self::Safetensors(tensors) => tensors.load(name, &candle_core::Device::Cpu),
            Self::Gguf(gguf) => gguf.load(name),
            Self::Pickle(tensors) => tensors
                .get(name)?
                .ok_or_else(|| Error::CannotFindTensor { path: name.to_owned() }.bt()),
        }
    }
}

#[expect(
    unsafe_code,
    reason = "mapping a file is unsafe: nothing keeps others from changing it"
)]
fn map(paths: &[PathBuf]) -> Result<MmapedSafetensors> {
    // SAFETY: whoever truncates a file while it loads makes this process fault. The directory belongs to the operator,
    // models are put there whole and not changed in place, and the map is gone when loading ends: tensors are copies.
    unsafe { MmapedSafetensors::multi(paths) }
}
