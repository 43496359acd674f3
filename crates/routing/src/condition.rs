//! `has` and `missing`, compiled.

use crate::{Ask, RouteError, ask::parameter, pattern::Pattern, table::Stalled};
use dockless_model::output::{Condition, Operator, Subject};

/// Parameters that conditions gave.
pub(crate) type Parameters = Vec<(String, String)>;

#[derive(Debug)]
pub(crate) struct Clause {
    subject: Subject,
    key: String,
    tests: Vec<Check>,
}

#[derive(Debug)]
enum Check {
    Pattern(Pattern),
    Other(Operator, Vec<String>),
}

impl Clause {
    pub(crate) fn compile(index: usize, condition: &Condition) -> Result<Self, RouteError> {
        let test = |test: &dockless_model::output::Test| match (test.operator, test.values.first()) {
            (Operator::Re, Some(pattern)) => Pattern::compile(index, pattern, false).map(Check::Pattern),
            (operator, _) => Ok(Check::Other(operator, test.values.clone())),
        };
        let tests = condition.tests.iter().map(test).collect::<Result<_, _>>()?;
        Ok(Self { subject: condition.kind, key: condition.key.clone(), tests })
    }

    /// Whether the pattern of one of its tests steps back.
    pub(crate) fn is_stepping(&self) -> bool {
        self.tests.iter().any(|test| matches!(test, Check::Pattern(pattern) if pattern.is_stepping()))
    }

    /// Whether it holds; what it finds goes to the parameters.
    pub(crate) fn holds(&self, ask: &Ask<'_>, query: &str, found: &mut Parameters) -> Result<bool, Stalled> {
        let value = match self.subject {
            Subject::Host => Some(ask.host.to_owned()),
            Subject::Header => (ask.header)(&self.key),
            Subject::Cookie => ask.cookie(&self.key),
            Subject::Query => parameter(query, &self.key),
        };
        // What is not there is neither equal nor one of anything.
        let Some(value) = value else { return Ok(false) };
        for test in &self.tests {
            let holds = match test {
                Check::Pattern(pattern) => match pattern.text(&value)? {
                    None => false,
                    Some(groups) => {
                        let names = pattern.names();
                        let named = names.into_iter().zip(groups).filter_map(|(name, group)| name.zip(group));
                        found.extend(named.map(|(name, group)| (name.to_owned(), group.to_owned())));
                        true
                    }
                },
                Check::Other(operator, values) => compare(*operator, &value, values),
            };
            if !holds {
                return Ok(false);
            }
        }
        if self.subject == Subject::Host {
            found.push(("host".to_owned(), value));
        } else if self.tests.is_empty() {
            found.push((self.key.clone(), value));
        }
        Ok(true)
    }
}

fn compare(operator: Operator, value: &str, values: &[String]) -> bool {
    let first = values.first().map(String::as_str).unwrap_or_default();
    let numbers = || value.parse::<f64>().ok().zip(first.parse::<f64>().ok());
    match operator {
        Operator::Re => false,
        Operator::Eq => value == first,
        Operator::Neq => value != first,
        Operator::Inc => values.iter().any(|one| one == value),
        Operator::Ninc => values.iter().all(|one| one != value),
        Operator::Pre => value.starts_with(first),
        Operator::Suf => value.ends_with(first),
        Operator::Gt => numbers().is_some_and(|(a, b)| a > b),
        Operator::Gte => numbers().is_some_and(|(a, b)| a >= b),
        Operator::Lt => numbers().is_some_and(|(a, b)| a < b),
        Operator::Lte => numbers().is_some_and(|(a, b)| a <= b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockless_model::output::Test;

    fn holds(kind: Subject, key: &str, tests: &[(Operator, &[&str])]) -> (bool, Parameters) {
        let tests = tests.iter().map(|(operator, values)| Test {
            operator: *operator,
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        });
        let clause = Clause::compile(0, &Condition { kind, key: key.to_owned(), tests: tests.collect() }).unwrap();
        let header = |name: &str| match name {
            "x-kind" => Some("beta-7".to_owned()),
            "cookie" => Some("n=5".to_owned()),
            _ => None,
        };
        let mut found = Vec::new();
        let ask = Ask { method: "GET", host: "shop.example", header: &header };
        (clause.holds(&ask, "q=a%20b", &mut found).unwrap(), found)
    }

    #[test]
    fn conditions_hold_and_give_parameters() {
        use Operator::*;
        let one = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        for (kind, key, tests, expected, found) in [
            (Subject::Header, "x-kind", &[][..], true, one("x-kind", "beta-7")),
            (Subject::Header, "x-none", &[], false, vec![]),
            (Subject::Header, "x-kind", &[(Re, &["beta-(?<n>\\d+)"][..])], true, one("n", "7")),
            (Subject::Header, "x-kind", &[(Re, &["beta"])], false, vec![]),
            (Subject::Header, "x-kind", &[(Pre, &["beta"]), (Suf, &["7"])], true, vec![]),
            (Subject::Header, "x-kind", &[(Eq, &["beta-8"])], false, vec![]),
            (Subject::Header, "x-kind", &[(Neq, &["beta-8"])], true, vec![]),
            (Subject::Cookie, "n", &[(Gt, &["4"]), (Lte, &["5"])], true, vec![]),
            (Subject::Cookie, "n", &[(Lt, &["5"])], false, vec![]),
            (Subject::Cookie, "n", &[(Inc, &["4", "5"])], true, vec![]),
            (Subject::Cookie, "n", &[(Ninc, &["4", "5"])], false, vec![]),
            (Subject::Query, "q", &[(Eq, &["a b"])], true, vec![]),
            (Subject::Host, "", &[(Re, &["(?<shop>.*)\\.example"])], true, {
                let mut all = one("shop", "shop");
                all.extend(one("host", "shop.example"));
                all
            }),
        ] {
            assert_eq!(holds(kind, key, tests), (expected, found), "{kind:?} {key} {tests:?}");
        }
    }
}
