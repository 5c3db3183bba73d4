//! Scans by byte shuffles of 64 bytes.

use std::arch::x86_64::*;

use super::*;

/// A query as tables, as [`tables_body`] makes them.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
pub(in super::super) fn scan_query(query: &[f32]) -> ScanQuery {
    /// A bit for every entry that has the bit.
    const HAVING: [u16; GROUP] = [0xaaaa, 0xcccc, 0xf0f0, 0xff00];
    let mut spans = vec![0.0f32; query.len()];
    let (mut most, mut total) = (_mm512_setzero_ps(), _mm512_setzero_ps());
    for (x, span) in query.as_chunks::<16>().0.iter().zip(spans.as_chunks_mut::<16>().0) {
        // SAFETY: both have sixteen components.
        unsafe {
            let x = _mm512_abs_ps(_mm512_loadu_ps(x.as_ptr()));
            total = _mm512_add_ps(total, x);
            let pairs = _mm512_add_ps(x, _mm512_permute_ps::<0b10_11_00_01>(x));
            let groups = _mm512_add_ps(pairs, _mm512_permute_ps::<0b01_00_11_10>(pairs));
            most = _mm512_max_ps(most, groups);
            _mm512_storeu_ps(span.as_mut_ptr(), groups);
        }
    }
    let step = 2.0 * _mm512_reduce_max_ps(most) / LARGEST;
    let inverse = _mm512_set1_ps(if step > 0.0 { 1.0 / step } else { 0.0 });
    let signs = HAVING.map(|having| _mm512_mask_sub_ps(inverse, !having, _mm512_setzero_ps(), inverse));
    let mut bytes = vec![0; query.len() / GROUP * 16];
    let groups = query.as_chunks::<{ 8 * GROUP }>().0.iter();
    let groups = groups.zip(spans.as_chunks::<{ 8 * GROUP }>().0);
    for ((groups, spans), tables) in groups.zip(bytes.as_chunks_mut::<128>().0) {
        for number in 0..8 {
            let place = GROUP * number;
            let mut sums = _mm512_mul_ps(_mm512_set1_ps(spans[place]), inverse);
            for bit in 0..GROUP {
                sums = _mm512_fmadd_ps(_mm512_set1_ps(groups[place + bit]), signs[bit], sums);
            }
            let (byte, half) = (number / 2, number % 2);
            let table = &mut tables[64 * half + 16 * byte..][..16];
            let entries = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(sums));
            // SAFETY: a table has sixteen bytes.
            unsafe { _mm_storeu_si128(table.as_mut_ptr().cast(), entries) };
        }
    }
    ScanQuery {
        bytes,
        low: -_mm512_reduce_add_ps(total),
        step,
    }
}

/// How many slices ahead memory is asked for.
const AHEAD: usize = 16;

/// The sums of the sixteen codes of a block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2")]
fn sums(bits: &[Slice], tables: &[[u8; 128]]) -> __m512i {
    let nibble = _mm512_set1_epi8(0x0f);
    let mut sums = _mm512_setzero_si512();
    for (bits, tables) in bits.chunks(SUMMED).zip(tables.chunks(SUMMED)) {
        // Sums of codes with even numbers plus 256 times those with odd ones, and the latter alone.
        let (mut both, mut odd) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        let pairs = bits.as_chunks::<2>().0.iter().zip(tables.as_chunks::<2>().0);
        for (slices, tables) in pairs {
            let [first, second] = [0, 1].map(|i| {
                let (slice, tables) = (&slices[i], &tables[i]);
                // SAFETY: a slice has 64 bytes and its tables 128; a prefetch reads nothing.
                let (code, lower, upper) = unsafe {
                    let code = slice.0.as_ptr().cast::<u8>();
                    _mm_prefetch::<_MM_HINT_T0>(code.wrapping_add(AHEAD * size_of::<Slice>()).cast());
                    (
                        _mm512_load_si512(code.cast()),
                        _mm512_loadu_si512(tables.as_ptr().cast()),
                        _mm512_loadu_si512(tables.as_ptr().add(64).cast()),
                    )
                };
                _mm512_add_epi8(
                    _mm512_shuffle_epi8(lower, _mm512_and_si512(code, nibble)),
                    _mm512_shuffle_epi8(upper, _mm512_and_si512(_mm512_srli_epi16::<4>(code), nibble)),
                )
            });
            let sum = _mm512_add_epi8(first, second);
            both = _mm512_add_epi16(both, sum);
            odd = _mm512_add_epi16(odd, _mm512_srli_epi16::<8>(sum));
        }
        let even = _mm512_sub_epi16(both, _mm512_slli_epi16::<8>(odd));
        // In each quarter eight sums of two bytes: of codes with even numbers, and of those with odd ones.
        let widen = |even: __m128i, odd: __m128i| {
            let all = _mm256_set_m128i(_mm_unpackhi_epi16(even, odd), _mm_unpacklo_epi16(even, odd));
            _mm512_cvtepu16_epi32(all)
        };
        let quarters = [
            widen(
                _mm512_extracti32x4_epi32::<0>(even),
                _mm512_extracti32x4_epi32::<0>(odd),
            ),
            widen(
                _mm512_extracti32x4_epi32::<1>(even),
                _mm512_extracti32x4_epi32::<1>(odd),
            ),
            widen(
                _mm512_extracti32x4_epi32::<2>(even),
                _mm512_extracti32x4_epi32::<2>(odd),
            ),
            widen(
                _mm512_extracti32x4_epi32::<3>(even),
                _mm512_extracti32x4_epi32::<3>(odd),
            ),
        ];
        let halves = (
            _mm512_add_epi32(quarters[0], quarters[1]),
            _mm512_add_epi32(quarters[2], quarters[3]),
        );
        sums = _mm512_add_epi32(sums, _mm512_add_epi32(halves.0, halves.1));
    }
    sums
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
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
    let (low, step) = (_mm512_set1_ps(query.low), _mm512_set1_ps(query.step));
    let (base, least) = (_mm512_set1_ps(base), _mm512_set1_ps(threshold));
    while block < blocks && passed.has_room() {
        let sums = sums(&codes.bits[block * codes.slices..(block + 1) * codes.slices], tables);
        // SAFETY: there are two times sixteen factors for every block.
        let (scale, add) = unsafe {
            let factors = codes.factors.as_ptr().add(2 * block).cast::<f32>();
            (_mm512_load_ps(factors), _mm512_load_ps(factors.add(BLOCK)))
        };
        let product = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), step, low);
        let estimate = _mm512_add_ps(_mm512_fmadd_ps(product, scale, add), base);
        let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(estimate, least);
        if above != 0 {
            let mut estimates = [0.0f32; BLOCK];
            // SAFETY: there are sixteen estimates.
            unsafe { _mm512_storeu_ps(estimates.as_mut_ptr(), estimate) };
            passed.take(block, u32::from(above), &estimates);
        }
        block += 1;
    }
    block
}
