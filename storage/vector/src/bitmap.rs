//! A set of point offsets that is cheap to clone, to change and to combine.
//!
//! It is cut into chunks of 2¹⁶ offsets: a sorted list where few of them are members, bits where many are (the shapes of a
//! Roaring bitmap). Chunks are shared between clones until one of them changes, so that every published state of a
//! collection can hold its own set, and tests of single offsets in a scan cost two loads.

mod chunk;

use std::ops::{BitAndAssign, BitOrAssign, RangeInclusive, SubAssign};

use self::chunk::{Chunk, WORDS};

/// A set of point offsets.
#[derive(Debug, Clone, Default)]
pub struct Bitmap {
    chunks: Vec<Chunk>,
}

const fn split(offset: u32) -> (usize, u16) {
    ((offset >> 16) as usize, offset as u16)
}

impl Bitmap {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The set of the numbers below `end`.
    pub fn below(end: u32) -> Self {
        let full = Chunk::from_words(&[u64::MAX; WORDS]);
        let (chunks, rest) = split(end);
        let mut set = Self {
            chunks: vec![full; chunks],
        };
        if rest > 0 {
            let mut words = [0; WORDS];
            for (index, word) in words.iter_mut().enumerate() {
                let first = index as u32 * 64;
                *word = match u32::from(rest).saturating_sub(first) {
                    0 => 0,
                    count @ 1..64 => (1 << count) - 1,
                    _ => u64::MAX,
                };
            }
            set.chunks.push(Chunk::from_words(&words));
        }
        set
    }

    /// How many members there are.
    pub fn len(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.len() as u64).sum()
    }

    /// Bytes on the heap; what is shared with clones counts in each of them.
    pub fn heap_bytes(&self) -> usize {
        self.chunks.capacity() * size_of::<Chunk>() + self.chunks.iter().map(Chunk::heap_bytes).sum::<usize>()
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.chunks.iter().all(|chunk| chunk.len() == 0)
    }

    /// Whether an offset is a member.
    #[inline]
    pub fn contains(&self, offset: u32) -> bool {
        let (chunk, low) = split(offset);
        self.chunks.get(chunk).is_some_and(|chunk| chunk.contains(low))
    }

    /// Makes an offset a member; says whether it was none before.
    pub fn insert(&mut self, offset: u32) -> bool {
        let (chunk, low) = split(offset);
        if chunk >= self.chunks.len() {
            self.chunks.resize_with(chunk + 1, Chunk::default);
        }
        self.chunks[chunk].insert(low)
    }

    /// Makes an offset no member; says whether it was one before.
    pub fn remove(&mut self, offset: u32) -> bool {
        let (chunk, low) = split(offset);
        self.chunks.get_mut(chunk).is_some_and(|chunk| chunk.remove(low))
    }

    /// Calls `visit` with every member in ascending order.
    pub fn for_each(&self, mut visit: impl FnMut(u32)) {
        for (index, chunk) in self.chunks.iter().enumerate() {
            chunk.for_each((index as u32) << 16, &mut visit);
        }
    }

    /// The members in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.chunks.iter().enumerate().flat_map(|(index, chunk)| {
            let mut members = Vec::with_capacity(chunk.len());
            chunk.for_each((index as u32) << 16, |offset| members.push(offset));
            members
        })
    }

    /// The smallest member.
    pub fn min(&self) -> Option<u32> {
        let mut chunks = self.chunks.iter().enumerate();
        chunks.find_map(|(index, chunk)| Some((index as u32) << 16 | u32::from(chunk.min()?)))
    }

    /// Whether a range holds a member.
    pub fn intersects(&self, range: RangeInclusive<u32>) -> bool {
        range.into_iter().any(|offset| self.contains(offset))
    }

    /// How many members both sets have.
    pub fn intersection_len(&self, other: &Self) -> u64 {
        let pairs = self.chunks.iter().zip(&other.chunks);
        pairs.map(|(a, b)| a.intersection_len(b) as u64).sum()
    }
}

/// Sets and single offsets, in any order and with doubles, on their way to one set. Much faster than one by one.
///
/// A few are listed, and sorted in the end; many are bits from the start.
#[derive(Debug, Default)]
pub struct Union {
    /// All of them, as long as there are no bits.
    few: Vec<u32>,
    highest: u32,
    words: Vec<u64>,
}

/// Offsets are few as long as they are no more than one in so many numbers.
const SPARSE: usize = 1024;

/// So many are few in any case, and no more than so many ever: a chunk may hold as many in a list.
const FEW: RangeInclusive<usize> = 64..=1024;

impl Union {
    /// Sets bits from here on, of so many chunks at least; those of the few as well.
    fn set_bits(&mut self, chunks: usize) {
        if self.words.len() < chunks * WORDS {
            self.words.resize(chunks * WORDS, 0);
        }
        for offset in std::mem::take(&mut self.few) {
            self.words[(offset >> 6) as usize] |= 1 << (offset & 63);
        }
    }

    /// Adds a set.
    pub fn add(&mut self, set: &Bitmap) {
        if self.words.is_empty() && set.len() as usize <= *FEW.end() {
            set.for_each(|offset| self.insert(offset));
            return;
        }
        self.set_bits(set.chunks.len().max(split(self.highest).0 + 1));
        for (words, chunk) in self.words.as_chunks_mut::<WORDS>().0.iter_mut().zip(&set.chunks) {
            chunk.add_to(words);
        }
    }

    /// Adds an offset.
    #[inline]
    pub fn insert(&mut self, offset: u32) {
        match self.words.get_mut((offset >> 6) as usize) {
            Some(word) => *word |= 1 << (offset & 63),
            None => self.insert_beyond(offset),
        }
    }

    fn insert_beyond(&mut self, offset: u32) {
        self.highest = self.highest.max(offset);
        self.few.push(offset);
        let few = (self.highest as usize / SPARSE).clamp(*FEW.start(), *FEW.end());
        if !self.words.is_empty() || self.few.len() > few {
            self.set_bits(split(self.highest).0 + 1);
        }
    }
}

impl From<Union> for Bitmap {
    fn from(mut union: Union) -> Self {
        if !union.words.is_empty() {
            let (chunks, _) = union.words.as_chunks::<WORDS>();
            return Self {
                chunks: chunks.iter().map(Chunk::from_words).collect(),
            };
        }
        union.few.sort_unstable();
        union.few.dedup();
        let mut chunks = Vec::with_capacity(split(union.highest).0 + 1);
        for members in union.few.chunk_by(|a, b| split(*a).0 == split(*b).0) {
            chunks.resize_with(split(members[0]).0, Chunk::default);
            chunks.push(Chunk::from_list(
                members.iter().map(|&offset| split(offset).1).collect(),
            ));
        }
        Self { chunks }
    }
}

impl FromIterator<u32> for Bitmap {
    fn from_iter<I: IntoIterator<Item = u32>>(offsets: I) -> Self {
        let mut union = Union::default();
        offsets.into_iter().for_each(|offset| union.insert(offset));
        union.into()
    }
}

impl PartialEq for Bitmap {
    fn eq(&self, other: &Self) -> bool {
        let common = self.chunks.len().min(other.chunks.len());
        let is_rest_empty = |set: &Self| set.chunks[common..].iter().all(|chunk| chunk.len() == 0);
        let mut chunks = self.chunks.iter().zip(&other.chunks);
        is_rest_empty(self) && is_rest_empty(other) && chunks.all(|(mine, theirs)| mine == theirs)
    }
}

impl Eq for Bitmap {}

impl BitAndAssign<&Bitmap> for Bitmap {
    fn bitand_assign(&mut self, other: &Self) {
        self.chunks.truncate(other.chunks.len());
        for (mine, theirs) in self.chunks.iter_mut().zip(&other.chunks) {
            mine.and(theirs);
        }
    }
}

impl BitOrAssign<&Bitmap> for Bitmap {
    fn bitor_assign(&mut self, other: &Self) {
        for (mine, theirs) in self.chunks.iter_mut().zip(&other.chunks) {
            mine.or(theirs);
        }
        let common = self.chunks.len().min(other.chunks.len());
        self.chunks.extend_from_slice(&other.chunks[common..]);
    }
}

impl SubAssign<&Bitmap> for Bitmap {
    fn sub_assign(&mut self, other: &Self) {
        for (mine, theirs) in self.chunks.iter_mut().zip(&other.chunks) {
            mine.minus(theirs);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    // Numbers near each other, so that chunks become dense, and far apart, so that others are sparse or missing.
    fn offsets() -> impl Strategy<Value = Vec<u32>> {
        let runs = (0u32..300_000, 0u32..9_000).prop_map(|(first, len)| (first..first + len).collect::<Vec<_>>());
        let single = (0u32..400_000).prop_map(|offset| vec![offset]);
        proptest::collection::vec(prop_oneof![1 => runs, 4 => single], 0..12).prop_map(|parts| parts.concat())
    }

    fn model(offsets: &[u32]) -> BTreeSet<u32> {
        offsets.iter().copied().collect()
    }

    fn check(set: &Bitmap, model: &BTreeSet<u32>) {
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            model.iter().copied().collect::<Vec<_>>()
        );
        assert_eq!(set.len(), model.len() as u64);
        assert_eq!(set.is_empty(), model.is_empty());
        assert_eq!(set.min(), model.first().copied());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_is_a_set(a in offsets(), b in offsets()) {
            let (set_a, set_b): (Bitmap, Bitmap) = (a.iter().copied().collect(), b.iter().copied().collect());
            let (a, b) = (model(&a), model(&b));
            check(&set_a, &a);
            let mut one_by_one = Bitmap::new();
            for &offset in &a {
                prop_assert!(one_by_one.insert(offset));
                prop_assert!(!one_by_one.insert(offset));
            }
            prop_assert_eq!(&one_by_one, &set_a);
            for offset in &b {
                prop_assert_eq!(one_by_one.remove(*offset), a.contains(offset));
                prop_assert!(!one_by_one.contains(*offset));
            }
            let (mut and, mut or, mut minus) = (set_a.clone(), set_a.clone(), set_a.clone());
            and &= &set_b;
            or |= &set_b;
            minus -= &set_b;
            check(&and, &(&a & &b));
            check(&or, &(&a | &b));
            check(&minus, &(&a - &b));
            check(&one_by_one, &(&a - &b));
            check(&set_a, &a);
            let some: Vec<u32> = b.iter().copied().take(20).collect();
            for (sets, members) in [([&set_a, &minus], &a), ([&minus, &one_by_one], &(&a - &b))] {
                for single_first in [true, false] {
                    let mut union = Union::default();
                    let insert = |union: &mut Union| some.iter().for_each(|&offset| union.insert(offset));
                    if single_first {
                        insert(&mut union);
                    }
                    sets.iter().for_each(|set| union.add(set));
                    insert(&mut union);
                    check(&union.into(), &(members | &some.iter().copied().collect()));
                }
            }
            prop_assert_eq!(set_a.intersection_len(&set_b), and.len());
        }

        #[test]
        fn below_holds_what_is_below(end in 0u32..200_000) {
            check(&Bitmap::below(end), &(0..end).collect());
        }
    }
}
