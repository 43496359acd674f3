//! What is promised, as data, and whether it was kept.

use crate::sample::{Row, Rows};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

const FILE: &str = include_str!("../promises.toml");
/// Fewer samples are no measurement.
const ENOUGH: usize = 30;

/// A line of SPECIFICATION.md.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Promise {
    pub(crate) bench: String,
    pub(crate) promise: String,
    pub(crate) line: String,
    measure: Measure,
    of: String,
    by: Option<String>,
    at_least: Option<f64>,
    at_most: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Measure {
    Ratio,
    DifferenceMs,
    MeanAndP95,
    Median,
}

/// A promise, measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Verdict {
    pub(crate) bench: String,
    pub(crate) promise: String,
    pub(crate) line: String,
    /// What was measured, in the line's unit.
    pub(crate) value: Option<f64>,
    pub(crate) kept: bool,
    /// Why it counts as missed although nothing was measured beyond the line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

#[derive(Deserialize)]
struct File {
    promise: Vec<Promise>,
}

/// The promises, or those of one bench.
///
/// # Errors
/// The file is wrong, or there is no such bench.
pub(crate) fn all(only: Option<&str>) -> anyhow::Result<Vec<Promise>> {
    let File { promise } = toml::from_str(FILE).context("bench/promises.toml")?;
    let names: BTreeSet<_> = promise.iter().map(|promise| promise.bench.clone()).collect();
    let found: Vec<_> = promise.into_iter().filter(|promise| only.is_none_or(|only| promise.bench == only)).collect();
    anyhow::ensure!(!found.is_empty(), "there is no bench {only:?}: expected one of {names:?}");
    Ok(found)
}

/// Rows that are needed to judge these.
pub(crate) fn rows(promises: &[Promise]) -> BTreeSet<String> {
    promises.iter().flat_map(|promise| [Some(promise.of.clone()), promise.by.clone()]).flatten().collect()
}

/// One verdict for each promise; what was not measured is not kept.
pub(crate) fn judge(promises: &[Promise], rows: &Rows) -> Vec<Verdict> {
    promises
        .iter()
        .map(|promise| {
            let value = promise.value(rows);
            let reason = [Some(&promise.of), promise.by.as_ref()].into_iter().flatten().find_map(|name| {
                match rows.get(name.as_str()) {
                    None => Some(format!("{name} was not measured")),
                    Some(row) if row.samples.len() < ENOUGH => {
                        Some(format!("{name} has {} samples, {ENOUGH} are needed", row.samples.len()))
                    }
                    Some(_) => None,
                }
            });
            Verdict {
                bench: promise.bench.clone(),
                promise: promise.promise.clone(),
                line: promise.line.clone(),
                kept: reason.is_none() && value.is_some_and(|value| promise.holds(value)),
                value,
                reason,
            }
        })
        .collect()
}

impl Promise {
    fn value(&self, rows: &Rows) -> Option<f64> {
        let of = rows.get(self.of.as_str())?;
        let by = || rows.get(self.by.as_deref()?).and_then(Row::median);
        match self.measure {
            Measure::Ratio => Some(of.median()? / by()?),
            Measure::DifferenceMs => Some(of.median()? - by()?),
            Measure::Median => of.median(),
            Measure::MeanAndP95 => Some(of.mean()?.max(of.percentile(95)?)),
        }
    }

    fn holds(&self, value: f64) -> bool {
        self.at_least.is_none_or(|least| value >= least) && self.at_most.is_none_or(|most| value <= most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: f64, count: usize) -> Row {
        Row { unit: "ms", samples: vec![value; count], ..Row::default() }
    }

    #[test]
    fn each_promise_stands_in_the_specification_in_these_words() {
        let path = crate::root().join("SPECIFICATION.md");
        let text = std::fs::read_to_string(path).unwrap();
        for promise in all(None).unwrap() {
            let Promise { promise, line, bench, .. } = &promise;
            assert!(
                text.contains(&format!("| {promise} | {line} | `{bench}` |")),
                "{promise} is not there, or otherwise"
            );
        }
    }

    #[test]
    fn each_promise_has_a_line_and_what_it_is_measured_by() {
        for promise in all(None).unwrap() {
            let line = promise.at_least.xor(promise.at_most).expect("one of the two");
            let alone = matches!(promise.measure, Measure::MeanAndP95 | Measure::Median);
            // Milliseconds are told in seconds where they are many.
            let said = if promise.line.ends_with(" s") { line / 1000.0 } else { line };
            assert!(promise.line.contains(&said.to_string()), "{}", promise.promise);
            assert_eq!(promise.by.is_none(), alone, "{}", promise.promise);
        }
        assert!(all(Some("no-such")).is_err());
        assert!(rows(&all(Some("frozen")).unwrap()).iter().eq(["frozen", "warm-idle"]));
    }

    #[test]
    fn a_promise_is_kept_only_by_enough_samples_of_both_sides() {
        let promises = all(Some("cold-shelf")).unwrap();
        let kept = |rows: &Rows| judge(&promises, rows).iter().map(|verdict| verdict.kept).collect::<Vec<_>>();
        let good = Rows::from([("docker", row(300.0, 30)), ("bare", row(40.0, 30)), ("cold-shelf", row(4.0, 30))]);
        assert_eq!(kept(&good), [true, true]);
        let slow = Rows::from([("docker", row(299.0, 30)), ("bare", row(33.0, 30)), ("cold-shelf", row(4.0, 30))]);
        assert_eq!(kept(&slow), [false, false]);
        let few = Rows::from([("docker", row(300.0, 29)), ("bare", row(40.0, 30)), ("cold-shelf", row(4.0, 30))]);
        assert_eq!(kept(&few), [false, true]);
        let alone = Rows::from([("bare", row(40.0, 30)), ("cold-shelf", row(4.0, 30))]);
        assert_eq!(kept(&alone), [false, true]);
    }
}
