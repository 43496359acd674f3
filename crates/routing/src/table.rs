//! Compiled routes and the search through them.
//!
//! ```text
//! start rules ─► what exists? ─► miss rules ─► filesystem rules ─► what exists? ─► miss ─► rewrite ─► resource ─► nothing
//!                   └── hit rules ◄───────────────────┘        (a `check` rule looks by itself, and on from there)
//! ```

use crate::{
    Ask, RequestPath,
    condition::{Clause, Parameters},
    origin::Origin,
    path::output_path,
    pattern::{MAX_PATTERN, Pattern},
    query,
    template::{Captures, Template},
};
use dockless_model::output::{Phase, Route, Then};

/// Most routes of a deployment.
const MAX_ROUTES: usize = 4096;
/// Most of them whose patterns need the engine that steps back: each may take milliseconds for a path that was made for it.
const MAX_STEPPING: usize = 64;

/// Why a list of routes is not a table.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// More than 4,096.
    #[error("{0} routes, at most {MAX_ROUTES} are allowed")]
    TooMany(usize),
    /// Too many patterns with look-around or references.
    #[error("more than {MAX_STEPPING} routes look ahead, behind or back in their patterns")]
    TooManyStepping,
    /// `src` or `dest` beyond 4,096 bytes.
    #[error("route {index} is longer than {MAX_PATTERN} bytes")]
    TooLong {
        /// Counted from 0.
        index: usize,
    },
    /// `src` is not a regular expression, or one that takes too much memory.
    #[error("route {index} has a source that is not a regular expression")]
    Pattern {
        /// Counted from 0.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: Box<regex::Error>,
    },
}

/// A pattern needed more steps for a path than it may take: nobody knows whether it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a route's pattern takes too long for this path")]
pub struct Stalled;

/// Compiled routes of a deployment. Patterns see the path in [`RequestPath`]'s spelling, whole.
#[derive(Debug, Default)]
pub struct Table {
    start: Vec<Rule>,
    filesystem: Vec<Rule>,
    miss: Vec<Rule>,
    hit: Vec<Rule>,
    rewrite: Vec<Rule>,
    resource: Vec<Rule>,
    error: Vec<Rule>,
}

/// What a search found, and what the answer has beside it.
#[derive(Debug, PartialEq, Eq)]
pub struct Match<T> {
    /// What answers.
    pub outcome: Outcome<T>,
    /// The request's query with the routes' parameters merged in; `None` if neither has any.
    pub query: Option<String>,
    /// Fields for the answer, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The status it must have.
    pub status: Option<u16>,
}

/// What answers a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// Something that exists.
    Found {
        /// What the caller's look-up gave.
        found: T,
        /// The output path it was found at, no leading slash.
        output: String,
    },
    /// Another place, with a status of 300 to 399.
    Redirect {
        /// The value of `Location`, the request's query in it.
        location: String,
        /// The status.
        status: u16,
    },
    /// A server elsewhere.
    External {
        /// An absolute URL without query.
        url: String,
    },
    /// Nothing: the error page of the match's status, 404 if it has none.
    Nothing {
        /// The path that nothing exists at, in the spelling of [`RequestPath`].
        path: String,
    },
}

impl Table {
    /// Compiles routes, keeping their order.
    ///
    /// # Errors
    /// See [`RouteError`].
    pub fn compile(routes: &[Route]) -> Result<Self, RouteError> {
        if routes.len() > MAX_ROUTES {
            return Err(RouteError::TooMany(routes.len()));
        }
        let mut table = Self::default();
        let mut stepping = 0;
        for (index, route) in routes.iter().enumerate() {
            let rule = Rule::compile(index, route)?;
            stepping += usize::from(rule.is_stepping());
            match route.phase {
                Phase::Start => table.start.push(rule),
                Phase::Filesystem => table.filesystem.push(rule),
                Phase::Miss => table.miss.push(rule),
                Phase::Hit => table.hit.push(rule),
                Phase::Rewrite => table.rewrite.push(rule),
                Phase::Resource => table.resource.push(rule),
                Phase::Error => table.error.push(rule),
            }
        }
        if stepping > MAX_STEPPING {
            return Err(RouteError::TooManyStepping);
        }
        Ok(table)
    }

    /// Searches what answers `path`. `look_up` says what exists at an output path (`""` is the root); it decides about
    /// index files too.
    ///
    /// # Errors
    /// [`Stalled`], where a pattern that the path may have been made for gave up.
    pub fn find<T>(
        &self,
        path: &RequestPath,
        query: Option<&str>,
        ask: &Ask<'_>,
        look_up: impl Fn(&str) -> Option<T>,
    ) -> Result<Match<T>, Stalled> {
        let mut search = Search {
            table: self,
            ask,
            look_up: &look_up,
            path: path.as_str().to_owned(),
            query: query.map(str::to_owned),
            headers: Vec::new(),
            status: None,
        };
        let outcome = search.run()?;
        let Search { query, headers, status, .. } = search;
        Ok(Match { outcome, query, headers, status })
    }

    /// The page for a request that failed with this status: where it is found, and the fields it adds.
    ///
    /// # Errors
    /// [`Stalled`], as in [`Table::find`].
    pub fn failed<T>(
        &self,
        status: u16,
        path: &RequestPath,
        query: Option<&str>,
        ask: &Ask<'_>,
        look_up: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<Match<T>>, Stalled> {
        for rule in self.error.iter().filter(|rule| rule.status.is_none_or(|only| only == status)) {
            let Some(effect) = rule.apply(path.as_str(), query.unwrap_or_default(), ask)? else { continue };
            let at = effect.path.unwrap_or_else(|| path.as_str().to_owned());
            if let Some((found, output)) = exists(&at, &look_up) {
                let query = query.map(str::to_owned);
                let outcome = Outcome::Found { found, output };
                return Ok(Some(Match { outcome, query, headers: effect.headers, status: Some(status) }));
            }
        }
        Ok(None)
    }
}

fn exists<T>(path: &str, look_up: &impl Fn(&str) -> Option<T>) -> Option<(T, String)> {
    let output = output_path(path)?;
    look_up(&output).map(|found| (found, output))
}

struct Search<'a, F> {
    table: &'a Table,
    ask: &'a Ask<'a>,
    look_up: &'a F,
    path: String,
    query: Option<String>,
    headers: Vec<(String, String)>,
    status: Option<u16>,
}

/// How a phase ended.
enum End<T> {
    /// With the answer.
    Answer(Outcome<T>),
    /// A rule says that this path is it.
    Path {
        /// Whether the rule named it.
        named: bool,
    },
    /// No rule said anything final.
    Over,
}

impl<T, F: Fn(&str) -> Option<T>> Search<'_, F> {
    fn run(&mut self) -> Result<Outcome<T>, Stalled> {
        let table = self.table;
        let phases = [
            (Phase::Start, &table.start),
            (Phase::Filesystem, &table.filesystem),
            (Phase::Rewrite, &table.rewrite),
            (Phase::Resource, &table.resource),
        ];
        for (phase, rules) in phases {
            // Without rules of their own the later phases have nothing new to look at.
            if rules.is_empty() && phase != Phase::Start {
                continue;
            }
            let end = self.phase(phase, rules)?;
            if let End::Answer(outcome) = end {
                return self.hit(outcome);
            }
            // A refusal by status is no hint at what it refuses.
            let refused = matches!(end, End::Path { named: false }) && self.status.is_some_and(|status| status >= 400);
            if !refused {
                if let Some(outcome) = self.here() {
                    return self.hit(outcome);
                }
                if let Some(outcome) = self.miss()? {
                    return self.hit(outcome);
                }
            }
            if matches!(end, End::Path { named: false }) && self.status.is_some() {
                break;
            }
        }
        Ok(Outcome::Nothing { path: std::mem::take(&mut self.path) })
    }

    /// What exists at the path as it is now.
    fn here(&self) -> Option<Outcome<T>> {
        exists(&self.path, self.look_up).map(|(found, output)| Outcome::Found { found, output })
    }

    fn phase(&mut self, phase: Phase, rules: &[Rule]) -> Result<End<T>, Stalled> {
        for rule in rules {
            let query = self.query.as_deref().unwrap_or_default();
            let Some(effect) = rule.apply(&self.path, query, self.ask)? else { continue };
            match rule.then {
                Then::IfExists => {
                    let path = effect.path.as_deref().unwrap_or(&self.path);
                    if let Some((found, output)) = exists(path, self.look_up) {
                        self.take(phase, rule, effect);
                        return Ok(End::Answer(Outcome::Found { found, output }));
                    }
                }
                Then::Continue => self.take(phase, rule, effect),
                Then::Check | Then::Finish => {
                    let named = effect.path.is_some();
                    self.take(phase, rule, effect);
                    if let Some(status) = self.status.filter(|status| (300..400).contains(status)) {
                        return Ok(End::Answer(self.redirect(status)));
                    }
                    if rule.origin.is_some() {
                        return Ok(End::Answer(Outcome::External { url: std::mem::take(&mut self.path) }));
                    }
                    if rule.then == Then::Finish {
                        return Ok(End::Path { named });
                    }
                    if let Some(found) = self.here() {
                        return Ok(End::Answer(found));
                    }
                    if phase != Phase::Miss {
                        if rule.status.is_some() {
                            return Ok(End::Path { named: false });
                        }
                        if let Some(found) = self.miss()? {
                            return Ok(End::Answer(found));
                        }
                        if phase != Phase::Rewrite
                            && let End::Answer(found) = self.phase(Phase::Rewrite, &self.table.rewrite)?
                        {
                            return Ok(End::Answer(found));
                        }
                    }
                }
            }
        }
        Ok(End::Over)
    }

    /// Other spellings of a path that nothing exists at.
    fn miss(&mut self) -> Result<Option<Outcome<T>>, Stalled> {
        if self.table.miss.is_empty() {
            return Ok(None);
        }
        let before = self.path.clone();
        match self.phase(Phase::Miss, &self.table.miss)? {
            End::Answer(outcome) => Ok(Some(outcome)),
            End::Path { .. } if self.here().is_some() => Ok(self.here()),
            // Only what was found counts: later rules see the path that they were written for.
            End::Path { .. } | End::Over => {
                self.path = before;
                Ok(None)
            }
        }
    }

    fn hit(&mut self, outcome: Outcome<T>) -> Result<Outcome<T>, Stalled> {
        if let Outcome::Found { .. } = outcome {
            for rule in &self.table.hit {
                let query = self.query.as_deref().unwrap_or_default();
                if let Some(effect) = rule.apply(&self.path, query, self.ask)? {
                    self.add(Phase::Hit, effect.headers);
                    if rule.then != Then::Continue {
                        break;
                    }
                }
            }
        }
        Ok(outcome)
    }

    fn take(&mut self, phase: Phase, rule: &Rule, effect: Effect) {
        self.add(phase, effect.headers);
        self.status = rule.status.or(self.status);
        if let Some(path) = effect.path {
            self.path = path;
        }
        self.query = query::merge(self.query.as_deref(), effect.query, rule.dest_wins);
    }

    /// Later rules win, save in the phases that only fill gaps.
    fn add(&mut self, phase: Phase, headers: Vec<(String, String)>) {
        for (name, value) in headers {
            match self.headers.iter_mut().find(|(known, _)| *known == name) {
                Some(_) if matches!(phase, Phase::Hit | Phase::Miss) => {}
                Some(known) => known.1 = value,
                None => self.headers.push((name, value)),
            }
        }
    }

    fn redirect(&mut self, status: u16) -> Outcome<T> {
        let position = self.headers.iter().position(|(name, _)| name == "location");
        let location = match position {
            Some(position) => self.headers.remove(position).1,
            None => crate::template::in_url(&self.path),
        };
        Outcome::Redirect { location: with_query(&location, self.query.as_deref()), status }
    }
}

/// Puts the request's query into a location, before its fragment.
fn with_query(location: &str, query: Option<&str>) -> String {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return location.to_owned() };
    let (head, fragment) = match location.find('#') {
        Some(at) => location.split_at(at),
        None => (location, ""),
    };
    let (path, own) = head.split_once('?').unwrap_or((head, ""));
    let defaults = own.split('&').filter(|pair| !pair.is_empty()).map(str::to_owned).collect();
    let merged = query::merge(Some(query), defaults, false).unwrap_or_default();
    format!("{path}?{merged}{fragment}")
}

#[derive(Debug)]
struct Rule {
    pattern: Pattern,
    path: Template,
    /// `name=value` pairs.
    query: Vec<Template>,
    headers: Vec<(String, Template)>,
    methods: Vec<String>,
    has: Vec<Clause>,
    missing: Vec<Clause>,
    then: Then,
    status: Option<u16>,
    dest_wins: bool,
    /// Of a destination that is written as a URL: what a client sends cannot make it one.
    origin: Option<Origin>,
}

/// What a rule that matches does.
struct Effect {
    /// `None`: the path stays.
    path: Option<String>,
    query: Vec<String>,
    headers: Vec<(String, String)>,
}

impl Rule {
    fn compile(index: usize, route: &Route) -> Result<Self, RouteError> {
        if route.dest.len() > MAX_PATTERN {
            return Err(RouteError::TooLong { index });
        }
        let pattern = Pattern::compile(index, &route.src, route.ignore_case)?;
        let (path, query) = route.dest.split_once('?').unwrap_or((&route.dest, ""));
        let template = |text: &str| Template::compile(text, &pattern);
        let query = query.split('&').filter(|pair| !pair.is_empty()).map(template).collect();
        let headers = route.headers.iter().map(|(name, value)| (name.clone(), template(value))).collect();
        let clauses = |list: &[_]| list.iter().map(|one| Clause::compile(index, one)).collect::<Result<Vec<_>, _>>();
        Ok(Self {
            path: template(path),
            query,
            headers,
            methods: route.methods.clone(),
            has: clauses(&route.has)?,
            missing: clauses(&route.missing)?,
            then: route.then,
            status: route.status,
            dest_wins: route.dest_wins,
            origin: Origin::of(&route.dest),
            pattern,
        })
    }

    fn is_stepping(&self) -> bool {
        self.pattern.is_stepping() || self.has.iter().chain(&self.missing).any(Clause::is_stepping)
    }

    /// What it does with a request; `None` if it is not for it.
    fn apply(&self, path: &str, query: &str, ask: &Ask<'_>) -> Result<Option<Effect>, Stalled> {
        if !self.methods.is_empty() && !self.methods.iter().any(|method| method == ask.method) {
            return Ok(None);
        }
        let Some(groups) = self.pattern.path(path)? else { return Ok(None) };
        let mut parameters = Parameters::new();
        for clause in &self.has {
            if !clause.holds(ask, query, &mut parameters)? {
                return Ok(None);
            }
        }
        for clause in &self.missing {
            if clause.holds(ask, query, &mut Parameters::new())? {
                return Ok(None);
            }
        }
        let captures = Captures { groups: &groups, parameters: &parameters };
        let path = match &self.origin {
            _ if self.path.is_empty() => None,
            Some(origin) => match origin.url(&self.path.path(&captures)) {
                Some(url) => Some(url),
                // Not the server that the route is about.
                None => return Ok(None),
            },
            // A destination like `$1` or `index.html` means a path all the same.
            None => Some(self.path.path(&captures))
                .map(|path| if path.starts_with('/') { path } else { format!("/{path}") }),
        };
        let query = self.query.iter().map(|pair| pair.query(&captures)).collect();
        let headers = self.headers.iter().map(|(name, value)| (name.clone(), value.field(&captures))).collect();
        Ok(Some(Effect { path, query, headers }))
    }
}

#[cfg(test)]
mod tests;
