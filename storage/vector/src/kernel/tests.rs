use proptest::prelude::*;

use super::*;

fn close(fast: f32, exact: f64) -> bool {
    (f64::from(fast) - exact).abs() <= 1e-4 * (1.0 + exact.abs())
}

proptest! {
    #[test]
    fn similarities_equal_plain_sums(pairs in proptest::collection::vec((-1.0f32..1.0, -1.0f32..1.0), 0..300)) {
        let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        let sum = |f: fn(f64, f64) -> f64| a.iter().zip(&b).map(|(&a, &b)| f(a.into(), b.into())).sum::<f64>();
        for set in supported() {
            prop_assert!(close(set.dot(&a, &b), sum(|a, b| a * b)), "{}", set.name);
            prop_assert!(close(set.squared_euclid(&a, &b), sum(|a, b| (a - b) * (a - b))), "{}", set.name);
            prop_assert!(close(set.manhattan(&a, &b), sum(|a, b| (a - b).abs())), "{}", set.name);
        }
    }

    #[test]
    fn byte_products_equal_plain_sums(
        bytes in proptest::collection::vec((any::<u8>(), -127i8..=127), 0..400), size in 0usize..4, rows in 0usize..20,
    ) {
        let (a, b): (Vec<u8>, Vec<i8>) = bytes.into_iter().unzip();
        let plain = |a: &[u8], b: &[i8]| a.iter().zip(b).map(|(&a, &b)| (i32::from(a) - BIAS) * i32::from(b)).sum::<i32>();
        let excess = |b: &[i8]| BIAS * b.iter().map(|&b| i32::from(b)).sum::<i32>();
        let size = (size * 32 + 32).min(a.len());
        for set in supported() {
            prop_assert_eq!(set.dot_bytes(&a, &b, excess(&b)), plain(&a, &b), "{}", set.name);
            if size > 0 {
                let rows: Vec<i8> = b.iter().copied().cycle().take(rows * size).collect();
                let mut sums = vec![0; rows.len() / size];
                let excess: Vec<i32> = rows.chunks(size).map(excess).collect();
                set.dots_bytes(&a[..size], &rows, &excess, &mut sums);
                let expected: Vec<i32> = rows.chunks(size).map(|row| plain(&a[..size], row)).collect();
                prop_assert_eq!(sums, expected, "{}", set.name);
            }
        }
    }

    #[test]
    fn the_nearest_rows_are_those_of_plain_sums(
        rows in proptest::collection::vec(-1.0f32..1.0, 0..400), query in proptest::collection::vec(-1.0f32..1.0, 16 * 9),
        dimensions in 1usize..9, before in -9.0f32..0.0,
    ) {
        let rows = &rows[..rows.len() - rows.len() % dimensions];
        let lanes: Vec<Lanes> = query.as_chunks::<16>().0[..dimensions].iter().map(|&lanes| Lanes(lanes)).collect();
        for distance in [Distance::Cosine, Distance::Dot, Distance::Euclid, Distance::Manhattan] {
            let plain = |lane: usize| rows.chunks(dimensions).map(|row| {
                let pairs = row.iter().zip(&lanes).map(|(&x, q)| (f64::from(q.0[lane]), f64::from(x)));
                pairs.map(|(q, x)| match distance {
                    Distance::Cosine | Distance::Dot => q * x,
                    Distance::Euclid => -(q - x) * (q - x),
                    Distance::Manhattan => -(q - x).abs(),
                }).sum::<f64>()
            }).fold(f64::from(before), f64::max);
            for set in supported() {
                let mut best = Lanes([before; 16]);
                set.raise(distance, &lanes, rows, &mut best);
                for (lane, &best) in best.0.iter().enumerate() {
                    prop_assert!(close(best, plain(lane)), "{} {distance:?}", set.name);
                }
            }
        }
    }

    #[test]
    fn the_largest_bytes_are_added_up(
        table in proptest::collection::vec(any::<TableRow>(), 12), width in 1usize..4, codes in proptest::collection::vec(0u16..4, 0..20),
    ) {
        let largest = |byte: usize| codes.iter().map(|&code| table[usize::from(code) * width + byte / BYTES][byte % BYTES]).max();
        let plain: u32 = (0..width * BYTES).map(|byte| u32::from(largest(byte).unwrap_or(0))).sum();
        for set in supported() {
            prop_assert_eq!(set.sum_largest(&table, width, &codes), plain, "{}", set.name);
        }
    }

    #[test]
    fn bits_are_counted_and_listed(
        words in proptest::collection::vec((any::<u64>(), any::<u64>(), 0u8..3), 0..=1024),
    ) {
        let word = |(a, b, kind): &(u64, u64, u8)| match kind {
            0 => 0,
            1 => a & b & a.rotate_left(17) & b.rotate_left(29),
            _ => a | b,
        };
        let words: Vec<u64> = words.iter().map(word).collect();
        let other: Vec<u64> = words.iter().rev().copied().collect();
        let is_set = |words: &[u64], bit: u16| words[usize::from(bit / 64)] >> (bit % 64) & 1 == 1;
        let bits = || (0..words.len() * 64).map(|bit| bit as u16);
        let members: Vec<u16> = bits().filter(|&bit| is_set(&words, bit)).collect();
        let both = bits().filter(|&bit| is_set(&words, bit) && is_set(&other, bit)).count();
        for set in supported() {
            prop_assert_eq!(set.count_bits(&words) as usize, members.len(), "{}", set.name);
            prop_assert_eq!(set.common_bits(&words, &other) as usize, both, "{}", set.name);
            prop_assert_eq!(&set.list_bits(&words, members.len()), &members, "{}", set.name);
        }
    }

    #[test]
    fn quantised_numbers_are_the_nearest_whole_ones(x in proptest::collection::vec(-1.0f32..=1.0, 0..200)) {
        for set in supported() {
            let mut bytes = vec![0; x.len()];
            set.quantise(&x, 127.0, &mut bytes);
            for (byte, x) in bytes.iter().zip(&x) {
                prop_assert!((f32::from(*byte) - x * 127.0).abs() <= 0.501, "{}", set.name);
            }
        }
    }
}

#[test]
fn a_normalised_vector_has_length_one_and_zero_stays() {
    let mut vector = vec![3.0, 4.0];
    normalise(&mut vector);
    assert_eq!(vector, [0.6, 0.8]);
    let mut zero = vec![0.0; 4];
    normalise(&mut zero);
    assert_eq!(zero, [0.0; 4]);
}

#[test]
fn nearer_is_higher_and_scores_are_the_plain_measures() {
    for distance in [Distance::Cosine, Distance::Dot, Distance::Euclid, Distance::Manhattan] {
        let near = nearness(distance);
        assert!(
            near(&[1.0, 0.0], &[0.8, 0.6]) > near(&[1.0, 0.0], &[0.0, 1.0]),
            "{distance:?}"
        );
    }
    assert_eq!(
        score(Distance::Euclid, nearness(Distance::Euclid)(&[0.0, 0.0], &[3.0, 4.0])),
        5.0
    );
    assert_eq!(
        score(
            Distance::Manhattan,
            nearness(Distance::Manhattan)(&[0.0, 0.0], &[3.0, 4.0])
        ),
        7.0
    );
}
