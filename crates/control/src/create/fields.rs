//! Reading a JSON object field by field, so that a refusal names the field.

use crate::Error;
use serde_json::{Map, Value};

/// An object whose fields are taken out one by one; what is left at the end was not understood.
pub(super) struct Fields {
    /// Where it stands, e.g. `files[3].`; empty at the top.
    prefix: String,
    map: Map<String, Value>,
}

impl Fields {
    pub(super) fn new(prefix: impl Into<String>, value: Value) -> Result<Self, Error> {
        let prefix = prefix.into();
        match value {
            Value::Object(map) => Ok(Self { prefix, map }),
            _ if prefix.is_empty() => Err(Error::field("body", "expected a JSON object")),
            _ => Err(Error::field(prefix.trim_end_matches('.'), "expected an object")),
        }
    }

    /// The field's full name.
    pub(super) fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Takes a field out; `null` is as good as absent.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, Error> {
        self.take(key)
            .map(|value| match value {
                Value::String(text) => Ok(text),
                _ => Err(Error::field(self.name(key), "expected a string")),
            })
            .transpose()
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, Error> {
        self.take(key)
            .map(|value| value.as_bool().ok_or_else(|| Error::field(self.name(key), "expected true or false")))
            .transpose()
    }

    pub(super) fn number(&mut self, key: &str) -> Result<Option<u64>, Error> {
        let what = "expected a whole number, zero or more";
        self.take(key).map(|value| value.as_u64().ok_or_else(|| Error::field(self.name(key), what))).transpose()
    }

    pub(super) fn object(&mut self, key: &str) -> Result<Option<Self>, Error> {
        let prefix = format!("{}.", self.name(key));
        self.take(key).map(|value| Self::new(prefix, value)).transpose()
    }

    pub(super) fn list(&mut self, key: &str) -> Result<Option<Vec<Value>>, Error> {
        self.take(key)
            .map(|value| match value {
                Value::Array(items) => Ok(items),
                _ => Err(Error::field(self.name(key), "expected a list")),
            })
            .transpose()
    }

    /// All fields that are left.
    pub(super) fn rest(self) -> impl Iterator<Item = (String, Value)> {
        self.map.into_iter()
    }

    /// # Errors
    /// A field is left that says something: nothing is ignored in silence.
    pub(super) fn end(self) -> Result<(), Error> {
        for (key, value) in &self.map {
            if !says_nothing(value) {
                return Err(Error::field(self.name(key), "this property is not supported by this version"));
            }
        }
        Ok(())
    }
}

/// `null`, `false`, `""`, `[]`, `{}`, and objects of such: clients fill these in for what is not set.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(says_nothing),
        Value::Bool(true) | Value::Number(_) => false,
    }
}
