//! Similarities and code scans, with the widest instructions that the processor has.
//!
//! Most kernels are one portable loop over independent lanes that is compiled once for every instruction set; where the
//! compiler does not find the instruction that matters (`vpdpbusd`, `vpopcntd`), AVX-512 has a version of its own. What runs
//! is decided once, by what the processor reports; `TWOFOLD_SIMD=avx2` or `portable` masks what is wider. Every set that a
//! processor has is tested against plain arithmetic.

#![expect(
    unsafe_code,
    reason = "functions compiled for an instruction set are called after the processor was asked for it"
)]

use std::sync::LazyLock;

use twofold_types::Distance;

/// Sixteen values that are handled together, one for each code of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Lanes<T>(pub(crate) [T; 16]);

// SAFETY: sixteen values of four bytes fill the 64 bytes of the type, so there is no padding.
unsafe impl bytemuck::Zeroable for Lanes<u32> {}
unsafe impl bytemuck::Pod for Lanes<u32> {}
unsafe impl bytemuck::Zeroable for Lanes<f32> {}
unsafe impl bytemuck::Pod for Lanes<f32> {}

/// Codes in a block.
pub(crate) const BLOCK: usize = 16;

/// Bits to which a query is cut before it meets 1-bit codes.
pub(crate) const PLANES: usize = 3;

/// What a scan of 1-bit codes needs to know of the query: its bit planes, and how a popcount becomes an estimate.
#[derive(Debug, Default, Clone)]
pub(crate) struct PlaneQuery {
    /// Plane by plane, the words of one after the other; plane `p` counts 2ᵖ.
    pub(crate) planes: Vec<u32>,
    /// The estimate is `base + scale * (offset - step * popcounts) + add`, `scale` and `add` being those of the code.
    pub(crate) offset: f32,
    pub(crate) step: f32,
}

/// Codes as they are scanned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Codes<'a> {
    /// `[blocks, words]`: word `w` of all sixteen codes lies together.
    pub(crate) bits: &'a [Lanes<u32>],
    /// `[blocks, 2]`: scales, then addends.
    pub(crate) factors: &'a [Lanes<f32>],
    /// Words of one code.
    pub(crate) words: usize,
}

/// Estimates above a threshold, with the place of their code.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) estimates: Box<[f32; Passed::CAPACITY]>,
    pub(crate) places: Box<[u32; Passed::CAPACITY]>,
    pub(crate) len: usize,
}

impl Passed {
    pub(crate) const CAPACITY: usize = 2048;

    pub(crate) fn new() -> Self {
        Self {
            estimates: Box::new([0.0; Self::CAPACITY]),
            places: Box::new([0; Self::CAPACITY]),
            len: 0,
        }
    }

    fn has_room(&self) -> bool {
        self.len + 2 * BLOCK <= Self::CAPACITY
    }
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
    let total = sums.iter().sum();
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

#[inline(always)]
fn dot_bytes_body(unsigned: &[u8], signed: &[i8]) -> i32 {
    let mut sums = [0i32; LANES];
    let (a_chunks, a_rest) = unsigned.as_chunks::<LANES>();
    let (b_chunks, b_rest) = signed.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += i32::from(i16::from(a[lane])) * i32::from(i16::from(b[lane]));
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(&a, &b)| i32::from(a) * i32::from(b));
    sums.iter().sum::<i32>() + rest.sum::<i32>()
}

#[inline(always)]
fn dots_bytes_body(unsigned: &[u8], rows: &[i8], sums: &mut [i32]) {
    for (row, sum) in rows.chunks_exact(unsigned.len()).zip(sums) {
        *sum = dot_bytes_body(unsigned, row);
    }
}

/// The fast Walsh-Hadamard transform, without its scale; the length is a power of two.
#[inline(always)]
fn hadamard_body(x: &mut [f32]) {
    let mut half = 1;
    while half < x.len() {
        for pair in x.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (low, high) in low.iter_mut().zip(high) {
                (*low, *high) = (*low + *high, *low - *high);
            }
        }
        half *= 2;
    }
}

/// Rounds to whole numbers in -127..=127 after multiplying.
#[inline(always)]
fn quantise_body(x: &[f32], factor: f32, bytes: &mut [i8]) {
    for (byte, &x) in bytes.iter_mut().zip(x) {
        *byte = (x * factor).round_ties_even() as i8;
    }
}

/// Scans blocks from `block` on until the codes end or `passed` is full; says which block comes next.
#[inline(always)]
fn scan_body(
    codes: Codes<'_>,
    query: &PlaneQuery,
    base: f32,
    threshold: f32,
    mut block: usize,
    passed: &mut Passed,
) -> usize {
    let words = codes.words;
    let planes: [&[u32]; PLANES] = std::array::from_fn(|p| &query.planes[p * words..(p + 1) * words]);
    let blocks = codes.bits.len() / words;
    while block < blocks && passed.has_room() {
        let bits = &codes.bits[block * words..(block + 1) * words];
        let mut counts = [0u32; BLOCK];
        for word in 0..words {
            let code = &bits[word].0;
            for (p, plane) in planes.iter().enumerate() {
                for lane in 0..BLOCK {
                    counts[lane] += (code[lane] ^ plane[word]).count_ones() << p;
                }
            }
        }
        let (scale, add) = (&codes.factors[2 * block].0, &codes.factors[2 * block + 1].0);
        let mut estimates = [0.0f32; BLOCK];
        for lane in 0..BLOCK {
            estimates[lane] = scale[lane] * (query.offset - query.step * counts[lane] as f32) + add[lane] + base;
        }
        let best = estimates
            .iter()
            .fold(f32::NEG_INFINITY, |best, &estimate| best.max(estimate));
        if best > threshold {
            for (lane, &estimate) in estimates.iter().enumerate() {
                if estimate > threshold {
                    passed.estimates[passed.len] = estimate;
                    passed.places[passed.len] = (block * BLOCK + lane) as u32;
                    passed.len += 1;
                }
            }
        }
        block += 1;
    }
    block
}

/// The kernels for one instruction set.
pub struct Kernels {
    /// The instruction set.
    pub name: &'static str,
    dot: unsafe fn(&[f32], &[f32]) -> f32,
    squared_euclid: unsafe fn(&[f32], &[f32]) -> f32,
    manhattan: unsafe fn(&[f32], &[f32]) -> f32,
    dot_bytes: unsafe fn(&[u8], &[i8]) -> i32,
    dots_bytes: unsafe fn(&[u8], &[i8], &mut [i32]),
    hadamard: unsafe fn(&mut [f32]),
    quantise: unsafe fn(&[f32], f32, &mut [i8]),
    scan: unsafe fn(Codes<'_>, &PlaneQuery, f32, f32, usize, &mut Passed) -> usize,
}

macro_rules! kernels {
    ($module:ident, $name:literal, [$($attribute:meta)?], {$($own:ident: $path:path),*}) => {
        mod $module {
            use super::*;

            $(#[$attribute])? fn dot(a: &[f32], b: &[f32]) -> f32 { dot_body(a, b) }
            $(#[$attribute])? fn squared_euclid(a: &[f32], b: &[f32]) -> f32 { squared_euclid_body(a, b) }
            $(#[$attribute])? fn manhattan(a: &[f32], b: &[f32]) -> f32 { manhattan_body(a, b) }
            $(#[$attribute])? fn dot_bytes(a: &[u8], b: &[i8]) -> i32 { dot_bytes_body(a, b) }
            $(#[$attribute])? fn dots_bytes(a: &[u8], rows: &[i8], sums: &mut [i32]) { dots_bytes_body(a, rows, sums) }
            $(#[$attribute])? fn hadamard(x: &mut [f32]) { hadamard_body(x) }
            $(#[$attribute])? fn quantise(x: &[f32], factor: f32, bytes: &mut [i8]) { quantise_body(x, factor, bytes) }
            $(#[$attribute])? fn scan(
                codes: Codes<'_>, query: &PlaneQuery, base: f32, threshold: f32, block: usize, passed: &mut Passed,
            ) -> usize {
                scan_body(codes, query, base, threshold, block, passed)
            }

            #[allow(unused_mut, reason = "only some sets have kernels of their own")]
            pub(super) const KERNELS: Kernels = {
                let mut kernels = Kernels {
                    name: $name, dot, squared_euclid, manhattan, dot_bytes, dots_bytes, hadamard, quantise, scan,
                };
                $(kernels.$own = $path;)*
                kernels
            };
        }
    };
}

// The portable set is what the target always has; on AArch64 that includes NEON.
kernels!(portable, "portable", [], {});
#[cfg(target_arch = "x86_64")]
kernels!(avx2, "avx2", [target_feature(enable = "avx2,fma,bmi1,bmi2,popcnt")], {});
#[cfg(target_arch = "x86_64")]
kernels!(avx512, "avx512", [target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma,bmi2,popcnt")], {
    dot_bytes: super::vnni::dot_bytes,
    dots_bytes: super::vnni::dots_bytes,
    scan: super::vnni::scan
});

/// What AVX-512 with VNNI and VPOPCNTDQ does beyond what the compiler finds.
#[cfg(target_arch = "x86_64")]
mod vnni {
    use std::arch::x86_64::*;

    use super::{BLOCK, Codes, PLANES, Passed, PlaneQuery};

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load<T>(slice: &[T], byte: usize) -> __m512i {
        assert!(byte + 64 <= size_of_val(slice));
        // SAFETY: 64 bytes from `byte` on are inside of the slice.
        unsafe { _mm512_loadu_si512(slice.as_ptr().cast::<u8>().add(byte).cast()) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn dot_bytes(unsigned: &[u8], signed: &[i8]) -> i32 {
        let whole = unsigned.len().min(signed.len()) / 64 * 64;
        let mut sum = _mm512_setzero_si512();
        for byte in (0..whole).step_by(64) {
            sum = _mm512_dpbusd_epi32(sum, load(unsigned, byte), load(signed, byte));
        }
        let rest = unsigned[whole..].iter().zip(&signed[whole..]);
        _mm512_reduce_add_epi32(sum) + rest.map(|(&a, &b)| i32::from(a) * i32::from(b)).sum::<i32>()
    }

    /// Eight rows at a time, whose sums are added up together.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
    pub(super) fn dots_bytes(unsigned: &[u8], rows: &[i8], sums: &mut [i32]) {
        let size = unsigned.len();
        let (groups, rest) = sums.as_chunks_mut::<8>();
        let first_rest = groups.len() * 8;
        if !size.is_multiple_of(64) {
            return super::dots_bytes_body(unsigned, rows, sums);
        }
        for (group, sums) in groups.iter_mut().enumerate() {
            let rows = &rows[group * 8 * size..(group + 1) * 8 * size];
            let mut totals = [_mm512_setzero_si512(); 8];
            for byte in (0..size).step_by(64) {
                let query = load(unsigned, byte);
                for (row, total) in totals.iter_mut().enumerate() {
                    *total = _mm512_dpbusd_epi32(*total, query, load(rows, row * size + byte));
                }
            }
            let halves = totals
                .map(|total| _mm256_add_epi32(_mm512_castsi512_si256(total), _mm512_extracti64x4_epi64::<1>(total)));
            let pairs = [0, 2, 4, 6].map(|i| _mm256_hadd_epi32(halves[i], halves[i + 1]));
            let quads = [0, 2].map(|i| _mm256_hadd_epi32(pairs[i], pairs[i + 1]));
            // Each 128-bit half of a quad holds half of the sums of four rows.
            let low = _mm256_permute2x128_si256::<0x20>(quads[0], quads[1]);
            let high = _mm256_permute2x128_si256::<0x31>(quads[0], quads[1]);
            let total = _mm256_add_epi32(low, high);
            // SAFETY: `sums` is eight i32 long.
            unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), total) };
        }
        for (row, sum) in rows[first_rest * size..].chunks_exact(size).zip(rest) {
            *sum = dot_bytes(unsigned, row);
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
    pub(super) fn scan(
        codes: Codes<'_>,
        query: &PlaneQuery,
        base: f32,
        threshold: f32,
        mut block: usize,
        passed: &mut Passed,
    ) -> usize {
        let words = codes.words;
        let blocks = codes.bits.len() / words;
        assert!(query.planes.len() >= PLANES * words && codes.factors.len() >= 2 * blocks);
        let (offset, step) = (_mm512_set1_ps(query.offset), _mm512_set1_ps(-query.step));
        let (base, threshold) = (_mm512_set1_ps(base), _mm512_set1_ps(threshold));
        let iota = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        while block < blocks && passed.has_room() {
            // Two blocks share the loads of the query; the last one of an odd number meets itself.
            let second = (block + 1).min(blocks - 1);
            let mut counts = [[_mm512_setzero_si512(); PLANES]; 2];
            for word in 0..words {
                // SAFETY: `block` and `second` are below `blocks`, and there are `blocks * words` lanes.
                let bits = [block, second]
                    .map(|block| unsafe { _mm512_load_si512(codes.bits.as_ptr().add(block * words + word).cast()) });
                for (half, counts) in counts.iter_mut().enumerate() {
                    for (p, count) in counts.iter_mut().enumerate() {
                        // SAFETY: checked at the top.
                        let plane = unsafe { *query.planes.get_unchecked(p * words + word) };
                        let differing = _mm512_xor_si512(bits[half], _mm512_set1_epi32(plane as i32));
                        *count = _mm512_add_epi32(*count, _mm512_popcnt_epi32(differing));
                    }
                }
            }
            for (half, counts) in counts.iter().enumerate().take(1 + second - block) {
                let mut weighted = counts[PLANES - 1];
                for p in (0..PLANES - 1).rev() {
                    weighted = _mm512_add_epi32(_mm512_add_epi32(weighted, weighted), counts[p]);
                }
                let place = block + half;
                // SAFETY: there are two factors for every block, and `place` is below `blocks`.
                let (scale, add) = unsafe {
                    let factors = codes.factors.as_ptr().add(2 * place).cast::<f32>();
                    (_mm512_load_ps(factors), _mm512_load_ps(factors.add(BLOCK)))
                };
                let product = _mm512_fmadd_ps(_mm512_cvtepi32_ps(weighted), step, offset);
                let estimate = _mm512_add_ps(_mm512_fmadd_ps(product, scale, add), base);
                let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(estimate, threshold);
                if above != 0 {
                    let places = _mm512_add_epi32(iota, _mm512_set1_epi32((place * BLOCK) as i32));
                    // SAFETY: `has_room` has left space for two blocks, and each stores one at most at `len`.
                    unsafe {
                        let estimates = passed.estimates.as_mut_ptr().add(passed.len);
                        _mm512_storeu_ps(estimates, _mm512_maskz_compress_ps(above, estimate));
                        let to = passed.places.as_mut_ptr().add(passed.len);
                        _mm512_storeu_si512(to.cast(), _mm512_maskz_compress_epi32(above, places));
                    }
                    passed.len += above.count_ones() as usize;
                }
            }
            block = second + 1;
        }
        block
    }
}

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

    /// Sum of products of unsigned and signed bytes.
    #[inline]
    pub(crate) fn dot_bytes(&self, unsigned: &[u8], signed: &[i8]) -> i32 {
        // SAFETY: see `dot`.
        unsafe { (self.dot_bytes)(unsigned, signed) }
    }

    /// [`dot_bytes`](Self::dot_bytes) with each of the rows.
    pub(crate) fn dots_bytes(&self, unsigned: &[u8], rows: &[i8], sums: &mut [i32]) {
        // SAFETY: see `dot`.
        unsafe { (self.dots_bytes)(unsigned, rows, sums) }
    }

    pub(crate) fn hadamard(&self, x: &mut [f32]) {
        // SAFETY: see `dot`.
        unsafe { (self.hadamard)(x) }
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
        query: &PlaneQuery,
        base: f32,
        threshold: f32,
        block: usize,
        passed: &mut Passed,
    ) -> usize {
        // SAFETY: see `dot`.
        unsafe { (self.scan)(codes, query, base, threshold, block, passed) }
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
            && is_x86_feature_detected!("avx512vpopcntdq")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("bmi2")
        {
            sets.push(&const { avx512::KERNELS });
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("bmi2") {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(fast: f32, exact: f64) -> bool {
        (f64::from(fast) - exact).abs() <= 1e-4 * (1.0 + exact.abs())
    }

    proptest! {
        #[test]
        fn similarities_equal_plain_sums(pairs in proptest::collection::vec((-1.0f32..1.0, -1.0f32..1.0), 0..300)) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let sum = |f: fn(f64, f64) -> f64| a.iter().zip(&b).map(|(&a, &b)| f(a.into(), b.into())).sum::<f64>();
            for set in supported() {
                prop_assert!(close(set.dot(&a, &b), sum(|a, b| a * b)), "{}", set.name);
                prop_assert!(close(set.squared_euclid(&a, &b), sum(|a, b| (a - b) * (a - b))), "{}", set.name);
                prop_assert!(close(set.manhattan(&a, &b), sum(|a, b| (a - b).abs())), "{}", set.name);
            }
        }

        #[test]
        fn byte_products_equal_plain_sums(
            bytes in proptest::collection::vec((any::<u8>(), any::<i8>()), 0..400), size in 0usize..4, rows in 0usize..20,
        ) {
            let (a, b): (Vec<u8>, Vec<i8>) = bytes.into_iter().unzip();
            let plain = |a: &[u8], b: &[i8]| a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum::<i32>();
            let size = (size * 32 + 32).min(a.len());
            for set in supported() {
                prop_assert_eq!(set.dot_bytes(&a, &b), plain(&a, &b), "{}", set.name);
                if size > 0 {
                    let rows: Vec<i8> = b.iter().copied().cycle().take(rows * size).collect();
                    let mut sums = vec![0; rows.len() / size];
                    set.dots_bytes(&a[..size], &rows, &mut sums);
                    let expected: Vec<i32> = rows.chunks(size).map(|row| plain(&a[..size], row)).collect();
                    prop_assert_eq!(sums, expected, "{}", set.name);
                }
            }
        }

        #[test]
        fn scans_equal_plain_counts(
            seed in any::<u64>(), words in 1usize..9, blocks in 0usize..6, threshold in -40.0f32..40.0,
        ) {
            let mut state = seed | 1;
            let mut random = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u32
            };
            let bits: Vec<_> = (0..blocks * words).map(|_| Lanes(std::array::from_fn(|_| random()))).collect();
            let factors: Vec<_> = (0..blocks * 2).map(|_| Lanes(std::array::from_fn(|_| (random() % 100) as f32 / 50.0 - 1.0))).collect();
            let query = PlaneQuery {
                planes: (0..PLANES * words).map(|_| random()).collect(),
                offset: 100.0,
                step: 0.5,
            };
            let mut expected = Vec::new();
            for place in 0..blocks * BLOCK {
                let (block, lane) = (place / BLOCK, place % BLOCK);
                let count: u32 = (0..PLANES * words)
                    .map(|i| (query.planes[i] ^ bits[block * words + i % words].0[lane]).count_ones() << (i / words))
                    .sum();
                let estimate = factors[2 * block].0[lane] * (query.offset - query.step * count as f32)
                    + factors[2 * block + 1].0[lane] + 1.5;
                if (estimate - threshold).abs() < 1e-3 {
                    return Ok(());
                }
                if estimate > threshold {
                    expected.push((place as u32, estimate));
                }
            }
            for set in supported() {
                let mut passed = Passed::new();
                let codes = Codes { bits: &bits, factors: &factors, words };
                let next = set.scan(codes, &query, 1.5, threshold, 0, &mut passed);
                prop_assert_eq!(next, blocks, "{}", set.name);
                prop_assert_eq!(passed.len, expected.len(), "{}", set.name);
                for (i, (place, estimate)) in expected.iter().enumerate() {
                    prop_assert_eq!(passed.places[i], *place, "{}", set.name);
                    prop_assert!(close(passed.estimates[i], f64::from(*estimate)), "{}", set.name);
                }
            }
        }

        #[test]
        fn the_transform_is_its_own_inverse(x in proptest::collection::vec(-1.0f32..1.0, 64)) {
            for set in supported() {
                let mut twice = x.clone();
                set.hadamard(&mut twice);
                set.hadamard(&mut twice);
                for (twice, x) in twice.iter().zip(&x) {
                    prop_assert!((twice / 64.0 - x).abs() < 1e-5, "{}", set.name);
                }
                let mut bytes = [0; 64];
                set.quantise(&x, 127.0, &mut bytes);
                for (byte, x) in bytes.iter().zip(&x) {
                    prop_assert!((f32::from(*byte) - x * 127.0).abs() <= 0.501, "{}", set.name);
                }
            }
        }
    }

    #[test]
    fn a_full_buffer_stops_a_scan_that_then_goes_on() {
        let blocks = Passed::CAPACITY / BLOCK + 3;
        let bits = vec![Lanes([0u32; BLOCK]); blocks];
        let factors = vec![Lanes([1.0f32; BLOCK]); 2 * blocks];
        let codes = Codes {
            bits: &bits,
            factors: &factors,
            words: 1,
        };
        let query = PlaneQuery {
            planes: vec![0; PLANES],
            offset: 1.0,
            step: 1.0,
        };
        for set in supported() {
            let (mut passed, mut next, mut seen) = (Passed::new(), 0, 0);
            while next < blocks {
                next = set.scan(codes, &query, 0.0, 0.0, next, &mut passed);
                seen += passed.len;
                passed.len = 0;
            }
            assert_eq!(seen, blocks * BLOCK, "{}", set.name);
        }
    }

    #[test]
    fn a_normalised_vector_has_length_one_and_zero_stays() {
        let mut vector = vec![3.0, 4.0];
        normalise(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        let mut zero = vec![0.0; 4];
        normalise(&mut zero);
        assert_eq!(zero, [0.0; 4]);
    }

    #[test]
    fn nearer_is_higher_and_scores_are_the_plain_measures() {
        for distance in [Distance::Cosine, Distance::Dot, Distance::Euclid, Distance::Manhattan] {
            let near = nearness(distance);
            assert!(
                near(&[1.0, 0.0], &[0.8, 0.6]) > near(&[1.0, 0.0], &[0.0, 1.0]),
                "{distance:?}"
            );
        }
        assert_eq!(
            score(Distance::Euclid, nearness(Distance::Euclid)(&[0.0, 0.0], &[3.0, 4.0])),
            5.0
        );
        assert_eq!(
            score(
                Distance::Manhattan,
                nearness(Distance::Manhattan)(&[0.0, 0.0], &[3.0, 4.0])
            ),
            7.0
        );
    }
}
