//! Similarities and code scans, with the widest instructions that the processor has.
//!
//! Most kernels are one portable loop over independent lanes that is compiled once for every instruction set; where the
//! compiler does not find the instructions that matter (`vpdpbusd`, `vpmaddubsw`, `vpshufb`), a set has a version of its own.
//! What runs is decided once, by what the processor reports; `TWOFOLD_SIMD=avx2` or `portable` masks what is wider. Every
//! set that a processor has is tested against plain arithmetic.

#![expect(
    unsafe_code,
    reason = "functions compiled for an instruction set are called after the processor was asked for it"
)]

mod bytes;
mod late;
mod scan;
#[cfg(test)]
mod tests;
mod transform;
mod words;

use std::ops::Range;
use std::sync::LazyLock;

use twofold_types::Distance;

pub(crate) use bytes::BIAS;
pub(crate) use late::{BYTES, TableRow};
pub(crate) use scan::{BLOCK, Codes, Passed, SLICE, ScanQuery, Slice, planes};

use bytes::{dot_bytes_body, dots_bytes_body};
use late::{raise_body, sum_largest_body};
#[cfg(target_arch = "x86_64")]
use scan::tables_body;
use scan::{planes_body, products_body, scan_planes_body};
use transform::transform_body;
use words::{common_bits_body, count_bits_body, list_bits_body};

/// Sixteen numbers that are handled together, one for each code of a block or each vector of a query.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Lanes(pub(crate) [f32; BLOCK]);

impl Lanes {
    pub(crate) const ZERO: Self = Self([0.0; BLOCK]);
}

/// Independent sums, enough to fill two registers of the widest instruction set.
const LANES: usize = 32;

#[inline(always)]
fn sum_lanes(a: &[f32], b: &[f32], step: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] = step(a[lane], b[lane], sums[lane]);
        }
    }
    // Halves onto halves: one after the other each addition would wait for the one before.
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    let total = sums[0];
    a_rest.iter().zip(b_rest).fold(total, |sum, (&a, &b)| step(a, b, sum))
}

#[inline(always)]
fn dot_body(a: &[f32], b: &[f32]) -> f32 {
    sum_lanes(a, b, |a, b, sum| a * b + sum)
}

#[inline(always)]
fn squared_euclid_body(a: &[f32], b: &[f32]) -> f32 {
    sum_lanes(a, b, |a, b, sum| (a - b) * (a - b) + sum)
}

#[inline(always)]
fn manhattan_body(a: &[f32], b: &[f32]) -> f32 {
    sum_lanes(a, b, |a, b, sum| (a - b).abs() + sum)
}

/// Rounds to whole numbers after multiplying, which makes no number beyond those of a byte.
#[inline(always)]
fn quantise_body(x: &[f32], factor: f32, bytes: &mut [i8]) {
    /// Added to a small number, it rounds it and leaves it in the lowest bits.
    const ROUNDING: f32 = (3 << 22) as f32;
    for (byte, &x) in bytes.iter_mut().zip(x) {
        *byte = (x * factor + ROUNDING).to_bits() as i8;
    }
}

/// Code, rows, their excesses, where the products go.
type DotsBytes = unsafe fn(&[u8], &[i8], &[i32], &mut [i32]);

/// Codes, query, base, threshold, first block, what passed: the block that comes next.
type Scan = unsafe fn(Codes<'_>, &ScanQuery, f32, f32, usize, &mut Passed) -> usize;

/// The kernels for one instruction set.
pub struct Kernels {
    /// The instruction set.
    pub name: &'static str,
    dot: unsafe fn(&[f32], &[f32]) -> f32,
    squared_euclid: unsafe fn(&[f32], &[f32]) -> f32,
    manhattan: unsafe fn(&[f32], &[f32]) -> f32,
    dot_bytes: unsafe fn(&[u8], &[i8], i32) -> i32,
    dots_bytes: DotsBytes,
    transform: unsafe fn(&mut [f32], &[f32], Range<usize>),
    quantise: unsafe fn(&[f32], f32, &mut [i8]),
    products: unsafe fn(&ScanQuery, &[&[u8]], &mut [f32]),
    scan_query: unsafe fn(&[f32]) -> ScanQuery,
    scan: Scan,
    raise: unsafe fn(Distance, &[Lanes], &[f32], &mut Lanes),
    sum_largest: unsafe fn(&[TableRow], usize, &[u16]) -> u32,
    count_bits: unsafe fn(&[u64]) -> u32,
    common_bits: unsafe fn(&[u64], &[u64]) -> u32,
    list_bits: unsafe fn(&[u64], usize) -> Vec<u16>,
}

macro_rules! kernels {
    ($module:ident, $name:literal, $query:ident, [$($attribute:meta)?], {$($own:ident: $path:path),*}) => {
        mod $module {
            use super::*;

            $(#[$attribute])? fn dot(a: &[f32], b: &[f32]) -> f32 { dot_body(a, b) }
            $(#[$attribute])? fn squared_euclid(a: &[f32], b: &[f32]) -> f32 { squared_euclid_body(a, b) }
            $(#[$attribute])? fn manhattan(a: &[f32], b: &[f32]) -> f32 { manhattan_body(a, b) }
            $(#[$attribute])? fn dot_bytes(code: &[u8], signed: &[i8], excess: i32) -> i32 {
                dot_bytes_body(code, signed, excess)
            }
            $(#[$attribute])? fn dots_bytes(code: &[u8], rows: &[i8], excess: &[i32], sums: &mut [i32]) {
                dots_bytes_body(code, rows, excess, sums)
            }
            $(#[$attribute])? fn transform(x: &mut [f32], signs: &[f32], window: Range<usize>) { transform_body(x, signs, window) }
            $(#[$attribute])? fn quantise(x: &[f32], factor: f32, bytes: &mut [i8]) { quantise_body(x, factor, bytes) }
            $(#[$attribute])? fn products(query: &ScanQuery, rows: &[&[u8]], products: &mut [f32]) {
                products_body(query, rows, products)
            }
            $(#[$attribute])? fn scan_query(query: &[f32]) -> ScanQuery { $query(query) }
            $(#[$attribute])? fn scan(
                codes: Codes<'_>, query: &ScanQuery, base: f32, threshold: f32, block: usize, passed: &mut Passed,
            ) -> usize {
                scan_planes_body(codes, query, base, threshold, block, passed)
            }
            $(#[$attribute])? fn raise(distance: Distance, query: &[Lanes], rows: &[f32], best: &mut Lanes) {
                raise_body::<4>(distance, query, rows, best, |q, x, sum| q * x + sum)
            }
            $(#[$attribute])? fn sum_largest(table: &[TableRow], width: usize, codes: &[u16]) -> u32 {
                sum_largest_body(table, width, codes)
            }
            $(#[$attribute])? fn count_bits(words: &[u64]) -> u32 { count_bits_body(words) }
            $(#[$attribute])? fn common_bits(a: &[u64], b: &[u64]) -> u32 { common_bits_body(a, b) }
            $(#[$attribute])? fn list_bits(words: &[u64], len: usize) -> Vec<u16> { list_bits_body(words, len) }

            #[allow(unused_mut, reason = "only some sets have kernels of their own")]
            pub(super) const KERNELS: Kernels = {
                let mut kernels = Kernels {
                    name: $name, dot, squared_euclid, manhattan, dot_bytes, dots_bytes, transform, quantise, products,
                    scan_query, scan, raise, sum_largest, count_bits, common_bits, list_bits,
                };
                $(kernels.$own = $path;)*
                kernels
            };
        }
    };
}

// The portable set is what the target always has; on AArch64 that includes NEON.
kernels!(portable, "portable", planes_body, [], {});
#[cfg(target_arch = "x86_64")]
kernels!(avx2, "avx2", tables_body, [target_feature(enable = "avx2,fma,bmi1,bmi2,popcnt")], {
    dot_bytes: bytes::avx2::dot_bytes,
    dots_bytes: bytes::avx2::dots_bytes,
    products: scan::popcnt::products,
    scan: scan::avx2::scan,
    raise: late::avx2::raise
});
#[cfg(target_arch = "x86_64")]
kernels!(avx512, "avx512", tables_body, [target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma,bmi1,bmi2,popcnt")], {
    dot_bytes: bytes::vnni::dot_bytes,
    dots_bytes: bytes::vnni::dots_bytes,
    products: scan::popcnt::products,
    scan: scan::avx512::scan,
    scan_query: scan::avx512::scan_query,
    transform: transform::avx512::transform,
    raise: late::avx512::raise
});

impl Kernels {
    /// Sum of products.
    #[inline]
    pub fn dot(&self, a: &[f32], b: &[f32]) -> f32 {
        // SAFETY: a set is handed out only where the processor has its instructions; so in all of these.
        unsafe { (self.dot)(a, b) }
    }

    /// Sum of squared differences.
    #[inline]
    pub fn squared_euclid(&self, a: &[f32], b: &[f32]) -> f32 {
        // SAFETY: see `dot`.
        unsafe { (self.squared_euclid)(a, b) }
    }

    /// Sum of absolute differences.
    #[inline]
    pub fn manhattan(&self, a: &[f32], b: &[f32]) -> f32 {
        // SAFETY: see `dot`.
        unsafe { (self.manhattan)(a, b) }
    }

    /// The product of a byte code with steps from -127 to 127, whose sum times [`BIAS`] is `excess`.
    #[inline]
    pub(crate) fn dot_bytes(&self, code: &[u8], signed: &[i8], excess: i32) -> i32 {
        // SAFETY: see `dot`.
        unsafe { (self.dot_bytes)(code, signed, excess) }
    }

    /// [`dot_bytes`](Self::dot_bytes) with each of the rows.
    pub(crate) fn dots_bytes(&self, code: &[u8], rows: &[i8], excess: &[i32], sums: &mut [i32]) {
        // SAFETY: see `dot`.
        unsafe { (self.dots_bytes)(code, rows, excess, sums) }
    }

    /// The products of a query in [`planes`] with the signs of codes, each at the beginning of a row; rows lie scattered.
    pub(crate) fn products(&self, query: &ScanQuery, rows: &[&[u8]], products: &mut [f32]) {
        // SAFETY: see `dot`.
        unsafe { (self.products)(query, rows, products) }
    }

    /// A query, as many components as the codes have bits, in the form that [`scan`](Self::scan) reads it.
    pub(crate) fn scan_query(&self, query: &[f32]) -> ScanQuery {
        // SAFETY: see `dot`.
        unsafe { (self.scan_query)(query) }
    }

    /// Multiplies by signs, and has a Hadamard transform spread what a window of the components says; it is not scaled.
    pub(crate) fn transform(&self, x: &mut [f32], signs: &[f32], window: Range<usize>) {
        // SAFETY: see `dot`.
        unsafe { (self.transform)(x, signs, window) }
    }

    pub(crate) fn quantise(&self, x: &[f32], factor: f32, bytes: &mut [i8]) {
        // SAFETY: see `dot`.
        unsafe { (self.quantise)(x, factor, bytes) }
    }

    /// Adds what is estimated above `threshold` to `passed`, from block `block` on; says which block comes next.
    #[inline]
    pub(crate) fn scan(
        &self,
        codes: Codes<'_>,
        query: &ScanQuery,
        base: f32,
        threshold: f32,
        block: usize,
        passed: &mut Passed,
    ) -> usize {
        // SAFETY: see `dot`.
        unsafe { (self.scan)(codes, query, base, threshold, block, passed) }
    }

    /// Raises each lane of `best` to how near the nearest of `rows`, `[n, dimensions]`, is to that lane's vector of `query`,
    /// `[dimensions]`.
    #[inline]
    pub(crate) fn raise(&self, distance: Distance, query: &[Lanes], rows: &[f32], best: &mut Lanes) {
        // SAFETY: see `dot`.
        unsafe { (self.raise)(distance, query, rows, best) }
    }

    /// The sum, over the bytes of a row, of the largest that the rows of `codes` have at that place. A row of `table` is `width`
    /// parts.
    #[inline]
    pub(crate) fn sum_largest(&self, table: &[TableRow], width: usize, codes: &[u16]) -> u32 {
        // SAFETY: see `dot`.
        unsafe { (self.sum_largest)(table, width, codes) }
    }

    /// How many bits are set.
    pub(crate) fn count_bits(&self, words: &[u64]) -> u32 {
        // SAFETY: see `dot`.
        unsafe { (self.count_bits)(words) }
    }

    /// How many bits are set in both.
    pub(crate) fn common_bits(&self, a: &[u64], b: &[u64]) -> u32 {
        // SAFETY: see `dot`.
        unsafe { (self.common_bits)(a, b) }
    }

    /// The numbers of the bits that are set, of which there are `len`, in at most 1,024 words.
    pub(crate) fn list_bits(&self, words: &[u64], len: usize) -> Vec<u16> {
        // SAFETY: see `dot`.
        unsafe { (self.list_bits)(words, len) }
    }
}

/// The sets that this processor has, the widest first.
pub fn supported() -> Vec<&'static Kernels> {
    let mut sets: Vec<&'static Kernels> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt")
        {
            sets.push(&const { avx512::KERNELS });
        }
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt")
        {
            sets.push(&const { avx2::KERNELS });
        }
    }
    sets.push(&const { portable::KERNELS });
    sets
}

static BEST: LazyLock<&'static Kernels> = LazyLock::new(|| {
    let sets = supported();
    let masked = std::env::var("TWOFOLD_SIMD").ok();
    let wanted = masked.and_then(|name| sets.iter().find(|set| set.name == name).copied());
    wanted.unwrap_or(sets[0])
});

/// The kernels that this process uses.
#[inline]
pub fn kernels() -> &'static Kernels {
    &BEST
}

/// How near two vectors are; higher is nearer for every distance. Vectors of Cosine are normalised already.
pub fn nearness(distance: Distance) -> fn(&[f32], &[f32]) -> f32 {
    match distance {
        Distance::Cosine | Distance::Dot => |a, b| kernels().dot(a, b),
        Distance::Euclid => |a, b| -kernels().squared_euclid(a, b),
        Distance::Manhattan => |a, b| -kernels().manhattan(a, b),
    }
}

/// The score that is answered for a nearness.
pub fn score(distance: Distance, nearness: f32) -> f32 {
    match distance {
        Distance::Cosine | Distance::Dot => nearness,
        Distance::Euclid => (-nearness).max(0.0).sqrt(),
        Distance::Manhattan => -nearness,
    }
}

/// Scales a vector to length 1; one of length 0 stays as it is.
pub fn normalise(vector: &mut [f32]) {
    let length = kernels().dot(vector, vector).sqrt();
    if length > 0.0 && (length - 1.0).abs() > f32::EPSILON {
        vector.iter_mut().for_each(|component| *component /= length);
    }
}

/// Asks the processor to fetch what is about to be read.
#[inline(always)]
pub(crate) fn prefetch<T>(slice: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for byte in (0..size_of_val(slice)).step_by(64) {
        // SAFETY: a prefetch reads nothing, and the address is inside of the slice.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(slice.as_ptr().cast::<i8>().add(byte));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = slice;
}
