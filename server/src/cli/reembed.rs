//! `twofold reembed`: other encoders or chunks for a collection that answers meanwhile.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use twofold_client::types::{
    ChunkingParams, CollectionName, EncoderParams, ModelId, Reembed, Reembedding, ReembeddingState,
};

use super::connection::Connection;
use super::output::{plain, print};

/// Options of a re-embedding.
#[derive(Debug, clap::Args)]
pub(super) struct ReembedOptions {
    /// The collection
    collection: CollectionName,
    /// The model that fills the vector from now on
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// The vector that --model fills; without it, the unnamed one
    #[arg(long, value_name = "NAME", default_value = "", requires = "model")]
    vector: String,
    /// Encoders by the vectors they fill, as in the HTTP API: {"": {"model": "..."}}; null takes a vector out
    #[arg(long, value_name = "JSON", value_parser = json::<Encoders>, conflicts_with = "model")]
    encoders: Option<Encoders>,
    /// How documents are cut, as in the HTTP API: {"strategy": "sentence", "max_tokens": 200}
    #[arg(long, value_name = "JSON", value_parser = json::<ChunkingParams>)]
    chunking: Option<ChunkingParams>,
    /// Only say how it goes, or went
    #[arg(long, conflicts_with_all = ["model", "encoders", "chunking", "cancel", "retry"])]
    status: bool,
    /// Give it up
    #[arg(long, conflicts_with_all = ["model", "encoders", "chunking", "retry"])]
    cancel: bool,
    /// Try the documents again that could not be encoded, and wait
    #[arg(long, conflicts_with_all = ["model", "encoders", "chunking"])]
    retry: bool,
    /// Do not wait until it is done
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Of a type of its own, so that it is one value of the command line.
#[derive(Debug, Clone, serde::Deserialize)]
struct Encoders(BTreeMap<String, Option<EncoderParams>>);

fn json<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(text)
}

/// Begins a re-embedding and follows it, or does what else was asked for.
pub(super) async fn run(options: ReembedOptions) -> anyhow::Result<()> {
    let (collection, connection) = (&options.collection, &options.connection);
    let client = connection.client(|builder| builder)?;
    let model = options.model.map(|model| {
        let params = EncoderParams::new(ModelId::new(model));
        BTreeMap::from([(options.vector, Some(params))])
    });
    let request = Reembed {
        encoders: options.encoders.map(|Encoders(encoders)| encoders).or(model),
        chunking: options.chunking,
    };
    let answer = match (options.status, options.cancel, options.retry) {
        (true, ..) => client.get_reembedding(collection).await,
        (_, true, _) => client.cancel_reembedding(collection).await,
        (.., true) => client.retry_reembedding(collection).await,
        _ if request == Reembed::default() => {
            bail!("nothing to do: give --model, --encoders or --chunking, or one of --status, --cancel and --retry")
        }
        _ => client.reembed(collection, &request).await,
    };
    let begun = answer.map_err(|error| connection.explain(error))?;
    if options.status || options.cancel || options.no_wait {
        return print(&format!("{}\n", line(&begun)));
    }
    let mut shown = String::new();
    let seen = |reembedding: &Reembedding| {
        let line = line(reembedding);
        if line != shown {
            eprintln!("{line}");
            shown = line;
        }
    };
    let ended = client.wait_for_reembedding(collection, seen).await;
    let ended = ended.context("it goes on at the server; --status says how")?;
    match ended.state {
        ReembeddingState::Blocked => bail!(
            "{} documents could not be encoded: send them again or delete them, then --retry; or --cancel",
            ended.documents_failed
        ),
        ReembeddingState::Canceled => bail!("it was canceled"),
        _ => Ok(()),
    }
}

/// Where a re-embedding stands, in a line.
fn line(reembedding: &Reembedding) -> String {
    let state = match reembedding.state {
        ReembeddingState::Copying => "copying",
        ReembeddingState::Following => "following",
        ReembeddingState::Blocked => "blocked",
        ReembeddingState::Done => "done",
        ReembeddingState::Canceled => "canceled",
    };
    let mut line = format!(
        "{state}: {} of {} documents",
        reembedding.documents_done, reembedding.documents
    );
    if reembedding.documents_failed > 0 {
        line += &format!(", {} failed", reembedding.documents_failed);
    }
    if let Some(error) = &reembedding.last_error {
        line += &format!(" ({})", plain(error));
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_and_what_is_wrong() {
        let mut reembedding: Reembedding = serde_json::from_value(json!({
            "state": "copying", "documents": 7, "documents_done": 3, "documents_failed": 0,
            "started_at": "2026-01-01T00:00:00Z", "encoders": {},
        }))
        .unwrap();
        assert_eq!(line(&reembedding), "copying: 3 of 7 documents");
        reembedding.documents_failed = 1;
        reembedding.last_error = Some("too\u{7}long".to_owned());
        assert_eq!(
            line(&reembedding),
            "copying: 3 of 7 documents, 1 failed (too\u{fffd}long)"
        );
    }

    #[test]
    fn encoders_are_read_as_the_api_reads_them() {
        let Encoders(encoders) = super::json(r#"{"": {"model": "a/b"}, "old": null}"#).unwrap();
        assert_eq!(encoders[""], Some(EncoderParams::new(ModelId::new("a/b"))));
        assert_eq!(encoders["old"], None);
        assert!(super::json::<Encoders>(r#"{"": {"modell": "a/b"}}"#).is_err());
    }
}
