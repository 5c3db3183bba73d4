//! Other names of collections.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::CollectionName;

/// `POST /collections/aliases`: all of it happens, or nothing.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChangeAliases {
    /// What happens, in order.
    pub actions: Vec<AliasAction>,
}

/// One change of aliases.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AliasAction {
    /// A name is given, also one that stood for another collection.
    CreateAlias(CreateAlias),
    /// A name is taken away.
    DeleteAlias(DeleteAlias),
    /// A name is exchanged for another.
    RenameAlias(RenameAlias),
}

/// See [`AliasAction`].
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CreateAlias {
    /// The collection.
    pub collection_name: CollectionName,
    /// Its other name.
    pub alias_name: CollectionName,
}

/// See [`AliasAction`].
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeleteAlias {
    /// The name.
    pub alias_name: CollectionName,
}

/// See [`AliasAction`].
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RenameAlias {
    /// The name until now.
    pub old_alias_name: CollectionName,
    /// The name from now on.
    pub new_alias_name: CollectionName,
}

/// `GET /aliases` and `GET /collections/{collection}/aliases`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AliasesList {
    /// The aliases in the order of their names.
    pub aliases: Vec<AliasDescription>,
}

/// One entry of [`AliasesList`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AliasDescription {
    /// The alias.
    pub alias_name: CollectionName,
    /// What it stands for.
    pub collection_name: CollectionName,
}
