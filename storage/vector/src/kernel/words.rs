//! Bits of sets: how many there are, and which.

/// How many bits are set.
#[inline(always)]
pub(super) fn count_bits_body(words: &[u64]) -> u32 {
    words.iter().map(|word| word.count_ones()).sum()
}

/// How many bits both have.
#[inline(always)]
pub(super) fn common_bits_body(a: &[u64], b: &[u64]) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a & b).count_ones()).sum()
}

/// The numbers of the `len` bits that are set. Of every word three are written, whether it has them or not, since how many it has
/// is hard to predict.
#[inline(always)]
pub(super) fn list_bits_body(words: &[u64], len: usize) -> Vec<u16> {
    const AT_ONCE: usize = 3;
    let mut list = vec![0; len + AT_ONCE];
    let mut end = 0;
    for (word, base) in words.iter().zip((0u16..).step_by(64)) {
        let mut rest = *word;
        let mut next = || {
            let low = rest.trailing_zeros() as u16;
            rest &= rest.wrapping_sub(1);
            base.wrapping_add(low)
        };
        let count = word.count_ones() as usize;
        list[end..][..AT_ONCE].fill_with(&mut next);
        if count > AT_ONCE {
            list[end..][..count]
                .iter_mut()
                .skip(AT_ONCE)
                .for_each(|low| *low = next());
        }
        end += count;
    }
    list.truncate(len);
    list
}
