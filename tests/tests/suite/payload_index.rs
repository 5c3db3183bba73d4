//! Random payloads and filters: payload indexes of every type, in memory and on disk, change no answer, no facet and no order.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use twofold_storage::{Collection, Fetch, NewPoint, Operation, Options, Selector, Store};
use twofold_types::api::FacetHit;
use twofold_types::{
    CollectionConfig, Distance, OrderValue, PayloadIndexParams, PayloadSchemaType, PointId, VectorParams,
};

use crate::support::{from_json, name};

const KEYS: [&str; 3] = ["a", "b", "c.d"];

/// Few values, so that filters meet them, and those at which types are told apart.
fn value() -> impl Strategy<Value = Value> {
    let far = 1i64 << 53;
    let numbers = vec![
        json!(0),
        json!(-0.0),
        json!(1),
        json!(1.0),
        json!(1.5),
        json!(-7),
        json!(far),
        json!(far + 1),
        json!(far as f64),
        json!(-far - 1),
        json!(i64::MAX),
        json!(i64::MAX - 1),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(9_223_372_036_854_775_808.0),
        json!(1e300),
        json!(f64::MAX),
    ];
    let long = "x".repeat(80);
    let texts = [
        "",
        "red",
        "1",
        &long,
        "00000000-0000-0000-0000-00000000000A",
        "00000000-0000-0000-0000-00000000000a",
        "0000000000000000000000000000000a",
        "00000000-0000-0000-0000-00000000000b",
        "2024-02-29",
        "2024-02-29T00:00:00Z",
        "2024-02-29T01:00:00+01:00",
        "2024-02-29 00:00:00.000001",
        "1969-12-31T23:59:59Z",
        "9999-12-31",
    ];
    let texts: Vec<Value> = texts.iter().map(|text| json!(text)).collect();
    prop_oneof![
        4 => prop::sample::select(numbers),
        4 => prop::sample::select(texts),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ]
}

fn payload() -> impl Strategy<Value = Value> {
    let field = prop_oneof![
        3 => value().prop_map(Some),
        1 => prop::collection::vec(value(), 0..4).prop_map(|values| Some(Value::from(values))),
        1 => Just(None),
    ];
    (field.clone(), field.clone(), field).prop_map(|(a, b, d)| {
        let mut payload = json!({});
        [("a", a), ("b", b)].into_iter().for_each(|(key, value)| {
            if let Some(value) = value {
                payload[key] = value;
            }
        });
        if let Some(value) = d {
            payload["c"] = json!({"d": value});
        }
        payload
    })
}

fn condition() -> impl Strategy<Value = Value> {
    let matched = || {
        value().prop_filter("it can be matched", |value| {
            value.is_string() || value.is_boolean() || value.is_i64()
        })
    };
    let numbers = value().prop_filter("it is a number", Value::is_number);
    let moments = prop::sample::select(vec![
        "2024-02-29",
        "2024-02-29T02:00:00+02:00",
        "1970-01-01",
        "9999-12-31",
    ]);
    let bound = prop_oneof![numbers.boxed(), moments.prop_map(Value::from).boxed()];
    let ends = (
        prop::sample::subsequence(vec!["lt", "lte", "gt", "gte"], 0..3),
        bound.clone(),
        bound,
    );
    let range = ends.prop_map(|(names, first, second)| {
        let same_kind = first.is_string() == second.is_string();
        let bounds = names.into_iter().zip([&first, if same_kind { &second } else { &first }]);
        json!({"range": bounds.map(|(name, bound)| (name.to_owned(), bound.clone())).collect::<serde_json::Map<_, _>>()})
    });
    let test = prop_oneof![
        3 => matched().prop_map(|value| json!({"match": {"value": value}})),
        1 => prop::collection::vec(matched(), 0..4).prop_map(|values| json!({"match": {"any": values}})),
        1 => prop::collection::vec(matched(), 0..3).prop_map(|values| json!({"match": {"except": values}})),
        4 => range,
    ];
    let field = (prop::sample::select(KEYS.to_vec()), test).prop_map(|(key, mut test)| {
        test["key"] = json!(key);
        test
    });
    let ids = prop::collection::vec(0u64..40, 0..9).prop_map(|ids| json!({"has_id": ids}));
    let empty = prop::sample::select(KEYS.to_vec()).prop_map(|key| json!({"is_empty": {"key": key}}));
    prop_oneof![8 => field, 1 => ids, 1 => empty]
}

fn filter() -> impl Strategy<Value = Value> {
    let clause = |most| prop::collection::vec(condition(), 0..most);
    let flat = || {
        (clause(4), clause(3), clause(2))
            .prop_map(|(must, should, must_not)| json!({"must": must, "should": should, "must_not": must_not}))
    };
    (flat(), prop::option::of(flat()), 0..3usize).prop_map(|(mut outer, inner, clause)| {
        if let Some(inner) = inner {
            let clause = ["must", "should", "must_not"][clause];
            outer[clause].as_array_mut().unwrap().push(inner);
        }
        outer
    })
}

fn schema() -> impl Strategy<Value = PayloadIndexParams> {
    let types = prop::sample::select(vec![
        PayloadSchemaType::Keyword,
        PayloadSchemaType::Integer,
        PayloadSchemaType::Float,
        PayloadSchemaType::Bool,
        PayloadSchemaType::Datetime,
        PayloadSchemaType::Uuid,
    ]);
    (types, any::<bool>()).prop_map(|(data_type, on_disk)| PayloadIndexParams {
        on_disk: Some(on_disk),
        ..data_type.into()
    })
}

fn new_point(id: u64, payload: &Value) -> NewPoint {
    NewPoint {
        id: id.into(),
        vectors: BTreeMap::from([(String::new(), vec![1.0].into())]),
        payload: from_json(payload.clone()),
    }
}

fn found(collection: &Collection, filter: &Value) -> Vec<PointId> {
    let (records, _) = collection
        .scroll(None, 1000, Some(&from_json(filter.clone())), &Fetch::payload_only())
        .unwrap();
    records.into_iter().map(|record| record.id).collect()
}

/// The three most frequent values at a key, and all of them.
fn facets(collection: &Collection, key: &str, filter: &Value) -> [Vec<FacetHit>; 2] {
    let filter = from_json(filter.clone());
    [3, 1000].map(|limit| collection.facet(key, Some(&filter), limit).unwrap())
}

fn orders(key: &str) -> Vec<Value> {
    let starts = [json!(null), json!(1), json!(-6.5), json!("2024-02-29")];
    let orders = starts.iter().flat_map(|start| {
        ["asc", "desc"].map(|direction| json!({"key": key, "direction": direction, "start_from": start}))
    });
    orders.collect()
}

/// A page of points in the order of the values at a key, with these values.
fn page(collection: &Collection, order: &Value, filter: &Value) -> Vec<(PointId, Option<OrderValue>)> {
    let (order, filter) = (from_json(order.clone()), from_json(filter.clone()));
    let records = collection
        .scroll_by(&order, 7, Some(&filter), &Fetch::payload_only())
        .unwrap();
    records
        .into_iter()
        .map(|record| (record.id, record.order_value))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_payload_index_never_changes_an_answer(
        payloads in prop::collection::vec(payload(), 40),
        later in prop::collection::vec((0u64..40, prop::option::of(payload())), 0..15),
        filters in prop::collection::vec(filter(), 40),
        schemas in prop::collection::vec(prop::option::of(schema()), 3),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let config = CollectionConfig {
            vectors: BTreeMap::from([(String::new(), VectorParams::new(1, Distance::Dot))]),
            ..CollectionConfig::default()
        };
        let options = Options { checkpoint_changes: 2, ..Options::new(dir.path()) };
        let mut store = Store::open(options.clone()).unwrap();
        for c in ["plain", "indexed"] {
            let collection = store.create_collection(&name(c), &config).unwrap();
            let points = (0..).zip(&payloads).map(|(id, payload)| new_point(id, payload));
            collection.apply(Operation::Upsert(points.collect())).unwrap();
        }
        let indexed = store.collection(&name("indexed")).unwrap();
        for (key, schema) in KEYS.iter().zip(&schemas) {
            if let Some(schema) = schema {
                indexed.create_payload_index(key, schema.clone()).unwrap();
            }
        }
        indexed.update_indexes(&false.into()).unwrap();
        drop(indexed);
        for (id, payload) in &later {
            for c in ["plain", "indexed"] {
                let collection = store.collection(&name(c)).unwrap();
                let operation = match payload {
                    Some(payload) => Operation::OverwritePayload {
                        selector: Selector::Ids(vec![PointId::Num(*id)]),
                        payload: from_json(payload.clone()),
                    },
                    None => Operation::Delete(Selector::Ids(vec![PointId::Num(*id)])),
                };
                collection.apply(operation).unwrap();
            }
        }
        for reopened in [false, true] {
            if reopened {
                drop(store);
                store = Store::open(options.clone()).unwrap();
            }
            let [plain, indexed] = ["plain", "indexed"].map(|c| store.collection(&name(c)).unwrap());
            for filter in &filters {
                prop_assert_eq!(found(&indexed, filter), found(&plain, filter), "{} with {:?}", filter, schemas);
            }
            for (filter, key) in filters.iter().take(6).flat_map(|filter| KEYS.map(|key| (filter, key))) {
                let facets = |collection: &Collection| facets(collection, key, filter);
                prop_assert_eq!(facets(&indexed), facets(&plain), "{} of {} with {:?}", key, filter, schemas);
                for order in orders(key) {
                    let page = |collection: &Collection| page(collection, &order, filter);
                    prop_assert_eq!(page(&indexed), page(&plain), "{} of {} with {:?}", order, filter, schemas);
                }
            }
        }
    }
}
