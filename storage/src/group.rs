//! The answer to a query in groups by the values at a payload key.

use std::collections::HashMap;

use serde_json::Value;
use twofold_types::ScoredPoint;
use twofold_types::api::GroupId;

use crate::collection::Collection;
use crate::error::Result;
use crate::key::PointOffset;
use crate::path::PayloadPath;
use crate::query::{Hit, Query};
use crate::view::{Fetch, View};

/// Hits that are looked at first, for each point that is wanted, and at least so many; four times as many where they do not
/// fill the groups, and so on.
const HITS_PER_POINT: usize = 4;
const LEAST_HITS: usize = 1_000;

/// How groups are made.
#[derive(Debug, Clone)]
pub struct Grouping {
    /// The payload key whose strings and integers name the groups.
    pub key: String,
    /// How many groups are answered.
    pub groups: usize,
    /// How many points a group has at most.
    pub size: usize,
}

impl Collection {
    /// The best points of a query in groups, the group of the best first. A point is in the groups of all its values; one with
    /// a value that cannot name a group is in none. The limits of the query are of no matter.
    pub fn query_groups(
        &self,
        query: &Query,
        grouping: &Grouping,
        fetch: &Fetch,
    ) -> Result<Vec<(GroupId, Vec<ScoredPoint>)>> {
        let path = PayloadPath::parse(&grouping.key)?;
        let view = self.view();
        let strict = view.state.strict();
        strict.check_read()?;
        strict.check_limit(grouping.groups.saturating_mul(grouping.size))?;
        strict.check_parts(query)?;
        let all = view.state.alive.len() as usize;
        let wanted = grouping
            .groups
            .saturating_mul(grouping.size)
            .saturating_mul(HITS_PER_POINT);
        let mut limit = wanted.max(LEAST_HITS).min(all);
        loop {
            let mut query = query.clone();
            widen(&mut query, limit);
            let hits = self.run(&view, &query, None)?.hits;
            let exhausted = hits.len() < limit || limit >= all;
            let groups = groups(&view, &path, grouping, &hits)?;
            let filled = groups.len() == grouping.groups && groups.iter().all(|(_, hits)| hits.len() == grouping.size);
            if exhausted || filled {
                let groups = groups.into_iter();
                return groups
                    .map(|(id, hits)| Ok((id, view.scored_points(&hits, fetch)?)))
                    .collect();
            }
            limit = limit.saturating_mul(HITS_PER_POINT).min(all);
        }
    }
}

/// Makes a query and its prefetches look for at least so many points.
fn widen(query: &mut Query, limit: usize) {
    query.limit = limit;
    query.offset = 0;
    query.prefetch.iter_mut().for_each(|prefetch| {
        let limit = limit.max(prefetch.limit);
        widen(prefetch, limit);
    });
}

fn groups(view: &View<'_>, path: &PayloadPath, grouping: &Grouping, hits: &[Hit]) -> Result<Vec<(GroupId, Vec<Hit>)>> {
    let offsets: Vec<_> = hits.iter().map(|hit| PointOffset(hit.offset)).collect();
    let mut places: HashMap<GroupId, usize> = HashMap::new();
    let mut groups: Vec<(GroupId, Vec<Hit>)> = Vec::new();
    for (hit, record) in hits.iter().zip(view.points(&offsets)?) {
        let Some(record) = record else { continue };
        let payload = record.payload()?;
        let ids: Option<Vec<GroupId>> = path.elements(&payload).map(group_id).collect();
        let mut ids = ids.unwrap_or_default();
        let mut seen = std::collections::HashSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        for id in ids {
            let place = match places.get(&id) {
                Some(place) => *place,
                None if groups.len() == grouping.groups => continue,
                None => {
                    places.insert(id.clone(), groups.len());
                    groups.push((id, Vec::new()));
                    groups.len() - 1
                }
            };
            if groups[place].1.len() < grouping.size {
                groups[place].1.push(*hit);
            }
        }
    }
    Ok(groups)
}

fn group_id(value: &Value) -> Option<GroupId> {
    match value {
        Value::String(text) => Some(GroupId::Keyword(text.clone())),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Some(GroupId::Unsigned(number)),
            (None, number) => number.map(GroupId::Integer),
        },
        _ => None,
    }
}
