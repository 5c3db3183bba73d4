//! The file of a snapshot.
//!
//! A head of 16 bytes (`twofold snap`, the version as u32), then one LZ4 frame with the checksum of its content. In it stand, each as its length
//! (u32) and its bytes: the collection's record, its counters, and entries, which are a family (u8), a key without the collection's
//! number, and a value. A family of 255 is the end, followed by the number of entries (u64): a file that was cut short has none. Numbers
//! are little-endian.

use std::io::{self, Read, Write};

use lz4_flex::frame::{BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use crate::error::{InvalidInput, Result, StorageError};
use crate::rocks::Cf;

const MAGIC: &[u8; 12] = b"twofold snap";
const VERSION: u32 = 1;
const END: u8 = 255;

/// More than any record has: a payload comes in one request, and a vector has 65,536 components at most.
const MAX_BYTES: usize = 1 << 30;

/// The number of a family in files; these never change.
fn number(cf: Cf) -> Option<u8> {
    Some(match cf {
        Cf::Ids => 0,
        Cf::Points => 1,
        Cf::Vectors => 2,
        Cf::Postings => 3,
        Cf::Documents => 4,
        _ => return None,
    })
}

fn family(number_read: u8) -> Option<Cf> {
    Cf::OF_COLLECTIONS
        .into_iter()
        .find(|cf| number(*cf) == Some(number_read))
}

/// Writes a file from its beginning to its end.
pub(super) struct Writer<W: Write> {
    stream: FrameEncoder<W>,
    entries: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(mut to: W, record: &[u8], counter: &[u8]) -> Result<Self> {
        let begin = move || -> io::Result<_> {
            to.write_all(MAGIC)?;
            to.write_all(&VERSION.to_le_bytes())?;
            let info = FrameInfo::new().block_size(BlockSize::Max256KB).content_checksum(true);
            let mut stream = FrameEncoder::with_frame_info(info, to);
            write_bytes(&mut stream, record)?;
            write_bytes(&mut stream, counter)?;
            Ok(stream)
        };
        Ok(Self {
            stream: begin().map_err(failed)?,
            entries: 0,
        })
    }

    pub(super) fn entry(&mut self, cf: Cf, key: &[u8], value: &[u8]) -> Result<()> {
        let number = number(cf).expect("families of collections have numbers");
        self.entries += 1;
        let write = |stream: &mut FrameEncoder<W>| {
            stream.write_all(&[number])?;
            write_bytes(stream, key)?;
            write_bytes(stream, value)
        };
        write(&mut self.stream).map_err(failed)
    }

    pub(super) fn finish(mut self) -> Result<W> {
        let end = move || -> io::Result<W> {
            self.stream.write_all(&[END])?;
            self.stream.write_all(&self.entries.to_le_bytes())?;
            let mut to = self.stream.finish()?;
            to.flush()?;
            Ok(to)
        };
        end().map_err(failed)
    }
}

fn write_bytes(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(bytes)
}

fn failed(error: io::Error) -> StorageError {
    match error.kind() {
        io::ErrorKind::StorageFull => StorageError::DiskFull,
        _ => StorageError::Snapshot(error),
    }
}

/// A record of the collection.
pub(super) struct Entry<'a> {
    pub(super) cf: Cf,
    /// Without the collection's number.
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

/// Reads a file from its beginning to its end.
pub(super) struct Reader<R: Read> {
    stream: FrameDecoder<R>,
    record: Vec<u8>,
    counter: Vec<u8>,
    entries: u64,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(mut from: R) -> Result<Self, StorageError> {
        let mut head = [0; 16];
        from.read_exact(&mut head).map_err(damaged)?;
        let (magic, version) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(invalid("it is no snapshot of a collection"));
        }
        let version = u32::from_le_bytes([version[0], version[1], version[2], version[3]]);
        if version != VERSION {
            return Err(invalid(&format!(
                "version {version} is unknown to this release, which reads {VERSION}"
            )));
        }
        let mut stream = FrameDecoder::new(from);
        let (mut record, mut counter) = (Vec::new(), Vec::new());
        read_bytes(&mut stream, &mut record)?;
        read_bytes(&mut stream, &mut counter)?;
        Ok(Self {
            stream,
            record,
            counter,
            entries: 0,
            key: Vec::new(),
            value: Vec::new(),
        })
    }

    pub(super) fn record(&self) -> &[u8] {
        &self.record
    }

    pub(super) fn counter(&self) -> &[u8] {
        &self.counter
    }

    /// The next entry; none at the end, when all of the file is known to be as it was written.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry<'_>>> {
        let mut number = [0];
        self.stream.read_exact(&mut number).map_err(damaged)?;
        if number[0] == END {
            let mut entries = [0; 8];
            self.stream.read_exact(&mut entries).map_err(damaged)?;
            // The checksum stands behind the last byte.
            let more = self.stream.read(&mut number).map_err(damaged)?;
            if u64::from_le_bytes(entries) != self.entries || more > 0 {
                return Err(invalid("it does not end where it should"));
            }
            return Ok(None);
        }
        let cf =
            family(number[0]).ok_or_else(|| invalid(&format!("it holds records of an unknown kind, {}", number[0])))?;
        read_bytes(&mut self.stream, &mut self.key)?;
        read_bytes(&mut self.stream, &mut self.value)?;
        self.entries += 1;
        Ok(Some(Entry {
            cf,
            key: &self.key,
            value: &self.value,
        }))
    }
}

fn read_bytes(from: &mut impl Read, bytes: &mut Vec<u8>) -> Result<()> {
    let mut length = [0; 4];
    from.read_exact(&mut length).map_err(damaged)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_BYTES {
        return Err(invalid("it is damaged"));
    }
    bytes.clear();
    // Not made as long as it is said to be before that much was read.
    let read = from.take(length as u64).read_to_end(bytes).map_err(damaged)?;
    if read < length {
        return Err(invalid("it was cut short"));
    }
    Ok(())
}

fn damaged(error: io::Error) -> StorageError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => invalid("it was cut short"),
        _ => invalid(&format!("it is damaged: {error}")),
    }
}

fn invalid(reason: &str) -> StorageError {
    InvalidInput::Snapshot(reason.to_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(entries: usize) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), b"record", b"counter").unwrap();
        for entry in 0..entries {
            writer.entry(Cf::Points, &entry.to_be_bytes(), &vec![7; entry]).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<usize, String> {
        let mut reader = Reader::new(bytes).map_err(|error| error.to_string())?;
        assert_eq!(
            (reader.record(), reader.counter()),
            (b"record".as_slice(), b"counter".as_slice())
        );
        let mut entries = 0_usize;
        while let Some(Entry { cf, key, value }) = reader.next_entry().map_err(|error| error.to_string())? {
            assert_eq!(
                (cf, key, value.len()),
                (Cf::Points, entries.to_be_bytes().as_slice(), entries)
            );
            entries += 1;
        }
        Ok(entries)
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(read(&written(300)), Ok(300));
        assert_eq!(read(&written(0)), Ok(0));
    }

    #[test]
    fn a_file_that_was_cut_short_anywhere_is_refused() {
        let whole = written(20);
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length} of {}", whole.len());
        }
    }

    #[test]
    fn a_file_with_a_damaged_byte_anywhere_is_refused() {
        let whole = written(20);
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 0x10;
            let read = std::panic::catch_unwind(|| read(&damaged));
            assert!(!matches!(read, Ok(Ok(_))), "byte {place}");
        }
    }

    #[test]
    fn other_files_are_named_as_such() {
        assert!(
            read(b"PK\x03\x04 and sixteen more")
                .unwrap_err()
                .contains("no snapshot")
        );
        let mut later = written(0);
        later[12] = 9;
        assert!(read(&later).unwrap_err().contains("version 9"));
    }
}
