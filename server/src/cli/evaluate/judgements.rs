//! Queries and judgements in files, as BEIR and TREC have them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use twofold_client::types::evaluation::{JudgedQuery, Qrels};

/// A line of `queries.jsonl`; other keys have no meaning.
#[derive(Deserialize)]
struct QueryLine {
    #[serde(rename = "_id")]
    id: String,
    text: String,
}

/// Reads queries: a line of JSON with `_id` and `text` for each.
pub(super) fn read_queries(path: &Path) -> anyhow::Result<Vec<JudgedQuery>> {
    let queries = json_lines(path)?.map(|line| {
        let QueryLine { id, text } = line?;
        Ok(JudgedQuery { id, text })
    });
    queries.collect()
}

/// The objects of a file that has one on every line.
pub(super) fn json_lines<T: DeserializeOwned>(path: &Path) -> anyhow::Result<impl Iterator<Item = anyhow::Result<T>>> {
    let lines = (1..).zip(open(path)?.lines());
    let lines = lines.filter(|(_, line)| !matches!(line, Ok(line) if line.trim().is_empty()));
    Ok(lines.map(move |(number, line)| {
        let read = line
            .map_err(anyhow::Error::from)
            .and_then(|line| Ok(serde_json::from_str(&line)?));
        read.with_context(|| format!("{}, line {number}", path.display()))
    }))
}

/// Reads judgements: BEIR's three columns with a header (`query-id`, `corpus-id`, `score`), or TREC's four (query, iteration,
/// document, grade).
pub(super) fn read_qrels(path: &Path) -> anyhow::Result<Qrels> {
    let mut qrels = Qrels::new();
    for (number, line) in (1..).zip(open(path)?.lines()) {
        let line = line.with_context(|| format!("{}, line {number}", path.display()))?;
        let fields: Vec<&str> = match line.contains('\t') {
            true => line.split('\t').map(str::trim).collect(),
            false => line.split_whitespace().collect(),
        };
        let (query, document, grade) = match fields[..] {
            [] | [""] => continue,
            [query, document, grade] | [query, _, document, grade] => (query, document, grade),
            _ => bail!(
                "{}, line {number}: {} columns: three (query, document, grade) or TREC's four (query, iteration, document, grade) are accepted",
                path.display(),
                fields.len()
            ),
        };
        match grade.parse() {
            Ok(grade) => {
                let grades = qrels.entry(query.to_owned()).or_default();
                grades.insert(document.to_owned(), grade);
            }
            // The header.
            Err(_) if number == 1 => {}
            Err(_) => bail!(
                "{}, line {number}: `{grade}` is no grade, which is a whole number",
                path.display()
            ),
        }
    }
    Ok(qrels)
}

fn open(path: &Path) -> anyhow::Result<BufReader<File>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(BufReader::new(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qrels(text: &str) -> anyhow::Result<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qrels.tsv");
        std::fs::write(&path, text).unwrap();
        let qrels = read_qrels(&path).map_err(|error| anyhow::anyhow!("{error:#}"))?;
        Ok(serde_json::to_string(&qrels).unwrap())
    }

    #[test]
    fn judgements_are_read_from_either_layout() {
        let expected = r#"{"q1":{"a":1,"b c":2},"q2":{"a":-1}}"#;
        let beir = "query-id\tcorpus-id\tscore\nq1\ta\t1\nq1\tb c\t2\n\nq2\ta\t-1\r\n";
        assert_eq!(qrels(beir).unwrap(), expected);
        let trec = "q1 0 a 1\nq1\t0\tb c\t2\nq2  Q0 a  -1\n";
        assert_eq!(qrels(trec).unwrap(), expected);
    }

    #[test]
    fn a_line_that_is_no_judgement_is_named() {
        for (text, words) in [
            ("q d 1\nq d\n", ["line 2", "2 columns"]),
            ("q d 1\nq d 0.5\n", ["line 2", "`0.5`"]),
        ] {
            let error = qrels(text).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }

    #[test]
    fn queries_are_lines_of_json() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queries.jsonl");
        std::fs::write(&path, "{\"_id\": \"q\", \"text\": \"t\", \"topic\": \"x\"}\n\n").unwrap();
        let queries = read_queries(&path).unwrap();
        assert_eq!(
            (queries.len(), queries[0].id.as_str(), queries[0].text.as_str()),
            (1, "q", "t")
        );
        std::fs::write(&path, "{\"_id\": \"q\", \"text\": \"t\"}\n{\"text\": \"t\"}\n").unwrap();
        let error = format!("{:#}", read_queries(&path).unwrap_err());
        assert!(error.contains("line 2") && error.contains("_id"), "{error}");
    }
}
