//! MurmurHash3 of 32 bits (Austin Appleby, public domain), with seed 0: the number of a term.

const ROUND: [u32; 2] = [0xcc9e_2d51, 0x1b87_3593];

/// The hash of some bytes.
pub(super) fn murmur3(bytes: &[u8]) -> u32 {
    let mut hash = 0u32;
    let (blocks, tail) = bytes.as_chunks::<4>();
    for &block in blocks {
        hash ^= mixed(u32::from_le_bytes(block));
        hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    if !tail.is_empty() {
        let mut last = [0; 4];
        last[..tail.len()].copy_from_slice(tail);
        hash ^= mixed(u32::from_le_bytes(last));
    }
    // Keys are shorter than 4 GiB.
    hash ^= bytes.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

fn mixed(block: u32) -> u32 {
    block.wrapping_mul(ROUND[0]).rotate_left(15).wrapping_mul(ROUND[1])
}

#[cfg(test)]
mod tests {
    use super::murmur3;

    #[test]
    fn published_hashes_are_reproduced() {
        for (bytes, hash) in [
            ("", 0),
            ("a", 0x3c25_69b2),
            ("aaaa", 0x7eee_d987),
            ("Hello, world!", 0xc036_3e43),
            ("The quick brown fox jumps over the lazy dog", 0x2e4f_f723),
        ] {
            assert_eq!(murmur3(bytes.as_bytes()), hash, "{bytes:?}");
        }
    }
}
