//! `twofold search`: one question, the passages that answer it best.

use std::fmt::Write;

use anyhow::Context;
use serde::Deserialize;
use twofold_client::types::api::{Query, QueryPoints, WithPayload};
use twofold_client::types::{CollectionName, Filter, ScoredPoint, TextInput, VectorInput};

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
    /// How many passages to show
    #[arg(long, short, default_value_t = 5, value_name = "N")]
    limit: usize,
    /// Only passages whose payload matches, as in the HTTP API: {"must": [{"key": "metadata.source", "match": ...}]}
    #[arg(long, value_name = "JSON", value_parser = parse_filter)]
    filter: Option<Filter>,
    /// Print the points as JSON, as the HTTP API answers them
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

fn parse_filter(json: &str) -> Result<Filter, serde_json::Error> {
    serde_json::from_str(json)
}

/// What ingestion stores with a chunk.
#[derive(Deserialize)]
struct Passage {
    document_id: String,
    start: u64,
    end: u64,
    text: String,
}

/// Runs a search.
pub(super) async fn run(options: SearchOptions) -> anyhow::Result<()> {
    let client = options.connection.client(|builder| builder)?;
    let query = QueryPoints {
        query: Some(Query::Nearest(VectorInput::Text(TextInput {
            text: options.text,
            model: None,
            options: None,
        }))),
        filter: options.filter,
        limit: Some(options.limit),
        with_payload: Some(WithPayload::Bool(true)),
        ..QueryPoints::default()
    };
    let points = client
        .query(&options.collection, &query)
        .await
        .map_err(|error| options.connection.explain(error))?;
    if options.json {
        return print(&format!(
            "{}\n",
            serde_json::to_string_pretty(&points).context("cannot write JSON")?
        ));
    }
    if points.is_empty() {
        eprintln!("nothing found in `{}`", options.collection);
    }
    print(&report(points, columns()))
}

/// Rank, score, document and byte offsets of each passage, and below it the passage.
fn report(points: Vec<ScoredPoint>, columns: usize) -> String {
    let mut report = String::new();
    for (rank, point) in (1..).zip(points) {
        let payload = serde_json::Value::Object(point.payload.unwrap_or_default());
        let (title, text) = match Passage::deserialize(&payload) {
            Ok(passage) => (
                format!(
                    "{}  bytes {}..{}",
                    plain(&passage.document_id),
                    passage.start,
                    passage.end
                ),
                passage.text,
            ),
            // A point that was written with a ready vector carries whatever its writer liked.
            Err(_) => (format!("point {}", point.id), payload.to_string()),
        };
        let separator = if rank > 1 { "\n" } else { "" };
        let passage = wrap(&text, "    ", columns);
        writeln!(
            report,
            "{separator}{rank:2}. {score:.4}  {title}\n{passage}",
            score = point.score
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
        let chunk = json!({"document_id": "tea.md", "chunk": 1, "start": 40, "end": 71, "text": "Green tea wants\nwater at 80 °C.", "metadata": {}});
        let points = serde_json::from_value(json!([
            {"id": "550e8400-e29b-41d4-a716-446655440000", "version": 3, "score": 0.81249, "payload": chunk},
            {"id": 7, "version": 1, "score": 0.5, "payload": {"city": "Oslo"}},
        ]));
        let expected = " 1. 0.8125  tea.md  bytes 40..71\n    Green tea wants water at 80 °C.\n\n 2. 0.5000  point 7\n    {\"city\":\"Oslo\"}\n";
        assert_eq!(report(points.unwrap(), 80), expected);
    }

    #[test]
    fn a_filter_that_is_none_is_refused_before_anything_is_sent() {
        assert!(parse_filter(r#"{"must": [{"key": "metadata.source", "match": {"value": "a"}}]}"#).is_ok());
        assert!(parse_filter(r#"{"mist": []}"#).is_err());
    }
}
