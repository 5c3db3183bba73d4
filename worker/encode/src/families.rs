//! The families of networks: what each one's `config.json` says, as a [`Description`] of the one network that all are.

mod bert;
mod distilbert;
mod jina;
mod modernbert;
mod mpnet;
mod nomic;
mod qwen3;
mod roberta;

use std::path::Path;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    EncodeError,
    network::{Activation, Description, HeadNames},
};

/// The values of `model_type` that are understood.
const SUPPORTED: &[&str] = &[
    "bert",
    "camembert",
    "distilbert",
    "dpr",
    "modernbert",
    "mpnet",
    "nomic_bert",
    "qwen3",
    "roberta",
    "xlm-roberta",
];

/// Old configurations name no `model_type`, but the class that they were made with.
const CLASSES: &[(&str, &str)] = &[
    ("Bert", "bert"),
    ("Camembert", "camembert"),
    ("DistilBert", "distilbert"),
    ("DPR", "dpr"),
    ("MPNet", "mpnet"),
    ("Roberta", "roberta"),
    ("XLMRoberta", "xlm-roberta"),
];

/// Describes the network that the `config.json` at `path` asks for.
///
/// # Errors
/// [`EncodeError::ReadFile`], [`EncodeError::ParseFile`] and [`EncodeError::Unsupported`], naming the file.
pub(crate) fn describe(path: &Path) -> Result<Description, EncodeError> {
    let config = Config {
        path,
        json: crate::files::read_json(path)?,
    };
    #[derive(Deserialize)]
    struct Named {
        model_type: Option<String>,
        #[serde(default)]
        architectures: Vec<String>,
    }
    let Named {
        model_type,
        architectures,
    } = config.read()?;
    let by_class = || {
        CLASSES.iter().find_map(|(class, model_type)| {
            let is_of = |name: &String| {
                name.strip_prefix(class)
                    .is_some_and(|rest| rest.starts_with(['M', 'F', 'Q', 'C']))
            };
            architectures.iter().any(is_of).then(|| (*model_type).to_owned())
        })
    };
    match model_type.clone().or_else(by_class).as_deref() {
        Some("bert") if jina::is_meant(&config) => jina::describe(&config),
        Some("bert" | "dpr") => bert::describe(&config),
        Some("roberta" | "xlm-roberta" | "camembert") => roberta::describe(&config),
        Some("distilbert") => distilbert::describe(&config),
        Some("mpnet") => mpnet::describe(&config),
        Some("modernbert") => modernbert::describe(&config),
        Some("nomic_bert") => nomic::describe(&config),
        Some("qwen3") => qwen3::describe(&config),
        _ => Err(config.unsupported(
            "model_type",
            model_type.unwrap_or_else(|| format!("missing (architectures: {architectures:?})")),
            SUPPORTED,
        )),
    }
}

/// What the architecture that the `config.json` at `path` names puts behind the network.
///
/// # Errors
/// [`EncodeError::ReadFile`] and [`EncodeError::ParseFile`], naming the file.
pub(crate) fn architecture(path: &Path) -> Result<Option<Architecture>, EncodeError> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(default)]
        architectures: Vec<String>,
    }
    let Named { architectures } = crate::files::read_json(path)?;
    Ok(architectures.iter().find_map(|name| match name.as_str() {
        "BertForMaskedLM" => Some(Architecture::Vocabulary(HeadNames::BERT)),
        "DistilBertForMaskedLM" => Some(Architecture::Vocabulary(HeadNames::DISTILBERT)),
        "HF_ColBERT" => Some(Architecture::Colbert),
        _ => None,
    }))
}

/// What stands behind a network beside a pooling.
pub(crate) enum Architecture {
    /// Scores of all words.
    Vocabulary(HeadNames),
    /// A linear layer over every token.
    Colbert,
}

/// A `config.json`, and where it is.
struct Config<'a> {
    path: &'a Path,
    json: Value,
}

impl Config<'_> {
    fn read<T: DeserializeOwned>(&self) -> Result<T, EncodeError> {
        serde_json::from_value(self.json.clone()).map_err(|source| EncodeError::ParseFile {
            path: self.path.to_owned(),
            source,
        })
    }

    fn unsupported(
        &self,
        field: &'static str,
        found: impl std::fmt::Display,
        supported: &'static [&'static str],
    ) -> EncodeError {
        EncodeError::Unsupported {
            path: self.path.to_owned(),
            field,
            found: found.to_string(),
            supported,
        }
    }

    /// Refuses the file unless `accepted`.
    fn require(
        &self,
        accepted: bool,
        field: &'static str,
        found: impl std::fmt::Display,
        supported: &'static [&'static str],
    ) -> Result<(), EncodeError> {
        if accepted {
            return Ok(());
        }
        Err(self.unsupported(field, found, supported))
    }

    fn activation(&self, field: &'static str, name: &str) -> Result<Activation, EncodeError> {
        Activation::named(name).ok_or_else(|| self.unsupported(field, name, Activation::NAMES))
    }

    /// The width of a head, where heads share the hidden size.
    fn head_width(&self, field: &'static str, heads: usize, hidden: usize) -> Result<usize, EncodeError> {
        let divides = heads > 0 && hidden.is_multiple_of(heads);
        self.require(divides, field, heads, &["a divisor of the hidden size"])?;
        Ok(hidden / heads)
    }
}
