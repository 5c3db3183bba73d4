//! Other names of collections, one record for all of them.

use std::collections::BTreeMap;

use twofold_types::CollectionName;
use twofold_types::api::{AliasAction, AliasDescription, CreateAlias, DeleteAlias, RenameAlias};

use crate::error::{InvalidInput, Result, StorageError};
use crate::record::{from_json, json};
use crate::rocks::{Batch, Cf, Snapshot};

/// Where the record is.
const KEY: &[u8] = b"aliases";

/// The aliases with the collections that they stand for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Aliases(BTreeMap<CollectionName, CollectionName>);

impl Aliases {
    pub(crate) fn read(snapshot: &Snapshot<'_>) -> Result<Self> {
        let record = snapshot.get(Cf::Meta, KEY)?;
        let aliases: Option<Vec<(CollectionName, CollectionName)>> =
            record.map(|record| from_json("aliases", &record)).transpose()?;
        Ok(Self(aliases.unwrap_or_default().into_iter().collect()))
    }

    pub(crate) fn write(&self, batch: &mut Batch<'_>) {
        batch.put(Cf::Meta, KEY, &json(&self.0.iter().collect::<Vec<_>>()));
    }

    pub(crate) fn get(&self, alias: &CollectionName) -> Option<&CollectionName> {
        self.0.get(alias)
    }

    pub(crate) fn list(&self, collection: Option<&CollectionName>) -> Vec<AliasDescription> {
        let aliases = self
            .0
            .iter()
            .filter(|(_, of)| collection.is_none_or(|collection| collection == *of));
        let description = |(alias, of): (&CollectionName, &CollectionName)| AliasDescription {
            alias_name: alias.clone(),
            collection_name: of.clone(),
        };
        aliases.map(description).collect()
    }

    /// The aliases after some actions; `exists` knows the collections.
    pub(crate) fn changed(&self, actions: &[AliasAction], exists: impl Fn(&CollectionName) -> bool) -> Result<Self> {
        let mut aliases = self.0.clone();
        let take = |aliases: &mut BTreeMap<_, _>, alias: &CollectionName| {
            aliases
                .remove(alias)
                .ok_or_else(|| StorageError::AliasNotFound(alias.clone()))
        };
        for action in actions {
            match action {
                AliasAction::CreateAlias(CreateAlias {
                    collection_name,
                    alias_name,
                }) => {
                    if !exists(collection_name) {
                        return Err(StorageError::CollectionNotFound(collection_name.clone()));
                    }
                    if exists(alias_name) {
                        return Err(InvalidInput::AliasTaken(alias_name.clone()).into());
                    }
                    aliases.insert(alias_name.clone(), collection_name.clone());
                }
                AliasAction::DeleteAlias(DeleteAlias { alias_name }) => {
                    take(&mut aliases, alias_name)?;
                }
                AliasAction::RenameAlias(RenameAlias {
                    old_alias_name,
                    new_alias_name,
                }) => {
                    if exists(new_alias_name) {
                        return Err(InvalidInput::AliasTaken(new_alias_name.clone()).into());
                    }
                    let collection = take(&mut aliases, old_alias_name)?;
                    aliases.insert(new_alias_name.clone(), collection);
                }
            }
        }
        Ok(Self(aliases))
    }

    /// Forgets the aliases of a collection. Says whether there were any.
    pub(crate) fn forget(&mut self, collection: &CollectionName) -> bool {
        let before = self.0.len();
        self.0.retain(|_, of| of != collection);
        self.0.len() != before
    }
}
