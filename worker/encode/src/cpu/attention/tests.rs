use super::*;

fn random(len: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 22) as f32 - 2.0
    };
    std::iter::repeat_with(&mut next).take(len).collect()
}

/// Plain sums over one text.
fn plainly(attention: Attention, qkv: &[f32], seen: usize) -> Vec<f64> {
    let Attention {
        heads,
        key_heads,
        width,
        scale,
        distances,
    } = attention;
    let rows: Vec<&[f32]> = qkv.chunks_exact(attention.row()).collect();
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let mut attended = Vec::new();
    for (i, query) in rows.iter().enumerate() {
        for head in 0..heads {
            let key_head = head / (heads / key_heads);
            let part = |row: &[f32], head: usize| row[head * width..(head + 1) * width].to_vec();
            let weights: Vec<f64> = rows
                .iter()
                .take(seen)
                .enumerate()
                .map(|(j, row)| {
                    let owed = distances.map_or(0.0, |distances| {
                        let columns = 2 * distances.positions - 1;
                        let head = head % (distances.table.len() / columns);
                        f64::from(distances.table[head * columns + distances.positions - 1 + j - i])
                    });
                    let score = product(&part(query, head), &part(row, heads + key_head));
                    (score * f64::from(scale) + owed).exp()
                })
                .collect();
            let total: f64 = weights.iter().sum();
            for k in 0..width {
                let value = |row: &[f32]| f64::from(row[(heads + key_heads + key_head) * width + k]);
                let sum: f64 = rows.iter().zip(&weights).map(|(row, weight)| weight * value(row)).sum();
                attended.push(sum / total);
            }
        }
    }
    attended
}

#[track_caller]
fn assert_plain(attention: Attention, lengths: &[usize]) {
    assert_plain_where(attention, lengths, lengths);
}

#[track_caller]
fn assert_plain_where(attention: Attention, lengths: &[usize], seen: &[usize]) {
    let n: usize = lengths.iter().sum();
    let hidden = attention.heads * attention.width;
    let qkv = random(n * attention.row());
    let mut rest = &qkv[..];
    let mut expected = Vec::new();
    for (len, &seen) in lengths.iter().zip(seen) {
        let (text, others) = rest.split_at(len * attention.row());
        expected.extend(plainly(attention, text, seen));
        rest = others;
    }
    for instructions in Instructions::supported() {
        for threads in [1, 3] {
            let mut ours = vec![f32::NAN; n * hidden];
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| attention.forward(&qkv, lengths, seen, &mut ours, instructions));
            for (i, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
                let difference = (f64::from(*ours) - expected).abs();
                assert!(
                    difference < 1e-5,
                    "{instructions:?}, token {}: {ours} {expected}",
                    i / hidden
                );
            }
        }
    }
}

const PLAIN: Attention = Attention {
    heads: 4,
    key_heads: 4,
    width: 32,
    scale: 0.2,
    distances: None,
};

#[test]
fn texts_of_any_length_equal_plain_sums() {
    assert_plain(PLAIN, &[1, 17, 0, 16, 2, 33, 25]);
    // Longer than the scores that are held at a time.
    assert_plain(
        Attention {
            heads: 1,
            key_heads: 1,
            ..PLAIN
        },
        &[KEYS + 60],
    );
}

#[test]
fn tokens_that_are_not_seen_attend_to_those_that_are() {
    assert_plain_where(PLAIN, &[32, 8, 90, KEYS + 60], &[7, 8, 1, KEYS + 3]);
}

#[test]
fn heads_of_any_width_share_keys() {
    for (key_heads, width) in [(2, 8), (1, 40), (4, 1), (2, 64)] {
        assert_plain(
            Attention {
                key_heads,
                width,
                ..PLAIN
            },
            &[19, 50],
        );
    }
}

#[test]
fn distances_count_and_what_is_out_of_reach_is_not_seen() {
    let positions = KEYS + 200;
    let last = positions as isize - 1;
    for (heads, lowest, highest) in [(2, -last, last), (1, -last, 0), (2, -20, 20), (1, -3, 1)] {
        let table: Vec<f32> = (0..heads)
            .flat_map(|head| (-last..=last).map(move |distance| (head, distance)))
            .map(|(head, distance)| {
                let masked = distance < lowest || distance > highest;
                if masked {
                    -30_000.0
                } else {
                    (head + 1) as f32 * -0.01 * distance as f32
                }
            })
            .collect();
        let distances = Some(Distances {
            table: &table,
            positions,
            lowest,
            highest,
        });
        assert_plain(
            Attention {
                heads: 2,
                key_heads: 2,
                width: 16,
                scale: 0.2,
                distances,
            },
            &[KEYS + 90, 1, 40],
        );
    }
}
