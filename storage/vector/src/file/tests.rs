use twofold_types::Distance;

use super::*;
use crate::arena::HeapBytes;
use crate::bitmap::Bitmap;
use crate::probe::Probe;

fn arena(dimensions: u32, count: u32, codes: bool) -> Arena {
    let mut arena = Arena::new(dimensions as usize, Distance::Cosine, codes);
    for offset in (0..count).filter(|offset| offset % 7 != 3 && !(200..500).contains(offset)) {
        let mut vector: Vec<f32> = (0..dimensions)
            .map(|i| ((offset * 37 + i * 101).wrapping_mul(2_654_435) >> 8) as f32 % 97.0 - 48.0)
            .collect();
        crate::kernel::normalise(&mut vector);
        arena.set(offset, &vector);
    }
    arena
}

#[test]
fn what_was_written_is_read_and_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vectors");
    // Of the longer vectors 1-bit codes tell centroids apart.
    for dimensions in [24, 264] {
        let arena = arena(dimensions, 20_000, true);
        let index = Ivf::build(&arena, 2, &|| false).unwrap();
        write_checkpoint(&path, &arena, Some(&index), 77).unwrap();
        for mapped in [false, true] {
            let read =
                read_checkpoint(&path, &Arena::new(dimensions as usize, Distance::Cosine, true), mapped).unwrap();
            assert_eq!(read.seq, 77);
            assert_eq!(read.arena.present(), arena.present());
            let restored = read.index.unwrap();
            restored.check(&read.arena).unwrap();
            assert_eq!(restored.reach, index.reach);
            for offset in [0, 501, 19_999] {
                assert_eq!(read.arena.get(offset), arena.get(offset));
                let probe = Probe {
                    k: 20,
                    mask: arena.present(),
                    overlay: &Bitmap::new(),
                    effort: 1.0,
                };
                let query = arena.get(offset).unwrap();
                assert_eq!(
                    restored.search(&read.arena, query, probe),
                    index.search(&arena, query, probe)
                );
            }
            // A mapped block is copied before it is written to.
            let mut changed = read.arena.clone();
            let vector = vec![0.5; dimensions as usize];
            changed.set(0, &vector);
            assert_eq!(read.arena.get(0), arena.get(0));
            assert_eq!(changed.get(0), Some(vector.as_slice()));
            assert_eq!(changed.get(1), arena.get(1));
            let followed = restored.follow(&changed, &[0].into_iter().collect(), 1, &|| false);
            followed.check(&changed).unwrap();
        }
    }
}

#[test]
fn every_damage_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vectors");
    let arena = arena(24, 1_000, true);
    let index = Ivf::build(&arena, 2, &|| false).unwrap();
    write_checkpoint(&path, &arena, Some(&index), 1).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        read_checkpoint(&path, &Arena::new(24, Distance::Cosine, true), false)
    };
    assert!(read(&whole).is_ok());
    for place in (0..whole.len()).step_by(whole.len() / 50) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x10;
        // What no section covers may change unnoticed, as long as nothing of it is read.
        if let Ok(read) = read(&bytes) {
            assert_eq!(read.arena.get(999), arena.get(999), "byte {place}");
        }
        assert!(read(&whole[..place]).is_err(), "cut at {place}");
    }
    assert!(read_checkpoint(&path, &Arena::new(25, Distance::Cosine, true), false).is_err());
}

#[test]
fn vectors_without_codes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vectors");
    let arena = arena(24, 700, false);
    write_checkpoint(&path, &arena, None, 5).unwrap();
    let read = read_checkpoint(&path, &Arena::new(24, Distance::Cosine, false), true).unwrap();
    assert!(read.index.is_none());
    assert_eq!(read.arena.get(699), arena.get(699));
    assert_eq!(read.arena.heap_bytes(), HeapBytes::default());
    let coded = read_checkpoint(&path, &Arena::new(24, Distance::Cosine, true), true);
    assert!(coded.is_err(), "there are no codes to read");
}

#[test]
fn rows_and_codes_leave_the_heap_while_vectors_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vectors");
    let written = arena(24, 2_000, true);
    write_checkpoint(&path, &written, None, 5).unwrap();
    let (ids, mut moved) = (written.block_ids(), written.clone());
    moved.set(1_999, &[0.25; 24]);
    let stored = MappedRows::open(&path, 24).unwrap();
    let blocks = moved.block_numbers();
    moved.map_rows(&ids, &stored, 0..8);
    moved.map_rows(&ids, &stored, 8..blocks.end);
    let held = moved.heap_bytes();
    assert!(held.codes > 0 && held.codes <= written.heap_bytes().codes, "{held:?}");
    assert!(held.rows > 0 && held.rows <= crate::arena::BLOCK * 24 * 4, "{held:?}");
    let mut uncoded = moved.clone();
    uncoded.drop_codes(0..8);
    uncoded.set(3, &[0.5; 24]);
    uncoded.drop_codes(8..blocks.end);
    assert_eq!(uncoded.heap_bytes().codes, 0);
    assert!(!uncoded.has_codes());
    for offset in [0, 2, 501, 1_998] {
        assert_eq!(moved.get(offset), written.get(offset));
        assert_eq!(uncoded.get(offset), written.get(offset));
    }
    assert_eq!(uncoded.get(1_999), Some([0.25; 24].as_slice()));
    assert_eq!(uncoded.get(3), Some([0.5; 24].as_slice()));
    // A checkpoint with codes serves vectors that keep none.
    let read = read_checkpoint(&path, &Arena::new(24, Distance::Cosine, false), true).unwrap();
    assert_eq!(read.arena.heap_bytes(), HeapBytes::default());
    assert_eq!(read.arena.get(1_998), written.get(1_998));
}
