//! Changes of points beside putting them in.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::{DeletePayload, PointsSelector, SetPayload, UpsertBody};
use crate::{Filter, PointId, VectorsInput};

/// What an upsert does to points that exist, and to those that do not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateMode {
    /// New points are put in, others replaced.
    #[default]
    Upsert,
    /// Points that exist stay as they are.
    InsertOnly,
    /// Points that do not exist are left out.
    UpdateOnly,
}

/// `PUT /collections/{collection}/points/vectors`: named vectors are replaced, all else stays.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UpdateVectors {
    /// The points with their vectors.
    pub points: Vec<PointVectors>,
    /// Only of points that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_filter: Option<Filter>,
}

/// New vectors of a point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PointVectors {
    /// The point.
    pub id: PointId,
    /// Its vectors.
    pub vector: VectorsInput,
}

/// `POST /collections/{collection}/points/vectors/delete`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeleteVectors {
    /// The names of the vectors that are taken out.
    pub vector: Vec<String>,
    /// Which points.
    #[serde(flatten)]
    pub selector: PointsSelector,
}

/// `POST /collections/{collection}/points/batch`: operations that are applied in order, each for itself.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UpdateBatch {
    /// The operations.
    pub operations: Vec<UpdateOperation>,
}

/// One operation of an [`UpdateBatch`].
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateOperation {
    /// Points are put in.
    Upsert(UpsertBody),
    /// Points are taken out.
    Delete(PointsSelector),
    /// Payload keys are set.
    SetPayload(SetPayload),
    /// Payloads are replaced.
    OverwritePayload(SetPayload),
    /// Payload keys are removed.
    DeletePayload(DeletePayload),
    /// Payloads are emptied.
    ClearPayload(PointsSelector),
    /// Vectors are replaced.
    UpdateVectors(UpdateVectors),
    /// Vectors are taken out.
    DeleteVectors(DeleteVectors),
}

impl<'de> Deserialize<'de> for UpdateOperation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        fn of<T: serde::de::DeserializeOwned, E: serde::de::Error>(
            operation: fn(T) -> UpdateOperation,
            value: Value,
        ) -> Result<UpdateOperation, E> {
            serde_json::from_value(value).map(operation).map_err(E::custom)
        }
        let mut object = serde_json::Map::deserialize(deserializer)?.into_iter();
        match (object.next(), object.next()) {
            (Some((name, value)), None) => match name.as_str() {
                "upsert" => of(Self::Upsert, value),
                "delete" => of(Self::Delete, value),
                "set_payload" => of(Self::SetPayload, value),
                "overwrite_payload" => of(Self::OverwritePayload, value),
                "delete_payload" => of(Self::DeletePayload, value),
                "clear_payload" => of(Self::ClearPayload, value),
                "update_vectors" => of(Self::UpdateVectors, value),
                "delete_vectors" => of(Self::DeleteVectors, value),
                _ => Err(D::Error::custom(format!(
                    "unknown operation `{name}`: `upsert`, `delete`, `set_payload`, `overwrite_payload`, `delete_payload`, \
                     `clear_payload`, `update_vectors` and `delete_vectors` are accepted"
                ))),
            },
            _ => Err(D::Error::custom("an operation is an object with one key, its name")),
        }
    }
}
