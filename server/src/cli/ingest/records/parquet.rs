//! Rows of Parquet files.

use std::fs::File;

use anyhow::{Context, anyhow, bail};
use parquet::basic::Compression;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use twofold_client::types::Payload;

use super::super::content::guarded;

/// The rows of a file, until the first that cannot be read.
pub(super) struct ParquetRows(Option<RowIter<'static>>);

impl ParquetRows {
    /// # Errors
    /// Where the file is damaged, or compressed in a way that is not read.
    pub fn open(file: File) -> anyhow::Result<Self> {
        let reader = guarded(|| SerializedFileReader::new(file)).ok_or_else(damaged)?;
        let reader = reader.context("it is damaged, or not Parquet")?;
        for columns in reader.metadata().row_groups() {
            let mut codecs = columns.columns().iter().map(|column| column.compression());
            if codecs.any(|codec| matches!(codec, Compression::ZSTD(_))) {
                bail!("it is compressed with zstd; what is read is snappy, gzip, brotli, lz4 and none");
            }
        }
        Ok(Self(Some(RowIter::from_file_into(Box::new(reader)))))
    }
}

impl Iterator for ParquetRows {
    type Item = anyhow::Result<Payload>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.0.as_mut()?;
        let row = match guarded(|| rows.next()) {
            Some(None) => return None,
            Some(Some(row)) => row.context("it is damaged from here on"),
            None => Err(damaged()),
        };
        if row.is_err() {
            self.0 = None;
        }
        Some(row.map(payload))
    }
}

fn damaged() -> anyhow::Error {
    anyhow!("it is damaged, or has what cannot be read")
}

/// The columns of a row. Texts may be stored as bytes; bytes that are none are left out.
fn payload(row: Row) -> Payload {
    let columns = row.into_columns().into_iter().filter_map(|(name, field)| match field {
        Field::Bytes(bytes) => Some((name, bytes.as_utf8().ok()?.into())),
        field => Some((name, field.to_json_value())),
    });
    columns.collect()
}
