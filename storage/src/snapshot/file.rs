//! The file of a snapshot.
//!
//! A head of 16 bytes (`twofold snap` or `twofold full`, the version as u32), one LZ4 frame whose blocks have checksums, and the first 12
//! bytes of the head again: a file that was cut short lacks them. In the frame stand, each as its length (u32) and its bytes, the
//! collection's record, its counters, and entries, which are a family (u8), a key without the collection's number, and a value. A family
//! of 255 is the end, followed by the number of entries (u64). Numbers are little-endian. In a file of everything a manifest takes the
//! place of the record, nothing that of the counters, and keys are whole.

use std::io::{self, Read, Write};

use lz4_flex::frame::{BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use crate::error::{InvalidInput, Result, StorageError};
use crate::rocks::Cf;

const VERSION: u32 = 1;
const END: u8 = 255;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One collection.
    Collection,
    /// All that is stored.
    Full,
}

impl Kind {
    fn magic(self) -> &'static [u8; 12] {
        match self {
            Self::Collection => b"twofold snap",
            Self::Full => b"twofold full",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Collection => "a collection",
            Self::Full => "all collections",
        }
    }

    /// Whether files hold records of a family.
    pub(super) fn holds(self, cf: Cf) -> bool {
        match cf {
            Cf::Ids | Cf::Points | Cf::Vectors | Cf::Postings | Cf::Documents => true,
            // What indexes and mirrors have yet to follow is nothing to those that begin anew, and a cache can be empty.
            Cf::IndexLog | Cf::Changes | Cf::Embeddings => false,
            // What waits and what was given up belong to the queue.
            _ => self == Self::Full,
        }
    }
}

/// More than any record has: a payload comes in one request, and a vector has 65,536 components at most.
const MAX_BYTES: usize = 1 << 30;

/// The number of a family in files; these never change.
fn number(cf: Cf) -> u8 {
    match cf {
        Cf::Ids => 0,
        Cf::Points => 1,
        Cf::Vectors => 2,
        Cf::Postings => 3,
        Cf::Documents => 4,
        Cf::Meta => 5,
        Cf::Collections => 6,
        Cf::Waiting => 7,
        Cf::DeadLetters => 8,
        Cf::Tasks => 9,
        Cf::TaskBodies => 10,
        Cf::Retries => 11,
        Cf::Outbox => 12,
        Cf::IndexLog => 13,
        Cf::Changes => 14,
        Cf::Embeddings => 15,
    }
}

fn family(kind: Kind, number_read: u8) -> Option<Cf> {
    Cf::ALL
        .into_iter()
        .find(|cf| number(*cf) == number_read && kind.holds(*cf))
}

/// Writes a file from its beginning to its end.
pub(super) struct Writer<W: Write> {
    kind: Kind,
    stream: FrameEncoder<W>,
    entries: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(mut to: W, kind: Kind, record: &[u8], counter: &[u8]) -> Result<Self> {
        let begin = move || -> io::Result<_> {
            to.write_all(kind.magic())?;
            to.write_all(&VERSION.to_le_bytes())?;
            let info = FrameInfo::new().block_size(BlockSize::Max256KB).block_checksums(true);
            let mut stream = FrameEncoder::with_frame_info(info, to);
            write_bytes(&mut stream, record)?;
            write_bytes(&mut stream, counter)?;
            Ok(stream)
        };
        Ok(Self {
            kind,
            stream: begin().map_err(failed)?,
            entries: 0,
        })
    }

    pub(super) fn entry(&mut self, cf: Cf, key: &[u8], value: &[u8]) -> Result<()> {
        debug_assert!(self.kind.holds(cf), "{cf:?} is not in such files");
        let number = number(cf);
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
            to.write_all(self.kind.magic())?;
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
    /// In the file of a collection without its number.
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

/// Reads a file from its beginning to its end.
pub(super) struct Reader<R: Read> {
    kind: Kind,
    stream: FrameDecoder<R>,
    record: Vec<u8>,
    counter: Vec<u8>,
    entries: u64,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(mut from: R, kind: Kind) -> Result<Self, StorageError> {
        let mut head = [0; 16];
        from.read_exact(&mut head).map_err(damaged)?;
        let (magic, version) = head.split_at(kind.magic().len());
        if magic != kind.magic() {
            let other = [Kind::Collection, Kind::Full]
                .into_iter()
                .find(|other| magic == other.magic());
            let of = other.map_or(String::new(), |other| format!(", but of {}", other.name()));
            return Err(invalid(&format!("it is no snapshot of {}{of}", kind.name())));
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
            kind,
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
            let more = self.stream.read(&mut number).map_err(damaged)?;
            let mut tail = [0; 12];
            self.stream.get_mut().read_exact(&mut tail).map_err(damaged)?;
            if u64::from_le_bytes(entries) != self.entries || more > 0 || tail != *self.kind.magic() {
                return Err(invalid("it does not end where it should"));
            }
            return Ok(None);
        }
        let cf = family(self.kind, number[0])
            .ok_or_else(|| invalid(&format!("it holds records of an unknown kind, {}", number[0])))?;
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
        let mut writer = Writer::new(Vec::new(), Kind::Collection, b"record", b"counter").unwrap();
        for entry in 0..entries {
            writer.entry(Cf::Points, &entry.to_be_bytes(), &vec![7; entry]).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<usize, String> {
        let mut reader = Reader::new(bytes, Kind::Collection).map_err(|error| error.to_string())?;
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
    fn a_file_of_a_collection_holds_nothing_of_others() {
        let mut bytes = written(1);
        bytes[..12].copy_from_slice(Kind::Full.magic());
        let error = read(&bytes).unwrap_err();
        assert!(error.contains("of a collection, but of all collections"), "{error}");
        assert_eq!(
            (family(Kind::Full, 5), family(Kind::Collection, 5)),
            (Some(Cf::Meta), None)
        );
        assert_eq!(family(Kind::Full, number(Cf::Embeddings)), None);
        let mut numbers = Cf::ALL.map(number);
        numbers.sort_unstable();
        assert!(numbers.is_sorted_by(|a, b| a < b));
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
