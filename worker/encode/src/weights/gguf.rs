//! GGUF, llama.cpp's format, as far as it concerns BERT: tensors, quantised or not, under names of its own.

use std::{
    collections::BTreeMap,
    fs::File,
    io::BufReader,
    path::Path,
    sync::{Mutex, PoisonError},
};

use candle_core::{
    Device, Error, Result, Tensor,
    quantized::{
        GgmlDType, QTensor,
        gguf_file::{Content, TensorInfo},
    },
};

/// What llama.cpp calls BERT's parts, without `.weight` and `.bias`, and what its checkpoints call them.
const NAMES: &[(&str, &str)] = &[
    ("token_embd", "embeddings.word_embeddings"),
    ("position_embd", "embeddings.position_embeddings"),
    ("token_types", "embeddings.token_type_embeddings"),
    ("token_embd_norm", "embeddings.LayerNorm"),
];

/// The same below a layer's number.
const NAMES_OF_LAYER: &[(&str, &str)] = &[
    ("attn_q", "attention.self.query"),
    ("attn_k", "attention.self.key"),
    ("attn_v", "attention.self.value"),
    ("attn_output", "attention.output.dense"),
    ("attn_output_norm", "attention.output.LayerNorm"),
    ("ffn_up", "intermediate.dense"),
    ("ffn_down", "output.dense"),
    ("layer_output_norm", "output.LayerNorm"),
];

/// An opened file.
pub(super) struct Gguf {
    content: Content,
    file: Mutex<BufReader<File>>,
    /// The file's own name of every tensor that BERT has, by the name in a checkpoint.
    names: BTreeMap<String, String>,
}

impl Gguf {
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = BufReader::new(File::open(path)?);
        let content = Content::read(&mut file)?;
        let own = content.tensor_infos.keys();
        let names = own.filter_map(|name| Some((checkpoint_name(name)?, name.clone())));
        Ok(Self {
            names: names.collect(),
            content,
            file: Mutex::new(file),
        })
    }

    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.names.keys()
    }

    pub fn contains(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.content.tensor_infos.values()
    }

    /// Whether the tensor is quantised in blocks.
    pub fn is_in_blocks(&self, name: &str) -> bool {
        let info = self.names.get(name).and_then(|own| self.content.tensor_infos.get(own));
        info.is_some_and(is_in_blocks)
    }

    /// Bytes by which the blocks of the layers are smaller than f32.
    pub fn bytes_saved(&self) -> u64 {
        let of_layers = self
            .content
            .tensor_infos
            .iter()
            .filter(|(own, _)| own.starts_with("blk."));
        let saved = of_layers.filter(|(_, info)| is_in_blocks(info)).map(|(_, info)| {
            let (numbers, kind) = (info.shape.elem_count(), info.ggml_dtype);
            numbers * size_of::<f32>() - numbers / kind.block_size() * kind.type_size()
        });
        saved.sum::<usize>() as u64
    }

    /// The tensor with the name that checkpoints have for it, as f32.
    pub fn load(&self, name: &str) -> Result<Tensor> {
        self.blocks(name, &Device::Cpu)?.dequantize(&Device::Cpu)
    }

    /// The same as it is in the file.
    pub fn blocks(&self, name: &str, device: &Device) -> Result<QTensor> {
        let Some(own) = self.names.get(name) else {
            return Err(Error::CannotFindTensor { path: name.to_owned() }.bt());
        };
        // Every read begins with a seek, so one that failed half-way leaves nothing behind.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        self.content.tensor(&mut *file, own, device)
    }
}

fn is_in_blocks(info: &TensorInfo) -> bool {
    !matches!(info.ggml_dtype, GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16)
}

fn translate(names: &[(&str, &'static str)], part: &str) -> Option<&'static str> {
    names.iter().find(|(own, _)| *own == part).map(|(_, name)| *name)
}

/// `blk.3.attn_q.weight` to `encoder.layer.3.attention.self.query.weight`.
fn checkpoint_name(own: &str) -> Option<String> {
    let (part, kind) = own.rsplit_once('.')?;
    let name = match part.strip_prefix("blk.") {
        None => translate(NAMES, part)?.to_owned(),
        Some(below) => {
            let (layer, part) = below.split_once('.')?;
            format!("encoder.layer.{layer}.{}", translate(NAMES_OF_LAYER, part)?)
        }
    };
    Some(format!("{name}.{kind}"))
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::{GgmlDType, QTensor, gguf_file};

    use super::*;

    #[test]
    fn names_are_translated_and_what_bert_has_not_is_left_out() {
        for (own, name) in [
            ("token_embd.weight", Some("embeddings.word_embeddings.weight")),
            (
                "blk.11.attn_output_norm.bias",
                Some("encoder.layer.11.attention.output.LayerNorm.bias"),
            ),
            ("blk.0.ffn_gate.weight", None),
            ("output.weight", None),
        ] {
            assert_eq!(checkpoint_name(own).as_deref(), name);
        }
    }

    #[test]
    fn tensors_are_read_in_their_shape_and_near_what_was_quantised() {
        let table = Tensor::randn(0f32, 1f32, (5, 64), &Device::Cpu).unwrap();
        for (kind, allowed) in [
            (GgmlDType::F32, 0.0),
            (GgmlDType::F16, 0.01),
            (GgmlDType::Q8_0, 0.05),
            (GgmlDType::Q4_0, 0.8),
        ] {
            let quantised = QTensor::quantize(&table, kind).unwrap();
            let path = tempfile::NamedTempFile::new().unwrap();
            let mut file = path.reopen().unwrap();
            gguf_file::write(&mut file, &[], &[("token_embd.weight", &quantised)]).unwrap();
            let gguf = Gguf::open(path.path()).unwrap();
            assert_eq!(gguf.names().collect::<Vec<_>>(), ["embeddings.word_embeddings.weight"]);
            let read = gguf.load("embeddings.word_embeddings.weight").unwrap();
            assert_eq!(read.dims(), table.dims());
            let difference = (read - &table).unwrap().abs().unwrap().max_all().unwrap();
            assert!(difference.to_scalar::<f32>().unwrap() <= allowed, "{kind:?}");
        }
    }
}
