//! Strict mode: reads and changes that a collection's configuration refuses. The messages are Qdrant's, as clients read them.

use std::fmt::Display;
use std::time::{Duration, Instant};

use twofold_types::{
    Condition, Embedding, FieldTest, Filter, Match, MatchValue, PayloadSchemaType, RangeTest, StrictModeConfig, uuid_of,
};
use twofold_vector::Deadline;

use crate::budget::resident_percent;
use crate::error::{InvalidInput, Result};
use crate::operation::{DocumentSelector, Operation, Selector};
use crate::posting::Field;
use crate::query::Query;
use crate::state::State;

/// Who filters.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Use {
    Read,
    Change,
}

/// The limits of a collection, where there are any.
#[derive(Clone, Copy)]
pub(crate) struct Strict<'a>(Option<(&'a StrictModeConfig, &'a State)>);

impl State {
    pub(crate) fn strict(&self) -> Strict<'_> {
        let config = self.schema.config.strict_mode.as_ref();
        let enabled = config.filter(|config| config.enabled == Some(true));
        Strict(enabled.map(|config| (config, self)))
    }
}

impl Strict<'_> {
    /// Whether a read may begin, and until when it may go on.
    pub(crate) fn check_read(self) -> Result<()> {
        let Some((config, state)) = self.0 else { return Ok(()) };
        if let Some(most) = config.read_rate_limit {
            state.rates.read(most, Instant::now())?;
        }
        let Some(most) = config.max_timeout else {
            return Ok(());
        };
        check(Deadline::asked().map(|asked| asked.as_secs()), Some(most), "timeout")?;
        Deadline::shorten(Duration::from_secs(most));
        Ok(())
    }

    pub(crate) fn check_limit(self, limit: usize) -> Result<()> {
        check(
            Some(limit),
            self.0.and_then(|(config, _)| config.max_query_limit),
            "limit",
        )
    }

    pub(crate) fn check_batch(self, queries: usize) -> Result<()> {
        let most = self.0.and_then(|(config, _)| config.search_max_batchsize);
        check(Some(queries), most, "search batch size")
    }

    pub(crate) fn check_indexes(self, indexes: usize) -> Result<()> {
        let most = self.0.and_then(|(config, _)| config.max_payload_index_count);
        match most {
            Some(most) if indexes > most => Err(refused(
                format!("Collection already has the maximum number of payload indices ({most})"),
                "Please delete an existing index before creating a new one.",
            )),
            _ => Ok(()),
        }
    }

    /// A query and those before it.
    pub(crate) fn check_query(self, query: &Query) -> Result<()> {
        self.check_limit(query.limit)?;
        self.check_parts(query)
    }

    /// The same without the limit of the query itself, which groups have one of their own for.
    pub(crate) fn check_parts(self, query: &Query) -> Result<()> {
        let Some((config, _)) = self.0 else { return Ok(()) };
        if query.exact && config.search_allow_exact == Some(false) {
            return Err(refused("Exact search disabled!".to_owned(), "Set exact=false."));
        }
        check(query.ef, config.search_max_hnsw_ef, "hnsw_ef")?;
        check(query.oversampling, config.search_max_oversampling, "oversampling")?;
        self.check_filter(query.filter.as_ref(), Use::Read)?;
        self.check_filter(query.corpus.as_ref(), Use::Read)?;
        query
            .prefetch
            .iter()
            .try_for_each(|prefetch| self.check_query(prefetch))
    }

    pub(crate) fn check_filter(self, filter: Option<&Filter>, by: Use) -> Result<()> {
        let (Some((config, state)), Some(filter)) = (self.0, filter) else {
            return Ok(());
        };
        let unindexed = match by {
            Use::Read => config.unindexed_filtering_retrieve,
            Use::Change => config.unindexed_filtering_update,
        };
        let mut conditions = Vec::new();
        collect(filter, "", &mut conditions);
        if let Some(most) = config.filter_max_conditions
            && conditions.len() > most
        {
            return Err(refused(
                format!("Filter condition limit reached ({} > {most})", conditions.len()),
                "Reduce the amount of conditions of your filter.",
            ));
        }
        let largest = conditions
            .iter()
            .map(|(_, condition)| size(condition))
            .max()
            .unwrap_or(0);
        if let Some(most) = config.condition_max_size
            && largest > most
        {
            return Err(refused(
                format!("Condition size limit reached ({largest} > {most})"),
                "Reduce the size of your condition.",
            ));
        }
        if unindexed == Some(false) {
            for (prefix, condition) in conditions {
                check_indexed(&state.schema.fields, &prefix, condition)?;
            }
        }
        Ok(())
    }

    pub(crate) fn check_operation(self, operation: &Operation) -> Result<()> {
        let (Some((config, state)), Some(asked)) = (self.0, Asked::by(operation)) else {
            return Ok(());
        };
        if let Some(name) = asked.batch {
            check(Some(asked.points), config.upsert_max_batchsize, name)?;
            check_size(config, state)?;
        }
        asked
            .vectors()
            .try_for_each(|(name, vector)| check_vector(config, name, vector))?;
        if operation.takes_room() {
            check_memory(config)?;
        }
        self.check_filter(asked.filter, Use::Change)?;
        match config.write_rate_limit {
            Some(most) => state.rates.write(most, asked.points.max(1), Instant::now()),
            None => Ok(()),
        }
    }
}

/// What a request asks for with an operation.
struct Asked<'a> {
    operation: &'a Operation,
    /// How many points it changes; 1 where a filter finds them.
    points: usize,
    filter: Option<&'a Filter>,
    /// What the limit of its points is called, where it puts vectors in.
    batch: Option<&'static str>,
}

impl<'a> Asked<'a> {
    /// None for what the server does by itself.
    fn by(operation: &'a Operation) -> Option<Self> {
        let (points, filter, batch) = match operation {
            Operation::Upsert(points) => (points.len(), None, Some("upsert limit")),
            Operation::UpsertIf { points, filter, .. } => (points.len(), filter.as_ref(), Some("upsert limit")),
            Operation::UpdateVectors { vectors, filter } => (vectors.len(), filter.as_ref(), Some("update limit")),
            Operation::Delete(selector)
            | Operation::DeleteVectors { selector, .. }
            | Operation::SetPayload { selector, .. }
            | Operation::OverwritePayload { selector, .. }
            | Operation::DeletePayload { selector, .. }
            | Operation::ClearPayload(selector) => match selector {
                Selector::Ids(ids) => (ids.len(), None, None),
                Selector::Filter(filter) => (1, Some(filter), None),
            },
            Operation::DeleteDocuments(DocumentSelector::Filter(filter)) => (1, Some(filter), None),
            Operation::DeleteDocuments(DocumentSelector::Ids(_)) => (1, None, None),
            Operation::Finish { .. } | Operation::CancelTask { .. } => return None,
        };
        Some(Self {
            operation,
            points,
            filter,
            batch,
        })
    }

    /// The vectors that it puts in, by name.
    fn vectors(&self) -> impl Iterator<Item = (&'a String, &'a Embedding)> {
        let (points, vectors) = match self.operation {
            Operation::Upsert(points) | Operation::UpsertIf { points, .. } => (points.as_slice(), &[][..]),
            Operation::UpdateVectors { vectors, .. } => (&[][..], vectors.as_slice()),
            _ => (&[][..], &[][..]),
        };
        let of_points = points.iter().flat_map(|point| &point.vectors);
        of_points.chain(vectors.iter().flat_map(|(_, vectors)| vectors))
    }
}

/// Refuses a vector that is longer than its name allows.
fn check_vector(config: &StrictModeConfig, name: &str, vector: &Embedding) -> Result<()> {
    match vector {
        Embedding::Multi(rows) => {
            let limits = config.multivector_config.as_ref().and_then(|limits| limits.get(name));
            let most = limits.and_then(|limits| limits.max_vectors);
            check(Some(rows.len()), most, &format!("max_vectors of {name}"))
        }
        Embedding::Sparse(vector) => {
            let limits = config.sparse_config.as_ref().and_then(|limits| limits.get(name));
            let most = limits.and_then(|limits| limits.max_length);
            check(Some(vector.indices().len()), most, &format!("max_length of {name}"))
        }
        Embedding::Dense(_) => Ok(()),
    }
}

/// Refuses what takes memory while the process has more than its share; nothing where the system does not say how much it has.
fn check_memory(config: &StrictModeConfig) -> Result<()> {
    let Some(most) = config.max_resident_memory_percent else {
        return Ok(());
    };
    match resident_percent() {
        Some(percent) if percent > f64::from(most) => Err(refused(
            format!("Resident memory limit reached ({percent:.1}% > {most}%)"),
            "Delete points or collections, or give the server more memory.",
        )),
        _ => Ok(()),
    }
}

/// Refuses more points in a collection that has as many, or as much in them, as it may.
fn check_size(config: &StrictModeConfig, state: &State) -> Result<()> {
    let reached = |what: &str| Err(InvalidInput::Strict(format!("Max {what} reached!")).into());
    let megabytes = |bytes: u64| bytes as f32 / (1024.0 * 1024.0);
    if let Some(most) = config.max_collection_vector_size_bytes {
        let arenas = state.arenas.iter();
        let dense = arenas.map(|arena| arena.present().len() * arena.dimensions() as u64 * size_of::<f32>() as u64);
        let multi = state.multis.iter().map(|multis| multis.heap_bytes() as u64);
        if dense.chain(multi).sum::<u64>() >= most {
            return reached(&format!("vector storage size limit of {}MB", megabytes(most)));
        }
    }
    match (config.max_collection_payload_size_bytes, config.max_points_count) {
        (Some(most), _) if state.payload_bytes >= most => {
            reached(&format!("payload storage size limit of {}MB", megabytes(most)))
        }
        (_, Some(most)) if state.alive.len() >= most => reached(&format!("points count limit of {most}")),
        _ => Ok(()),
    }
}

fn refused(error: String, help: &str) -> crate::StorageError {
    InvalidInput::Strict(format!("{error}. Help: {help}")).into()
}

fn check<T: PartialOrd + Display>(value: Option<T>, most: Option<T>, name: &str) -> Result<()> {
    match (value, most) {
        (Some(value), Some(most)) if value > most => Err(refused(
            format!("Limit exceeded {value} > {most} for \"{name}\""),
            &format!("Reduce the \"{name}\" parameter to or below {most}."),
        )),
        _ => Ok(()),
    }
}

/// The conditions of a filter, with what their keys begin with where they are of the objects in an array.
fn collect<'f>(filter: &'f Filter, prefix: &str, conditions: &mut Vec<(String, &'f Condition)>) {
    let of_min_should = filter.min_should.iter().flat_map(|min_should| &min_should.conditions);
    let all = filter.must.iter().chain(&filter.should).chain(&filter.must_not);
    for condition in all.chain(of_min_should) {
        match condition {
            Condition::Filter(filter) => collect(filter, prefix, conditions),
            Condition::Nested { nested } => {
                let array = nested.key.strip_suffix("[]").unwrap_or(&nested.key);
                collect(&nested.filter, &format!("{prefix}{array}[]."), conditions);
            }
            condition => conditions.push((prefix.to_owned(), condition)),
        }
    }
}

/// How much a condition lists.
fn size(condition: &Condition) -> usize {
    match condition {
        Condition::HasId { has_id } => has_id.len(),
        Condition::Field(field) => match &field.test {
            FieldTest::Match(Match::Any(values) | Match::Except(values)) => values.len(),
            FieldTest::GeoPolygon(polygon) => {
                let lines = std::iter::once(&polygon.exterior).chain(&polygon.interiors);
                lines.map(|line| line.points.len()).sum()
            }
            _ => 1,
        },
        _ => 1,
    }
}

/// Refuses a condition on a key that has no index that could decide it.
fn check_indexed(fields: &[Field], prefix: &str, condition: &Condition) -> Result<()> {
    let (key, test) = match condition {
        Condition::Field(field) => (&field.key, Some(&field.test)),
        Condition::IsEmpty { is_empty } => (&is_empty.key, None),
        Condition::IsNull { is_null } => (&is_null.key, None),
        _ => return Ok(()),
    };
    let key = format!("{prefix}{key}");
    let suitable = suitable(test);
    let mut of_key = fields.iter().filter(|field| field.key == key);
    if of_key.any(|field| suitable.contains(&PayloadSchemaType::from(field.kind))) {
        return Ok(());
    }
    let mut names: Vec<String> = suitable.iter().map(|kind| format!("{kind:?}").to_lowercase()).collect();
    names.sort_unstable();
    Err(refused(
        format!(
            "Index required but not found for \"{key}\" of one of the following types: [{}]",
            names.join(", ")
        ),
        "Create an index for this key or use a different filter.",
    ))
}

/// The types of payload indexes that can decide a test; of presence, any.
fn suitable(test: Option<&FieldTest>) -> Vec<PayloadSchemaType> {
    use PayloadSchemaType::{Bool, Datetime, Float, Geo, Integer, Keyword, Text, Uuid};
    let of_value = |value: &MatchValue| match value {
        MatchValue::Bool(_) => vec![Bool],
        MatchValue::Integer(_) => vec![Integer],
        MatchValue::Keyword(text) if uuid_of(text).is_some() => vec![Keyword, Uuid],
        MatchValue::Keyword(_) => vec![Keyword],
    };
    match test {
        Some(FieldTest::Match(Match::Value(value))) => of_value(value),
        Some(FieldTest::Match(Match::Any(values) | Match::Except(values))) => {
            values.first().map_or(vec![Keyword, Integer], of_value)
        }
        Some(FieldTest::Match(Match::Prefix(_) | Match::Substring(_))) => vec![Keyword],
        Some(FieldTest::Match(_)) => vec![Text],
        Some(FieldTest::Range(RangeTest::Number(_))) => vec![Float, Integer],
        Some(FieldTest::Range(RangeTest::Datetime(_))) => vec![Datetime],
        Some(FieldTest::GeoBoundingBox(_) | FieldTest::GeoRadius(_) | FieldTest::GeoPolygon(_)) => vec![Geo],
        Some(FieldTest::ValuesCount(_) | FieldTest::IsEmpty(_) | FieldTest::IsNull(_)) | None => {
            vec![Bool, Datetime, Float, Geo, Integer, Keyword, Text, Uuid]
        }
    }
}
