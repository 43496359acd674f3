//! A value of a configuration and where it stands, so that a wrong one is refused by its name.

use crate::BuildError;
use dockless_model::SourcePath;
use serde_json::{Map, Value};

/// A value at a path such as `routes[3].src`.
#[derive(Clone)]
pub(super) struct Place<'a> {
    file: &'a SourcePath,
    key: String,
    pub(super) value: &'a Value,
}

impl<'a> Place<'a> {
    pub(super) const fn new(file: &'a SourcePath, key: String, value: &'a Value) -> Self {
        Self { file, key, value }
    }

    /// The refusal of this value.
    pub(super) fn wrong(&self, expected: impl Into<String>) -> BuildError {
        let mut value = self.value.to_string();
        if value.chars().count() > 60 {
            value = value.chars().take(60).chain("…".chars()).collect();
        }
        BuildError::Wrong { path: self.file.clone(), key: self.key.clone(), value, expected: expected.into() }
    }

    /// The file it stands in.
    pub(super) const fn file(&self) -> &'a SourcePath {
        self.file
    }

    /// Where it stands there.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn text(&self) -> Result<&'a str, BuildError> {
        self.value.as_str().ok_or_else(|| self.wrong("a text"))
    }

    pub(super) fn truth(&self) -> Result<bool, BuildError> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    pub(super) fn object(&self) -> Result<&'a Map<String, Value>, BuildError> {
        self.value.as_object().ok_or_else(|| self.wrong("an object"))
    }

    /// Each of a list.
    pub(super) fn each(&self, most: usize) -> Result<Vec<Self>, BuildError> {
        let list = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        if list.len() > most {
            return Err(self.wrong(format!("at most {most} entries")));
        }
        let at = |(index, value)| Self { file: self.file, key: format!("{}[{index}]", self.key), value };
        Ok(list.iter().enumerate().map(at).collect())
    }

    /// A member of an object; `None` where it is absent or null.
    pub(super) fn member(&self, name: &str) -> Option<Self> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(self.named(name, value))
    }

    /// A member with one of two names; both are one too many.
    pub(super) fn either(&self, name: &str, alias: &str) -> Result<Option<Self>, BuildError> {
        match (self.member(name), self.member(alias)) {
            (Some(_), Some(second)) => Err(second.wrong(format!("{alias:?} to be left out beside {name:?}"))),
            (first, second) => Ok(first.or(second)),
        }
    }

    /// A member that has to be there.
    pub(super) fn required(&self, name: &str) -> Result<Self, BuildError> {
        self.member(name).ok_or_else(|| self.wrong(format!("an object with {name:?}")))
    }

    /// Every member.
    pub(super) fn members(&self) -> Result<Vec<(&'a str, Self)>, BuildError> {
        Ok(self.object()?.iter().map(|(name, value)| (name.as_str(), self.named(name, value))).collect())
    }

    fn named(&self, name: &str, value: &'a Value) -> Self {
        let key = if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) };
        Self { file: self.file, key, value }
    }

    /// Warnings for members that nobody reads.
    pub(super) fn unknown(&self, known: &[&str], warnings: &mut Vec<String>) -> Result<(), BuildError> {
        for (name, place) in self.members()? {
            if !known.contains(&name) {
                let hint = suggestion(name, known).map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default();
                warnings.push(format!("{}: nothing reads {}{hint}", self.file, place.key));
            }
        }
        Ok(())
    }
}

/// The known name that was probably meant.
pub(super) fn suggestion<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let (name, most) = (name.to_ascii_lowercase(), (name.len() / 3).clamp(1, 3));
    let distance = |near: &str| strsim::damerau_levenshtein(&name, &near.to_ascii_lowercase());
    known
        .iter()
        .map(|near| (distance(near), *near))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, near)| near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_recognised() {
        let known = ["routes", "rewrites", "redirects", "cleanUrls"];
        for (name, near) in
            [("route", Some("routes")), ("cleanurls", Some("cleanUrls")), ("rewirtes", Some("rewrites")), ("x", None)]
        {
            assert_eq!(suggestion(name, &known), near, "{name}");
        }
    }
}
