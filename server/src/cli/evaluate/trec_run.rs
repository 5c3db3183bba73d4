//! What stages find, in files that trec_eval reads.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use twofold_client::types::evaluation::{Evaluation, StageReport};

/// Writes a file for each stage.
pub(super) fn write(dir: &Path, evaluation: &Evaluation) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for stage in &evaluation.stages {
        let name = file_name(&stage.stage.name);
        let path = dir.join(format!("{name}.run"));
        fs::write(&path, run(stage, &name)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Lines of query, `Q0`, document, rank, score and the run's name.
fn run(stage: &StageReport, name: &str) -> anyhow::Result<String> {
    let mut run = String::new();
    for ranking in &stage.rankings {
        for (rank, (document, score)) in (1..).zip(&ranking.documents) {
            for id in [&ranking.query, document] {
                ensure!(
                    !id.contains(char::is_whitespace),
                    "the id `{id}` has a space in it, which no run file can hold"
                );
            }
            writeln!(run, "{} Q0 {document} {rank} {score} {name}", ranking.query)
                .expect("writing to a string does not fail");
        }
    }
    Ok(run)
}

/// A stage's name as one that every file system takes.
fn file_name(stage: &str) -> String {
    let words = stage.split(|c: char| !c.is_alphanumeric() && c != '_');
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join("-")
}

#[cfg(test)]
mod tests {
    use twofold_client::types::evaluation::{EvaluationStage, Latency, Metrics, Ranking};

    use super::*;

    fn stage(document: &str) -> StageReport {
        StageReport {
            stage: EvaluationStage::of_vector("words"),
            metrics: Metrics::default(),
            latency: Latency::default(),
            rankings: vec![Ranking {
                query: "q".to_owned(),
                milliseconds: 1.0,
                documents: vec![("a".to_owned(), 0.1), (document.to_owned(), -2.5)],
            }],
        }
    }

    #[test]
    fn a_run_has_a_line_for_every_document() {
        assert_eq!(
            run(&stage("b"), "words").unwrap(),
            "q Q0 a 1 0.1 words\nq Q0 b 2 -2.5 words\n"
        );
        assert!(run(&stage("b c"), "words").unwrap_err().to_string().contains("`b c`"));
        assert_eq!(file_name("dense + words/../x"), "dense-words-x");
    }
}
