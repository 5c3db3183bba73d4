//! Which parts of payloads are answered.

use std::collections::BTreeMap;

use serde_json::Value;
use twofold_types::Payload;

use crate::path::{PayloadPath, Step};

/// The parts of a payload below some keys.
#[derive(Debug, Clone)]
pub(crate) struct Selection(Tree);

#[derive(Debug, Clone)]
enum Tree {
    /// All that is below.
    Whole,
    Steps(BTreeMap<Step, Tree>),
}

impl Selection {
    pub(crate) fn new(paths: &[PayloadPath]) -> Self {
        let mut root = Tree::Steps(BTreeMap::new());
        for path in paths {
            let mut tree = &mut root;
            for step in path.steps() {
                let Tree::Steps(steps) = tree else { break };
                tree = steps.entry(step).or_insert_with(|| Tree::Steps(BTreeMap::new()));
            }
            *tree = Tree::Whole;
        }
        Self(root)
    }

    /// What of a payload is below the keys. Elements of arrays are, if the key says `[]`; what stands in the way of a key is.
    pub(crate) fn only(&self, payload: Payload) -> Payload {
        match &self.0 {
            Tree::Whole => payload,
            Tree::Steps(steps) => only_object(payload, steps),
        }
    }

    /// What of a payload is not below the keys.
    pub(crate) fn without(&self, payload: Payload) -> Payload {
        match &self.0 {
            Tree::Whole => Payload::new(),
            Tree::Steps(steps) => without_object(payload, steps),
        }
    }
}

fn only_object(object: Payload, steps: &BTreeMap<Step, Tree>) -> Payload {
    let kept = object.into_iter().filter_map(|(key, value)| {
        let tree = steps.get(&Step::Key(key.clone()))?;
        Some((key, only(value, tree)))
    });
    kept.collect()
}

fn only(value: Value, tree: &Tree) -> Value {
    match (value, tree) {
        (value, Tree::Whole) => value,
        (Value::Object(object), Tree::Steps(steps)) => Value::Object(only_object(object, steps)),
        (Value::Array(elements), Tree::Steps(steps)) => match steps.get(&Step::Each) {
            Some(tree) => elements.into_iter().map(|element| only(element, tree)).collect(),
            None => Value::Array(Vec::new()),
        },
        (value, _) => value,
    }
}

fn without_object(object: Payload, steps: &BTreeMap<Step, Tree>) -> Payload {
    let kept = object
        .into_iter()
        .filter_map(|(key, value)| match steps.get(&Step::Key(key.clone())) {
            Some(Tree::Whole) => None,
            Some(tree) => Some((key, without(value, tree))),
            None => Some((key, value)),
        });
    kept.collect()
}

fn without(value: Value, tree: &Tree) -> Value {
    match (value, tree) {
        (Value::Object(object), Tree::Steps(steps)) => Value::Object(without_object(object, steps)),
        (Value::Array(elements), Tree::Steps(steps)) => match steps.get(&Step::Each) {
            Some(Tree::Whole) => Value::Array(Vec::new()),
            Some(tree) => elements.into_iter().map(|element| without(element, tree)).collect(),
            None => Value::Array(elements),
        },
        (value, _) => value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_are_kept_or_left_out_at_their_places() {
        let payload = json!({"a": {"b": 1, "c": 2}, "d": [{"e": 4, "f": 5}], "n": null, "x": 7});
        let payload = payload.as_object().unwrap();
        let selection = |keys: &[&str]| {
            let paths: Vec<_> = keys.iter().map(|key| PayloadPath::parse(key).unwrap()).collect();
            Selection::new(&paths)
        };
        let only = |keys: &[&str]| Value::Object(selection(keys).only(payload.clone()));
        assert_eq!(
            only(&["a.b", "d[].e", "n", "missing.x"]),
            json!({"a": {"b": 1}, "d": [{"e": 4}], "n": null})
        );
        assert_eq!(
            only(&["a", "a.b", "d[0].e", "x.y"]),
            json!({"a": {"b": 1, "c": 2}, "d": [], "x": 7})
        );
        assert_eq!(only(&[]), json!({}));
        let without = |keys: &[&str]| Value::Object(selection(keys).without(payload.clone()));
        assert_eq!(
            without(&["a.b", "d[].e", "n", "d[0].f"]),
            json!({"a": {"c": 2}, "d": [{"f": 5}], "x": 7})
        );
        assert_eq!(without(&["d[]", "a"]), json!({"d": [], "n": null, "x": 7}));
    }
}
