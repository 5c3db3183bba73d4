//! Scans of 1-bit codes: estimates of the products of a query with sixteen codes at a time.
//!
//! A code is a sign for every component. Its product with the query is a sum over groups of four components, and for each
//! group there are but sixteen sums: with byte shuffles, a table of them answers sixteen codes (AVX2) or sixty-four
//! (AVX-512) in one instruction (Quick ADC: André et al., 2017). The sums are rounded to six bits, so that four of them still
//! fit a byte. Without such shuffles the query is cut to three bits a component instead, and products are counts of bits.

use super::{Lanes, prefetch};

/// Codes in a block.
pub(crate) const BLOCK: usize = 16;

/// Components in a slice of codes.
pub(crate) const SLICE: usize = 32;

/// Bits to which a query is cut before it meets 1-bit codes as counts.
pub(crate) const PLANES: usize = 3;

/// Components that share a table.
const GROUP: usize = 4;

/// The largest entry of a table: four of them fit a byte.
const LARGEST: f32 = 63.0;

/// Slices whose sums fit sixteen bits.
#[cfg(target_arch = "x86_64")]
const SUMMED: usize = 256;

/// Thirty-two components of the sixteen codes of a block: byte by byte, that of all codes together.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Slice(pub(crate) [[u8; BLOCK]; SLICE / 8]);

/// Codes as they are scanned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Codes<'a> {
    /// `[blocks, slices]`.
    pub(crate) bits: &'a [Slice],
    /// `[blocks, 2]`: scales, then addends.
    pub(crate) factors: &'a [Lanes],
    /// Slices of one code, an even number.
    pub(crate) slices: usize,
}

/// What a scan needs to know of the query, in the form that the set of kernels reads it. The estimate of a code is
/// `base + scale * (low + step * sum) + add`, `scale` and `add` being those of the code.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScanQuery {
    bytes: Vec<u8>,
    low: f32,
    step: f32,
}

impl ScanQuery {
    /// The same with products that are larger by so much.
    pub(crate) fn raised(mut self, by: f32) -> Self {
        self.low += by;
        self
    }
}

/// A query as bit planes, whatever the set of kernels, to meet one code at a time.
pub(crate) fn planes(query: &[f32]) -> ScanQuery {
    planes_body(query)
}

/// Estimates above a threshold, with the place of their code.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) estimates: Box<[f32; Passed::CAPACITY]>,
    pub(crate) places: Box<[u32; Passed::CAPACITY]>,
    pub(crate) len: usize,
}

impl Passed {
    pub(crate) const CAPACITY: usize = 512;

    pub(crate) fn new() -> Self {
        Self {
            estimates: Box::new([0.0; Self::CAPACITY]),
            places: Box::new([0; Self::CAPACITY]),
            len: 0,
        }
    }

    /// Estimates and places.
    pub(crate) fn as_slices(&self) -> (&[f32], &[u32]) {
        (&self.estimates[..self.len], &self.places[..self.len])
    }

    fn has_room(&self) -> bool {
        self.len + BLOCK <= Self::CAPACITY
    }

    /// Takes those of a block that the mask names; there is room for a block.
    #[inline(always)]
    fn take(&mut self, block: usize, mut mask: u32, estimates: &[f32; BLOCK]) {
        if mask == u32::from(u16::MAX) {
            self.estimates[self.len..][..BLOCK].copy_from_slice(estimates);
            let places = &mut self.places[self.len..][..BLOCK];
            places
                .iter_mut()
                .zip((block * BLOCK) as u32..)
                .for_each(|(place, number)| *place = number);
            self.len += BLOCK;
            return;
        }
        while mask != 0 {
            let lane = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            self.estimates[self.len] = estimates[lane];
            self.places[self.len] = (block * BLOCK + lane) as u32;
            self.len += 1;
        }
    }
}

/// The products of a query in planes with the signs of codes, each at the beginning of a row.
#[inline(always)]
pub(super) fn products_body(query: &ScanQuery, rows: &[&[u8]], products: &mut [f32]) {
    /// How far ahead of the comparison memory is asked for.
    const AHEAD: usize = 16;
    rows.iter().take(AHEAD).for_each(|row| prefetch(row));
    for (i, (row, product)) in rows.iter().zip(products).enumerate() {
        if let Some(ahead) = rows.get(i + AHEAD) {
            prefetch(ahead);
        }
        let mut counts = [0u32; PLANES];
        let planes = query.bytes.as_chunks::<{ 8 * PLANES }>().0;
        for (code, planes) in row.as_chunks::<8>().0.iter().zip(planes) {
            let code = u64::from_le_bytes(*code);
            for (count, plane) in counts.iter_mut().zip(planes.as_chunks::<8>().0) {
                *count += (code ^ u64::from_le_bytes(*plane)).count_ones();
            }
        }
        *product = query.low + query.step * counts.iter().rev().fold(0, |sum, count| 2 * sum + count) as f32;
    }
}

/// For few words one population count after the other is faster than what vectors of bytes can do, so wider instructions are
/// not offered to the compiler here.
#[cfg(target_arch = "x86_64")]
pub(super) mod popcnt {
    use super::*;

    #[target_feature(enable = "popcnt")]
    pub(in super::super) fn products(query: &ScanQuery, rows: &[&[u8]], sums: &mut [f32]) {
        products_body(query, rows, sums)
    }
}

/// A query as tables: for every slice eight of sixteen sums, first those of the lower halves of the four bytes.
#[inline(always)]
pub(super) fn tables_body(query: &[f32]) -> ScanQuery {
    /// Added to a small number, it rounds it and leaves it in the lowest bits.
    const ROUNDING: f32 = (1 << 23) as f32;
    /// Two where an entry has a bit.
    const TWICE: [[f32; 16]; GROUP] = {
        let mut twice = [[0.0; 16]; GROUP];
        let mut entry = 0;
        while entry < 16 {
            let mut bit = 0;
            while bit < GROUP {
                twice[bit][entry] = (entry >> bit & 1) as f32 * 2.0;
                bit += 1;
            }
            entry += 1;
        }
        twice
    };
    let (slices, _) = query.as_chunks::<SLICE>();
    let spans = query.as_chunks::<GROUP>().0.iter();
    let (most, total) = spans
        .map(|group| group.iter().map(|x| x.abs()).sum::<f32>())
        .fold((0.0f32, 0.0f32), |(most, total), span| (most.max(span), total + span));
    let step = 2.0 * most / LARGEST;
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    let mut bytes = vec![0; query.len() / GROUP * 16];
    for (slice, tables) in slices.iter().zip(bytes.as_chunks_mut::<128>().0) {
        for (number, group) in slice.as_chunks::<GROUP>().0.iter().enumerate() {
            let scaled = group.map(|x| x * inverse);
            let least = scaled.iter().map(|x| x.abs() - x).sum::<f32>();
            let mut sums = [least; 16];
            for (bit, x) in scaled.iter().enumerate() {
                for (entry, sum) in sums.iter_mut().enumerate() {
                    *sum += x * TWICE[bit][entry];
                }
            }
            let (byte, half) = (number / 2, number % 2);
            let table = &mut tables[64 * half + 16 * byte..][..16];
            table
                .iter_mut()
                .zip(sums)
                .for_each(|(entry, sum)| *entry = (sum + ROUNDING).to_bits() as u8);
        }
    }
    ScanQuery {
        bytes,
        low: -total,
        step,
    }
}

/// A query as bit planes, eight bytes of each in turn, with the step that loses least for normally distributed components.
pub(super) fn planes_body(query: &[f32]) -> ScanQuery {
    const STEP: f32 = [1.596, 0.9957, 0.586, 0.335][PLANES - 1];
    let size = query.len();
    let deviation = (query.iter().map(|x| x * x).sum::<f32>() / size as f32).sqrt();
    let step = deviation * STEP;
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    let levels = (1 << PLANES) as f32;
    let mut bytes = vec![0u8; PLANES * size / 8];
    for (byte, components) in query.as_chunks::<8>().0.iter().enumerate() {
        for (bit, component) in components.iter().enumerate() {
            let level = (component * inverse + levels / 2.0).clamp(0.0, levels - 1.0) as u32;
            for plane in 0..PLANES {
                bytes[(byte / 8 * PLANES + plane) * 8 + byte % 8] |= ((level >> plane & 1) as u8) << bit;
            }
        }
    }
    // A level u stands for step/2 * (2u - (levels - 1)); a sign bit and plane p agree or differ by 2^p * step/2.
    ScanQuery {
        bytes,
        low: step / 2.0 * (levels - 1.0) * size as f32,
        step: -step,
    }
}

/// Scans blocks from `block` on until the codes end or `passed` is full; says which block comes next.
#[inline(always)]
pub(super) fn scan_planes_body(
    codes: Codes<'_>,
    query: &ScanQuery,
    base: f32,
    threshold: f32,
    mut block: usize,
    passed: &mut Passed,
) -> usize {
    /// Pairs of slices whose counts fit a byte.
    const COUNTED: usize = 3;
    let blocks = codes.bits.len() / codes.slices;
    let planes = query.bytes.as_chunks::<{ 8 * PLANES }>().0;
    while block < blocks && passed.has_room() {
        let bits = &codes.bits[block * codes.slices..(block + 1) * codes.slices];
        let mut sums = [0u32; BLOCK];
        // Eight rows of bytes to two slices.
        for (slices, planes) in bits.chunks(2 * COUNTED).zip(planes.chunks(COUNTED)) {
            for p in 0..PLANES {
                let mut counts = [0u8; BLOCK];
                for (slices, planes) in slices.chunks(2).zip(planes) {
                    let rows = slices.iter().flat_map(|slice| &slice.0);
                    for (row, byte) in rows.zip(&planes[8 * p..8 * p + 8]) {
                        for lane in 0..BLOCK {
                            counts[lane] += (row[lane] ^ byte).count_ones() as u8;
                        }
                    }
                }
                for lane in 0..BLOCK {
                    sums[lane] += u32::from(counts[lane]) << p;
                }
            }
        }
        let (scale, add) = (&codes.factors[2 * block].0, &codes.factors[2 * block + 1].0);
        let mut estimates = [0.0f32; BLOCK];
        let mut mask = 0;
        for lane in 0..BLOCK {
            estimates[lane] = scale[lane] * (query.low + query.step * sums[lane] as f32) + add[lane] + base;
            mask |= u32::from(estimates[lane] > threshold) << lane;
        }
        passed.take(block, mask, &estimates);
        block += 1;
    }
    block
}

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;

#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::{Kernels, supported};

    /// The product of the signs of a code, given by its bytes, with a query as it was cut.
    fn product(set: &Kernels, query: &ScanQuery, code: &[u8]) -> f32 {
        let sum: u32 = if set.name == "portable" {
            let differing = |(i, byte): (usize, &u8)| -> u32 {
                let plane = |p: usize| query.bytes[(i / 8 * PLANES + p) * 8 + i % 8];
                (0..PLANES).map(|p| (plane(p) ^ byte).count_ones() << p).sum()
            };
            code.iter().enumerate().map(differing).sum()
        } else {
            let entry = |(i, byte): (usize, &u8)| {
                let tables = &query.bytes[128 * (i / 4) + 16 * (i % 4)..];
                u32::from(tables[usize::from(byte & 15)]) + u32::from(tables[64 + usize::from(byte >> 4)])
            };
            code.iter().enumerate().map(entry).sum()
        };
        query.low + query.step * sum as f32
    }

    fn random(seed: u64) -> impl FnMut() -> u32 {
        let mut state = seed | 1;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u32
        }
    }

    proptest! {
        #[test]
        fn a_scan_finds_what_is_above_the_threshold(
            seed in any::<u64>(), pairs in 1usize..10, blocks in 0usize..6, threshold in -20.0f32..20.0,
        ) {
            let (slices, mut random) = (2 * pairs, random(seed));
            let bits: Vec<_> = (0..blocks * slices)
                .map(|_| Slice(std::array::from_fn(|_| std::array::from_fn(|_| random() as u8))))
                .collect();
            let factors: Vec<_> = (0..blocks * 2)
                .map(|_| Lanes(std::array::from_fn(|_| (random() % 100) as f32 / 50.0 - 1.0)))
                .collect();
            let query: Vec<f32> = (0..slices * SLICE).map(|_| (random() % 2000) as f32 / 1000.0 - 1.0).collect();
            for set in supported() {
                let cut = set.scan_query(&query);
                let mut passed = Passed::new();
                let codes = Codes { bits: &bits, factors: &factors, slices };
                prop_assert_eq!(set.scan(codes, &cut, 1.5, threshold, 0, &mut passed), blocks, "{}", set.name);
                let mut found = passed.places.iter().zip(passed.estimates.iter()).take(passed.len).peekable();
                for place in 0..blocks * BLOCK {
                    let (block, lane) = (place / BLOCK, place % BLOCK);
                    let slices = &bits[block * slices..(block + 1) * slices];
                    let code: Vec<u8> = slices.iter().flat_map(|slice| slice.0.map(|row| row[lane])).collect();
                    let expected = factors[2 * block].0[lane] * product(set, &cut, &code)
                        + factors[2 * block + 1].0[lane] + 1.5;
                    match found.next_if(|(found, _)| **found as usize == place) {
                        Some((_, estimate)) => prop_assert!((estimate - expected).abs() < 1e-3, "{}: {estimate} {expected}", set.name),
                        None => prop_assert!(expected <= threshold + 1e-3, "{}: {expected} is missing", set.name),
                    }
                }
                prop_assert!(found.next().is_none(), "{}: out of order", set.name);
            }
        }
    }

    #[test]
    fn one_code_at_a_time_is_estimated_alike() {
        let mut random = random(6);
        for size in [256, 384, 832] {
            let query: Vec<f32> = (0..size).map(|_| (random() % 1000) as f32 / 500.0 - 1.0).collect();
            let cut = planes(&query);
            let portable = supported().pop().unwrap();
            let codes: Vec<Vec<u8>> = (0..50)
                .map(|_| (0..size / 8 + 9).map(|_| random() as u8).collect())
                .collect();
            let rows: Vec<&[u8]> = codes.iter().map(Vec::as_slice).collect();
            let expected: Vec<f32> = rows
                .iter()
                .map(|row| product(portable, &cut, &row[..size / 8]))
                .collect();
            for set in supported() {
                let mut products = vec![0.0; rows.len()];
                set.products(&cut, &rows, &mut products);
                assert_eq!(products, expected, "{}", set.name);
            }
        }
    }

    #[test]
    fn a_cut_query_loses_a_small_part_of_its_products() {
        let mut random = random(5);
        let size = 384;
        let query: Vec<f32> = (0..size)
            .map(|_| (0..6).map(|_| (random() % 1000) as f32 / 1000.0 - 0.5).sum())
            .collect();
        let norm = query.iter().map(|x| x * x).sum::<f32>().sqrt();
        for set in supported() {
            let cut = set.scan_query(&query);
            let mut squares = 0.0;
            for _ in 0..200 {
                let code: Vec<u8> = (0..size / 8).map(|_| random() as u8).collect();
                let sign = |i: usize| if code[i / 8] >> (i % 8) & 1 == 1 { 1.0 } else { -1.0 };
                let exact: f32 = query.iter().enumerate().map(|(i, x)| sign(i) * x).sum();
                squares += (product(set, &cut, &code) - exact).powi(2);
            }
            let lost = (squares / 200.0).sqrt() / norm;
            assert!(
                lost < if set.name == "portable" { 0.25 } else { 0.06 },
                "{}: {lost}",
                set.name
            );
        }
    }

    #[test]
    fn codes_of_thousands_of_components_are_summed_without_overflow() {
        // Every sign agrees with the query: the largest sums there can be.
        let slices = 700;
        let bits = vec![Slice([[0xff; BLOCK]; SLICE / 8]); slices];
        let factors = [Lanes([1.0; BLOCK]), Lanes([0.0; BLOCK])];
        let codes = Codes {
            bits: &bits,
            factors: &factors,
            slices,
        };
        let query = vec![1.0; slices * SLICE];
        for set in supported() {
            let mut passed = Passed::new();
            set.scan(codes, &set.scan_query(&query), 0.0, 0.0, 0, &mut passed);
            assert_eq!(passed.len, BLOCK, "{}", set.name);
            for estimate in &passed.estimates[..BLOCK] {
                assert!(
                    (estimate / query.len() as f32 - 1.0).abs() < 0.2,
                    "{}: {estimate}",
                    set.name
                );
            }
        }
    }

    #[test]
    fn a_full_buffer_stops_a_scan_that_then_goes_on() {
        let blocks = Passed::CAPACITY / BLOCK + 3;
        let bits = vec![Slice([[0xff; BLOCK]; SLICE / 8]); 2 * blocks];
        let factors = vec![Lanes([1.0; BLOCK]); 2 * blocks];
        let codes = Codes {
            bits: &bits,
            factors: &factors,
            slices: 2,
        };
        for set in supported() {
            let query = set.scan_query(&[1.0; 2 * SLICE]);
            let (mut passed, mut next, mut seen) = (Passed::new(), 0, 0);
            while next < blocks {
                next = set.scan(codes, &query, 0.0, 0.0, next, &mut passed);
                seen += passed.len;
                passed.len = 0;
            }
            assert_eq!(seen, blocks * BLOCK, "{}", set.name);
        }
    }
}
