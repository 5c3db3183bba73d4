//! `twofold search`: one question, the passages that answer it best.

use std::fmt::Write;

use anyhow::Context;
use twofold_client::types::api::{Passage, RerankStage, SearchPassages, WithPayload};
use twofold_client::types::{CollectionName, Filter, ModelId};

use super::connection::Connection;
use super::output::{columns, plain, print, wrap};

/// Options of a search.
#[derive(Debug, clap::Args)]
pub(super) struct SearchOptions {
    /// What to look for
    text: String,
    /// Where to look
    #[arg(long, short, value_name = "NAME")]
    collection: CollectionName,
    /// How many documents to show, each with its best passage
    #[arg(long, short, default_value_t = 5, value_name = "N")]
    limit: usize,
    /// Only passages whose payload matches, as in the HTTP API: {"must": [{"key": "metadata.source", "match": ...}]}
    #[arg(long, value_name = "JSON", value_parser = parse_filter)]
    filter: Option<Filter>,
    /// A cross-encoder that puts the best passages in order
    #[arg(long, value_name = "MODEL")]
    rerank: Option<String>,
    /// Print the answer as JSON, as the HTTP API gives it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

fn parse_filter(json: &str) -> Result<Filter, serde_json::Error> {
    serde_json::from_str(json)
}

/// Runs a search.
pub(super) async fn run(options: SearchOptions) -> anyhow::Result<()> {
    let client = options.connection.client(|builder| builder)?;
    let search = SearchPassages {
        text: options.text,
        filter: options.filter,
        limit: Some(options.limit),
        rerank: options.rerank.map(|model| RerankStage {
            model: Some(ModelId::new(model)),
            ..RerankStage::default()
        }),
        with_payload: Some(WithPayload::Bool(true)),
        ..SearchPassages::default()
    };
    let found = client
        .search(&options.collection, &search)
        .await
        .map_err(|error| options.connection.explain(error))?;
    if options.json {
        return print(&format!(
            "{}\n",
            serde_json::to_string_pretty(&found).context("cannot write JSON")?
        ));
    }
    if found.passages.is_empty() {
        eprintln!("nothing found in `{}`", options.collection);
    }
    if let Some(note) = found.rerank.and_then(|report| report.note) {
        eprintln!("not reranked: {note}");
    }
    print(&report(found.passages, columns()))
}

/// Rank, score, document and byte offsets of each passage, and below it the passage.
fn report(passages: Vec<Passage>, columns: usize) -> String {
    let mut report = String::new();
    for (rank, passage) in (1..).zip(passages) {
        let mut title = match &passage.document_id {
            Some(document) => plain(document),
            None => format!("point {}", passage.id),
        };
        if let (Some(start), Some(end)) = (passage.place.start, passage.place.end) {
            write!(title, "  bytes {start}..{end}").expect("writing to a string does not fail");
        }
        // A point that was written with a ready vector carries whatever its writer liked.
        let payload = || serde_json::Value::Object(passage.payload.unwrap_or_default()).to_string();
        let text = passage.place.text.unwrap_or_else(payload);
        let separator = if rank > 1 { "\n" } else { "" };
        let text = wrap(&text, "    ", columns);
        writeln!(
            report,
            "{separator}{rank:2}. {score:.4}  {title}\n{text}",
            score = passage.score
        )
        .expect("writing to a string does not fail");
    }
    report
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn passages_are_listed_with_rank_score_document_and_offsets() {
        let passages = serde_json::from_value(json!([
            {"id": "550e8400-e29b-41d4-a716-446655440000", "score": 0.81249, "document_id": "tea.md", "chunk": 1, "start": 40,
             "end": 71, "text": "Green tea wants\nwater at 80 °C.", "stages": {"vectors": {}}},
            {"id": 7, "score": 0.5, "stages": {"vectors": {}}, "payload": {"city": "Oslo"}},
        ]));
        let expected = " 1. 0.8125  tea.md  bytes 40..71\n    Green tea wants water at 80 °C.\n\n 2. 0.5000  point 7\n    {\"city\":\"Oslo\"}\n";
        assert_eq!(report(passages.unwrap(), 80), expected);
    }

    #[test]
    fn a_filter_that_is_none_is_refused_before_anything_is_sent() {
        assert!(parse_filter(r#"{"must": [{"key": "metadata.source", "match": {"value": "a"}}]}"#).is_ok());
        assert!(parse_filter(r#"{"mist": []}"#).is_err());
    }
}
