use super::*;

fn error(json: &str) -> String {
    serde_json::from_str::<Filter>(json).unwrap_err().to_string()
}

#[test]
fn a_filter_survives_the_wire() {
    let json = r#"{"must":[{"key":"a","match":{"value":"x"}},{"key":"n","range":{"gte":1.0}},{"has_id":[1]}],
        "should":[{"must_not":[{"is_empty":{"key":"b"}}]}],"must_not":[{"key":"c","match":{"any":[1,2]}}]}"#;
    let filter: Filter = serde_json::from_str(json).unwrap();
    let back: Filter = serde_json::from_str(&serde_json::to_string(&filter).unwrap()).unwrap();
    assert_eq!(filter, back);
}

#[test]
fn ranges_are_of_numbers_or_of_moments() {
    let range = |json: &str| serde_json::from_str::<RangeTest>(json);
    let far = range(r#"{"gte": 9007199254740993, "lt": null}"#).unwrap();
    assert!(far.contains(&9_007_199_254_740_993u64.into()));
    assert!(!far.contains(&9_007_199_254_740_992u64.into()));
    assert!(!far.contains(&"9007199254740993".into()));
    let leap = range(r#"{"gte": "2024-02-29", "lt": "2024-02-29T13:00:00+01:00"}"#).unwrap();
    assert!(leap.contains(&"2024-02-29 11:59:59".into()));
    assert!(!leap.contains(&"2024-02-29T12:00:00Z".into()));
    assert!(!leap.contains(&"soon".into()) && !leap.contains(&1.into()));
    let back: RangeTest = serde_json::from_str(&serde_json::to_string(&leap).unwrap()).unwrap();
    assert_eq!(back, leap);
    assert!(
        range(r#"{"gte": "soon"}"#)
            .unwrap_err()
            .to_string()
            .contains("RFC 3339")
    );
    assert!(range(r#"{"gte": 1, "lt": "2024-02-29"}"#).is_err());
}

#[test]
fn values_are_equal_in_every_spelling() {
    let id = "00000000-0000-0000-0000-00000000000A";
    let matches = |expected: &str, value: &str| MatchValue::Keyword(expected.to_owned()).matches(&value.into());
    assert!(matches(id, "0000000000000000000000000000000a"));
    assert!(matches(id, id) && matches("{00000000-0000-0000-0000-00000000000a}", id));
    assert!(!matches(id, "00000000-0000-0000-0000-00000000000b") && !matches(id, "A") && !matches("a", "A"));
    assert!(MatchValue::Integer(30).matches(&30.0.into()) && !MatchValue::Integer(30).matches(&30.5.into()));
    assert!(MatchValue::Integer(i64::MAX).matches(&i64::MAX.into()));
    assert!(!MatchValue::Integer(i64::MAX).matches(&(i64::MAX - 1).into()));
    assert!(!MatchValue::Integer(i64::MAX).matches(&9_223_372_036_854_775_808.0.into()));
}

#[test]
fn one_condition_stands_for_a_list_and_null_for_none() {
    let filter: Filter =
        serde_json::from_str(r#"{"must":{"key":"a","match":{"value":true},"range":null},"should":null}"#).unwrap();
    assert_eq!(filter.must.len(), 1);
    assert!(filter.should.is_empty());
}

#[test]
fn mistakes_are_named_with_what_is_accepted() {
    assert!(error(r#"{"must":[{"kex":"a"}]}"#).contains("[kex]"));
    assert!(error(r#"{"must":[{"key":"a","match":{"value":1.5}}]}"#).contains("a string, an integer or a boolean"));
    assert!(error(r#"{"must":[{"key":"a","near":{}}]}"#).contains("`match`, `range`"));
    assert!(error(r#"{"most":[]}"#).contains("most"));
}
