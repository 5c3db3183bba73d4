//! Payload keys: `a`, `a.b`, `a[].b`, `a[0]`, and `"quoted.key"` for keys with dots in them.

use serde_json::Value;
use twofold_types::Payload;

use crate::error::InvalidInput;

/// A parsed payload key.
#[derive(Debug, Clone, PartialEq)]
pub struct PayloadPath {
    first: String,
    rest: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Into an object.
    Key(String),
    /// To one element of an array.
    Index(usize),
    /// To every element of an array.
    Each,
}

impl PayloadPath {
    /// Parses a key.
    pub fn parse(text: &str) -> Result<Self, InvalidInput> {
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
    pub fn elements<'a>(&self, payload: &'a Payload) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.get(payload).into_iter().flat_map(|value| match value {
            Value::Array(elements) => elements.as_slice(),
            value => std::slice::from_ref(value),
        })
    }

    /// The steps on the way to its values.
    pub(crate) fn steps(&self) -> impl Iterator<Item = Step> {
        std::iter::once(Step::Key(self.first.clone())).chain(self.rest.iter().cloned())
    }

    /// The key without `[]` at its end.
    pub(crate) fn to_array(&self) -> Self {
        let mut array = self.clone();
        if array.rest.last() == Some(&Step::Each) {
            array.rest.pop();
        }
        array
    }

    /// Calls `change` with the objects at the key. Objects are made where they are missing and in place of what stands in the
    /// way; elements of arrays are not.
    pub(crate) fn for_each_object(&self, payload: &mut Payload, change: &mut dyn FnMut(&mut Payload)) {
        fn object(value: &mut Value) -> Option<&mut Payload> {
            if !value.is_object() {
                *value = Value::Object(Payload::new());
            }
            value.as_object_mut()
        }
        fn array(value: &mut Value) -> Option<&mut Vec<Value>> {
            if !value.is_array() {
                *value = Value::Array(Vec::new());
            }
            value.as_array_mut()
        }
        fn walk(value: &mut Value, steps: &[Step], change: &mut dyn FnMut(&mut Payload)) {
            match steps.split_first() {
                None => object(value).into_iter().for_each(change),
                Some((Step::Key(key), rest)) => {
                    if let Some(object) = object(value) {
                        let empty = || Value::Object(Payload::new());
                        walk(object.entry(key).or_insert_with(empty), rest, change);
                    }
                }
                Some((Step::Index(index), rest)) => {
                    if let Some(element) = array(value).and_then(|array| array.get_mut(*index)) {
                        walk(element, rest, change);
                    }
                }
                Some((Step::Each, rest)) => {
                    for element in array(value).into_iter().flatten() {
                        walk(element, rest, change);
                    }
                }
            }
        }
        let empty = || Value::Object(Payload::new());
        walk(payload.entry(&self.first).or_insert_with(empty), &self.rest, change);
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
                // Taking one element out twice would take two out, so an index at the end does nothing.
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
    fn values_are_removed_and_objects_made() {
        let mut payload = object(json!({"a": {"b": 1}, "d": [{"e": 4, "f": 5}]}));
        PayloadPath::parse("d[].e").unwrap().remove(&mut payload);
        PayloadPath::parse("a").unwrap().remove(&mut payload);
        let mut set = |key: &str| {
            let insert = &mut |object: &mut Payload| {
                object.insert("k".to_owned(), json!(1));
            };
            PayloadPath::parse(key).unwrap().for_each_object(&mut payload, insert);
        };
        set("n.m");
        set("d[1].x");
        assert_eq!(Value::Object(payload), json!({"d": [{"f": 5}], "n": {"m": {"k": 1}}}));
    }
}
