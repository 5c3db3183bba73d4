//! Scans by byte shuffles of 32 bytes.

use std::arch::x86_64::*;

use super::*;

/// The sums of the sixteen codes of a block: of the first eight, and of the others.
#[inline]
#[target_feature(enable = "avx2")]
fn sums(bits: &[Slice], tables: &[[u8; 128]]) -> [__m256i; 2] {
    let nibble = _mm256_set1_epi8(0x0f);
    let mut sums = [_mm256_setzero_si256(); 2];
    for (bits, tables) in bits.chunks(SUMMED).zip(tables.chunks(SUMMED)) {
        // Sums of codes with even numbers plus 256 times those with odd ones, and the latter alone.
        let (mut both, mut odd) = (_mm256_setzero_si256(), _mm256_setzero_si256());
        for (slice, tables) in bits.iter().zip(tables) {
            let half = |half: usize| {
                // SAFETY: a slice has 64 bytes and its tables 128; `half` is 0 or 1.
                let (code, lower, upper) = unsafe {
                    let tables = tables.as_ptr().add(32 * half);
                    (
                        _mm256_load_si256(slice.0.as_ptr().cast::<__m256i>().add(half)),
                        _mm256_loadu_si256(tables.cast()),
                        _mm256_loadu_si256(tables.add(64).cast()),
                    )
                };
                _mm256_add_epi8(
                    _mm256_shuffle_epi8(lower, _mm256_and_si256(code, nibble)),
                    _mm256_shuffle_epi8(upper, _mm256_and_si256(_mm256_srli_epi16::<4>(code), nibble)),
                )
            };
            let sum = _mm256_add_epi8(half(0), half(1));
            both = _mm256_add_epi16(both, sum);
            odd = _mm256_add_epi16(odd, _mm256_srli_epi16::<8>(sum));
        }
        let even = _mm256_sub_epi16(both, _mm256_slli_epi16::<8>(odd));
        let fold = |x: __m256i| (_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
        let widen = |x: __m128i| _mm256_cvtepu16_epi32(x);
        for (even, odd) in [(fold(even).0, fold(odd).0), (fold(even).1, fold(odd).1)] {
            sums[0] = _mm256_add_epi32(sums[0], widen(_mm_unpacklo_epi16(even, odd)));
            sums[1] = _mm256_add_epi32(sums[1], widen(_mm_unpackhi_epi16(even, odd)));
        }
    }
    sums
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn scan(
    codes: Codes<'_>,
    query: &ScanQuery,
    base: f32,
    threshold: f32,
    mut block: usize,
    passed: &mut Passed,
) -> usize {
    let blocks = codes.bits.len() / codes.slices;
    let (tables, _) = query.bytes.as_chunks::<128>();
    assert!(tables.len() == codes.slices && codes.factors.len() == 2 * blocks);
    let (low, step) = (_mm256_set1_ps(query.low), _mm256_set1_ps(query.step));
    let (base, least) = (_mm256_set1_ps(base), _mm256_set1_ps(threshold));
    while block < blocks && passed.has_room() {
        let sums = sums(&codes.bits[block * codes.slices..(block + 1) * codes.slices], tables);
        let mut estimates = [0.0f32; BLOCK];
        let mut mask = 0;
        for (half, sums) in sums.into_iter().enumerate() {
            // SAFETY: there are two times sixteen factors for every block, and `half` is 0 or 1.
            let (scale, add) = unsafe {
                let factors = codes.factors.as_ptr().add(2 * block).cast::<f32>().add(8 * half);
                (_mm256_load_ps(factors), _mm256_load_ps(factors.add(BLOCK)))
            };
            let product = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), step, low);
            let estimate = _mm256_add_ps(_mm256_fmadd_ps(product, scale, add), base);
            let above = _mm256_cmp_ps::<_CMP_GT_OQ>(estimate, least);
            mask |= (_mm256_movemask_ps(above) as u32) << (8 * half);
            // SAFETY: `half` is 0 or 1 and there are sixteen estimates.
            unsafe { _mm256_storeu_ps(estimates.as_mut_ptr().add(8 * half), estimate) };
        }
        passed.take(block, mask, &estimates);
        block += 1;
    }
    block
}
