//! Measures of a ranking, as trec_eval defines them.
//!
//! A document is relevant from grade 1 on; one without a judgement is not. A query without any relevant document scores 0.

use std::collections::BTreeMap;

use twofold_types::evaluation::Metrics;

/// The grade from which on a document is relevant.
const RELEVANT: i64 = 1;

/// Puts documents in the order in which they are judged: by score, and where that is equal, by descending id.
pub(super) fn sort(documents: &mut [(String, f32)]) {
    documents
        .sort_unstable_by(|(a, score_of_a), (b, score_of_b)| score_of_b.total_cmp(score_of_a).then_with(|| b.cmp(a)));
}

/// Measures one query's documents, the best first and at most `limit` of them, by the grades of all documents that were judged.
pub(super) fn measure<'a>(
    documents: impl Iterator<Item = &'a str>,
    grades: &BTreeMap<String, i64>,
    k: usize,
    limit: usize,
) -> Metrics {
    let found: Vec<i64> = documents
        .take(limit)
        .map(|document| grades.get(document).copied().unwrap_or(0))
        .collect();
    let mut ideal: Vec<i64> = grades.values().copied().filter(|&grade| grade >= RELEVANT).collect();
    ideal.sort_unstable_by(|a, b| b.cmp(a));

    let relevant = ideal.len();
    let ranks = || {
        (1..)
            .zip(&found)
            .filter(|&(_, &grade)| grade >= RELEVANT)
            .map(|(rank, _)| rank)
    };
    let within = |k: usize| ranks().take_while(|&rank: &usize| rank <= k).count();
    let precisions = (1..).zip(ranks()).map(|(count, rank)| share(count, rank));
    Metrics {
        ndcg: share_of(discounted(&found, k), discounted(&ideal, k)),
        mrr: ranks()
            .next()
            .filter(|&rank| rank <= k)
            .map_or(0.0, |rank| share(1, rank)),
        precision: share(within(k), k),
        recall: share(within(k), relevant),
        recall_at_limit: share(within(limit), relevant),
        map: share_of(precisions.sum(), relevant as f64),
    }
}

/// The means of measures; of none, zeros.
pub(super) fn mean(measures: &[Metrics]) -> Metrics {
    let mean = |of: fn(&Metrics) -> f64| share_of(measures.iter().map(of).sum(), measures.len() as f64);
    Metrics {
        ndcg: mean(|metrics| metrics.ndcg),
        mrr: mean(|metrics| metrics.mrr),
        precision: mean(|metrics| metrics.precision),
        recall: mean(|metrics| metrics.recall),
        recall_at_limit: mean(|metrics| metrics.recall_at_limit),
        map: mean(|metrics| metrics.map),
    }
}

/// Discounted cumulative gain of the best `k`: the sum of grade / log2(rank + 1). Grades below 0 gain nothing.
fn discounted(grades: &[i64], k: usize) -> f64 {
    let gain = |(rank, &grade): (u32, &i64)| grade.max(0) as f64 / f64::from(rank + 1).log2();
    (1..).zip(grades.iter().take(k)).map(gain).sum()
}

fn share(part: usize, whole: usize) -> f64 {
    share_of(part as f64, whole as f64)
}

/// A part of nothing is 0.
fn share_of(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;
    use twofold_types::evaluation::Qrels;

    use super::*;

    #[derive(Deserialize)]
    struct Reference {
        k: usize,
        limit: usize,
        qrels: Qrels,
        run: BTreeMap<String, BTreeMap<String, f32>>,
        measures: BTreeMap<String, Metrics>,
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|document| format!("d{document:02}")).collect()
    }

    fn grades(grades: &[i64]) -> BTreeMap<String, i64> {
        names(grades.len()).into_iter().zip(grades.iter().copied()).collect()
    }

    fn array(metrics: &Metrics) -> [f64; 6] {
        let Metrics {
            ndcg,
            mrr,
            precision,
            recall,
            recall_at_limit,
            map,
        } = *metrics;
        [ndcg, mrr, precision, recall, recall_at_limit, map]
    }

    #[test]
    fn numbers_are_those_of_pytrec_eval() {
        let reference: Reference = serde_json::from_str(include_str!("../../tests/fixtures/trec_eval.json")).unwrap();
        assert_eq!(reference.measures.len(), reference.run.len());
        let mut all = Vec::new();
        for (query, expected) in &reference.measures {
            let mut documents: Vec<(String, f32)> = reference.run[query].clone().into_iter().collect();
            sort(&mut documents);
            let ids = documents.iter().map(|(id, _)| id.as_str());
            let metrics = measure(ids, &reference.qrels[query], reference.k, reference.limit);
            for (ours, theirs) in array(&metrics).into_iter().zip(array(expected)) {
                assert!(
                    (ours - theirs).abs() < 1e-9,
                    "{query}: {metrics:?}, expected {expected:?}"
                );
            }
            all.push(metrics);
        }
        let ndcg = reference.measures.values().map(|metrics| metrics.ndcg).sum::<f64>() / all.len() as f64;
        assert!((mean(&all).ndcg - ndcg).abs() < 1e-9 && ndcg > 0.1);
    }

    proptest! {
        #[test]
        fn the_ideal_order_scores_one(grade in prop::collection::vec(-1_i64..4, 1..30), k in 1_usize..40) {
            let judged = grades(&grade);
            let mut ideal: Vec<(&str, i64)> = judged.iter().map(|(id, &grade)| (id.as_str(), grade)).collect();
            ideal.sort_by_key(|&(_, grade)| -grade);
            let metrics = measure(ideal.iter().map(|&(id, _)| id), &judged, k, 40);
            let best = if ideal[0].1 >= RELEVANT { 1.0 } else { 0.0 };
            for value in [metrics.ndcg, metrics.mrr, metrics.recall_at_limit, metrics.map] {
                prop_assert!((value - best).abs() < 1e-12, "{:?}", metrics);
            }
        }

        #[test]
        fn a_better_document_further_up_is_no_worse(
            grade in prop::collection::vec(-1_i64..4, 2..30),
            swap in any::<prop::sample::Index>(),
            k in 1_usize..30,
        ) {
            let judged = grades(&grade);
            let mut order = names(grade.len());
            let first = swap.index(grade.len() - 1);
            let before = measure(order.iter().map(String::as_str), &judged, k, 30);
            order.swap(first, first + 1);
            let after = measure(order.iter().map(String::as_str), &judged, k, 30);
            let (worse, better) = if grade[first] < grade[first + 1] { (before, after) } else { (after, before) };
            for (worse, better) in array(&worse).into_iter().zip(array(&better)) {
                prop_assert!(worse <= better + 1e-12, "{:?} {:?}", before, after);
            }
        }

        #[test]
        fn measures_lie_between_nothing_and_everything(
            judged in prop::collection::vec(-1_i64..4, 0..20),
            count in 0_usize..40,
            k in 1_usize..10,
        ) {
            let order = names(count);
            let metrics = measure(order.iter().map(String::as_str), &grades(&judged), k, 30);
            prop_assert!(array(&metrics).into_iter().all(|value| (0.0..=1.0 + 1e-12).contains(&value)), "{:?}", metrics);
            prop_assert!(metrics.recall <= metrics.recall_at_limit);
        }
    }
}
