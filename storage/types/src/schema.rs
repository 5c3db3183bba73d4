//! What the OpenAPI document says of types whose wire format is read by hand.

use serde::Deserialize;
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, ArrayBuilder, ObjectBuilder, Schema, SchemaFormat, Type,
};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::api::OrderBy;
use crate::embeddings::TextsInput;
use crate::{CollectionName, Datetime, Number, PointId};

/// One or a list of the same.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is what fields look like in the document")]
pub(crate) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

/// A value, or null where it could as well be absent.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum OrNull<T> {
    Value(T),
    Null,
}

/// An order: the key alone, or all of it.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is what fields look like in the document")]
pub(crate) enum KeyOrOrder {
    Key(String),
    Order(OrderBy),
}

fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

impl ToSchema for PointId {}

impl PartialSchema for PointId {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new()
            .item(u64::schema())
            .item(string().format(Some(SchemaFormat::Custom("uuid".to_owned()))))
            .description(Some("An unsigned 64-bit integer, or a UUID."))
            .into()
    }
}

impl ToSchema for CollectionName {}

impl PartialSchema for CollectionName {
    fn schema() -> RefOr<Schema> {
        string()
            .min_length(Some(1))
            .max_length(Some(255))
            .pattern(Some(r#"^[^/\\<>:"|?*\u0000-\u001f\u007f-\u009f]+$"#))
            .description(Some("The name of a collection."))
            .into()
    }
}

impl ToSchema for Number {}

impl PartialSchema for Number {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Number)
            .description(Some("A number. Integers of 64 bits are exact."))
            .into()
    }
}

impl ToSchema for Datetime {}

impl PartialSchema for Datetime {
    fn schema() -> RefOr<Schema> {
        string()
            .pattern(Some(r"^\d{4}-\d{2}-\d{2}"))
            .examples(["2024-02-29T12:30:00.5+01:00", "2024-02-29"])
            .description(Some(
                "A moment by RFC 3339; without an offset it is UTC, without a time midnight.",
            ))
            .into()
    }
}

impl ToSchema for TextsInput {}

impl PartialSchema for TextsInput {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new()
            .item(String::schema())
            .item(ArrayBuilder::new().items(String::schema()))
            .description(Some("One text or several."))
            .into()
    }
}

/// An object that is the schema of this name, where there is anything to say.
pub(crate) fn perhaps(name: &str) -> RefOr<Schema> {
    let anything = ObjectBuilder::new().additional_properties(Some(AdditionalProperties::FreeForm(true)));
    AnyOfBuilder::new()
        .item(Ref::from_schema_name(name))
        .item(anything)
        .into()
}
