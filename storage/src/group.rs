//! The answer to a query in groups by the values at a payload key.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::Value;
use twofold_types::ScoredPoint;
use twofold_types::api::GroupId;

use crate::error::Result;
use crate::key::PointOffset;
use crate::path::PayloadPath;
use crate::plan::Explanation;
use crate::query::{Found, Hit, Query};
use crate::reading::Reading;
use crate::view::{Fetch, View};

/// Hits that are looked through first, for each point that is wanted; so many times as many where they do not fill the groups, and
/// so on.
const HITS_PER_POINT: usize = 4;

/// How groups are made.
#[derive(Debug, Clone)]
pub struct Grouping {
    /// The payload key whose strings and integers name the groups.
    pub key: String,
    /// How many groups are answered.
    pub groups: usize,
    /// How many points a group has at most.
    pub size: usize,
    /// Whether a point that is in no group is one by itself, instead of being left out.
    pub singles: bool,
    /// How many hits are looked through.
    pub depth: Depth,
}

/// How many hits are looked through for groups.
#[derive(Debug, Clone, Copy)]
pub struct Depth {
    /// At least so many.
    first: usize,
    /// After so many, groups need not be full.
    enough: usize,
    /// At most so many.
    most: usize,
}

impl Depth {
    /// Until all groups are full.
    pub const WHOLE: Self = Self {
        first: 1_000,
        enough: usize::MAX,
        most: usize::MAX,
    };

    /// Until there are all groups; the best hits fill them. One that fills the best 100,000 alone leaves no room for others.
    pub const BOUNDED: Self = Self {
        first: 100,
        enough: 1_000,
        most: 100_000,
    };
}

/// The groups of a query, that of the best point first, and how they were found.
#[derive(Debug, Clone)]
pub struct Groups {
    /// The groups.
    pub groups: Vec<Group>,
    /// How the last search went.
    pub explanation: Explanation,
    /// What each of the query's prefetches found; what the query itself found, where it has none.
    pub found: Vec<usize>,
    /// Hits that were looked through.
    pub hits: usize,
    /// How often was searched, each time for more hits.
    pub rounds: usize,
    /// The time to put hits into groups.
    pub grouping: Duration,
}

/// Points that share a value.
#[derive(Debug, Clone)]
pub struct Group {
    /// The value; none of a point that is a group by itself.
    pub id: Option<GroupId>,
    /// Its best points, best first.
    pub points: Vec<RankedPoint>,
}

/// A point with its ranks, from 0 on, and scores in what each of the query's prefetches found; in what the query itself found, where
/// it has none.
#[derive(Debug, Clone)]
pub struct RankedPoint {
    /// The point.
    pub point: ScoredPoint,
    /// Rank and score by prefetch.
    pub ranks: Vec<Option<(usize, f32)>>,
}

impl Reading<'_> {
    /// The best points of a query in groups, the group of the best first. A point is in the groups of all its values; one with
    /// a value that cannot name a group is in none. The limits of the query are of no matter.
    pub fn query_groups(&self, query: &Query, grouping: &Grouping, fetch: &Fetch) -> Result<Groups> {
        let view = &self.view;
        let strict = view.state.strict();
        strict.check_read()?;
        strict.check_limit(grouping.groups.saturating_mul(grouping.size))?;
        strict.check_parts(query)?;
        let most = (view.state.alive.len() as usize).min(grouping.depth.most);
        let wanted = grouping
            .groups
            .saturating_mul(grouping.size)
            .saturating_mul(HITS_PER_POINT);
        let mut limit = wanted.max(grouping.depth.first).min(most);
        let mut query = query.clone();
        let mut keys = Keys::new(view, grouping)?;
        let (mut rounds, mut time) = (0, Duration::ZERO);
        loop {
            widen(&mut query, limit);
            let found = self.collection.run(view, &query, None)?;
            let searched = Instant::now();
            let exhausted = found.hits.len() < limit || limit >= most;
            let groups = keys.groups(&found.hits)?;
            rounds += 1;
            time += searched.elapsed();
            let all = groups.len() == grouping.groups;
            let full = || groups.iter().all(|(_, hits)| hits.len() == grouping.size);
            if exhausted || all && (limit >= grouping.depth.enough || full()) {
                return answer(view, groups, found, fetch, rounds, time);
            }
            limit = limit.saturating_mul(HITS_PER_POINT).min(most);
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

fn answer(
    view: &View<'_>,
    groups: Vec<(Key, Vec<Hit>)>,
    found: Found,
    fetch: &Fetch,
    rounds: usize,
    grouping: Duration,
) -> Result<Groups> {
    let Found {
        hits,
        sources,
        mut explanation,
    } = found;
    let sources: Vec<&[Hit]> = match sources.is_empty() {
        true => vec![hits.as_slice()],
        false => sources.iter().map(Vec::as_slice).collect(),
    };
    let started = Instant::now();
    let ranks: Vec<_> = {
        let answered: HashSet<u32> = groups.iter().flat_map(|(_, hits)| hits).map(|hit| hit.offset).collect();
        let ranks = |source: &&[Hit]| -> HashMap<u32, (usize, f32)> {
            let ranked = source.iter().enumerate();
            let ranked = ranked.filter(|(_, hit)| answered.contains(&hit.offset));
            ranked.map(|(rank, hit)| (hit.offset, (rank, hit.score))).collect()
        };
        sources.iter().map(ranks).collect()
    };
    let group = |(key, hits): (Key, Vec<Hit>)| {
        let points = view.scored_points(&hits, fetch)?.into_iter().zip(&hits);
        Ok(Group {
            id: match key {
                Key::Value(id) => Some(id),
                Key::Single(_) => None,
            },
            points: points
                .map(|(point, hit)| RankedPoint {
                    point,
                    ranks: ranks.iter().map(|ranks| ranks.get(&hit.offset).copied()).collect(),
                })
                .collect(),
        })
    };
    let groups = groups.into_iter().map(group).collect::<Result<_>>()?;
    explanation.fetching = started.elapsed();
    Ok(Groups {
        groups,
        explanation,
        found: sources.iter().map(|hits| hits.len()).collect(),
        hits: hits.len(),
        rounds,
        grouping,
    })
}

/// What points of a group have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Value(GroupId),
    Single(u32),
}

/// The groups that points are in, each point read once however often is searched.
struct Keys<'a> {
    view: &'a View<'a>,
    grouping: &'a Grouping,
    path: PayloadPath,
    known: HashMap<u32, Vec<Key>>,
}

impl<'a> Keys<'a> {
    fn new(view: &'a View<'a>, grouping: &'a Grouping) -> Result<Self> {
        Ok(Self {
            view,
            grouping,
            path: PayloadPath::parse(&grouping.key)?,
            known: HashMap::new(),
        })
    }

    /// Hits in their groups, each group where its best hit is.
    fn groups(&mut self, hits: &[Hit]) -> Result<Vec<(Key, Vec<Hit>)>> {
        self.read(hits)?;
        let mut places: HashMap<&Key, usize> = HashMap::new();
        let mut groups: Vec<(Key, Vec<Hit>)> = Vec::new();
        for hit in hits {
            for key in self.known.get(&hit.offset).into_iter().flatten() {
                let place = match places.get(key) {
                    Some(place) => *place,
                    None if groups.len() == self.grouping.groups => continue,
                    None => {
                        places.insert(key, groups.len());
                        groups.push((key.clone(), Vec::new()));
                        groups.len() - 1
                    }
                };
                if groups[place].1.len() < self.grouping.size {
                    groups[place].1.push(*hit);
                }
            }
        }
        Ok(groups)
    }

    fn read(&mut self, hits: &[Hit]) -> Result<()> {
        let new = hits.iter().map(|hit| hit.offset);
        let new: Vec<_> = new
            .filter(|hit| !self.known.contains_key(hit))
            .map(PointOffset)
            .collect();
        for (offset, record) in new.iter().zip(self.view.points(&new)?) {
            let Some(record) = record else { continue };
            let payload = record.payload()?;
            let ids: Option<Vec<GroupId>> = self.path.elements(&payload).map(group_id).collect();
            let mut seen = HashSet::new();
            let ids = ids.unwrap_or_default().into_iter();
            let mut keys: Vec<Key> = ids.filter(|id| seen.insert(id.clone())).map(Key::Value).collect();
            if keys.is_empty() && self.grouping.singles {
                keys.push(Key::Single(offset.0));
            }
            self.known.insert(offset.0, keys);
        }
        Ok(())
    }
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
