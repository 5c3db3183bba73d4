//! What a network computes in: which precision is taken where the choice is ours, and what it takes to quantise.

use candle_core::{DType, Error};
use twofold_types::{EncoderParams, Precision};

use crate::{
    Device, EncodeError, ModelFiles,
    cpu::Instructions,
    network::Network,
    weights::{WeightFiles, Weights},
};

/// Models whose vectors in bf16 and in whole numbers were compared with those in f32 over thousands of texts and lost next to
/// nothing: a cosine of 0.999 in the mean, and 0.002 of nDCG@10 at most (docs/benchmarks.md).
const MEASURED: &[&str] = &["sentence-transformers/all-MiniLM-L6-v2"];

/// Texts of many kinds, from which a quantised network learns how large its inputs are: questions, prose, lists, code, other
/// scripts. Which inputs are large hardly depends on the text.
const TEXTS: &[&str] = &[
    "How do I restore a deleted file from a backup?",
    "capital of australia",
    "symptoms of vitamin d deficiency in adults",
    "The committee will meet on Thursday at half past nine to vote on the proposed changes to the budget.",
    "She closed the door behind her, and for a long while nobody in the room said anything at all.",
    "A vessel that is used to carry liquids, usually made of glass or clay and narrow at the neck.",
    "Photosynthesis turns light into chemical energy: plants take up carbon dioxide and water, and give back oxygen.",
    "And it came to pass in those days, that there went out a decree that all the world should be taxed.",
    "fn main() { let total: u64 = (1..=10).map(|x| x * x).sum(); println!(\"{total}\"); }",
    "SELECT name, COUNT(*) FROM orders WHERE created_at > '2024-01-01' GROUP BY name ORDER BY 2 DESC LIMIT 10;",
    "Preheat the oven to 180 degrees, mix flour, sugar and two eggs, and bake for 35 minutes until golden.",
    "Revenue rose 12.4% to $3.87 billion in the third quarter, while operating costs fell by $41 million.",
    "ERROR 2024-03-17T09:41:22Z connection refused (10.0.3.14:5432), retrying in 30 s, attempt 4 of 5",
    "Die Bibliothek ist wegen Umbauarbeiten bis Ende des Monats geschlossen.",
    "Le chat dort sur le canap\u{e9} pendant que la pluie tombe sur les toits de la ville.",
    "\u{41c}\u{43e}\u{441}\u{43a}\u{432}\u{430} \u{2014} \u{441}\u{442}\u{43e}\u{43b}\u{438}\u{446}\u{430} \u{420}\u{43e}\u{441}\u{441}\u{438}\u{438}",
    "\u{6771}\u{4eac}\u{306f}\u{65e5}\u{672c}\u{306e}\u{9996}\u{90fd}\u{3067}\u{3059}\u{3002}",
    "The patient was given 20 mg of the drug twice a day, and blood pressure returned to normal within a week.",
    "Neither party may assign this agreement without the prior written consent of the other, except to a successor.",
    "Great phone, terrible battery. It hardly lasts until noon, and the charger gets hot. Would not buy again!",
    "quantum computing error correction surface code threshold theorem",
    "The stars above the desert were so many and so bright that the guide put out his lamp.",
    "Ohm's law: the current through a conductor between two points is proportional to the voltage across them.",
    "tall, blue, cotton, unisex, size M, machine washable",
];

/// What is computed in where `params` ask for it: never [`Precision::Auto`].
pub fn settled(params: &EncoderParams, device: &Device) -> Precision {
    let measured = || {
        MEASURED
            .iter()
            .any(|model| model.eq_ignore_ascii_case(params.model.as_str()))
    };
    match params.precision {
        Precision::Auto if device.is_cpu() && measured() => {
            let instructions = Instructions::chosen();
            match (instructions.has_bf16(), instructions.prefer_integers()) {
                (true, _) => Precision::Bf16,
                (false, true) => Precision::Int8,
                (false, false) => Precision::F32,
            }
        }
        Precision::Auto => Precision::F32,
        named => named,
    }
}

/// The weights that a network of this precision is made of. On the CPU products alone may be in fewer bits.
pub(crate) fn weights(files: &ModelFiles, device: &Device, precision: Precision) -> Result<Weights, EncodeError> {
    let weights = Weights::open(files.weights(), device)?;
    match precision {
        Precision::Bf16 if !device.is_cpu() => Ok(weights.in_dtype(DType::BF16)),
        Precision::F16 if !device.is_cpu() => Ok(weights.in_dtype(DType::F16)),
        Precision::Gguf => match files.weights() {
            WeightFiles::Gguf(_) => Ok(weights.keeping_blocks()),
            other => Err(EncodeError::NoGguf {
                path: other.first().clone(),
            }),
        },
        Precision::Bf16 | Precision::F16 | Precision::F32 | Precision::Int8 | Precision::Auto => Ok(weights),
    }
}

/// The network in whole numbers of 8 bits.
pub(crate) fn quantised(
    network: Network,
    files: &ModelFiles,
    tokenizer: &tokenizers::Tokenizer,
    device: &Device,
) -> Result<Network, EncodeError> {
    if !device.is_cpu() {
        return Err(EncodeError::Precision {
            precision: Precision::Int8,
            device: device.to_string(),
        });
    }
    let tokens = |(index, text): (usize, &&str)| {
        let encoding = tokenizer.encode_fast(*text, true);
        let encoding = encoding.map_err(|source| EncodeError::Tokenize { index, source })?;
        let ids = encoding.get_ids();
        Ok(ids[..ids.len().min(files.max_tokens())].to_vec())
    };
    let texts: Vec<Vec<u32>> = TEXTS
        .iter()
        .enumerate()
        .map(tokens)
        .collect::<Result<_, EncodeError>>()?;
    network
        .quantised(&texts)
        .map_err(|source: Error| files.weights().at_fault(source))
}
