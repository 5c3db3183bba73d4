//! The relevance of texts to a query, in the shape of text-embeddings-inference and in that of Cohere's and Jina's APIs.

use std::num::NonZeroUsize;

use axum::Json;
use axum::extract::State;
use twofold_types::embeddings::{EmbedError, OpenAiError, Usage};
use twofold_types::rerank::{Rank, RankTexts, Rerank, RerankDocument, RerankResult, Reranked, RerankedText};
use twofold_worker::{RankOptions, TooLong};

use super::blocking::Api;
use super::error::ApiError;
use super::extract::Body;
use super::{embed, openai};

/// Texts by their relevance to a query, in the shape of text-embeddings-inference.
#[utoipa::path(post, path = "/rerank", tag = "models", operation_id = "rank",
    request_body = RankTexts,
    responses((status = 200, body = Vec<Rank>), (status = "default", body = EmbedError)))]
pub(super) async fn rank(
    State(api): State<Api>,
    request: Result<Body<RankTexts>, ApiError>,
) -> Result<Json<Vec<Rank>>, embed::Failure> {
    let Body(request) = request?;
    let ranked = api.call(move |engine| {
        let model = match request.model {
            Some(model) => model,
            None => engine.models().default_cross_encoder()?,
        };
        let options = RankOptions {
            raw: request.raw_scores,
            too_long: match request.truncate {
                Some(false) => TooLong::Refuse,
                None | Some(true) => TooLong::Cut,
            },
            direction: request.truncation_direction,
            deadline: None,
        };
        let ranked = engine.rank(&model, &request.query, &request.texts, options)?;
        let rank = |(index, score)| Rank {
            index,
            score,
            text: request.return_text.then(|| request.texts[index].clone()),
        };
        Ok(ranked.ranks.into_iter().map(rank).collect())
    });
    Ok(Json(ranked.await?))
}

/// Documents by their relevance to a query, in the shape of Cohere's and Jina's APIs.
#[utoipa::path(post, path = "/v1/rerank", tag = "models", operation_id = "rerank",
    request_body = Rerank,
    responses((status = 200, body = Reranked), (status = "default", body = OpenAiError)))]
pub(super) async fn rerank(
    State(api): State<Api>,
    request: Result<Body<Rerank>, ApiError>,
) -> Result<Json<Reranked>, openai::Failure> {
    let Body(request) = request?;
    let reranked = api.call(move |engine| {
        let documents = request.documents.into_iter();
        let texts: Vec<String> = documents.map(RerankDocument::into_text).collect();
        let ranked = engine.rank(&request.model, &request.query, &texts, RankOptions::default())?;
        let result = |(index, relevance_score)| RerankResult {
            index,
            relevance_score,
            document: request.return_documents.then(|| RerankedText {
                text: texts[index].clone(),
            }),
        };
        let wanted = request.top_n.map_or(texts.len(), NonZeroUsize::get);
        Ok(Reranked {
            model: request.model.clone(),
            results: ranked.ranks.into_iter().take(wanted).map(result).collect(),
            usage: Usage {
                prompt_tokens: ranked.tokens,
                total_tokens: ranked.tokens,
            },
        })
    });
    Ok(Json(reranked.await?))
}

/// The same at the path of Cohere's second version.
#[utoipa::path(post, path = "/v2/rerank", tag = "models", operation_id = "rerank_v2",
    request_body = Rerank,
    responses((status = 200, body = Reranked), (status = "default", body = OpenAiError)))]
pub(super) async fn rerank_v2(
    state: State<Api>,
    request: Result<Body<Rerank>, ApiError>,
) -> Result<Json<Reranked>, openai::Failure> {
    rerank(state, request).await
}
