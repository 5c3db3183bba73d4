//! How services are talked to: what is sent, what comes back, and how much is accepted at once.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use twofold_types::Role;

use super::RemoteError;

/// The API of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Protocol {
    /// OpenAI's `/embeddings`, which many servers speak.
    OpenAi,
    /// Cohere's `/v2/embed`.
    Cohere,
    /// Voyage's `/embeddings`: OpenAI's answers, requests of its own.
    Voyage,
    /// Jina's `/embeddings`: the same.
    Jina,
    /// The `/embed` of text-embeddings-inference.
    Tei,
}

/// The service that a protocol is named after.
#[derive(Debug, Clone, Copy)]
pub(super) struct Service {
    pub url: &'static str,
    pub key_variable: &'static str,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub model: &'a str,
    pub texts: &'a [&'a str],
    pub role: Role,
    /// How many dimensions the vectors are to have, where that is asked for.
    pub dimensions: Option<usize>,
    /// Whether vectors are to have unit length, where that is asked for.
    pub normalize: Option<bool>,
}

impl Protocol {
    /// The protocol of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(
            &name.to_ascii_lowercase(),
        ))
        .ok()
    }

    /// The service that it is named after.
    pub fn service(self) -> Option<Service> {
        let (url, key_variable) = match self {
            Self::OpenAi => ("https://api.openai.com/v1", "OPENAI_API_KEY"),
            Self::Cohere => ("https://api.cohere.com", "CO_API_KEY"),
            Self::Voyage => ("https://api.voyageai.com/v1", "VOYAGE_API_KEY"),
            Self::Jina => ("https://api.jina.ai/v1", "JINA_API_KEY"),
            Self::Tei => return None,
        };
        Some(Service { url, key_variable })
    }

    /// Texts of one request at most. Voyage's newer models take 1,000, the older ones, and its own client, 128.
    pub fn max_texts(self) -> usize {
        match self {
            Self::OpenAi | Self::Jina => 2048,
            Self::Cohere => 96,
            Self::Voyage => 128,
            Self::Tei => 32,
        }
    }

    /// Tokens of one request at most, by the lowest limit of the service's models. A tenth is left, as tokens are estimated.
    pub fn max_tokens(self) -> usize {
        match self {
            Self::OpenAi => 270_000,
            Self::Cohere | Self::Voyage => 108_000,
            Self::Jina => 100_000,
            Self::Tei => 14_000,
        }
    }

    /// Whether vectors can be asked for as long as the model makes them.
    pub fn can_leave_lengths(self) -> bool {
        self == Self::Tei
    }

    /// Below the endpoint's URL.
    pub fn path(self) -> &'static str {
        match self {
            Self::OpenAi | Self::Voyage | Self::Jina => "/embeddings",
            Self::Cohere => "/v2/embed",
            Self::Tei => "/embed",
        }
    }

    /// The body of a request.
    pub fn body(self, ask: &Ask<'_>) -> Value {
        let Ask { model, texts, role, .. } = *ask;
        let of_role = |query: &'static str, document: &'static str| match role {
            Role::Query => query,
            Role::Document => document,
        };
        let (mut body, dimensions) = match self {
            Self::OpenAi => (
                json!({"model": model, "input": texts, "encoding_format": "base64"}),
                "dimensions",
            ),
            Self::Cohere => {
                let input_type = of_role("search_query", "search_document");
                let body = json!({
                    "model": model, "texts": texts, "input_type": input_type, "embedding_types": ["float"], "truncate": "END",
                });
                (body, "output_dimension")
            }
            Self::Voyage => {
                let input_type = of_role("query", "document");
                let body = json!({
                    "model": model, "input": texts, "input_type": input_type, "truncation": true, "encoding_format": "base64",
                });
                (body, "output_dimension")
            }
            Self::Jina => {
                let mut body = json!({"model": model, "input": texts});
                // Models before the third have no tasks.
                if !model.starts_with("jina-embeddings-v2") {
                    body["task"] = json!(of_role("retrieval.query", "retrieval.passage"));
                    body["truncate"] = json!(true);
                }
                (body, "dimensions")
            }
            Self::Tei => {
                let mut body = json!({"inputs": texts, "truncate": true});
                if let Some(normalize) = ask.normalize {
                    body["normalize"] = json!(normalize);
                }
                (body, "dimensions")
            }
        };
        if let Some(asked) = ask.dimensions {
            body[dimensions] = json!(asked);
        }
        body
    }

    /// Texts that are ranked in one request at most.
    pub fn max_ranked(self) -> usize {
        match self {
            Self::OpenAi | Self::Cohere | Self::Voyage | Self::Jina => 1000,
            Self::Tei => 32,
        }
    }

    /// Whether scores without an activation can be asked for.
    pub fn has_raw_scores(self) -> bool {
        self == Self::Tei
    }

    /// Below the endpoint's URL. Servers that speak OpenAI's protocol have Jina's shape beside it.
    pub fn rerank_path(self) -> &'static str {
        match self {
            Self::Cohere => "/v2/rerank",
            _ => "/rerank",
        }
    }

    /// The body of a request to rank.
    pub fn rerank_body(self, model: &str, query: &str, texts: &[String], raw: bool) -> Value {
        match self {
            Self::Cohere => json!({"model": model, "query": query, "documents": texts}),
            Self::OpenAi | Self::Jina => {
                json!({"model": model, "query": query, "documents": texts, "return_documents": false})
            }
            Self::Voyage => json!({"model": model, "query": query, "documents": texts, "truncation": true}),
            Self::Tei => json!({"query": query, "texts": texts, "raw_scores": raw, "truncate": true}),
        }
    }

    /// The scores of an answer, each with the place of its text in the request.
    pub fn read_scores(self, body: &[u8]) -> Result<Vec<(usize, f32)>, RemoteError> {
        let ranks: Vec<Score> = match self {
            Self::OpenAi | Self::Cohere | Self::Jina => parse::<Results>(body)?.results,
            Self::Voyage => parse::<ScoreList>(body)?.data,
            Self::Tei => parse(body)?,
        };
        Ok(ranks.into_iter().map(|rank| (rank.index, rank.score)).collect())
    }

    /// The vectors of an answer, each with the place of its text in the request.
    pub fn read(self, body: &[u8]) -> Result<Vec<(usize, Vec<f32>)>, RemoteError> {
        let in_order = |vectors: Vec<Vec<f32>>| vectors.into_iter().enumerate().collect();
        Ok(match self {
            Self::OpenAi | Self::Voyage | Self::Jina => {
                let DataList { data } = parse(body)?;
                data.into_iter().map(|datum| (datum.index, datum.embedding.0)).collect()
            }
            Self::Cohere => {
                let ByType { embeddings } = parse(body)?;
                in_order(embeddings.float)
            }
            Self::Tei => in_order(parse(body)?),
        })
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, RemoteError> {
    serde_json::from_slice(body).map_err(RemoteError::Malformed)
}

/// OpenAI's answer.
#[derive(Deserialize)]
struct DataList {
    data: Vec<Datum>,
}

#[derive(Deserialize)]
struct Datum {
    index: usize,
    embedding: Vector,
}

/// Cohere's answer.
#[derive(Deserialize)]
struct ByType {
    embeddings: Floats,
}

#[derive(Deserialize)]
struct Floats {
    float: Vec<Vec<f32>>,
}

/// Cohere's and Jina's answer.
#[derive(Deserialize)]
struct Results {
    results: Vec<Score>,
}

/// Voyage's answer.
#[derive(Deserialize)]
struct ScoreList {
    data: Vec<Score>,
}

#[derive(Deserialize)]
struct Score {
    index: usize,
    #[serde(alias = "relevance_score")]
    score: f32,
}

/// Numbers, or the bytes of little-endian 32-bit floats in base 64: some servers answer numbers whatever is asked for.
struct Vector(Vec<f32>);

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Float(Vec<f32>),
            Base64(String),
        }
        let bytes = match Written::deserialize(deserializer)? {
            Written::Float(vector) => return Ok(Self(vector)),
            Written::Base64(text) => BASE64_STANDARD.decode(text).map_err(serde::de::Error::custom)?,
        };
        let (floats, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(serde::de::Error::custom("the bytes are no 32-bit floats"));
        }
        Ok(Self(floats.iter().map(|four| f32::from_le_bytes(*four)).collect()))
    }
}

/// What a service says of an error, in the words of all these APIs, or the beginning of whatever it is.
pub(super) fn message(body: &[u8]) -> String {
    const SHOWN_CHARS: usize = 300;
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let places = ["/error/message", "/error", "/message", "/detail"];
    let said = places.iter().find_map(|place| json.pointer(place)?.as_str());
    let whole = said.map_or_else(|| String::from_utf8_lossy(body), Into::into);
    whole.trim().chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_side_of_a_text_and_its_dimensions_are_said_in_each_services_words() {
        let body = |protocol: Protocol, model, role| {
            protocol.body(&Ask {
                model,
                texts: &["a"],
                role,
                dimensions: Some(256),
                normalize: None,
            })
        };
        let openai = body(Protocol::OpenAi, "text-embedding-3-large", Role::Query);
        let expected =
            json!({"model": "text-embedding-3-large", "input": ["a"], "encoding_format": "base64", "dimensions": 256});
        assert_eq!(openai, expected);
        let cohere = body(Protocol::Cohere, "embed-v4.0", Role::Document);
        assert_eq!(
            (&cohere["input_type"], &cohere["output_dimension"]),
            (&json!("search_document"), &json!(256))
        );
        assert_eq!(
            (&cohere["texts"], &cohere["embedding_types"]),
            (&json!(["a"]), &json!(["float"]))
        );
        let voyage = body(Protocol::Voyage, "voyage-3.5", Role::Query);
        assert_eq!(
            (&voyage["input_type"], &voyage["output_dimension"]),
            (&json!("query"), &json!(256))
        );
        let jina = body(Protocol::Jina, "jina-embeddings-v3", Role::Document);
        assert_eq!(
            (&jina["task"], &jina["dimensions"]),
            (&json!("retrieval.passage"), &json!(256))
        );
        assert!(
            body(Protocol::Jina, "jina-embeddings-v2-base-en", Role::Query)
                .get("task")
                .is_none()
        );
        assert_eq!(
            body(Protocol::Tei, "m", Role::Query),
            json!({"inputs": ["a"], "truncate": true, "dimensions": 256})
        );
    }

    #[test]
    fn vectors_are_read_as_numbers_and_as_bytes() {
        let answer = |embedding: &str| format!(r#"{{"data": [{{"index": 3, "embedding": {embedding}}}]}}"#);
        let read = |embedding: &str| Protocol::OpenAi.read(answer(embedding).as_bytes());
        // 1.0 is 0x3f800000.
        for embedding in ["[1.0, 0.5]", r#""AACAPwAAAD8=""#] {
            assert_eq!(read(embedding).unwrap(), [(3, vec![1.0, 0.5])]);
        }
        for embedding in [r#""AACA""#, r#""?""#, "[null]"] {
            assert!(read(embedding).is_err_and(|error| !error.is_transient()), "{embedding}");
        }
        let cohere = br#"{"id": "1", "embeddings": {"float": [[1.0], [2.0]]}, "meta": {}}"#;
        assert_eq!(Protocol::Cohere.read(cohere).unwrap(), [(0, vec![1.0]), (1, vec![2.0])]);
        assert_eq!(Protocol::Tei.read(b"[[1.0]]").unwrap(), [(0, vec![1.0])]);
    }

    #[test]
    fn errors_are_told_in_the_services_words() {
        for body in [
            r#"{"error": {"message": "no", "type": "t"}}"#,
            r#"{"error": "no", "error_type": "t"}"#,
            r#"{"message": "no"}"#,
            r#"{"detail": "no"}"#,
            " no\n",
        ] {
            assert_eq!(message(body.as_bytes()), "no");
        }
        assert_eq!(message("ä".repeat(1000).as_bytes()).chars().count(), 300);
    }
}
