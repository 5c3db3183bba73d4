//! 2¹⁶ neighbouring offsets: a sorted list where few of them are members, bits where many are.

use std::sync::Arc;

use crate::kernel::kernels;

pub(super) const WORDS: usize = 1024;

/// Members up to which a chunk is a list. Up to twice as many would take less memory in a list, but are combined and looked up
/// much faster in bits.
const SPARSE_LIMIT: usize = 2048;

type Words = [u64; WORDS];

#[derive(Debug, Clone)]
pub(super) enum Chunk {
    /// Sorted and without doubles.
    Sparse(Arc<Vec<u16>>),
    Dense {
        words: Arc<Words>,
        len: u32,
    },
}

impl PartialEq for Chunk {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sparse(mine), Self::Sparse(theirs)) => Arc::ptr_eq(mine, theirs) || mine == theirs,
            (Self::Dense { words: mine, .. }, Self::Dense { words: theirs, .. }) => {
                Arc::ptr_eq(mine, theirs) || mine == theirs
            }
            (list @ Self::Sparse(members), bits) | (bits, list @ Self::Sparse(members)) => {
                list.len() == bits.len() && members.iter().all(|&low| bits.contains(low))
            }
        }
    }
}

impl Default for Chunk {
    fn default() -> Self {
        Self::Sparse(Arc::default())
    }
}

const fn bit(low: u16) -> (usize, u64) {
    ((low >> 6) as usize, 1 << (low & 63))
}

impl Chunk {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Sparse(list) => list.len(),
            Self::Dense { len, .. } => *len as usize,
        }
    }

    pub(super) fn contains(&self, low: u16) -> bool {
        match self {
            Self::Sparse(list) => list.binary_search(&low).is_ok(),
            Self::Dense { words, .. } => {
                let (word, mask) = bit(low);
                words[word] & mask != 0
            }
        }
    }

    pub(super) fn insert(&mut self, low: u16) -> bool {
        match self {
            Self::Sparse(list) => match list.binary_search(&low) {
                Ok(_) => false,
                Err(_) if list.len() == SPARSE_LIMIT => {
                    *self = Self::from_words(&self.to_words());
                    self.insert(low)
                }
                Err(place) => {
                    Arc::make_mut(list).insert(place, low);
                    true
                }
            },
            Self::Dense { words, len } => {
                let (word, mask) = bit(low);
                let new = words[word] & mask == 0;
                if new {
                    Arc::make_mut(words)[word] |= mask;
                    *len += 1;
                }
                new
            }
        }
    }

    pub(super) fn remove(&mut self, low: u16) -> bool {
        match self {
            Self::Sparse(list) => {
                let place = list.binary_search(&low);
                if let Ok(place) = place {
                    Arc::make_mut(list).remove(place);
                }
                place.is_ok()
            }
            Self::Dense { words, len } => {
                let (word, mask) = bit(low);
                let member = words[word] & mask != 0;
                if member {
                    Arc::make_mut(words)[word] &= !mask;
                    *len -= 1;
                    if *len as usize <= SPARSE_LIMIT / 2 {
                        *self = Self::from_words(words);
                    }
                }
                member
            }
        }
    }

    fn to_words(&self) -> Words {
        let mut words = [0; WORDS];
        self.add_to(&mut words);
        words
    }

    /// Sets the bits of its members.
    pub(super) fn add_to(&self, words: &mut Words) {
        match self {
            Self::Sparse(list) => list.iter().for_each(|&low| {
                let (word, mask) = bit(low);
                words[word] |= mask;
            }),
            Self::Dense { words: mine, .. } => {
                words.iter_mut().zip(mine.iter()).for_each(|(word, mine)| *word |= mine);
            }
        }
    }

    /// Of members in order, without doubles; no more than a list may have.
    pub(super) fn from_list(members: Vec<u16>) -> Self {
        debug_assert!(members.len() <= SPARSE_LIMIT && members.is_sorted_by(|a, b| a < b));
        Self::Sparse(Arc::new(members))
    }

    /// In the shape that suits how many bits are set.
    pub(super) fn from_words(words: &Words) -> Self {
        let len = kernels().count_bits(words);
        if len as usize > SPARSE_LIMIT / 2 {
            let words = Arc::new(*words);
            return Self::Dense { words, len };
        }
        Self::Sparse(Arc::new(kernels().list_bits(words, len as usize)))
    }

    /// Combines the bits of a chunk with others, in place where no clone shares them.
    fn combine(&mut self, combine: impl Fn(&mut Words)) {
        let shape = match self {
            Self::Sparse(_) => {
                let mut words = self.to_words();
                combine(&mut words);
                Some(Self::from_words(&words))
            }
            Self::Dense { words, len } => {
                let words = Arc::make_mut(words);
                combine(words);
                *len = kernels().count_bits(words);
                (*len as usize <= SPARSE_LIMIT / 2).then(|| Self::from_words(words))
            }
        };
        if let Some(shape) = shape {
            *self = shape;
        }
    }

    fn retain(list: &mut Arc<Vec<u16>>, keep: impl Fn(u16) -> bool) {
        match Arc::get_mut(list) {
            Some(list) => list.retain(|&low| keep(low)),
            None => *list = Arc::new(list.iter().copied().filter(|&low| keep(low)).collect()),
        }
    }

    /// Whether each member is one of the other.
    fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sparse(list), other) => list.iter().all(|&low| other.contains(low)),
            (Self::Dense { .. }, Self::Sparse(_)) => false,
            (Self::Dense { words: mine, .. }, Self::Dense { words: theirs, .. }) => {
                let beyond = mine.iter().zip(theirs.iter());
                Arc::ptr_eq(mine, theirs) || beyond.fold(0, |beyond, (mine, theirs)| beyond | (mine & !theirs)) == 0
            }
        }
    }

    pub(super) fn and(&mut self, other: &Self) {
        // Often nothing is to be left out, and the chunk stays shared.
        if self.is_within(other) {
            return;
        }
        match (&mut *self, other) {
            (Self::Sparse(list), other) => Self::retain(list, |low| other.contains(low)),
            (mine, Self::Sparse(list)) => {
                let mut list = list.clone();
                Self::retain(&mut list, |low| mine.contains(low));
                *self = Self::Sparse(list);
            }
            (mine, Self::Dense { words: theirs, .. }) => mine.combine(|words| {
                words
                    .iter_mut()
                    .zip(theirs.iter())
                    .for_each(|(mine, theirs)| *mine &= theirs);
            }),
        }
    }

    pub(super) fn or(&mut self, other: &Self) {
        match (&mut *self, other) {
            (_, Self::Sparse(list)) if list.is_empty() => {}
            (Self::Sparse(list), other) if list.is_empty() => *self = other.clone(),
            (mine, other) => mine.combine(|words| other.add_to(words)),
        }
    }

    pub(super) fn minus(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Sparse(list), other) => Self::retain(list, |low| !other.contains(low)),
            (_, Self::Sparse(list)) if list.is_empty() => {}
            (mine, Self::Sparse(list)) => mine.combine(|words| {
                list.iter().for_each(|&low| {
                    let (word, mask) = bit(low);
                    words[word] &= !mask;
                });
            }),
            (mine, Self::Dense { words: theirs, .. }) => mine.combine(|words| {
                words
                    .iter_mut()
                    .zip(theirs.iter())
                    .for_each(|(mine, theirs)| *mine &= !theirs);
            }),
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Sparse(list) => list.capacity() * size_of::<u16>(),
            Self::Dense { .. } => size_of::<Words>(),
        }
    }

    /// The smallest member.
    pub(super) fn min(&self) -> Option<u16> {
        match self {
            Self::Sparse(list) => list.first().copied(),
            Self::Dense { words, .. } => {
                let word = words.iter().position(|&word| word != 0)?;
                Some((word as u16) << 6 | words[word].trailing_zeros() as u16)
            }
        }
    }

    /// How many members both have.
    pub(super) fn intersection_len(&self, other: &Self) -> usize {
        match (self, other) {
            (Self::Sparse(list), other) | (other, Self::Sparse(list)) => {
                list.iter().filter(|&&low| other.contains(low)).count()
            }
            (Self::Dense { words: a, .. }, Self::Dense { words: b, .. }) => {
                kernels().common_bits(&a[..], &b[..]) as usize
            }
        }
    }

    pub(super) fn for_each(&self, base: u32, mut visit: impl FnMut(u32)) {
        match self {
            Self::Sparse(list) => list.iter().for_each(|&low| visit(base | u32::from(low))),
            Self::Dense { words, .. } => for_each_bit(words, |low| visit(base | u32::from(low))),
        }
    }
}

fn for_each_bit(words: &Words, mut visit: impl FnMut(u16)) {
    for (index, &word) in words.iter().enumerate() {
        let mut rest = word;
        while rest != 0 {
            visit((index as u16) << 6 | rest.trailing_zeros() as u16);
            rest &= rest - 1;
        }
    }
}
