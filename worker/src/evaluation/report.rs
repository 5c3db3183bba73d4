//! From what queries found to a report.

use twofold_types::evaluation::{Evaluation, EvaluationStage, Latency, Qrels, Ranking, StageReport};

use super::metrics::{mean, measure};

/// Measures what the queries of every stage found, by the judgements of these queries. Rankings of the same stages that were found
/// in several requests may stand together.
///
/// Every stage has a ranking of each query. `k` and `limit` are those of [`Evaluation`], as is `unjudged_queries`.
pub fn report(
    stages: Vec<(EvaluationStage, Vec<Ranking>)>,
    qrels: &Qrels,
    unjudged_queries: usize,
    k: usize,
    limit: usize,
) -> Evaluation {
    let queries = stages.first().map_or(0, |(_, rankings)| rankings.len());
    let stages = stages.into_iter().map(|(stage, rankings)| {
        let measures: Vec<_> = rankings
            .iter()
            .map(|ranking| {
                let documents = ranking.documents.iter().map(|(document, _)| document.as_str());
                measure(
                    documents,
                    qrels.get(&ranking.query).unwrap_or(&Default::default()),
                    k,
                    limit,
                )
            })
            .collect();
        StageReport {
            stage,
            metrics: mean(&measures),
            latency: latency(rankings.iter().map(|ranking| ranking.milliseconds).collect()),
            rankings,
        }
    });
    Evaluation {
        queries,
        unjudged_queries,
        k,
        limit,
        stages: stages.collect(),
    }
}

fn latency(mut times: Vec<f64>) -> Latency {
    times.sort_unstable_by(f64::total_cmp);
    // The smallest time that so many of 100 do not exceed.
    let percentile = |percent: usize| {
        let rank = (times.len() * percent).div_ceil(100);
        times.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    };
    Latency {
        p50: percentile(50),
        p95: percentile(95),
        p99: percentile(99),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let of = |times: std::ops::RangeInclusive<u32>| latency(times.rev().map(f64::from).collect());
        let latency = |p50, p95, p99| Latency { p50, p95, p99 };
        assert_eq!(of(1..=100), latency(50.0, 95.0, 99.0));
        assert_eq!(of(1..=10), latency(5.0, 10.0, 10.0));
        assert_eq!(of(7..=7), latency(7.0, 7.0, 7.0));
        assert_eq!(super::latency(Vec::new()), Latency::default());
    }

    #[test]
    fn figures_are_means_over_queries_and_unjudged_documents_count_as_irrelevant() {
        let grades = |document: &str| BTreeMap::from([(document.to_owned(), 1)]);
        let qrels = Qrels::from([("a".to_owned(), grades("x")), ("b".to_owned(), grades("y"))]);
        let ranking = |query: &str, documents: &[&str]| Ranking {
            query: query.to_owned(),
            milliseconds: 1.0,
            documents: documents.iter().map(|&id| (id.to_owned(), 1.0)).collect(),
        };
        let rankings = vec![ranking("a", &["unjudged", "x"]), ranking("b", &[])];
        let evaluation = report(vec![(EvaluationStage::of_vector(""), rankings)], &qrels, 3, 10, 100);
        assert_eq!((evaluation.queries, evaluation.unjudged_queries), (2, 3));
        let metrics = evaluation.stages[0].metrics;
        assert_eq!((metrics.mrr, metrics.recall, metrics.precision), (0.25, 0.5, 0.05));
    }
}
