//! Checkpoints of columns: what is in one, in a file, so that opening a collection does not read every posting.
//!
//! A checkpoint is written beside the last one and then takes its name; it never changes afterwards. It says up to which
//! write it follows. Whatever is wrong with it, it is thrown away: the postings are the truth.
//!
//! The file: [`MAGIC`], the write (u64), the number of values (u64), the values in order, and a CRC-32 of all that. A value
//! is its length (u16), the number of its points (u32), its bytes and its points in order (u32). Numbers are little-endian.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use twofold_vector::Bitmap;

use super::Column;
use super::node::Entry;
use super::points::Points;
use crate::key::SeqNo;

/// What a checkpoint begins with; the last byte but one is the version.
const MAGIC: [u8; 16] = *b"twofold column\x01\0";

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("the checkpoint is damaged or of another kind: {0}")]
    Damaged(&'static str),
}

/// Counts and checks what passes through.
struct Summed<W> {
    out: W,
    crc: crc32fast::Hasher,
}

impl<W: Write> Summed<W> {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.crc.update(bytes);
        self.out.write_all(bytes)
    }
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], CheckpointError> {
        let taken = self.0.split_off(..count);
        taken.ok_or(CheckpointError::Damaged("it ends early"))
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        let taken = self.0.split_off(..N).and_then(|bytes| bytes.first_chunk());
        taken.copied().ok_or(CheckpointError::Damaged("it ends early"))
    }
}

impl Column {
    /// Writes a checkpoint. Either it is there as a whole afterwards, durable, or it is not.
    pub(crate) fn write_checkpoint(&self, path: &Path, seq: SeqNo) -> std::io::Result<()> {
        let unfinished = path.with_extension("new");
        let mut out = Summed {
            out: BufWriter::with_capacity(1 << 20, File::create(&unfinished)?),
            crc: crc32fast::Hasher::new(),
        };
        let mut values = 0u64;
        self.for_each(&mut |_| {
            values += 1;
            Ok::<_, std::io::Error>(())
        })?;
        out.put(&MAGIC)?;
        out.put(&seq.0.to_le_bytes())?;
        out.put(&values.to_le_bytes())?;
        let mut bytes = Vec::new();
        self.for_each(&mut |entry: &Entry| {
            bytes.clear();
            bytes.extend((entry.value.len() as u16).to_le_bytes());
            bytes.extend((entry.points.len() as u32).to_le_bytes());
            bytes.extend(&*entry.value);
            entry.points.for_each(|offset| bytes.extend(offset.to_le_bytes()));
            out.put(&bytes)
        })?;
        let crc = out.crc.finalize();
        out.out.write_all(&crc.to_le_bytes())?;
        let file = out.out.into_inner().map_err(|error| error.into_error())?;
        file.sync_all()?;
        fail::fail_point!("column::before_rename");
        std::fs::rename(&unfinished, path)?;
        match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    }

    /// Reads the checkpoint that follows a write, without the points that are `stale` by now.
    pub(crate) fn read_checkpoint(path: &Path, seq: SeqNo, stale: &Bitmap) -> Result<Self, CheckpointError> {
        const CRC: usize = size_of::<u32>();
        let damaged = CheckpointError::Damaged;
        let file = std::fs::read(path)?;
        let Some((body, crc)) = file.split_last_chunk::<CRC>() else {
            return Err(damaged("it ends early"));
        };
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(damaged("its checksum does not fit"));
        }
        let mut input = Input(body);
        if input.number::<16>()? != MAGIC {
            return Err(damaged("it does not begin as one of this release"));
        }
        if u64::from_le_bytes(input.number()?) != seq.0 {
            return Err(damaged("it follows another write than its name says"));
        }
        let mut left = u64::from_le_bytes(input.number()?);
        let mut last: Option<&[u8]> = None;
        let column = Self::from_entries(std::iter::from_fn(|| {
            loop {
                left = left.checked_sub(1)?;
                match read_entry(&mut input, &mut last, stale) {
                    Ok(None) => {}
                    Ok(Some(entry)) => return Some(Ok(entry)),
                    Err(error) => return Some(Err(error)),
                }
            }
        }))?;
        match input.0.is_empty() {
            true => Ok(column),
            false => Err(damaged("it does not end where it should")),
        }
    }
}

fn read_entry<'a>(
    input: &mut Input<'a>,
    last: &mut Option<&'a [u8]>,
    stale: &Bitmap,
) -> Result<Option<Entry>, CheckpointError> {
    let length = u16::from_le_bytes(input.number()?);
    let count = u32::from_le_bytes(input.number()?) as usize;
    let value = input.take(usize::from(length))?;
    let (offsets, _) = input.take(count.saturating_mul(size_of::<u32>()))?.as_chunks();
    if last.is_some_and(|last| last >= value) {
        return Err(CheckpointError::Damaged("its values are not in order"));
    }
    *last = Some(value);
    let offsets = offsets.iter().map(|offset| u32::from_le_bytes(*offset));
    let offsets: Vec<u32> = match stale.is_empty() {
        true => offsets.collect(),
        false => offsets.filter(|offset| !stale.contains(*offset)).collect(),
    };
    if !offsets.is_sorted_by(|a, b| a < b) {
        return Err(CheckpointError::Damaged("its points are not in order"));
    }
    Ok((!offsets.is_empty()).then(|| Entry {
        value: value.into(),
        points: Points::from_sorted(offsets),
    }))
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;

    use super::*;

    fn all(column: &Column) -> Bitmap {
        column.range(&(Bound::Unbounded, Bound::Unbounded))
    }

    fn column() -> Column {
        let mut column = Column::default();
        for offset in 0u32..3_000 {
            column.insert(&(offset % 70).to_be_bytes(), offset);
            column.insert(&[7; 40], offset * 3);
        }
        column
    }

    #[test]
    fn what_was_written_is_read_without_what_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1-9");
        let column = column();
        column.write_checkpoint(&path, SeqNo(9)).unwrap();
        let read = Column::read_checkpoint(&path, SeqNo(9), &Bitmap::new()).unwrap();
        assert_eq!(read.postings(), column.postings());
        assert_eq!((all(&read), read.changes()), (all(&column), 0));
        let stale: Bitmap = (0..2_990).collect();
        let read = Column::read_checkpoint(&path, SeqNo(9), &stale).unwrap();
        let mut fresh = all(&column);
        fresh -= &stale;
        assert_eq!(all(&read), fresh);
        let value = 2_995u32 % 70;
        assert_eq!(read.any(&[value.to_be_bytes().to_vec()]), [2_995].into_iter().collect());
    }

    #[test]
    fn every_damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1-9");
        column().write_checkpoint(&path, SeqNo(9)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let read = |bytes: &[u8], seq| {
            std::fs::write(&path, bytes).unwrap();
            Column::read_checkpoint(&path, SeqNo(seq), &Bitmap::new())
        };
        assert!(read(&whole, 9).is_ok());
        assert!(read(&whole, 8).is_err());
        for place in (0..whole.len()).step_by(whole.len() / 50) {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x10;
            assert!(read(&bytes, 9).is_err(), "byte {place}");
            assert!(read(&whole[..place], 9).is_err(), "cut at {place}");
        }
    }
}
