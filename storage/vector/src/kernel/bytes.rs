//! Products of byte codes.
//!
//! A stored code has unsigned bytes, 128 more than the steps they stand for; what it meets has signed ones, from -127 to 127.
//! Products are of the steps: AVX-512 with VNNI multiplies the bytes as they are and subtracts the excess, 128 times the
//! sum of the signed bytes, which the caller knows.

/// Independent sums, enough to fill two registers of the widest instruction set.
const LANES: usize = 32;

/// What a byte is stored with added, so that it is unsigned.
pub(crate) const BIAS: i32 = 128;

#[inline(always)]
pub(super) fn dot_bytes_body(code: &[u8], signed: &[i8], _excess: i32) -> i32 {
    let product = |code: u8, signed: i8| i32::from((i16::from(code) - BIAS as i16) * i16::from(signed));
    let mut sums = [0i32; LANES];
    let (a_chunks, a_rest) = code.as_chunks::<LANES>();
    let (b_chunks, b_rest) = signed.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += product(a[lane], b[lane]);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(&a, &b)| product(a, b));
    sums.iter().sum::<i32>() + rest.sum::<i32>()
}

#[inline(always)]
pub(super) fn dots_bytes_body(code: &[u8], rows: &[i8], _excess: &[i32], sums: &mut [i32]) {
    for (row, sum) in rows.chunks_exact(code.len()).zip(sums) {
        *sum = dot_bytes_body(code, row, 0);
    }
}

/// Two neighbouring products fit 16 bits when both factors are signed bytes without -128, so one factor lends its sign to the
/// other.
#[cfg(target_arch = "x86_64")]
pub(super) mod avx2 {
    use std::arch::x86_64::*;

    /// Bytes of a register.
    const WIDTH: usize = 32;

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load<T>(slice: &[T], byte: usize) -> __m256i {
        assert!(byte + WIDTH <= size_of_val(slice));
        // SAFETY: 32 bytes from `byte` on are inside of the slice.
        unsafe { _mm256_loadu_si256(slice.as_ptr().cast::<u8>().add(byte).cast()) }
    }

    /// The products of steps, added up by fours.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn products(steps: __m256i, signed: __m256i) -> __m256i {
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(steps), _mm256_sign_epi8(signed, steps));
        _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn steps(code: __m256i) -> __m256i {
        _mm256_xor_si256(code, _mm256_set1_epi8(i8::MIN))
    }

    /// The sums of the lanes of four registers.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn totals(sums: [__m256i; 4]) -> __m128i {
        let pairs = [_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3])];
        let quads = _mm256_hadd_epi32(pairs[0], pairs[1]);
        _mm_add_epi32(_mm256_castsi256_si128(quads), _mm256_extracti128_si256::<1>(quads))
    }

    #[target_feature(enable = "avx2")]
    pub(in super::super) fn dot_bytes(code: &[u8], signed: &[i8], excess: i32) -> i32 {
        let whole = code.len().min(signed.len()) / (2 * WIDTH) * (2 * WIDTH);
        let mut sums = [_mm256_setzero_si256(); 2];
        for byte in (0..whole).step_by(2 * WIDTH) {
            for (i, sum) in sums.iter_mut().enumerate() {
                let byte = byte + i * WIDTH;
                *sum = _mm256_add_epi32(*sum, products(steps(load(code, byte)), load(signed, byte)));
            }
        }
        let zero = _mm256_setzero_si256();
        let total = totals([sums[0], sums[1], zero, zero]);
        let rest = super::dot_bytes_body(&code[whole..], &signed[whole..], excess);
        _mm_extract_epi32::<0>(total) + _mm_extract_epi32::<1>(total) + rest
    }

    /// Four rows at a time, whose sums are added up together.
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn dots_bytes(code: &[u8], rows: &[i8], excess: &[i32], sums: &mut [i32]) {
        let size = code.len();
        if !size.is_multiple_of(WIDTH) {
            return super::dots_bytes_body(code, rows, excess, sums);
        }
        let (groups, rest) = sums.as_chunks_mut::<4>();
        let first_rest = groups.len() * 4;
        for (group, sums) in groups.iter_mut().enumerate() {
            let rows = &rows[group * 4 * size..(group + 1) * 4 * size];
            let mut totals = [_mm256_setzero_si256(); 4];
            for byte in (0..size).step_by(WIDTH) {
                let steps = steps(load(code, byte));
                for (row, total) in totals.iter_mut().enumerate() {
                    *total = _mm256_add_epi32(*total, products(steps, load(rows, row * size + byte)));
                }
            }
            // SAFETY: `sums` is four i32 long.
            unsafe { _mm_storeu_si128(sums.as_mut_ptr().cast(), self::totals(totals)) };
        }
        for (row, sum) in rows[first_rest * size..].chunks_exact(size).zip(rest) {
            *sum = dot_bytes(code, row, 0);
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod vnni {
    use std::arch::x86_64::*;

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load<T>(slice: &[T], byte: usize) -> __m512i {
        assert!(byte + 64 <= size_of_val(slice));
        // SAFETY: 64 bytes from `byte` on are inside of the slice.
        unsafe { _mm512_loadu_si512(slice.as_ptr().cast::<u8>().add(byte).cast()) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(in super::super) fn dot_bytes(code: &[u8], signed: &[i8], excess: i32) -> i32 {
        let whole = code.len().min(signed.len()) / 64 * 64;
        let mut sum = _mm512_setzero_si512();
        for byte in (0..whole).step_by(64) {
            sum = _mm512_dpbusd_epi32(sum, load(code, byte), load(signed, byte));
        }
        let rest = code[whole..].iter().zip(&signed[whole..]);
        let rest = rest.map(|(&a, &b)| i32::from(a) * i32::from(b)).sum::<i32>();
        _mm512_reduce_add_epi32(sum) + rest - excess
    }

    /// Eight rows at a time, whose sums are added up together.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
    pub(in super::super) fn dots_bytes(code: &[u8], rows: &[i8], excess: &[i32], sums: &mut [i32]) {
        let size = code.len();
        if !size.is_multiple_of(64) {
            return super::dots_bytes_body(code, rows, excess, sums);
        }
        let (groups, rest) = sums.as_chunks_mut::<8>();
        let first_rest = groups.len() * 8;
        for (group, sums) in groups.iter_mut().enumerate() {
            let rows = &rows[group * 8 * size..(group + 1) * 8 * size];
            let mut totals = [_mm512_setzero_si512(); 8];
            for byte in (0..size).step_by(64) {
                let query = load(code, byte);
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
            let excess: &[i32; 8] = excess[group * 8..].first_chunk().expect("every row has its excess");
            // SAFETY: `sums` and `excess` are eight i32 long.
            unsafe {
                let excess = _mm256_loadu_si256(excess.as_ptr().cast());
                let total = _mm256_sub_epi32(_mm256_add_epi32(low, high), excess);
                _mm256_storeu_si256(sums.as_mut_ptr().cast(), total);
            }
        }
        let rows = rows[first_rest * size..].chunks_exact(size);
        for ((row, &excess), sum) in rows.zip(&excess[first_rest..]).zip(rest) {
            *sum = dot_bytes(code, row, excess);
        }
    }
}
