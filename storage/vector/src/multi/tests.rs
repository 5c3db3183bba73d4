use super::*;

/// Numbers between -1 and 1 that look random.
fn numbers(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

const DIMENSIONS: usize = 24;

/// Enough for a first stage.
const POINTS: u32 = 2_400;

/// The vectors of a text: each stands for one of 300 words, at unit length.
fn text(seed: u64, vectors: usize) -> Vec<f32> {
    let mut word_of = numbers(seed);
    let mut rows = Vec::new();
    for _ in 0..vectors {
        let mut word = numbers(1 + (word_of().abs() * 300.0) as u64 * 7919);
        let mut noise = numbers(seed ^ rows.len() as u64);
        let mut row: Vec<f32> = (0..DIMENSIONS).map(|_| word() + 0.5 * noise()).collect();
        crate::kernel::normalise(&mut row);
        rows.extend(row);
    }
    rows
}

/// Points with 8 to 23 vectors each.
fn filled(points: u32, halves: bool) -> MultiArena {
    let mut arena = MultiArena::new(DIMENSIONS, Distance::Cosine, halves);
    for offset in 0..points {
        arena.set(offset, &text(u64::from(offset), 8 + offset as usize % 16));
    }
    arena
}

fn trained(mut arena: MultiArena) -> MultiArena {
    assert!(arena.is_outgrown());
    let trained = arena.train(2, &|| false).expect("nobody cancels");
    arena.adopt(trained);
    assert!(!arena.is_outgrown());
    arena
}

fn offsets(found: &[Neighbour]) -> Vec<u32> {
    found.iter().map(|neighbour| neighbour.offset).collect()
}

/// The share of the nearest ten that two stages find, over 50 queries.
fn recall(arena: &MultiArena, mask: &Bitmap) -> f64 {
    let mut found = 0;
    for query in 0..50 {
        let query = text(1_000_000 + query, 12);
        let (nearest, _) = arena.exact(&query, 10, mask);
        let (fast, effort) = arena.search(&query, 10, mask, 0.4).expect("the mask is large enough");
        assert_eq!(fast.len(), 10);
        assert!(effort.rows < arena.vectors() / 2);
        found += offsets(&fast)
            .iter()
            .filter(|offset| offsets(&nearest).contains(offset))
            .count();
    }
    found as f64 / 500.0
}

#[test]
fn every_query_vector_counts_with_its_nearest() {
    let mut arena = MultiArena::new(2, Distance::Dot, false);
    arena.set(200, &[1.0, 0.0, 0.0, 1.0]);
    arena.set(3, &[2.0, 0.0]);
    arena.set(4, &[9.0, 9.0]);
    let published = arena.clone();
    arena.remove(4);
    let mask = arena.present().clone();
    let (found, effort) = arena.exact(&[1.0, 0.0, 0.0, 3.0], 5, &mask);
    let found: Vec<_> = found.iter().map(|n| (n.offset, n.nearness)).collect();
    assert_eq!(found, [(200, 4.0), (3, 2.0)]);
    assert_eq!(effort.rows, 3);
    assert_eq!(published.get(4), Some(vec![9.0, 9.0]));
    arena.set(3, &[0.0; 6]);
    assert_eq!(arena.get(3).unwrap().len(), 6);
    assert_eq!(arena.vectors(), 5);
    assert_eq!(arena.heap_bytes() - 2 * size_of::<Block>(), 40);
}

#[test]
fn max_sim_takes_more_vectors_than_a_register_has_lanes() {
    let (query, rows) = (text(1, 37), text(2, 21));
    for distance in [Distance::Cosine, Distance::Euclid, Distance::Manhattan] {
        let near = crate::kernel::nearness(distance);
        let nearest = |q: &[f32]| {
            rows.chunks(DIMENSIONS)
                .map(|row| near(q, row))
                .fold(f32::NEG_INFINITY, f32::max)
        };
        let plain: f32 = query.chunks(DIMENSIONS).map(nearest).sum();
        let fast = max_sim(distance, DIMENSIONS, &query, &rows);
        assert!((fast - plain).abs() < 1e-3, "{distance:?}: {fast} {plain}");
    }
}

#[test]
fn sixteen_bits_take_half_of_the_memory_and_keep_what_fits_them() {
    let mut halves = MultiArena::new(4, Distance::Dot, true);
    let mut full = MultiArena::new(4, Distance::Dot, false);
    for arena in [&mut halves, &mut full] {
        arena.set(0, &[0.1, -0.25, 1e9, 1e-9]);
    }
    let rounded: Vec<f32> = full.get(0).unwrap().into_iter().map(round_to_half).collect();
    assert_eq!(halves.get(0).unwrap(), rounded);
    assert_eq!(rounded, [0.099_975_586, -0.25, 65_504.0, 0.0]);
    assert_eq!(full.heap_bytes() - halves.heap_bytes(), 8);
    let (found, _) = halves.exact(&[0.0, -4.0, 0.0, 0.0], 1, halves.present());
    assert_eq!(found[0].nearness, 1.0);
}

#[test]
fn two_stages_find_what_comparing_all_finds_with_a_filter_or_without() {
    for halves in [false, true] {
        let arena = trained(filled(POINTS, halves));
        assert!(recall(&arena, arena.present()) >= 0.95);
        let third: Bitmap = (0..POINTS).step_by(3).collect();
        assert!(recall(&arena, &third) >= 0.95);
        let few: Bitmap = (0..300).collect();
        assert!(
            arena.search(&text(0, 8), 10, &few, 1.0).is_none(),
            "few are compared one by one"
        );
    }
}

#[test]
fn the_first_stage_keeps_up_with_writes_before_and_after_it_is_adopted() {
    let mut arena = filled(POINTS, false);
    let mut trained = arena.train(1, &|| false).expect("nobody cancels");
    let needle = |seed: u64| text(2_000_000 + seed, 12);
    let found = |arena: &MultiArena, query: &[f32]| {
        let (found, _) = arena.search(query, 1, arena.present(), 1.0).expect("there are many");
        offsets(&found)
    };
    arena.set(10_000, &needle(0));
    arena.remove(17);
    trained.follow(&arena);
    arena.set(20, &needle(1));
    arena.remove(10_000);
    arena.set(9_999, &needle(0));
    arena.adopt(trained);
    assert_eq!(found(&arena, &needle(0)), [9_999]);
    assert_eq!(found(&arena, &needle(1)), [20]);
    assert_eq!(found(&arena, &text(21, 13)), [21]);
    let published = arena.clone();
    arena.set(21, &needle(2));
    arena.set(30_000, &needle(3));
    arena.remove(9_999);
    assert_eq!(found(&arena, &needle(2)), [21]);
    assert_eq!(found(&arena, &needle(3)), [30_000]);
    assert_ne!(found(&arena, &needle(0)), [9_999]);
    assert_ne!(found(&arena, &text(17, 9)), [17]);
    assert_eq!(found(&published, &text(21, 13)), [21]);
}

#[test]
fn a_training_ends_when_it_is_cancelled_and_none_is_due_for_few_vectors() {
    assert!(!filled(1_000, false).is_outgrown());
    assert!(filled(POINTS, false).train(1, &|| true).is_none());
}

#[test]
fn halves_are_rounded_to_the_nearest() {
    for (x, expected) in [
        (0.1, 0.099_975_586),
        (1.0 / 3.0, 0.333_251_95),
        (-2.0, -2.0),
        (1e-7, 1.192_092_9e-7),
        (1e-9, 0.0),
        (2049.0, 2048.0),
        (2051.0, 2052.0),
        (1e6, 65_504.0),
    ] {
        assert_eq!(round_to_half(x), expected, "{x}");
    }
}
