//! Queries that are answered in groups.

use twofold_storage::{Collection, Depth, Fetch, Grouping};
use twofold_types::PointId;
use twofold_types::api::{GroupId, GroupsResult, Lookup, PointGroup, QueryGroups, WithLookup, WithPayload, WithVector};

use crate::engine::Engine;
use crate::error::Result;
use crate::queries::{DEFAULT_LIMIT, check_limit, check_prefetches, fetch, part, root, text_of};
use crate::reranking::Reranking;

/// How many points a group has when it is not said.
pub(crate) const DEFAULT_GROUP_SIZE: usize = 3;

impl Engine {
    /// Answers a query in groups.
    pub fn query_groups(&self, collection: &Collection, request: QueryGroups) -> Result<GroupsResult> {
        let QueryGroups {
            mut query,
            group_by,
            group_size,
            with_lookup,
        } = request;
        check_prefetches(&query.prefetch)?;
        let wanted = query.limit.unwrap_or(DEFAULT_LIMIT);
        let size = group_size.unwrap_or(DEFAULT_GROUP_SIZE);
        check_limit(wanted.saturating_mul(size))?;
        let fetch = fetch(&mut query)?;
        let rerank = query.rerank.take();
        let query = root(query);
        let reranking = rerank
            .map(|rerank| Reranking::new(self, collection, rerank, (wanted, size), text_of(&query.0)))
            .transpose()?;
        let grouping = Grouping {
            key: group_by,
            groups: reranking.as_ref().map_or(wanted, |reranking| reranking.limit),
            size,
            singles: false,
            depth: Depth::WHOLE,
        };
        let ranked = self.ranked(collection, query)?;
        let reading = collection.reading();
        let (groups, report) = match reranking {
            None => {
                let found = reading.query_groups(&ranked, &grouping, &fetch)?;
                self.timings.observe_query(&found.explanation);
                (found.groups, None)
            }
            Some(reranking) => {
                let found = reading.query_groups(&ranked, &grouping, &fetch.whole())?;
                self.timings.observe_query(&found.explanation);
                let mut groups = found.groups;
                let report = reranking.reorder(&reading, &mut groups)?;
                let points = groups.iter_mut().flat_map(|group| &mut group.points);
                points.for_each(|ranked| part(&fetch, &mut ranked.point));
                (groups, Some(report))
            }
        };
        let groups = groups.into_iter().take(wanted).filter_map(|group| {
            Some(PointGroup {
                hits: group.points.into_iter().map(|ranked| ranked.point).collect(),
                id: group.id?,
                lookup: None,
            })
        });
        let mut groups: Vec<PointGroup> = groups.collect();
        if let Some(with_lookup) = with_lookup {
            self.look_up_groups(with_lookup, &mut groups)?;
        }
        Ok(GroupsResult { groups, rerank: report })
    }

    /// Adds the points that groups are called after.
    fn look_up_groups(&self, with_lookup: WithLookup, groups: &mut [PointGroup]) -> Result<()> {
        let lookup = match with_lookup {
            WithLookup::Lookup(lookup) => lookup,
            WithLookup::Collection(collection) => Lookup {
                collection,
                with_payload: None,
                with_vectors: None,
            },
        };
        let fetch = Fetch::new(
            lookup.with_payload.unwrap_or(WithPayload::Bool(true)),
            lookup.with_vectors.unwrap_or(WithVector::Bool(false)),
        )?;
        let collection = self.store.collection(&lookup.collection)?;
        for group in groups {
            let id = match &group.id {
                GroupId::Unsigned(number) => Some(PointId::Num(*number)),
                GroupId::Keyword(text) => text.parse().ok(),
                GroupId::Integer(_) => None,
            };
            if let Some(id) = id {
                group.lookup = collection.get(&[id], &fetch)?.pop();
            }
        }
        Ok(())
    }
}
