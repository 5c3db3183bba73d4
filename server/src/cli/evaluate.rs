//! `twofold evaluate`: how well a collection finds what people judged relevant, way by way.

mod corpus;
mod judgements;
mod plot;
mod table;
mod trec_run;

use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use twofold_client::Client;
use twofold_client::types::api::{CreateCollection, Rrf};
use twofold_client::types::evaluation::{Evaluate, Evaluation, EvaluationStage, JudgedQuery, Qrels, Ranking};
use twofold_client::types::{CollectionName, EncoderParams, ModelId};

use super::connection::Connection;
use super::output::print;

/// Queries of one request, so that it takes seconds, or with a slow reranker minutes.
const QUERIES_PER_REQUEST: usize = 20;
/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(900);
/// A server whose queue is full says when to come back; ingestion waits for as long as that goes on.
const MAX_RETRIES: usize = 10_000;

/// Options of an evaluation.
#[derive(Debug, clap::Args)]
pub(super) struct EvaluateOptions {
    /// The collection; its encoders are what is compared
    #[arg(value_name = "COLLECTION")]
    collection: CollectionName,
    /// The queries: lines of JSON with `_id` and `text`
    #[arg(long, value_name = "FILE")]
    queries: PathBuf,
    /// The judgements: `query-id`, `corpus-id` and `score` in columns as BEIR has them, or TREC's four columns
    #[arg(long, value_name = "FILE")]
    qrels: PathBuf,
    /// Documents to ingest first: lines of JSON with `_id`, `title` and `text`
    #[arg(long, value_name = "FILE")]
    corpus: Option<PathBuf>,
    /// An encoder of a collection that --corpus creates; once for each vector. For MODEL may stand an object as in the HTTP API
    /// [default: dense=sentence-transformers/all-MiniLM-L6-v2 and words=Qdrant/bm25]
    #[arg(long, value_name = "VECTOR=MODEL", value_parser = parse_encoder, requires = "corpus")]
    encoder: Vec<(String, EncoderParams)>,
    /// A vector, or several with commas between them that are fused; once for each stage [default: each vector, then all]
    #[arg(long, value_name = "VECTORS", value_parser = parse_stage)]
    stage: Vec<EvaluationStage>,
    /// The cross-encoder of one more stage, which reranks what the last one finds
    #[arg(long, value_name = "MODEL")]
    rerank: Option<String>,
    /// The vector of one more stage, which reranks what the last one finds: by MaxSim, where its encoder is a ColBERT model
    #[arg(long, value_name = "VECTOR")]
    rerank_using: Option<String>,
    /// The k of reciprocal rank fusion: how much ranks further down count [default: the server's, 2]
    #[arg(long, value_name = "K")]
    rrf_k: Option<u32>,
    /// How many of the best documents nDCG, MRR, precision and recall look at
    #[arg(long, short, default_value = "10", value_name = "N")]
    k: NonZeroUsize,
    /// How many documents are retrieved for a query, and reranked
    #[arg(long, short, default_value = "100", value_name = "N")]
    limit: NonZeroUsize,
    /// Only the first so many of the queries that have judgements
    #[arg(long, value_name = "N")]
    max_queries: Option<NonZeroUsize>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a plot as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Write what each stage finds as a run file of TREC's, `<stage>.run`
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

fn parse_encoder(text: &str) -> Result<(String, EncoderParams), String> {
    let params = match text.split_once('=') {
        Some((_, params)) if params.starts_with('{') => {
            serde_json::from_str(params).map_err(|error| error.to_string())?
        }
        Some((_, model)) if !model.is_empty() => EncoderParams::new(ModelId::new(model)),
        _ => return Err("a vector's name, `=` and a model are accepted, as in words=Qdrant/bm25".to_owned()),
    };
    let vector = text.split('=').next().unwrap_or_default();
    Ok((vector.to_owned(), params))
}

fn parse_stage(text: &str) -> Result<EvaluationStage, String> {
    let vectors = text.split(',').map(EvaluationStage::of_vector);
    let mut stages: Vec<_> = vectors.collect();
    if stages.len() == 1 {
        return Ok(stages.remove(0));
    }
    let names: Vec<String> = stages.iter().map(|stage| stage.name.clone()).collect();
    Ok(EvaluationStage {
        name: names.join(" + "),
        using: stages.into_iter().flat_map(|stage| stage.using).collect(),
        rrf: None,
        rerank: None,
        rerank_using: None,
    })
}

/// Runs an evaluation.
pub(super) async fn run(options: EvaluateOptions) -> anyhow::Result<()> {
    let qrels = judgements::read_qrels(&options.qrels)?;
    let queries = judgements::read_queries(&options.queries)?;
    let asked = queries.len();
    let mut queries: Vec<JudgedQuery> = queries
        .into_iter()
        .filter(|query| qrels.contains_key(&query.id))
        .collect();
    if queries.is_empty() {
        bail!(
            "none of the {asked} queries of {} has judgements in {}",
            options.queries.display(),
            options.qrels.display()
        );
    }
    let unjudged = asked - queries.len();
    queries.truncate(options.max_queries.map_or(usize::MAX, NonZeroUsize::get));

    let client = options
        .connection
        .client(|builder| builder.timeout(TIMEOUT).max_retries(MAX_RETRIES))?;
    if let Some(path) = &options.corpus {
        options.ensure_collection(&client).await?;
        corpus::ingest(&client, &options.connection, &options.collection, path).await?;
    }
    let stages = options.stages(&client).await?;
    let rankings = options.ask(&client, &stages, &queries, &qrels).await?;
    let stages = stages.into_iter().zip(rankings).collect();
    let mut evaluation = twofold_worker::report(stages, &qrels, unjudged, options.k.get(), options.limit.get());

    if let Some(dir) = &options.runs {
        trec_run::write(dir, &evaluation)?;
    }
    evaluation.stages.iter_mut().for_each(|stage| stage.rankings.clear());
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(&evaluation).context("cannot write JSON")?;
        fs::write(path, json + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &options.plot {
        let svg = plot::svg(&evaluation, options.collection.as_str())?;
        fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))?;
    }
    print(&summary(&evaluation))
}

/// The table, and below it what it was measured on.
fn summary(evaluation: &Evaluation) -> String {
    let Evaluation {
        queries,
        unjudged_queries,
        ..
    } = evaluation;
    let left_out = match unjudged_queries {
        0 => String::new(),
        count => format!("; {count} without judgements were left out"),
    };
    format!("{}\n{queries} queries{left_out}\n", table::table(evaluation))
}

impl EvaluateOptions {
    /// Creates the collection where it is missing.
    async fn ensure_collection(&self, client: &Client) -> anyhow::Result<()> {
        let exists = client.collection_exists(&self.collection).await;
        if exists.map_err(|error| self.connection.explain(error))? {
            if !self.encoder.is_empty() {
                bail!(
                    "collection `{}` is there and has its encoders: leave --encoder out",
                    self.collection
                );
            }
            return Ok(());
        }
        let encoders = match self.encoder.is_empty() {
            true => corpus::default_encoders(),
            false => self.encoder.iter().cloned().collect(),
        };
        let config = CreateCollection {
            encoders: Some(encoders),
            ..Default::default()
        };
        let created = client.create_collection(&self.collection, &config).await;
        created
            .map_err(|error| self.connection.explain(error))
            .with_context(|| format!("cannot create collection `{}`", self.collection))
    }

    /// What is compared.
    async fn stages(&self, client: &Client) -> anyhow::Result<Vec<EvaluationStage>> {
        let mut stages = self.stage.clone();
        if stages.is_empty() {
            let info = client.get_collection(&self.collection).await;
            let config = info.map_err(|error| self.connection.explain(error))?.config;
            stages = EvaluationStage::of_vectors(config.encoders.keys().map(String::as_str));
        }
        if self.rrf_k.is_some() {
            for stage in stages.iter_mut().filter(|stage| stage.using.len() > 1) {
                stage.rrf = Some(Rrf {
                    k: self.rrf_k,
                    weights: None,
                });
            }
        }
        let Some(last) = stages.last().cloned() else {
            bail!(
                "collection `{}` has no encoder, so no text can be asked",
                self.collection
            )
        };
        let by_model = self.rerank.iter().map(|model| last.reranked(ModelId::new(model)));
        let by_vector = self.rerank_using.iter().map(|vector| last.reranked_using(vector));
        stages.extend(by_model.chain(by_vector));
        Ok(stages)
    }

    /// What every query finds, by stage.
    async fn ask(
        &self,
        client: &Client,
        stages: &[EvaluationStage],
        queries: &[JudgedQuery],
        qrels: &Qrels,
    ) -> anyhow::Result<Vec<Vec<Ranking>>> {
        let progress = ProgressBar::new(queries.len() as u64);
        let mut rankings = vec![Vec::new(); stages.len()];
        for queries in queries.chunks(QUERIES_PER_REQUEST) {
            // The measures are taken here, over all queries; to the server a query only has to be a judged one.
            let judged = queries.iter().map(|query| (query.id.clone(), qrels[&query.id].clone()));
            let request = Evaluate {
                queries: queries.to_vec(),
                qrels: judged.collect(),
                stages: stages.to_vec(),
                k: Some(self.k.get()),
                limit: Some(self.limit.get()),
                with_rankings: true,
            };
            let found = client.evaluate(&self.collection, &request).await;
            let found = found.map_err(|error| self.connection.explain(error))?;
            for (all, stage) in rankings.iter_mut().zip(found.stages) {
                all.extend(stage.rankings);
            }
            progress.inc(queries.len() as u64);
        }
        progress.finish_and_clear();
        Ok(rankings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_a_vector_or_several() {
        let stage = parse_stage("dense,words").unwrap();
        assert_eq!(
            (stage.name.as_str(), stage.using),
            ("dense + words", vec!["dense".to_owned(), "words".to_owned()])
        );
        assert_eq!(parse_stage("").unwrap(), EvaluationStage::of_vector(""));
    }

    #[test]
    fn an_encoder_is_a_vector_and_a_model() {
        let plain = EncoderParams::new(ModelId::new("a/b"));
        assert_eq!(parse_encoder("=a/b").unwrap(), (String::new(), plain));
        let (vector, params) = parse_encoder(r#"words={"model": "a/b", "max_tokens": 9}"#).unwrap();
        assert_eq!(
            (vector.as_str(), params.max_tokens.map(usize::from)),
            ("words", Some(9))
        );
        for wrong in ["a/b", "words=", r#"words={"max_tokens": 9}"#] {
            assert!(parse_encoder(wrong).is_err(), "{wrong}");
        }
    }
}
