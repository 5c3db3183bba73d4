//! `GET /openapi.json` and `GET /docs`: what handlers say of themselves, and what is true of all of them.

use axum::Extension;
use axum::body::Bytes;
use axum::http::header;
use axum::response::{Html, IntoResponse};
use serde_json::{Value, json};
use twofold_types::api::ErrorEnvelope;
use twofold_types::{Decay, Details, GeoDistance, Power, Quotient};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::access::reads;
use super::blocking::Api;
use super::deadline::MAX_TIMEOUT;

/// Everything that no handler says. The schemas are those that nothing refers to outside of a recursion.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Twofold",
        description = "A vector database that runs the encoders itself. Where Qdrant's REST API has an endpoint, this is its shape."
    ),
    components(schemas(Decay, Details, ErrorEnvelope, GeoDistance, Power, Quotient)),
    tags(
        (name = "collections", description = "Collections and how they are configured"),
        (name = "indexes", description = "Payload indexes"),
        (name = "aliases", description = "Other names of collections"),
        (name = "points", description = "Points: put in, changed, read, listed, counted, deleted"),
        (name = "search", description = "Queries"),
        (name = "documents", description = "Texts that the server cuts into chunks and encodes"),
        (name = "ingestion", description = "Documents on their way: tasks, what waits, what was given up"),
        (name = "models", description = "Embeddings and relevance without a collection"),
        (name = "snapshots", description = "Copies of collections, and of everything"),
        (name = "cluster", description = "What clients of a cluster ask: this server is a single node"),
        (name = "service", description = "The server itself"),
    ),
)]
struct Common;

/// The beginning of all routes.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Common::openapi())
}

/// The document as it is sent.
#[derive(Clone)]
pub(super) struct Document(Bytes);

impl Document {
    pub(super) fn new(document: utoipa::openapi::OpenApi) -> Self {
        let mut document = serde_json::to_value(document).expect("a document is JSON");
        overlap(&mut document);
        document["security"] = json!([{}, {"api-key": []}, {"bearer": []}]);
        document["components"]["securitySchemes"] = json!({
            "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        });
        for (path, item) in document["paths"].as_object_mut().into_iter().flatten() {
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                parameters(path, method, operation);
                errors(operation);
            }
        }
        Self(document.to_string().into())
    }
}

/// What fits several schemas of a union is read as the first of them, which is no mistake; `oneOf` would say that it is.
fn overlap(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if let Some(union) = object.remove("oneOf") {
                object.insert("anyOf".to_owned(), union);
            }
            object.values_mut().for_each(overlap);
        }
        Value::Array(values) => values.iter_mut().for_each(overlap),
        _ => {}
    }
}

/// The parameters that stand in a path, and those that all reads have, so that handlers need not say what they are.
fn parameters(path: &str, method: &str, operation: &mut Value) {
    let names = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let described = names.map(|name| {
        let (description, schema) = match name {
            "collection" => (
                "The collection, or an alias of it.",
                json!({"$ref": "#/components/schemas/CollectionName"}),
            ),
            "peer" => ("The peer.", json!({"type": "integer", "minimum": 0})),
            "task" => ("The task.", json!({"$ref": "#/components/schemas/TaskId"})),
            "field" => ("The payload key.", json!({"type": "string", "minLength": 1})),
            "shard" => ("The shard: 0.", json!({"type": "integer", "minimum": 0})),
            "snapshot" => ("The snapshot's name.", json!({"type": "string", "minLength": 1})),
            _ => ("The id.", json!({"type": "string", "minLength": 1})),
        };
        json!({"name": name, "in": "path", "required": true, "description": description, "schema": schema})
    });
    let mut parameters: Vec<Value> = described.collect();
    let is_read = method
        .to_uppercase()
        .parse()
        .is_ok_and(|method| reads(&method, Some(path)));
    if is_read && path.starts_with("/collections/{collection}") {
        parameters.push(json!({
            "name": "timeout",
            "in": "query",
            "description": "Seconds after which the work is stopped and the answer is an error, 408.",
            "schema": {"type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT},
        }));
    }
    parameters.extend(operation["parameters"].as_array().into_iter().flatten().cloned());
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
}

/// Errors have one shape, except where a handler answers clients that know another.
fn errors(operation: &mut Value) {
    let Some(responses) = operation["responses"].as_object_mut() else {
        return;
    };
    responses.entry("default").or_insert_with(|| {
        let schema = json!({"$ref": "#/components/schemas/ErrorEnvelope"});
        json!({"description": "An error", "content": {"application/json": {"schema": schema}}})
    });
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "service", operation_id = "openapi",
    responses((status = 200, body = Object, content_type = "application/json")))]
pub(super) async fn document(Extension(Document(document)): Extension<Document>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document)
}

/// This document as a page.
#[utoipa::path(get, path = "/docs", tag = "service", operation_id = "docs",
    responses((status = 200, body = String, content_type = "text/html")))]
pub(super) async fn docs() -> Html<&'static str> {
    Html(include_str!("openapi/docs.html"))
}

#[cfg(test)]
mod tests;
