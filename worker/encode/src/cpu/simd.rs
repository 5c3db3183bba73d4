//! Vectors of the processor: what differs between instruction sets, and nothing else.

#![expect(
    unsafe_code,
    reason = "instructions are used after the processor was asked for them, and on pointers"
)]

/// An instruction set. A vector holds [`WIDTH`](Self::WIDTH) f32.
///
/// # Safety
/// All functions, also those on values, need the instruction set, which [`run`](super::instructions::run) has checked.
/// Pointers point to a whole vector, and need no alignment.
pub(crate) trait Simd: Copy {
    /// Numbers in a vector.
    const WIDTH: usize;
    /// Vectors of sums that a tile has in registers.
    const SUMS: usize;
    /// Vectors in a row of a product's tile: a wide tile loads fewer numbers for as many sums.
    const ROW: usize;
    /// Inputs of a product that a panel covers at most. With AVX2 the panel and the rows of a tile fill a first cache of 32 KiB; the
    /// larger ones of AVX-512, of 96 KiB, are read from the second cache while the first has the rows.
    const BLOCK: usize;
    type Floats: Copy;

    unsafe fn splat(x: f32) -> Self::Floats;
    unsafe fn load(from: *const f32) -> Self::Floats;
    unsafe fn store(to: *mut f32, x: Self::Floats);
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn multiply(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn min(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn max(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`.
    unsafe fn multiply_add(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;

    /// Asks for the line of memory at `at`, which may be anywhere, to be brought into the second cache.
    unsafe fn prefetch(at: *const f32);

    /// Copies two vectors: sooner done than a function for so few numbers is called.
    #[inline(always)]
    unsafe fn copy_two(from: *const f32, to: *mut f32) {
        // SAFETY: the caller's pointers are to two vectors.
        unsafe {
            Self::store(to, Self::load(from));
            Self::store(to.add(Self::WIDTH), Self::load(from.add(Self::WIDTH)));
        }
    }

    /// One of all numbers of a vector, by halves.
    #[inline(always)]
    unsafe fn across(x: Self::Floats, merge: impl Fn(f32, f32) -> f32) -> f32 {
        let mut lanes = [0.0; 16];
        // SAFETY: the widest vector fits.
        unsafe { Self::store(lanes.as_mut_ptr(), x) };
        let mut half = Self::WIDTH / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] = merge(lanes[i], lanes[i + half]);
            }
            half /= 2;
        }
        lanes[0]
    }

    /// `a * b + c` of single numbers, in loops that the compiler turns into vectors; fused where that is an instruction.
    fn fused(a: f32, b: f32, c: f32) -> f32;
}

/// What every processor of the target has; its loops become the target's vectors of four, such as NEON's.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Simd for Portable {
    const WIDTH: usize = 4;
    const SUMS: usize = 12;
    const ROW: usize = 2;
    const BLOCK: usize = 256;
    type Floats = [f32; 4];

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
    unsafe fn min(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn max(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn multiply_add(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    unsafe fn prefetch(_: *const f32) {}

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
        const SUMS: usize = 12;
        const ROW: usize = 2;
        const BLOCK: usize = 256;
        type Floats = __m256;

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
        unsafe fn min(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_min_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn max(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_max_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn multiply_add(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn prefetch(at: *const f32) {
            unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
        }

        #[inline(always)]
        fn fused(a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }
    }

    /// AVX-512.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512;

    // SAFETY of all blocks: the caller answers for the instruction set and for the pointers.
    impl Simd for Avx512 {
        const WIDTH: usize = 16;
        const SUMS: usize = 24;
        const ROW: usize = 4;
        const BLOCK: usize = 384;
        type Floats = __m512;

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
        unsafe fn min(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_min_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn max(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_max_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn multiply_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn prefetch(at: *const f32) {
            unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
        }

        #[inline(always)]
        fn fused(a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }
    }
}
