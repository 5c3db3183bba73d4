//! Checkpoints: an arena and its index in one file, so that opening a collection reads neither every record nor trains anew.
//!
//! A checkpoint is written beside the last one and then takes its name; it never changes afterwards, so parts of it may be
//! mapped. It says up to which write it follows. Whatever is wrong with it, it is thrown away: the records are the truth.
//!
//! The file begins with [`MAGIC`]. Sections follow, each on a multiple of 64 bytes: a header with tag, CRC-32 and length,
//! and its elements, little-endian.

#![expect(
    unsafe_code,
    reason = "a checkpoint is mapped, which nobody changes: the data directory is locked"
)]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use bytemuck::{AnyBitPattern, NoUninit};
use memmap2::Mmap;

use crate::arena::{Arena, Block, CodeFactors, Rows};
use crate::calibrate::{Costs, Reach};
use crate::centroids::Centroids;
use crate::ivf::{Ivf, expansion, sketches};
use crate::kernel::{BLOCK, Lanes, SLICE, Slice};
use crate::list::List;
use crate::subset::Subsets;

/// What a checkpoint begins with; the last byte is the version.
const MAGIC: [u8; 64] = {
    let mut magic = [0; 64];
    let text = b"twofold vectors\x03";
    let mut i = 0;
    while i < text.len() {
        magic[i] = text[i];
        i += 1;
    }
    magic
};

const ALIGNMENT: usize = 64;

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The system failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It is not what was written, or was written for something else.
    #[error("the checkpoint is damaged or of another kind: {0}")]
    Damaged(&'static str),
}

/// What a checkpoint holds.
#[derive(Debug)]
pub struct Checkpoint {
    /// The last write that it follows.
    pub seq: u64,
    /// The vectors.
    pub arena: Arena,
    /// The index over them.
    pub index: Option<Ivf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Tag {
    Facts = 1,
    Present,
    BlockRows,
    Rows,
    Codes,
    CodeFactors,
    Origin,
    Centroids,
    Lifts,
    ListLengths,
    ListSpreads,
    ListOffsets,
    ListBits,
    ListFactors,
}

#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct SectionHeader {
    tag: u32,
    crc: u32,
    bytes: u64,
    unused: [u64; 6],
}

/// What is one number.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Facts {
    seq: u64,
    dimensions: u64,
    trained_on: u64,
    changed: [u64; 2],
    has_codes: u32,
    has_index: u32,
    radius_squared: f32,
    limits: [f32; 6],
    costs: [f32; 5],
}

/// Writes a checkpoint of an arena and its index as of a write. Either it is there as a whole afterwards, durable, or it is not.
pub fn write_checkpoint(path: &Path, arena: &Arena, index: Option<&Ivf>, seq: u64) -> std::io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&unfinished)?);
    out.write_all(&MAGIC)?;
    let facts = Facts {
        seq,
        dimensions: arena.dimensions() as u64,
        trained_on: index.map_or(0, |index| index.trained_on),
        changed: index.map_or([0; 2], |index| index.changed),
        has_codes: u32::from(arena.has_codes()),
        has_index: u32::from(index.is_some()),
        radius_squared: index.map_or(0.0, |index| index.radius_squared),
        limits: index.map_or([0.0; 6], |index| index.reach.0),
        costs: index.map_or([0.0; 5], |index| {
            let ([all, tenth, hundredth], [start, each]) = (index.costs.search, index.costs.gather);
            [all, tenth, hundredth, start, each]
        }),
    };
    let blocks = arena.blocks();
    let present: Vec<u32> = arena.present().iter().collect();
    let rows: Vec<u32> = blocks
        .iter()
        .map(|block| (block.rows().len() / arena.dimensions()) as u32)
        .collect();
    section(&mut out, Tag::Facts, || [std::slice::from_ref(&facts)].into_iter())?;
    section(&mut out, Tag::Present, || [present.as_slice()].into_iter())?;
    section(&mut out, Tag::BlockRows, || [rows.as_slice()].into_iter())?;
    section(&mut out, Tag::Rows, || blocks.iter().map(|block| block.rows()))?;
    section(&mut out, Tag::Codes, || blocks.iter().map(|block| block.codes()))?;
    section(&mut out, Tag::CodeFactors, || {
        blocks.iter().map(|block| block.factors())
    })?;
    if let Some(index) = index {
        let (exact, lifts) = index.centroids.parts();
        let lengths: Vec<u32> = index.lists.iter().map(|list| list.len() as u32).collect();
        let spreads: Vec<f32> = index.lists.iter().map(|list| list.spread()).collect();
        section(&mut out, Tag::Origin, || [index.origin.as_slice()].into_iter())?;
        section(&mut out, Tag::Centroids, || [exact].into_iter())?;
        section(&mut out, Tag::Lifts, || [lifts].into_iter())?;
        section(&mut out, Tag::ListLengths, || [lengths.as_slice()].into_iter())?;
        section(&mut out, Tag::ListSpreads, || [spreads.as_slice()].into_iter())?;
        section(&mut out, Tag::ListOffsets, || {
            index.lists.iter().map(|list| list.parts().0)
        })?;
        section(&mut out, Tag::ListBits, || {
            index.lists.iter().map(|list| list.parts().1)
        })?;
        section(&mut out, Tag::ListFactors, || {
            index.lists.iter().map(|list| list.parts().2)
        })?;
    }
    out.into_inner().map_err(|error| error.into_error())?.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn section<'a, T: NoUninit, I: Iterator<Item = &'a [T]>>(
    out: &mut impl Write,
    tag: Tag,
    parts: impl Fn() -> I,
) -> std::io::Result<()> {
    let mut crc = crc32fast::Hasher::new();
    let mut bytes = 0;
    for part in parts() {
        let part: &[u8] = bytemuck::cast_slice(part);
        crc.update(part);
        bytes += part.len();
    }
    let header = SectionHeader {
        tag: tag as u32,
        crc: crc.finalize(),
        bytes: bytes as u64,
        unused: [0; 6],
    };
    out.write_all(bytemuck::bytes_of(&header))?;
    for part in parts() {
        out.write_all(bytemuck::cast_slice(part))?;
    }
    out.write_all(&[0; ALIGNMENT][..bytes.next_multiple_of(ALIGNMENT) - bytes])
}

/// Sections in the order in which they were written.
struct Sections<'a> {
    file: &'a Mmap,
    at: usize,
}

impl<'a> Sections<'a> {
    fn of(file: &'a Mmap) -> Result<Self, CheckpointError> {
        match file.get(..MAGIC.len()) {
            Some(magic) if magic == MAGIC => Ok(Self { file, at: MAGIC.len() }),
            _ => Err(CheckpointError::Damaged("it does not begin as one of this release")),
        }
    }

    /// The next section, checked, and where it begins.
    fn next<T: AnyBitPattern>(&mut self, tag: Tag) -> Result<(&'a [T], usize), CheckpointError> {
        let start = self.at + size_of::<SectionHeader>();
        let header = self
            .file
            .get(self.at..start)
            .ok_or(CheckpointError::Damaged("it ends early"))?;
        let header: SectionHeader = bytemuck::pod_read_unaligned(header);
        if header.tag != tag as u32 {
            return Err(CheckpointError::Damaged("its sections are not those of this release"));
        }
        let end = usize::try_from(header.bytes)
            .ok()
            .and_then(|bytes| start.checked_add(bytes));
        let bytes = end.and_then(|end| self.file.get(start..end));
        let bytes = bytes.ok_or(CheckpointError::Damaged("it ends early"))?;
        if crc32fast::hash(bytes) != header.crc {
            return Err(CheckpointError::Damaged("a checksum does not fit"));
        }
        self.at = start + bytes.len().next_multiple_of(ALIGNMENT);
        let elements = bytemuck::try_cast_slice(bytes);
        Ok((
            elements.map_err(|_| CheckpointError::Damaged("a section has a wrong length"))?,
            start,
        ))
    }
}

fn map(path: &Path) -> Result<Arc<Mmap>, CheckpointError> {
    // SAFETY: see the head of this file.
    Ok(Arc::new(unsafe { Mmap::map(&File::open(path)?)? }))
}

/// The full-precision vectors of a checkpoint, which stay in the file and are read when they are needed.
#[derive(Debug)]
pub struct MappedRows {
    file: Arc<Mmap>,
    /// Where the rows of a block begin, and how many numbers they are.
    blocks: Vec<(usize, usize)>,
}

impl MappedRows {
    /// Those of a checkpoint of vectors with so many dimensions.
    pub fn open(path: &Path, dimensions: usize) -> Result<Self, CheckpointError> {
        let file = map(path)?;
        let vectors = read_vectors(&mut Sections::of(&file)?, dimensions)?;
        Ok(vectors.mapped(&file, dimensions))
    }

    pub(crate) fn block(&self, number: usize) -> Rows {
        let (start, len) = self.blocks[number];
        let file = self.file.clone();
        Rows::Mapped { file, start, len }
    }
}

/// The sections that say which vectors there are.
struct Vectors<'a> {
    facts: Facts,
    present: &'a [u32],
    block_rows: &'a [u32],
    rows: &'a [f32],
    /// Where the rows begin in the file.
    start: usize,
}

impl Vectors<'_> {
    fn mapped(&self, file: &Arc<Mmap>, dimensions: usize) -> MappedRows {
        let mut start = self.start;
        let block = |&rows: &u32| {
            let block = (start, rows as usize * dimensions);
            start += block.1 * size_of::<f32>();
            block
        };
        MappedRows {
            file: file.clone(),
            blocks: self.block_rows.iter().map(block).collect(),
        }
    }
}

fn read_vectors<'a>(sections: &mut Sections<'a>, dimensions: usize) -> Result<Vectors<'a>, CheckpointError> {
    let misfit = CheckpointError::Damaged;
    let (facts, _) = sections.next::<Facts>(Tag::Facts)?;
    let facts = *facts.first().ok_or(misfit("it has no facts"))?;
    if facts.dimensions != dimensions as u64 {
        return Err(misfit("it is of other vectors"));
    }
    let (present, _) = sections.next::<u32>(Tag::Present)?;
    let (block_rows, _) = sections.next::<u32>(Tag::BlockRows)?;
    let (rows, start) = sections.next::<f32>(Tag::Rows)?;
    let held = |offset: &u32| {
        let (block, row) = (
            *offset as usize / crate::arena::BLOCK,
            *offset % crate::arena::BLOCK as u32,
        );
        block_rows.get(block).is_some_and(|&rows| row < rows)
    };
    let total: usize = block_rows.iter().map(|&rows| rows as usize).sum();
    if rows.len() != total * dimensions || !present.iter().all(held) {
        return Err(misfit("its vectors do not fit together"));
    }
    Ok(Vectors {
        facts,
        present,
        block_rows,
        rows,
        start,
    })
}

/// Reads a checkpoint for vectors like those of `empty`. With `mapped`, full-precision vectors stay in the file and are read
/// when they are needed. Where `empty` keeps no byte codes, those of the checkpoint and its index are passed over.
pub fn read_checkpoint(path: &Path, empty: &Arena, mapped: bool) -> Result<Checkpoint, CheckpointError> {
    let misfit = CheckpointError::Damaged;
    let file = map(path)?;
    let mut sections = Sections::of(&file)?;
    let dimensions = empty.dimensions();
    let vectors = read_vectors(&mut sections, dimensions)?;
    let facts = vectors.facts;
    let mut codes: (&[u8], &[CodeFactors]) = (&[], &[]);
    let code_size = empty.rotation().map_or(0, |rotation| rotation.size());
    if code_size > 0 {
        if facts.has_codes == 0 {
            return Err(misfit("it is of vectors without byte codes"));
        }
        codes = (sections.next(Tag::Codes)?.0, sections.next(Tag::CodeFactors)?.0);
        let total = vectors.rows.len() / dimensions;
        if codes.0.len() != total * code_size || codes.1.len() != total {
            return Err(misfit("its vectors do not fit together"));
        }
    }
    let stored = vectors.mapped(&file, dimensions);
    let mut blocks = Vec::with_capacity(vectors.block_rows.len());
    let mut first = 0;
    for (number, &count) in vectors.block_rows.iter().enumerate() {
        let range = first..first + count as usize;
        first = range.end;
        let rows = match mapped {
            true => stored.block(number),
            false => Rows::Heap(vectors.rows[range.start * dimensions..range.end * dimensions].to_vec()),
        };
        let (codes, factors) = match code_size {
            0 => (Vec::new(), Vec::new()),
            size => (
                codes.0[range.start * size..range.end * size].to_vec(),
                codes.1[range].to_vec(),
            ),
        };
        blocks.push(Arc::new(Block::from_parts(rows, codes, factors)));
    }
    let arena = Arena::from_blocks(empty, blocks, vectors.present.iter().copied().collect());
    let index = match facts.has_index {
        1.. if code_size > 0 => Some(read_index(&mut sections, &facts, &arena)?),
        _ => None,
    };
    Ok(Checkpoint {
        seq: facts.seq,
        arena,
        index,
    })
}

fn read_index(sections: &mut Sections<'_>, facts: &Facts, arena: &Arena) -> Result<Ivf, CheckpointError> {
    let misfit = || CheckpointError::Damaged("its lists do not fit together");
    let rotation = arena.rotation().ok_or_else(misfit)?.clone();
    let expansion = expansion(&rotation);
    let code_size = expansion.as_ref().unwrap_or(&rotation).size();
    let (origin, _) = sections.next::<f32>(Tag::Origin)?;
    let (centroids, _) = sections.next::<f32>(Tag::Centroids)?;
    let (lifts, _) = sections.next::<f32>(Tag::Lifts)?;
    let (lengths, _) = sections.next::<u32>(Tag::ListLengths)?;
    let (spreads, _) = sections.next::<f32>(Tag::ListSpreads)?;
    let (mut offsets, _) = sections.next::<u32>(Tag::ListOffsets)?;
    let (mut bits, _) = sections.next::<Slice>(Tag::ListBits)?;
    let (mut factors, _) = sections.next::<Lanes>(Tag::ListFactors)?;
    let count = lengths.len();
    if origin.len() != code_size
        || centroids.len() != count * rotation.size()
        || lifts.len() != count
        || spreads.len() != count
        || count == 0
    {
        return Err(misfit());
    }
    let slices = code_size / SLICE;
    let mut lists = Vec::with_capacity(count);
    for (&length, &spread) in lengths.iter().zip(spreads) {
        let blocks = (length as usize).div_ceil(BLOCK);
        let mine = offsets.split_off(..length as usize).ok_or_else(misfit)?;
        let bits = bits.split_off(..blocks * slices).ok_or_else(misfit)?;
        let factors = factors.split_off(..2 * blocks).ok_or_else(misfit)?;
        let list = List::from_parts(slices, mine.to_vec(), bits.to_vec(), factors.to_vec(), spread);
        lists.push(Arc::new(list.ok_or_else(misfit)?));
    }
    let [all, tenth, hundredth, start, each] = facts.costs;
    let index = Ivf {
        subsets: Subsets::default(),
        distance: arena.distance(),
        radius_squared: facts.radius_squared,
        sketches: sketches(&rotation),
        expansion,
        origin: Arc::new(origin.to_vec()),
        centroids: Arc::new(Centroids::from_parts(rotation.size(), centroids, lifts)),
        centroid_codes: None,
        rotation,
        lists,
        spread: 0.0,
        homes: Default::default(),
        len: 0,
        trained_on: facts.trained_on,
        changed: facts.changed,
        reach: Reach(facts.limits),
        costs: Costs {
            search: [all, tenth, hundredth],
            gather: [start, each],
        },
    };
    index.completed(arena).ok_or_else(misfit)
}

#[cfg(test)]
mod tests;
