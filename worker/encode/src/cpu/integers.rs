//! Whole numbers of 8 bits: what differs between instruction sets in their products, and nothing else.

#![expect(
    unsafe_code,
    reason = "instructions are used after the processor was asked for them, and on pointers"
)]

use super::simd::{Portable, Simd};

/// Products of whole numbers in an instruction set.
///
/// Numbers without a sign meet numbers with one. Where a set multiplies into 16 bits, four products are added up in them,
/// so the caller sees to it that these never leave 16 bits ([`quads`]): then all sets have the same sums.
///
/// # Safety
/// All functions need the instruction set, which [`run_integers`](super::instructions::run_integers) has checked.
/// Pointers point to as many numbers as a function reads, and need no alignment.
pub(super) trait Integers: Copy {
    /// The set's vectors of f32, which have as many lanes.
    type Floats: Simd;
    /// Rows of a tile: with two vectors to a row, its sums and what they are made of fill the registers.
    const ROWS: usize;
    /// Sums of 32 bits.
    type Sums: Copy;

    unsafe fn zeroes() -> Self::Sums;
    unsafe fn to_floats(sums: Self::Sums) -> <Self::Floats as Simd>::Floats;

    /// To the sum of every lane, the product of eight numbers of a row with the lane's eight of a column: four of these in
    /// `first`, lane after lane, and four in `second`.
    unsafe fn multiply_add(row: *const u8, first: *const i8, second: *const i8, sums: Self::Sums) -> Self::Sums;
}

/// Which of eight neighbours are added up in 16 bits.
pub(super) const fn quads() -> [[usize; 4]; 2] {
    [[0, 1, 4, 5], [2, 3, 6, 7]]
}

impl Integers for Portable {
    type Floats = Portable;
    const ROWS: usize = 4;
    type Sums = [i32; 4];

    #[inline(always)]
    unsafe fn zeroes() -> [i32; 4] {
        [0; 4]
    }

    #[inline(always)]
    unsafe fn to_floats(sums: [i32; 4]) -> [f32; 4] {
        sums.map(|sum| sum as f32)
    }

    #[inline(always)]
    unsafe fn multiply_add(row: *const u8, first: *const i8, second: *const i8, sums: [i32; 4]) -> [i32; 4] {
        // SAFETY: the caller's pointers are to eight numbers of a row and to four for every lane.
        let (row, fours) = unsafe {
            let fours = [first, second].map(|four| four.cast::<[[i8; 4]; 4]>().read_unaligned());
            (row.cast::<[[u8; 4]; 2]>().read_unaligned(), fours)
        };
        let product = |lane: usize| -> i32 {
            let pairs = row
                .iter()
                .zip(&fours)
                .flat_map(|(row, four)| row.iter().zip(&four[lane]));
            pairs.map(|(&x, &weight)| i32::from(x) * i32::from(weight)).sum()
        };
        std::array::from_fn(|lane| sums[lane] + product(lane))
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx512Vnni, AvxVnni};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{
        super::simd::{Avx2, Avx512},
        Integers,
    };

    /// AVX-512 with products that are added up in 32 bits.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512Vnni;

    /// AVX2 with products that are added up in 32 bits.
    #[derive(Clone, Copy)]
    pub(in super::super) struct AvxVnni;

    /// Four numbers of a row in every lane.
    #[inline(always)]
    unsafe fn four(row: *const u8) -> i32 {
        // SAFETY: the caller's pointer is to four numbers.
        unsafe { row.cast::<i32>().read_unaligned() }
    }

    // SAFETY of all blocks: the caller answers for the instruction set and for the pointers.
    impl Integers for Avx2 {
        type Floats = Avx2;
        const ROWS: usize = 4;
        type Sums = __m256i;

        #[inline(always)]
        unsafe fn zeroes() -> __m256i {
            unsafe { _mm256_setzero_si256() }
        }

        #[inline(always)]
        unsafe fn to_floats(sums: __m256i) -> __m256 {
            unsafe { _mm256_cvtepi32_ps(sums) }
        }

        #[inline(always)]
        unsafe fn multiply_add(row: *const u8, first: *const i8, second: *const i8, sums: __m256i) -> __m256i {
            unsafe {
                let a = _mm256_maddubs_epi16(_mm256_set1_epi32(four(row)), _mm256_loadu_si256(first.cast()));
                let b = _mm256_maddubs_epi16(_mm256_set1_epi32(four(row.add(4))), _mm256_loadu_si256(second.cast()));
                let pairs = _mm256_madd_epi16(_mm256_add_epi16(a, b), _mm256_set1_epi16(1));
                _mm256_add_epi32(sums, pairs)
            }
        }
    }

    impl Integers for AvxVnni {
        type Floats = Avx2;
        const ROWS: usize = 4;
        type Sums = __m256i;

        #[inline(always)]
        unsafe fn zeroes() -> __m256i {
            unsafe { _mm256_setzero_si256() }
        }

        #[inline(always)]
        unsafe fn to_floats(sums: __m256i) -> __m256 {
            unsafe { _mm256_cvtepi32_ps(sums) }
        }

        #[inline(always)]
        unsafe fn multiply_add(row: *const u8, first: *const i8, second: *const i8, sums: __m256i) -> __m256i {
            unsafe {
                let (a, b) = (_mm256_set1_epi32(four(row)), _mm256_set1_epi32(four(row.add(4))));
                let sums = _mm256_dpbusd_avx_epi32(sums, a, _mm256_loadu_si256(first.cast()));
                _mm256_dpbusd_avx_epi32(sums, b, _mm256_loadu_si256(second.cast()))
            }
        }
    }

    impl Integers for Avx512 {
        type Floats = Avx512;
        const ROWS: usize = 8;
        type Sums = __m512i;

        #[inline(always)]
        unsafe fn zeroes() -> __m512i {
            unsafe { _mm512_setzero_si512() }
        }

        #[inline(always)]
        unsafe fn to_floats(sums: __m512i) -> __m512 {
            unsafe { _mm512_cvtepi32_ps(sums) }
        }

        #[inline(always)]
        unsafe fn multiply_add(row: *const u8, first: *const i8, second: *const i8, sums: __m512i) -> __m512i {
            unsafe {
                let a = _mm512_maddubs_epi16(_mm512_set1_epi32(four(row)), _mm512_loadu_si512(first.cast()));
                let b = _mm512_maddubs_epi16(_mm512_set1_epi32(four(row.add(4))), _mm512_loadu_si512(second.cast()));
                let pairs = _mm512_madd_epi16(_mm512_add_epi16(a, b), _mm512_set1_epi16(1));
                _mm512_add_epi32(sums, pairs)
            }
        }
    }

    impl Integers for Avx512Vnni {
        type Floats = Avx512;
        const ROWS: usize = 8;
        type Sums = __m512i;

        #[inline(always)]
        unsafe fn zeroes() -> __m512i {
            unsafe { _mm512_setzero_si512() }
        }

        #[inline(always)]
        unsafe fn to_floats(sums: __m512i) -> __m512 {
            unsafe { _mm512_cvtepi32_ps(sums) }
        }

        #[inline(always)]
        unsafe fn multiply_add(row: *const u8, first: *const i8, second: *const i8, sums: __m512i) -> __m512i {
            unsafe {
                let (a, b) = (_mm512_set1_epi32(four(row)), _mm512_set1_epi32(four(row.add(4))));
                let sums = _mm512_dpbusd_epi32(sums, a, _mm512_loadu_si512(first.cast()));
                _mm512_dpbusd_epi32(sums, b, _mm512_loadu_si512(second.cast()))
            }
        }
    }
}
