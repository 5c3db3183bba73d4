//! A report as a table, which is Markdown as well.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use twofold_client::types::evaluation::{Evaluation, StageReport};

use super::super::output::plain;

/// The measures of a stage with their names.
pub(super) fn measures(evaluation: &Evaluation, stage: &StageReport) -> [(String, f64); 6] {
    let Evaluation { k, limit, .. } = evaluation;
    let metrics = &stage.metrics;
    [
        (format!("nDCG@{k}"), metrics.ndcg),
        (format!("MRR@{k}"), metrics.mrr),
        (format!("P@{k}"), metrics.precision),
        (format!("Recall@{k}"), metrics.recall),
        (format!("Recall@{limit}"), metrics.recall_at_limit),
        ("MAP".to_owned(), metrics.map),
    ]
}

/// The percentiles of a stage's latency in milliseconds with their names.
pub(super) fn latencies(stage: &StageReport) -> [(&'static str, f64); 3] {
    let latency = &stage.latency;
    [("p50", latency.p50), ("p95", latency.p95), ("p99", latency.p99)]
}

/// A row for each stage.
pub(super) fn table(evaluation: &Evaluation) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    for (row, stage) in evaluation.stages.iter().enumerate() {
        let (measures, latencies) = (measures(evaluation, stage), latencies(stage));
        if row == 0 {
            let names = measures.iter().map(|(name, _)| name.clone());
            let percentiles = latencies.iter().map(|(name, _)| format!("{name} ms"));
            table.set_header(std::iter::once("stage".to_owned()).chain(names).chain(percentiles));
        }
        let measures = measures.iter().map(|(_, value)| format!("{value:.3}"));
        let times = latencies.iter().map(|(_, value)| format!("{value:.1}"));
        table.add_row(std::iter::once(plain(&stage.stage.name)).chain(measures).chain(times));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use twofold_client::types::evaluation::{EvaluationStage, Latency, Metrics};

    use super::*;

    #[test]
    fn a_row_has_the_figures_of_its_stage() {
        let stage = StageReport {
            stage: EvaluationStage::of_vector("words"),
            metrics: Metrics {
                ndcg: 0.35349,
                map: 1.0,
                ..Metrics::default()
            },
            latency: Latency {
                p50: 1.25,
                p95: 2.0,
                p99: 30.0,
            },
            rankings: Vec::new(),
        };
        let evaluation = Evaluation {
            queries: 7,
            unjudged_queries: 0,
            k: 10,
            limit: 100,
            stages: vec![stage],
        };
        let table = table(&evaluation);
        let rows: Vec<Vec<&str>> = table
            .lines()
            .filter(|line| !line.contains("--"))
            .map(|line| line.split(['|', ' ']).filter(|cell| !cell.is_empty()).collect())
            .collect();
        let row = [
            "words", "0.353", "0.000", "0.000", "0.000", "0.000", "1.000", "1.2", "2.0", "30.0",
        ];
        assert_eq!(rows[1], row, "{table}");
        assert_eq!(rows[0][..3], ["stage", "nDCG@10", "MRR@10"], "{table}");
    }
}
