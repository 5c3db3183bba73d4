//! Payload keys: `a`, `a.b`, `a[].b`, `a[0]`, and `"quoted.key"` for keys with dots in them.

use serde_json::Value;
use twofold_types::Payload;

use crate::error::InvalidInput;

/// A parsed payload key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PayloadPath {
    first: String,
    rest: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// Into an object.
    Key(String),
    /// To one element of an array.
    Index(usize),
    /// To every element of an array.
    Each,
}

impl PayloadPath {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidInput> {
        let invalid = || InvalidInput::PayloadKey(text.to_owned());
        let mut steps = Vec::new();
        let mut rest = text;
        loop {
            let key;
            if let Some(quoted) = rest.strip_prefix('"') {
                (key, rest) = quoted.split_once('"').ok_or_else(invalid)?;
            } else {
                let end = rest.find(['.', '[', '"']).unwrap_or(rest.len());
                (key, rest) = rest.split_at(end);
            }
            if key.is_empty() {
                return Err(invalid());
            }
            steps.push(Step::Key(key.to_owned()));
            while let Some(bracket) = rest.strip_prefix('[') {
                let (index, after) = bracket.split_once(']').ok_or_else(invalid)?;
                steps.push(match index {
                    "" => Step::Each,
                    index => Step::Index(index.parse().map_err(|_| invalid())?),
                });
                rest = after;
            }
            match rest.strip_prefix('.') {
                Some(after) => rest = after,
                None if rest.is_empty() => break,
                None => return Err(invalid()),
            }
        }
        let mut steps = steps.into_iter();
        match steps.next() {
            Some(Step::Key(first)) => Ok(Self {
                first,
                rest: steps.collect(),
            }),
            _ => Err(invalid()),
        }
    }

    /// The values at the key, as they stand. An object inside an array is reached only through `[]`.
    pub(crate) fn get<'a>(&self, payload: &'a Payload) -> Vec<&'a Value> {
        let mut values: Vec<&Value> = payload.get(&self.first).into_iter().collect();
        for step in &self.rest {
            values = match step {
                Step::Key(key) => values
                    .into_iter()
                    .filter_map(|value| value.as_object()?.get(key))
                    .collect(),
                Step::Index(index) => values
                    .into_iter()
                    .filter_map(|value| value.as_array()?.get(*index))
                    .collect(),
                Step::Each => values.into_iter().filter_map(Value::as_array).flatten().collect(),
            };
        }
        values
    }

    /// The values at the key with the elements of arrays in place of the arrays.
    pub(crate) fn elements<'a>(&self, payload: &'a Payload) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.get(payload).into_iter().flat_map(|value| match value {
            Value::Array(elements) => elements.as_slice(),
            value => std::slice::from_ref(value),
        })
    }

    /// The object at the key, made where it is missing; none where something else stands in the way.
    pub(crate) fn object_mut<'a>(&self, payload: &'a mut Payload) -> Option<&'a mut Payload> {
        let empty = || Value::Object(Payload::new());
        let mut value = payload.entry(&self.first).or_insert_with(empty);
        for step in &self.rest {
            let Step::Key(key) = step else { return None };
            if !value.is_object() {
                *value = empty();
            }
            value = value.as_object_mut()?.entry(key).or_insert_with(empty);
        }
        if !value.is_object() {
            *value = empty();
        }
        value.as_object_mut()
    }

    /// Copies the values at the key to the same place of another payload.
    pub(crate) fn copy(&self, from: &Payload, to: &mut Payload) {
        fn copy_value(from: &Value, steps: &[Step], to: &mut Value) {
            match (steps.split_first(), from) {
                (None, from) => *to = from.clone(),
                (Some((Step::Key(key), rest)), Value::Object(object)) => {
                    if let Some(from) = object.get(key) {
                        if !to.is_object() {
                            *to = Value::Object(Payload::new());
                        }
                        copy_value(from, rest, &mut to[key]);
                    }
                }
                (Some((Step::Index(index), rest)), Value::Array(elements)) => {
                    if let Some(from) = elements.get(*index) {
                        if !to.is_array() {
                            *to = Value::Array(Vec::new());
                        }
                        let mut copied = Value::Null;
                        copy_value(from, rest, &mut copied);
                        to.as_array_mut().into_iter().for_each(|to| to.push(copied.clone()));
                    }
                }
                (Some((Step::Each, rest)), Value::Array(elements)) => {
                    if !to.is_array() {
                        *to = Value::Array(vec![Value::Null; elements.len()]);
                    }
                    for (from, to) in elements.iter().zip(to.as_array_mut().into_iter().flatten()) {
                        copy_value(from, rest, to);
                    }
                }
                _ => {}
            }
        }
        if let Some(value) = from.get(&self.first) {
            let mut copied = to.remove(&self.first).unwrap_or_default();
            copy_value(value, &self.rest, &mut copied);
            if !copied.is_null() || value.is_null() {
                to.insert(self.first.clone(), copied);
            }
        }
    }

    /// Removes the values at the key.
    pub(crate) fn remove(&self, payload: &mut Payload) {
        let Some((last, between)) = self.rest.split_last() else {
            payload.remove(&self.first);
            return;
        };
        let mut parents: Vec<&mut Value> = payload.get_mut(&self.first).into_iter().collect();
        for step in between {
            parents = match step {
                Step::Key(key) => parents
                    .into_iter()
                    .filter_map(|value| value.as_object_mut()?.get_mut(key))
                    .collect(),
                Step::Index(index) => parents
                    .into_iter()
                    .filter_map(|value| value.as_array_mut()?.get_mut(*index))
                    .collect(),
                Step::Each => parents.into_iter().filter_map(Value::as_array_mut).flatten().collect(),
            };
        }
        for parent in parents {
            match (last, parent) {
                (Step::Key(key), Value::Object(object)) => {
                    object.remove(key);
                }
                (Step::Index(index), Value::Array(array)) if *index < array.len() => {
                    array.remove(*index);
                }
                (Step::Each, Value::Array(array)) => array.clear(),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Payload {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn every_form_of_key_finds_its_values() {
        let payload = object(json!({"a": {"b": 1, "c": [2, 3]}, "d": [{"e": 4}, {"e": [5, 6]}], "x.y": 7}));
        let elements = |key: &str| -> Vec<i64> {
            PayloadPath::parse(key)
                .unwrap()
                .elements(&payload)
                .filter_map(Value::as_i64)
                .collect()
        };
        assert_eq!(elements("a.b"), [1]);
        assert_eq!(elements("a.c"), [2, 3]);
        assert_eq!(elements("a.c[1]"), [3]);
        assert_eq!(elements("d[].e"), [4, 5, 6]);
        assert_eq!(elements("d[0].e"), [4]);
        assert_eq!(elements("d.e"), [0; 0]);
        assert_eq!(elements("\"x.y\""), [7]);
    }

    #[test]
    fn malformed_keys_are_refused() {
        for bad in ["", ".", "a.", ".a", "a[", "a[x]", "a[0", "a]b[", "\"a", "a[0]b"] {
            assert!(PayloadPath::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn chosen_values_are_copied_to_their_places() {
        let payload = object(json!({"a": {"b": 1, "c": 2}, "d": [{"e": 4, "f": 5}], "n": null}));
        let mut copied = Payload::new();
        for key in ["a.b", "d[].e", "n", "missing.x"] {
            PayloadPath::parse(key).unwrap().copy(&payload, &mut copied);
        }
        assert_eq!(
            Value::Object(copied),
            json!({"a": {"b": 1}, "d": [{"e": 4}], "n": null})
        );
    }

    #[test]
    fn values_are_removed_and_objects_made() {
        let mut payload = object(json!({"a": {"b": 1}, "d": [{"e": 4, "f": 5}]}));
        PayloadPath::parse("d[].e").unwrap().remove(&mut payload);
        PayloadPath::parse("a").unwrap().remove(&mut payload);
        PayloadPath::parse("n.m")
            .unwrap()
            .object_mut(&mut payload)
            .unwrap()
            .insert("k".to_owned(), json!(1));
        assert_eq!(Value::Object(payload), json!({"d": [{"f": 5}], "n": {"m": {"k": 1}}}));
    }
}
