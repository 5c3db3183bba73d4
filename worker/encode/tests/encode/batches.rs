//! A text's vector is its own: neither the texts beside it, nor their order, nor the size of the batch, nor the threads
//! have a part in it.

use twofold_encode::Model;
use twofold_types::Role;

use crate::support::{MODEL, REFERENCE, assert_same, model_with_budget};

fn assert_all(model: &Model, order: &[usize]) {
    let texts: Vec<&str> = order.iter().map(|&i| REFERENCE.texts[i].text.as_str()).collect();
    let ours = model.embed(&texts, Role::Document).unwrap();
    assert_eq!(ours.len(), order.len());
    for (ours, &i) in ours.iter().zip(order) {
        assert_same(ours, &REFERENCE.texts[i].vector, &REFERENCE.texts[i].text);
    }
}

/// A permutation of the references, another one for each seed.
fn shuffled(seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..REFERENCE.texts.len()).collect();
    order.sort_by_key(|&i| {
        (i as u64 + 1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(seed as u32)
            ^ seed
    });
    order
}

#[test]
fn all_texts_at_once_in_any_order_equal_the_reference() {
    for seed in 0..4 {
        assert_all(&MODEL, &shuffled(seed * 7));
    }
}

#[test]
fn one_forward_pass_of_very_unequal_lengths_equals_the_reference() {
    let everything = model_with_budget(usize::MAX / 1024);
    assert_all(&everything, &shuffled(3));
}

#[test]
fn batches_of_every_size_equal_the_reference() {
    for budget in [1, 64, 300, 700] {
        assert_all(&model_with_budget(budget), &shuffled(budget as u64 % 60));
    }
}

#[test]
fn equal_lengths_share_a_batch() {
    let lengths = |i: usize| REFERENCE.texts[i].ids.len();
    let pairs: Vec<[usize; 2]> = (0..REFERENCE.texts.len())
        .flat_map(|a| (a + 1..REFERENCE.texts.len()).map(move |b| [a, b]))
        .filter(|&[a, b]| lengths(a) == lengths(b))
        .collect();
    assert!(pairs.len() >= 3, "the references hold texts of equal length");
    for pair in pairs {
        assert_all(&MODEL, &pair);
    }
}

#[test]
fn the_same_text_many_times_gives_the_same_vector() {
    assert_all(&MODEL, &[30; 40]);
}

#[test]
fn no_texts_give_no_vectors() {
    assert_eq!(MODEL.embed(&[""; 0], Role::Query).unwrap(), Vec::<Vec<f32>>::new());
}

#[test]
fn lanes_with_pools_of_any_size_share_one_encoder() {
    std::thread::scope(|scope| {
        for threads in [1, 1, 3] {
            scope.spawn(move || {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| assert_all(&MODEL, &shuffled(threads as u64)));
            });
        }
    });
}
