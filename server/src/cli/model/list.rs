//! `twofold model list` and `twofold model info`: the models on this machine, without a server.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Context;
use indicatif::HumanBytes;
use twofold_types::{CrossEncoderDetails, Details, ModelDetails, ModelId, ModelInfo};
use twofold_worker::ModelsDir;

use super::super::output::{plain, print};
use crate::models_dir::default_models_dir;

/// Options of both.
#[derive(Debug, clap::Args)]
pub(in super::super) struct ListOptions {
    /// Where models are [default: models/ in the user's cache directory for twofold]
    #[arg(long, env = "TWOFOLD_MODELS_DIR", value_name = "DIR")]
    models_dir: Option<PathBuf>,
    /// Print JSON, as `GET /models` answers it
    #[arg(long)]
    json: bool,
}

/// Options of `info`.
#[derive(Debug, clap::Args)]
pub(in super::super) struct InfoOptions {
    /// The model as its publisher names it
    #[arg(value_name = "MODEL")]
    model: String,
    #[command(flatten)]
    list: ListOptions,
}

impl ListOptions {
    fn dir(&self) -> anyhow::Result<ModelsDir> {
        let dir = self.models_dir.clone().map_or_else(default_models_dir, Ok)?;
        Ok(ModelsDir::new(dir))
    }
}

/// Lists all models.
pub(in super::super) fn list(options: &ListOptions) -> anyhow::Result<()> {
    let dir = options.dir()?;
    let models = dir.list();
    if options.json {
        return print_json(&models);
    }
    if dir.names().is_empty() {
        eprintln!(
            "no models in {}: fetch one with `twofold model pull`",
            dir.path().display()
        );
    }
    print(&table(&models))
}

/// Tells what is known of one model.
pub(in super::super) fn info(options: &InfoOptions) -> anyhow::Result<()> {
    let info = options.list.dir()?.info(&ModelId::new(&options.model))?;
    if options.list.json {
        return print_json(&info);
    }
    print(
        &info
            .details
            .as_ref()
            .map(|details| sheet(&info.id, details))
            .unwrap_or_default(),
    )
}

fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&format!(
        "{}\n",
        serde_json::to_string_pretty(value).context("cannot write JSON")?
    ))
}

/// A line per model; of one that cannot be opened, why.
fn table(models: &[ModelInfo]) -> String {
    let width = models
        .iter()
        .map(|model| model.id.as_str().chars().count())
        .max()
        .unwrap_or(0);
    let mut table = String::new();
    for model in models {
        let name = plain(model.id.as_str());
        let line = match (&model.details, &model.error) {
            (Some(Details::Encoder(details)), _) => row(
                &details.space.to_string(),
                any_or(details.max_tokens),
                details.weight_bytes,
                details.licence.as_deref(),
            ),
            (Some(Details::CrossEncoder(details)), _) => row(
                "cross-encoder",
                details.max_tokens.to_string(),
                details.weight_bytes,
                details.licence.as_deref(),
            ),
            (None, error) => format!("error: {}", plain(error.as_deref().unwrap_or_default())),
        };
        writeln!(table, "{name:width$}  {line}").expect("writing to a string does not fail");
    }
    table
}

fn row(makes: &str, max_tokens: String, weight_bytes: u64, licence: Option<&str>) -> String {
    format!(
        "{makes:<24}  {max_tokens:>5} tokens  {:>10}  {}",
        HumanBytes(weight_bytes).to_string(),
        licence.unwrap_or("licence unknown"),
    )
}

/// A line per fact.
fn sheet(model: &ModelId, details: &Details) -> String {
    match details {
        Details::Encoder(details) => encoder_sheet(model, details),
        Details::CrossEncoder(details) => cross_encoder_sheet(model, details),
    }
}

fn cross_encoder_sheet(model: &ModelId, details: &CrossEncoderDetails) -> String {
    lines(&[
        ("model", plain(model.as_str())),
        ("kind", as_word(&details.kind)),
        ("family", details.family.clone()),
        ("max tokens", details.max_tokens.to_string()),
        ("activation", as_word(&details.activation)),
        (
            "licence",
            details.licence.clone().unwrap_or_else(|| "unknown".to_owned()),
        ),
        ("weights", HumanBytes(details.weight_bytes).to_string()),
    ])
}

fn encoder_sheet(model: &ModelId, details: &ModelDetails) -> String {
    let quoted = |prompt: &Option<String>| format!("{:?}", prompt.as_deref().unwrap_or_default());
    let query_model = details.query_model.as_ref().unwrap_or(model);
    lines(&[
        ("model", plain(model.as_str())),
        ("family", details.family.clone()),
        ("embeddings", details.space.to_string()),
        ("max tokens", any_or(details.max_tokens)),
        (
            "pooling",
            details
                .pooling
                .map_or_else(|| "none".to_owned(), |pooling| as_word(&pooling)),
        ),
        ("normalised", if details.normalize { "yes" } else { "no" }.to_owned()),
        ("distance", as_word(&details.space.distance())),
        ("query prompt", quoted(&details.prompts.query)),
        ("document prompt", quoted(&details.prompts.document)),
        ("query model", plain(query_model.as_str())),
        (
            "licence",
            details.licence.clone().unwrap_or_else(|| "unknown".to_owned()),
        ),
        ("weights", HumanBytes(details.weight_bytes).to_string()),
    ])
}

fn lines(facts: &[(&str, String)]) -> String {
    facts.iter().fold(String::new(), |sheet, (name, value)| {
        sheet + &format!("{name:<16}{value}\n")
    })
}

/// A largest number, where there is one.
fn any_or(most: Option<usize>) -> String {
    most.map_or_else(|| "any".to_owned(), |most| most.to_string())
}

/// A unit variant as the API writes it.
fn as_word(value: &impl serde::Serialize) -> String {
    let word = serde_json::to_value(value).ok();
    word.and_then(|word| word.as_str().map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn models() -> Vec<ModelInfo> {
        let models = json!([
            {"id": "a/broken", "loaded": false, "error": "config.json: \u{1b}[2J"},
            {"id": "sentence-transformers/all-MiniLM-L6-v2", "loaded": false, "family": "bert", "kind": "dense", "dimensions": 384,
             "max_tokens": 256, "pooling": "mean", "normalize": true, "distance": "Cosine", "prompts": {},
             "licence": "Apache-2.0", "weight_bytes": 90_852_864},
            {"id": "a/reranker", "loaded": false, "kind": "cross-encoder", "family": "bert", "max_tokens": 512,
             "activation": "identity", "weight_bytes": 1024},
        ]);
        serde_json::from_value(models).unwrap()
    }

    #[test]
    fn models_are_listed_with_what_matters_or_with_their_error() {
        let expected = concat!(
            "a/broken                                error: config.json: \u{fffd}[2J\n",
            "sentence-transformers/all-MiniLM-L6-v2  dense of 384 dimensions     256 tokens   86.64 MiB  Apache-2.0\n",
            "a/reranker                              cross-encoder               512 tokens    1.00 KiB  licence unknown\n",
        );
        assert_eq!(table(&models()), expected);
    }

    #[test]
    fn a_models_sheet_has_a_line_per_fact() {
        for (model, facts) in [
            (
                1,
                &[
                    "embeddings      dense of 384 dimensions",
                    "pooling         mean",
                    "query prompt    \"\"",
                    "distance        Cosine",
                ][..],
            ),
            (2, &["kind            cross-encoder", "activation      identity"]),
        ] {
            let model = models().remove(model);
            let sheet = sheet(&model.id, &model.details.unwrap());
            for fact in facts {
                assert!(sheet.lines().any(|found| found == *fact), "{sheet}");
            }
        }
    }
}
