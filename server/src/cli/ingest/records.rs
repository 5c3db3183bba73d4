//! Files of records: every line of a `.jsonl` and every row of a `.csv`, `.tsv` or `.parquet` is a document of its own.

mod parquet;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;
use twofold_client::types::{Document, DocumentError, Payload};

use self::parquet::ParquetRows;
use super::content::extension;
use super::origin::Origin;

/// Which of a record's fields are what; the others are metadata.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Fields {
    /// The field of a record that is its text
    #[arg(long, default_value = "text", value_name = "FIELD")]
    pub text_field: String,
    /// The field of a record that is its id; without it the id is the file's and the record's number
    #[arg(long, default_value = "id", value_name = "FIELD")]
    pub id_field: String,
}

/// The documents of one file, read one at a time.
pub(super) struct Records {
    rows: Rows,
    fields: Fields,
    file_id: String,
    origin: Origin,
    number: u64,
}

enum Rows {
    Lines(std::io::Lines<BufReader<File>>),
    Table {
        header: csv::StringRecord,
        rows: Box<csv::StringRecordsIntoIter<File>>,
    },
    Parquet(ParquetRows),
}

/// Whether a file's name says that it holds records.
pub(super) fn holds_records(path: &Path) -> bool {
    matches!(
        extension(path).as_deref(),
        Some("jsonl" | "ndjson" | "csv" | "tsv" | "parquet")
    )
}

impl Records {
    /// The records of a file, if its name says that it has some.
    pub fn open(path: &Path, file_id: &str, origin: &Origin, fields: &Fields) -> Option<anyhow::Result<Self>> {
        let open = || File::open(path).with_context(|| format!("cannot read {}", path.display()));
        let rows = match extension(path)?.as_str() {
            "jsonl" | "ndjson" => open().map(|file| Rows::Lines(BufReader::new(file).lines())),
            "csv" => open().and_then(|file| table(file, b',')),
            "tsv" => open().and_then(|file| table(file, b'\t')),
            "parquet" => open().and_then(|file| ParquetRows::open(file).map(Rows::Parquet)),
            _ => return None,
        };
        Some(rows.map(|rows| Self {
            rows,
            fields: fields.clone(),
            file_id: file_id.to_owned(),
            origin: origin.clone(),
            number: 0,
        }))
    }

    /// The next record as fields.
    fn next_row(&mut self) -> Option<anyhow::Result<Payload>> {
        match &mut self.rows {
            Rows::Lines(lines) => loop {
                let line = lines.next()?;
                self.number += 1;
                match line {
                    Ok(line) if line.trim().is_empty() => {}
                    Ok(line) => return Some(serde_json::from_str(&line).map_err(Into::into)),
                    Err(error) => return Some(Err(error.into())),
                }
            },
            Rows::Table { header, rows } => {
                let row = rows.next()?;
                self.number += 1;
                let pairs = |row: csv::StringRecord| -> Payload {
                    let cells = header.iter().zip(row.iter());
                    cells.map(|(name, cell)| (name.to_owned(), cell.into())).collect()
                };
                Some(row.map(pairs).map_err(Into::into))
            }
            Rows::Parquet(rows) => {
                self.number += 1;
                rows.next()
            }
        }
    }

    fn document(&self, mut row: Payload) -> anyhow::Result<Document> {
        let Fields { text_field, id_field } = &self.fields;
        let text = match row.remove(text_field) {
            Some(Value::String(text)) => text,
            Some(_) => bail!("its field `{text_field}` is not a text"),
            None => bail!("it has no field `{text_field}`; name the one that is its text with --text-field"),
        };
        let id = match row.remove(id_field) {
            Some(Value::String(id)) if !id.is_empty() => id,
            Some(Value::Number(id)) => id.to_string(),
            _ => self.name(),
        };
        // The wire's own form of a document keeps its metadata apart.
        if let Some(Value::Object(inner)) = row.get("metadata")
            && row.len() == 1
        {
            row = inner.clone();
        }
        self.origin.write_to(&mut row);
        Ok(Document {
            id: Some(id),
            text,
            metadata: Some(row),
        })
    }

    /// The record that was read last.
    fn name(&self) -> String {
        format!("{}#{}", self.file_id, self.number)
    }
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            text_field: "text".to_owned(),
            id_field: "id".to_owned(),
        }
    }
}

impl Iterator for Records {
    type Item = Result<Document, DocumentError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.next_row()?;
        let document = row.and_then(|row| self.document(row));
        Some(document.map_err(|error| DocumentError {
            document_id: self.name(),
            error: format!("{error:#}"),
        }))
    }
}

fn table(file: File, delimiter: u8) -> anyhow::Result<Rows> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(file);
    let header = reader.headers()?.clone();
    let rows = Box::new(reader.into_records());
    Ok(Rows::Table { header, rows })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn origin() -> Origin {
        Origin::fixed("there", "then")
    }

    fn with_origin(mut metadata: Value) -> Value {
        origin().write_to(metadata.as_object_mut().unwrap());
        metadata
    }

    fn documents(name: &str, content: &str) -> Vec<Result<Value, String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        let records = Records::open(&path, name, &origin(), &Fields::default());
        let records = records.unwrap().unwrap();
        records
            .map(|document| match document {
                Ok(document) => Ok(serde_json::to_value(document).unwrap()),
                Err(error) => Err(error.error),
            })
            .collect()
    }

    #[test]
    fn lines_of_json_are_documents_and_a_bad_one_fails_alone() {
        let found = documents(
            "a.jsonl",
            "{\"id\": 7, \"text\": \"one\", \"lang\": \"en\"}\n\nnope\n{\"text\": \"two\", \"metadata\": {\"n\": 1}}\n{\"t\": 1}\n",
        );
        let metadata = with_origin(json!({"lang": "en"}));
        assert_eq!(found[0], Ok(json!({"id": "7", "text": "one", "metadata": metadata})));
        assert!(found[1].is_err());
        let metadata = with_origin(json!({"n": 1}));
        assert_eq!(
            found[2],
            Ok(json!({"id": "a.jsonl#4", "text": "two", "metadata": metadata}))
        );
        assert!(found[3].as_ref().unwrap_err().contains("--text-field"));
    }

    #[test]
    fn rows_of_a_table_are_documents_with_their_other_columns() {
        let found = documents("a.csv", "id,text,lang\nx,\"one, two\",en\n,three,de\n");
        let metadata = with_origin(json!({"lang": "en"}));
        assert_eq!(
            found[0],
            Ok(json!({"id": "x", "text": "one, two", "metadata": metadata}))
        );
        let metadata = with_origin(json!({"lang": "de"}));
        assert_eq!(
            found[1],
            Ok(json!({"id": "a.csv#2", "text": "three", "metadata": metadata}))
        );
        let found = documents("a.tsv", "text\tlang\na\ten\n");
        assert_eq!(found[0].as_ref().unwrap()["id"], "a.tsv#1");
    }

    fn fixture(name: &str) -> (std::path::PathBuf, String) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/ingest");
        (dir.join(name), name.to_owned())
    }

    /// A fixture with the field `body` as its text.
    fn bodies(name: &str) -> anyhow::Result<Records> {
        let (path, id) = fixture(name);
        let fields = Fields {
            text_field: "body".to_owned(),
            ..Fields::default()
        };
        Records::open(&path, &id, &origin(), &fields).unwrap()
    }

    #[test]
    fn rows_of_parquet_are_documents_with_their_other_columns_whatever_the_codec() {
        for name in [
            "snappy.parquet",
            "gzip.parquet",
            "brotli.parquet",
            "lz4.parquet",
            "none.parquet",
        ] {
            let found: Vec<_> = bodies(name).unwrap().map(Result::unwrap).collect();
            let metadata = with_origin(json!({
                "tags": ["a", "b"], "score": 0.5, "bytes": "as text", "at": "2026-01-02 03:04:05.000 +00:00",
            }));
            let expected = json!({"id": "7", "text": "größer", "metadata": metadata});
            assert_eq!(serde_json::to_value(&found[0]).unwrap(), expected, "{name}");
            assert_eq!((found.len(), found[1].id.as_deref()), (3, Some("8")), "{name}");
        }
    }

    #[test]
    fn a_codec_that_is_not_read_is_named_and_a_damaged_file_ends() {
        let error = bodies("zstd.parquet").err().unwrap().to_string();
        assert!(error.contains("zstd") && error.contains("snappy"), "{error}");

        let whole = std::fs::read(fixture("none.parquet").0).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        let mut failed = 0;
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            std::fs::write(&path, &bytes).unwrap();
            let fields = Fields::default();
            let Ok(records) = Records::open(&path, "a", &origin(), &fields).unwrap() else {
                failed += 1;
                continue;
            };
            assert!(records.take(100).count() < 100, "it ends");
        }
        assert!(failed > 0);
    }

    #[test]
    fn other_files_have_no_records() {
        assert!(Records::open(Path::new("a.txt"), "a.txt", &origin(), &Fields::default()).is_none());
    }
}
