//! Vectors of the processor: what differs between instruction sets, and nothing else.

#![expect(
    unsafe_code,
    reason = "instructions are used after the processor was asked for them, and on pointers"
)]

/// An instruction set. A vector holds [`WIDTH`](Self::WIDTH) words of 32 bits; a word is one f32 or two i16.
///
/// # Safety
/// All functions, also those on values, need the instruction set, which [`run`](super::instructions::run) has checked.
/// Pointers point to a whole vector, or to one word where that is said; they need no alignment.
pub(crate) trait Simd: Copy {
    /// Words in a vector.
    const WIDTH: usize;
    /// Rows of a tile: with two vectors to a row, its sums fill the registers.
    const ROWS: usize;
    /// Rows of a tile of pairs, whose products need registers of their own where they are not added in one instruction.
    const ROWS_OF_PAIRS: usize;
    type Floats: Copy;
    type Ints: Copy;

    unsafe fn splat(x: f32) -> Self::Floats;
    unsafe fn load(from: *const f32) -> Self::Floats;
    unsafe fn store(to: *mut f32, x: Self::Floats);
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn multiply(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`.
    unsafe fn multiply_add(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;

    unsafe fn zero_ints() -> Self::Ints;
    unsafe fn splat_int(x: i32) -> Self::Ints;
    unsafe fn load_ints(from: *const i32) -> Self::Ints;
    /// Adds to every word of `sums` the products of the two i16 in the same word of `a` and `b`.
    unsafe fn add_products_of_pairs(sums: Self::Ints, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    unsafe fn to_floats(x: Self::Ints) -> Self::Floats;

    /// `a * b + c` of single numbers, in loops that the compiler turns into vectors; fused where that is an instruction.
    fn fused(a: f32, b: f32, c: f32) -> f32;
}

/// What every processor of the target has; its loops become the target's vectors of four, such as NEON's.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Simd for Portable {
    const WIDTH: usize = 4;
    const ROWS: usize = 6;
    const ROWS_OF_PAIRS: usize = 5;
    type Floats = [f32; 4];
    type Ints = [i32; 4];

    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 4] {
        [x; 4]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 4] {
        // SAFETY: the caller's pointer is to four numbers.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: [f32; 4]) {
        // SAFETY: the caller's pointer is to four numbers.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(x) }
    }

    #[inline(always)]
    unsafe fn add(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    unsafe fn multiply(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    unsafe fn multiply_add(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    unsafe fn zero_ints() -> [i32; 4] {
        [0; 4]
    }

    #[inline(always)]
    unsafe fn splat_int(x: i32) -> [i32; 4] {
        [x; 4]
    }

    #[inline(always)]
    unsafe fn load_ints(from: *const i32) -> [i32; 4] {
        // SAFETY: the caller's pointer is to four numbers.
        unsafe { from.cast::<[i32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn add_products_of_pairs(sums: [i32; 4], a: [i32; 4], b: [i32; 4]) -> [i32; 4] {
        let (low, high) = (|x: i32| i32::from(x as i16), |x: i32| x >> 16);
        std::array::from_fn(|i| sums[i] + low(a[i]) * low(b[i]) + high(a[i]) * high(b[i]))
    }

    #[inline(always)]
    unsafe fn to_floats(x: [i32; 4]) -> [f32; 4] {
        x.map(|x| x as f32)
    }

    #[inline(always)]
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Simd;

    /// AVX2 with FMA.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2;

    // SAFETY of all blocks: the caller answers for the instruction set and for the pointers.
    impl Simd for Avx2 {
        const WIDTH: usize = 8;
        const ROWS: usize = 6;
        const ROWS_OF_PAIRS: usize = 5;
        type Floats = __m256;
        type Ints = __m256i;

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            unsafe { _mm256_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, x: __m256) {
            unsafe { _mm256_storeu_ps(to, x) }
        }

        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_add_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn multiply(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_mul_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn multiply_add(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn zero_ints() -> __m256i {
            unsafe { _mm256_setzero_si256() }
        }

        #[inline(always)]
        unsafe fn splat_int(x: i32) -> __m256i {
            unsafe { _mm256_set1_epi32(x) }
        }

        #[inline(always)]
        unsafe fn load_ints(from: *const i32) -> __m256i {
            unsafe { _mm256_loadu_si256(from.cast()) }
        }

        #[inline(always)]
        unsafe fn add_products_of_pairs(sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
            unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(a, b)) }
        }

        #[inline(always)]
        unsafe fn to_floats(x: __m256i) -> __m256 {
            unsafe { _mm256_cvtepi32_ps(x) }
        }

        #[inline(always)]
        fn fused(a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }
    }

    /// AVX-512 with VNNI.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512;

    // SAFETY of all blocks: the caller answers for the instruction set and for the pointers.
    impl Simd for Avx512 {
        const WIDTH: usize = 16;
        const ROWS: usize = 12;
        const ROWS_OF_PAIRS: usize = 12;
        type Floats = __m512;
        type Ints = __m512i;

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            unsafe { _mm512_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, x: __m512) {
            unsafe { _mm512_storeu_ps(to, x) }
        }

        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_add_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn multiply(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn multiply_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn zero_ints() -> __m512i {
            unsafe { _mm512_setzero_si512() }
        }

        #[inline(always)]
        unsafe fn splat_int(x: i32) -> __m512i {
            unsafe { _mm512_set1_epi32(x) }
        }

        #[inline(always)]
        unsafe fn load_ints(from: *const i32) -> __m512i {
            unsafe { _mm512_loadu_si512(from.cast()) }
        }

        #[inline(always)]
        unsafe fn add_products_of_pairs(sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
            unsafe { _mm512_dpwssd_epi32(sums, a, b) }
        }

        #[inline(always)]
        unsafe fn to_floats(x: __m512i) -> __m512 {
            unsafe { _mm512_cvtepi32_ps(x) }
        }

        #[inline(always)]
        fn fused(a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }
    }
}
