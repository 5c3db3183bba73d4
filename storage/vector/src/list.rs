//! Inverted lists: 1-bit codes of what vectors have beyond their centroid.
//!
//! A code is the signs of the rotated residual, with two factors that make an unbiased estimate of products of it
//! (RaBitQ: Gao and Long, 2024). With `r` the residual, `c` its centroid, `y = c + r` the rotated vector, `m` the origin of
//! the index and `q` the rotated query:
//!
//! ```text
//! <y, q> - |y|²/2  =  <c, q>  +  <r, q - m>  +  <r, m> - |y|²/2
//!                     base       estimated       addend of the code
//! <r, q - m>      ~=  |r|²/|r|₁ * <sign r, q - m>
//! ```
//!
//! The query is cut to a few bits; [`crate::kernel`] says how products with signs are made of them.

use crate::bitmap::Bitmap;
use crate::kernel::{BLOCK, Codes, Lanes, SLICE, Slice, prefetch};

/// One code on its way into a list.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) offset: u32,
    /// `[size / 8]`
    pub(crate) bits: Vec<u8>,
    pub(crate) scale: f32,
    pub(crate) add: f32,
    /// The squared length of the residual.
    pub(crate) squared: f32,
}

impl Entry {
    /// Codes `rotated`, which is half of `norm` long when squared, against its centroid and the origin.
    pub(crate) fn new(offset: u32, rotated: &[f32], half_norm: f32, centroid: &[f32], origin: &[f32]) -> Self {
        let (mut absolute, mut squared, mut with_origin) = (0.0f32, 0.0f32, 0.0f32);
        let mut bits = Vec::with_capacity(rotated.len() / 8);
        let parts = rotated
            .as_chunks::<32>()
            .0
            .iter()
            .zip(centroid.as_chunks::<32>().0)
            .zip(origin.as_chunks::<32>().0);
        for ((y, c), m) in parts {
            let mut word = 0u32;
            for i in 0..32 {
                let residual = y[i] - c[i];
                absolute += residual.abs();
                squared += residual * residual;
                with_origin += residual * m[i];
                word |= u32::from(residual > 0.0) << i;
            }
            bits.extend(word.to_le_bytes());
        }
        Self {
            offset,
            bits,
            scale: if absolute > 0.0 { squared / absolute } else { 0.0 },
            add: with_origin - half_norm,
            squared,
        }
    }
}

/// The codes of one centroid, in blocks of sixteen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct List {
    offsets: Vec<u32>,
    bits: Vec<Slice>,
    factors: Vec<Lanes>,
    slices: usize,
    /// The mean squared length of the residuals.
    spread: f32,
}

/// What an unused place of a block adds: it never passes.
const NEVER: Lanes = Lanes([f32::NEG_INFINITY; BLOCK]);

impl List {
    pub(crate) fn new(slices: usize) -> Self {
        Self::with_capacity(slices, 0)
    }

    /// An empty list with room for so many codes.
    pub(crate) fn with_capacity(slices: usize, codes: usize) -> Self {
        let blocks = codes.div_ceil(BLOCK);
        Self {
            offsets: Vec::with_capacity(codes),
            bits: Vec::with_capacity(blocks * slices),
            factors: Vec::with_capacity(2 * blocks),
            slices,
            spread: 0.0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.offsets.capacity() * size_of::<u32>()
            + self.bits.capacity() * size_of::<Slice>()
            + self.factors.capacity() * size_of::<Lanes>()
    }

    pub(crate) fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    pub(crate) fn spread(&self) -> f32 {
        self.spread
    }

    pub(crate) fn codes(&self) -> Codes<'_> {
        Codes {
            bits: &self.bits,
            factors: &self.factors,
            slices: self.slices,
        }
    }

    /// Asks for the codes to be fetched.
    pub(crate) fn prefetch(&self) {
        prefetch(&self.bits[..self.bits.len().min(2 * self.slices)]);
        prefetch(&self.factors[..self.factors.len().min(4)]);
    }

    /// Block and lane of the next entry, with room for it.
    fn next_place(&mut self) -> (usize, usize) {
        let (block, lane) = (self.offsets.len() / BLOCK, self.offsets.len() % BLOCK);
        if lane == 0 {
            let empty = Slice([[0; BLOCK]; SLICE / 8]);
            self.bits.extend(std::iter::repeat_n(empty, self.slices));
            self.factors.extend([Lanes([0.0; BLOCK]), NEVER]);
        }
        (block, lane)
    }

    pub(crate) fn push(&mut self, entry: &Entry) {
        let place = self.next_place();
        self.write(place, entry);
        self.offsets.push(entry.offset);
        // What leaves does not change the mean: as good as any guess.
        self.spread += (entry.squared - self.spread) / self.offsets.len() as f32;
    }

    fn write(&mut self, (block, lane): (usize, usize), entry: &Entry) {
        let rows = self.bits[block * self.slices..]
            .iter_mut()
            .flat_map(|slice| &mut slice.0);
        rows.zip(&entry.bits).for_each(|(row, &bits)| row[lane] = bits);
        self.factors[2 * block].0[lane] = entry.scale;
        self.factors[2 * block + 1].0[lane] = entry.add;
    }

    /// What was pushed as the one of this number; the mean stands for the length of its residual.
    fn entry(&self, number: usize) -> Entry {
        let (block, lane) = (number / BLOCK, number % BLOCK);
        let slices = &self.bits[block * self.slices..(block + 1) * self.slices];
        let rows = slices.iter().flat_map(|slice| &slice.0);
        Entry {
            offset: self.offsets[number],
            bits: rows.map(|row| row[lane]).collect(),
            scale: self.factors[2 * block].0[lane],
            add: self.factors[2 * block + 1].0[lane],
            squared: self.spread,
        }
    }

    /// Its entries that a mask lets through.
    pub(crate) fn masked(&self, mask: &Bitmap) -> Self {
        let numbers = (0..self.len()).filter(|&number| mask.contains(self.offsets[number]));
        let numbers: Vec<usize> = numbers.collect();
        let mut part = Self::with_capacity(self.slices, numbers.len());
        numbers.into_iter().for_each(|number| part.push(&self.entry(number)));
        part
    }

    /// Removes an offset; the last entry takes its place.
    pub(crate) fn remove(&mut self, offset: u32) {
        let Some(number) = self.offsets.iter().position(|&other| other == offset) else {
            return;
        };
        let last = self.entry(self.len() - 1);
        self.write((number / BLOCK, number % BLOCK), &last);
        self.offsets.swap_remove(number);
        let (block, lane) = (self.len() / BLOCK, self.len() % BLOCK);
        if lane == 0 {
            self.bits.truncate(block * self.slices);
            self.factors.truncate(2 * block);
        } else {
            self.factors[2 * block + 1].0[lane] = f32::NEG_INFINITY;
        }
    }

    pub(crate) fn slices(&self) -> usize {
        self.slices
    }

    /// The parts that have to be kept: offsets, bits, factors.
    pub(crate) fn parts(&self) -> (&[u32], &[Slice], &[Lanes]) {
        (&self.offsets, &self.bits, &self.factors)
    }

    /// A list of parts; none where they do not fit together.
    pub(crate) fn from_parts(
        slices: usize,
        offsets: Vec<u32>,
        bits: Vec<Slice>,
        factors: Vec<Lanes>,
        spread: f32,
    ) -> Option<Self> {
        let blocks = offsets.len().div_ceil(BLOCK);
        (bits.len() == blocks * slices && factors.len() == 2 * blocks).then_some(Self {
            offsets,
            bits,
            factors,
            slices,
            spread,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::{Passed, kernels};

    fn entry(offset: u32) -> Entry {
        Entry {
            offset,
            bits: [offset, !offset].map(u32::to_le_bytes).concat(),
            scale: offset as f32,
            add: -(offset as f32),
            squared: 1.0,
        }
    }

    fn passing(list: &List) -> Vec<u32> {
        let query = kernels().scan_query(&[0.0; 2 * SLICE]);
        let mut passed = Passed::new();
        kernels().scan(list.codes(), &query, 0.0, f32::NEG_INFINITY, 0, &mut passed);
        passed.places[..passed.len]
            .iter()
            .map(|&place| list.offsets()[place as usize])
            .collect()
    }

    proptest! {
        #[test]
        fn a_list_holds_what_was_put_and_not_removed(operations in proptest::collection::vec((any::<bool>(), 0u32..60), 0..200)) {
            let mut list = List::new(2);
            let mut model = std::collections::BTreeSet::new();
            for (add, offset) in operations {
                if add && model.insert(offset) {
                    list.push(&entry(offset));
                } else if !add {
                    list.remove(offset);
                    model.remove(&offset);
                }
            }
            let mut found = passing(&list);
            found.sort_unstable();
            prop_assert_eq!(found, model.into_iter().collect::<Vec<_>>());
            for (place, &offset) in list.offsets().iter().enumerate() {
                let (block, lane) = (place / BLOCK, place % BLOCK);
                prop_assert_eq!(list.bits[2 * block].0.map(|row| row[lane]), offset.to_le_bytes());
                prop_assert_eq!(list.factors[2 * block].0[lane], offset as f32);
            }
        }
    }

    #[test]
    fn estimates_are_near_the_products() {
        let size = 512;
        let mut state = 1u32;
        let mut normal = || {
            let mut sum = 0.0;
            for _ in 0..6 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                sum += (state >> 8) as f32 / (1 << 24) as f32 - 0.5;
            }
            sum
        };
        let mut vector = |shift: f32| -> Vec<f32> { (0..size).map(|_| normal() + shift).collect() };
        let (origin, centroid, query) = (vector(0.3), vector(0.3), vector(0.3));
        let mut list = List::new(size / 32);
        let vectors: Vec<_> = (0..64).map(|_| vector(0.3)).collect();
        for (offset, y) in vectors.iter().enumerate() {
            let half = kernels().dot(y, y) / 2.0;
            list.push(&Entry::new(offset as u32, y, half, &centroid, &origin));
        }
        let mut passed = Passed::new();
        let base = kernels().dot(&centroid, &query);
        kernels().scan(
            list.codes(),
            &kernels().scan_query(&query.iter().zip(&origin).map(|(q, m)| q - m).collect::<Vec<_>>()),
            base,
            f32::NEG_INFINITY,
            0,
            &mut passed,
        );
        assert_eq!(passed.len, 64);
        let mut squares = 0.0;
        for i in 0..64 {
            let y = &vectors[passed.places[i] as usize];
            let error = passed.estimates[i] - (kernels().dot(y, &query) - kernels().dot(y, y) / 2.0);
            squares += error * error;
        }
        // The residual is sqrt(2) and the query 1 of their common deviation long; one bit keeps about 0.8 of a direction.
        let residual = (2.0f32 * 0.5 * size as f32).sqrt();
        let expected = residual * (0.5f32 * size as f32).sqrt() * 0.8 / (size as f32).sqrt();
        assert!(
            (squares / 64.0).sqrt() < 1.5 * expected,
            "{} {expected}",
            (squares / 64.0).sqrt()
        );
    }
}
