use super::maintenance::SPLIT_FACTOR;
use super::*;
use crate::exact::exact;
use crate::probe::Probe;
use crate::subset::Subset;

/// Vectors around a few hundred centres, from the seed on always the same.
struct Cloud {
    state: u64,
    dimensions: usize,
    centres: Vec<Vec<f32>>,
}

/// So few that 1-bit codes are of expanded vectors, and so many that centroids have such codes.
const DIMENSIONS: [usize; 2] = [48, 256];

impl Cloud {
    fn new(seed: u64) -> Self {
        Self::of(DIMENSIONS[0], seed)
    }

    fn of(dimensions: usize, seed: u64) -> Self {
        let mut cloud = Self {
            state: seed,
            dimensions,
            centres: Vec::new(),
        };
        cloud.centres = (0..300).map(|_| cloud.normals()).collect();
        cloud
    }

    fn uniform(&mut self) -> f32 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 40) as f32 / (1u64 << 24) as f32
    }

    fn normal(&mut self) -> f32 {
        (0..6).map(|_| self.uniform() - 0.5).sum::<f32>() * 1.4
    }

    fn normals(&mut self) -> Vec<f32> {
        (0..self.dimensions).map(|_| self.normal()).collect()
    }

    fn vector(&mut self) -> Vec<f32> {
        let centre = (self.uniform() * self.centres.len() as f32) as usize;
        (0..self.dimensions)
            .map(|i| self.centres[centre][i] + 0.6 * self.normal())
            .collect()
    }

    /// Moves all centres a step.
    fn drift(&mut self, step: f32) {
        for centre in 0..self.centres.len() {
            for i in 0..self.dimensions {
                self.centres[centre][i] += step * self.normal();
            }
        }
    }
}

/// The recall of searches in whole lists, or of those in what the mask leaves of them: the lesser.
fn recall(index: &Ivf, arena: &Arena, queries: &[Vec<f32>], k: usize, mask: &Bitmap) -> f64 {
    let nothing = Bitmap::new();
    let (mut hits, mut hits_of_part, mut wanted) = (0, 0, 0);
    for query in queries {
        let truth: Vec<u32> = exact(arena, query, k, mask).0.iter().map(|near| near.offset).collect();
        let probe = Probe {
            k,
            mask,
            overlay: &nothing,
            effort: 1.0,
        };
        let (found, _) = index.search_within(arena, query, probe, index.reach, None);
        let (found_in_part, _) = index.search(arena, query, probe);
        for (found, hits) in [(found, &mut hits), (found_in_part, &mut hits_of_part)] {
            assert_eq!(found.len(), truth.len());
            *hits += found.iter().filter(|near| truth.contains(&near.offset)).count();
        }
        wanted += truth.len();
    }
    hits.min(hits_of_part) as f64 / wanted as f64
}

fn filled(distance: Distance, count: u32, cloud: &mut Cloud) -> Arena {
    let mut arena = Arena::new(cloud.dimensions, distance, true);
    for offset in 0..count {
        let mut vector = cloud.vector();
        if distance == Distance::Cosine {
            crate::kernel::normalise(&mut vector);
        }
        arena.set(offset, &vector);
    }
    arena
}

#[test]
fn recall_holds_for_every_distance_and_number_of_points() {
    let distances = [Distance::Cosine, Distance::Dot, Distance::Euclid, Distance::Manhattan];
    for (distance, dimensions) in distances
        .into_iter()
        .flat_map(|distance| DIMENSIONS.map(|n| (distance, n)))
    {
        let mut cloud = Cloud::of(dimensions, 7);
        let arena = filled(distance, 20_000, &mut cloud);
        let index = Ivf::build(&arena, 2, &|| false).unwrap();
        assert!(index.lists() > 100);
        assert_eq!(index.centroid_codes.is_some(), dimensions == DIMENSIONS[1]);
        index.check(&arena).unwrap();
        let queries: Vec<_> = (0..30).map(|_| cloud.vector()).collect();
        for k in [1, 10, 100, 1000] {
            let recall = recall(&index, &arena, &queries, k, arena.present());
            assert!(recall >= 0.95, "{distance:?} of {dimensions}, k {k}: {recall}");
        }
        let every_tenth: Bitmap = (0..20_000).step_by(10).collect();
        let recall = recall(&index, &arena, &queries, 10, &every_tenth);
        assert!(recall >= 0.95, "{distance:?} of {dimensions}, filtered: {recall}");
    }
}

#[test]
fn recall_holds_for_queries_and_filters_from_elsewhere() {
    let mut cloud = Cloud::new(8);
    let arena = filled(Distance::Euclid, 20_000, &mut cloud);
    let index = Ivf::build(&arena, 2, &|| false).unwrap();
    let elsewhere: Vec<Vec<f32>> = (0..20)
        .map(|_| cloud.normals().iter().map(|x| 3.0 * x + 1.0).collect())
        .collect();
    let far = recall(&index, &arena, &elsewhere, 10, arena.present());
    assert!(far >= 0.95, "{far}");
    // The points nearest to a query, and those farthest from it, are all that count.
    let queries: Vec<Vec<f32>> = (0..10).map(|_| cloud.vector()).collect();
    let (mut from_near, mut from_far) = (0.0, 0.0);
    for query in &queries {
        let (all, _) = exact(&arena, query, 20_000, arena.present());
        let near: Bitmap = all[..2_000].iter().map(|near| near.offset).collect();
        let far: Bitmap = all[18_000..].iter().map(|near| near.offset).collect();
        let one = std::slice::from_ref(query);
        from_near += recall(&index, &arena, one, 10, &near) / queries.len() as f64;
        from_far += recall(&index, &arena, one, 10, &far) / queries.len() as f64;
    }
    assert!(from_near >= 0.95, "{from_near}");
    assert!(from_far >= 0.95, "{from_far}");
}

#[test]
fn recall_holds_for_filters_that_exclude_the_cluster_of_a_query() {
    for distance in [Distance::Cosine, Distance::Dot, Distance::Euclid] {
        let mut cloud = Cloud::new(11);
        let centres: Vec<Vec<f32>> = (0..1_000)
            .map(|_| (0..32).map(|_| 2.0 * cloud.uniform() - 1.0).collect())
            .collect();
        let mut arena = Arena::new(32, distance, true);
        for offset in 0..30_000 {
            let centre = &centres[offset as usize % 1_000];
            let mut vector: Vec<f32> = centre.iter().map(|c| c + cloud.uniform() - 0.5).collect();
            if distance == Distance::Cosine {
                crate::kernel::normalise(&mut vector);
            }
            arena.set(offset, &vector);
        }
        let index = Ivf::build(&arena, 2, &|| false).unwrap();
        let queries: Vec<Vec<f32>> = centres.iter().step_by(20).cloned().collect();
        for share in [500, 100] {
            let mask: Bitmap = (0..30_000).filter(|offset| offset % 1_000 < share).collect();
            for k in [10, 40, 300] {
                let recall = recall(&index, &arena, &queries, k, &mask);
                assert!(recall >= 0.95, "{distance:?} {share} {k}: {recall}");
            }
        }
    }
}

#[test]
fn copies_behind_a_mask_follow_the_lists() {
    let mut cloud = Cloud::new(12);
    let mut arena = filled(Distance::Euclid, 20_000, &mut cloud);
    let index = Ivf::build(&arena, 2, &|| false).unwrap();
    let mask: Bitmap = (0..20_000).filter(|offset| offset % 7 < 2).collect();
    let queries: Vec<_> = (0..30).map(|_| cloud.vector()).collect();
    assert!(index.subsets.of(&index, &mask).is_none(), "a mask that was never seen");
    assert!(recall(&index, &arena, &queries, 10, &mask) >= 0.95);
    let subset = index.subsets.of(&index, &mask).unwrap();
    let read = |subset: &Subset, index: &Ivf| -> Vec<usize> {
        (0..index.lists())
            .filter(|&list| subset.known(list).is_some())
            .collect()
    };
    assert!(!read(&subset, &index).is_empty());

    // A few lists change: their copies are made again, the others are kept.
    let mut changed = Bitmap::new();
    for offset in (0..20_000).step_by(1_000) {
        arena.set(offset, &cloud.vector());
        changed.insert(offset);
    }
    let next = index.follow(&arena, &changed, 1, &|| false);
    let following = next.subsets.of(&next, &mask).unwrap();
    let kept = read(&following, &next);
    let unchanged = |&list: &usize| Arc::ptr_eq(&index.lists[list], &next.lists[list]);
    let expected: Vec<usize> = read(&subset, &index).into_iter().filter(unchanged).collect();
    assert!(kept == expected && !kept.is_empty() && kept.len() < read(&subset, &index).len());
    assert!(recall(&next, &arena, &queries, 10, &mask) >= 0.95);
    for list in 0..next.lists() {
        let masked = next.lists[list].offsets().iter().copied();
        let masked: Vec<u32> = masked.filter(|&offset| mask.contains(offset)).collect();
        assert_eq!(following.list(&next, list).list.offsets(), masked);
    }
}

#[test]
fn copies_behind_masks_are_bounded() {
    let mut cloud = Cloud::new(13);
    let arena = filled(Distance::Euclid, 20_000, &mut cloud);
    let index = Ivf::build(&arena, 2, &|| false).unwrap();
    let nth = |nth: usize| (0..20_000).step_by(nth).collect::<Bitmap>();
    let is_copied = |mask: &Bitmap| index.subsets.of(&index, mask).is_some();
    assert!(!is_copied(&nth(1)) && !is_copied(&nth(1)), "as much as all");
    let masks: Vec<Bitmap> = (3..8).map(nth).collect();
    let shares = |masks: &[Bitmap]| masks.iter().map(|mask| mask.len() as f64 / 20_000.0).sum::<f64>();
    assert!(shares(&masks) > 1.0);
    for mask in masks.iter().chain(&masks) {
        index.subsets.of(&index, mask);
    }
    let copies = |mask: &&Bitmap| index.subsets.peek(mask);
    let copied: Vec<Bitmap> = masks.iter().filter(copies).cloned().collect();
    assert!(copied.contains(masks.last().unwrap()) && shares(&copied) <= 0.5);
    // Others that came since are remembered instead.
    (20..40).for_each(|n| assert!(!is_copied(&nth(n))));
    assert!(!is_copied(masks.last().unwrap()));
}

#[test]
fn recall_holds_when_every_point_is_replaced_again_and_again() {
    let mut cloud = Cloud::new(9);
    let mut arena = filled(Distance::Cosine, 20_000, &mut cloud);
    let mut index = Ivf::build(&arena, 2, &|| false).unwrap();
    let mut next = 20_000;
    for round in 0..20 {
        let mut changed = Bitmap::new();
        for offset in (round..20_000).step_by(20) {
            arena.remove(offset);
            changed.insert(offset);
            let mut vector = cloud.vector();
            crate::kernel::normalise(&mut vector);
            arena.set(next, &vector);
            changed.insert(next);
            next += 1;
        }
        index = index.follow(&arena, &changed, 1, &|| false);
    }
    index.check(&arena).unwrap();
    assert_eq!(arena.present().min(), Some(20_000));
    let queries: Vec<_> = (0..50).map(|_| cloud.vector()).collect();
    let recall = recall(&index, &arena, &queries, 10, arena.present());
    assert!(recall >= 0.95, "{recall}");
}

#[test]
fn recall_holds_when_the_data_drifts_and_lists_follow() {
    for dimensions in DIMENSIONS {
        let mut cloud = Cloud::of(dimensions, 10);
        let mut arena = filled(Distance::Euclid, 20_000, &mut cloud);
        let mut index = Ivf::build(&arena, 2, &|| false).unwrap();
        let trained = index.centroids.parts().0.to_vec();
        for _ in 0..20 {
            cloud.drift(1.0);
            let mut changed = Bitmap::new();
            for _ in 0..4_000 {
                let offset = (cloud.uniform() * 20_000.0) as u32;
                arena.set(offset, &cloud.vector());
                changed.insert(offset);
            }
            index = index.follow(&arena, &changed, 1, &|| false);
        }
        index.check(&arena).unwrap();
        assert!(index.centroids.parts().0 != trained, "no list was split or dissolved");
        let longest = index.lists.iter().map(|list| list.len()).max().unwrap();
        let mean = index.lists.iter().map(|list| list.len()).sum::<usize>() / index.lists.len();
        assert!(longest < 3 * SPLIT_FACTOR * mean, "{longest} of {mean}");
        let queries: Vec<_> = (0..50).map(|_| cloud.vector()).collect();
        let recall = recall(&index, &arena, &queries, 10, arena.present());
        assert!(recall >= 0.95, "of {dimensions}: {recall}");
    }
}

#[test]
fn an_index_may_be_empty_or_hold_only_equals() {
    let mut arena = Arena::new(4, Distance::Euclid, true);
    let index = Ivf::build(&arena, 2, &|| false).unwrap();
    let probe = Probe {
        k: 3,
        mask: arena.present(),
        overlay: &Bitmap::new(),
        effort: 1.0,
    };
    assert!(index.search(&arena, &[0.0; 4], probe).0.is_empty());
    for offset in 0..20_000 {
        arena.set(offset, &[1.0, 0.0, 0.0, 0.0]);
    }
    let index = index.follow(&arena, &arena.present().clone(), 2, &|| false);
    index.check(&arena).unwrap();
    let built = Ivf::build(&arena, 2, &|| false).unwrap();
    built.check(&arena).unwrap();
    for index in [index, built] {
        let probe = Probe {
            k: 3,
            mask: arena.present(),
            overlay: &Bitmap::new(),
            effort: 1.0,
        };
        let (found, _) = index.search(&arena, &[1.0, 0.0, 0.0, 0.0], probe);
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|near| near.nearness == 0.0));
    }
}
