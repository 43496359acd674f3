//! Which images a Dockerfile begins from, read before anything runs: they are fetched from outside the sandbox.
//!
//! Only `FROM`, the `ARG` lines before it, and `--from=` of `COPY`, `ADD` and `RUN --mount` matter; everything else is
//! buildah's to read. The names are then replaced by those of local images, byte for byte in their places.
//!
//! Source: Docker's Dockerfile reference, "FROM", "Understand how ARG and FROM interact", "COPY --from".

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Most images that one file may name.
const MAX_IMAGES: usize = 32;

/// Why a file cannot be used, at a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct DockerfileError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// A file whose images are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dockerfile {
    text: String,
    /// Places of names, in their order, and the names with their variables filled in.
    uses: Vec<(Range<usize>, String)>,
    /// Names of all `ARG` lines.
    declared: BTreeSet<String>,
}

impl Dockerfile {
    /// # Errors
    /// No stage, a name that cannot be known beforehand, or what this version's builder does not read.
    pub(crate) fn parse(
        text: &str,
        arguments: &BTreeMap<String, String>,
        platform: (&str, &str),
    ) -> Result<Self, DockerfileError> {
        let mut reader = Reader {
            text,
            arguments,
            platform,
            known: BTreeMap::new(),
            stages: Vec::new(),
            uses: Vec::new(),
            declared: BTreeSet::new(),
        };
        let escape = escape(text);
        let mut at = 0;
        while at < text.len() {
            let (line, next) = logical_line(text, at, escape);
            reader
                .instruction(line.clone(), escape)
                .map_err(|what| DockerfileError { line: text[..line.start].matches('\n').count() + 1, what })?;
            at = next;
        }
        if reader.stages.is_empty() {
            let what = "it has no FROM: begin with FROM scratch or the name of an image".to_owned();
            return Err(DockerfileError { line: 1, what });
        }
        Ok(Self { text: text.to_owned(), uses: reader.uses, declared: reader.declared })
    }

    /// Names of images, each once.
    pub(crate) fn images(&self) -> BTreeSet<&str> {
        self.uses.iter().map(|(_, name)| name.as_str()).collect()
    }

    /// Whether it asks for this argument: others are not for its steps.
    pub(crate) fn declares(&self, argument: &str) -> bool {
        self.declared.contains(argument)
    }

    /// The text with each name replaced.
    pub(crate) fn with(&self, replacement: &BTreeMap<String, String>) -> String {
        let mut out = String::with_capacity(self.text.len());
        let mut at = 0;
        for (range, name) in &self.uses {
            out.push_str(&self.text[at..range.start]);
            out.push_str(replacement.get(name).unwrap_or(name));
            at = range.end;
        }
        out.push_str(&self.text[at..]);
        out
    }
}

/// `# escape=` among the comments at the very beginning.
fn escape(text: &str) -> char {
    for line in text.lines() {
        let Some(comment) = line.trim().strip_prefix('#') else { break };
        let Some((key, value)) = comment.split_once('=') else { break };
        if key.trim().eq_ignore_ascii_case("escape") && value.trim() == "`" {
            return '`';
        }
    }
    '\\'
}

/// From a place to the end of the instruction that begins there, and where the next one may begin. Comments between
/// continued lines belong to it.
fn logical_line(text: &str, begin: usize, escape: char) -> (Range<usize>, usize) {
    let mut at = begin;
    loop {
        let end = text[at..].find('\n').map_or(text.len(), |found| at + found);
        let next = (end + 1).min(text.len()).max(end);
        let line = text[at..end].trim();
        let comment = line.starts_with('#');
        let continued = line.ends_with(escape) || (at > begin && (comment || line.is_empty()));
        if end == text.len() || !continued || (comment && at == begin) {
            return (begin..end, if end == text.len() { end } else { next });
        }
        at = next;
    }
}

struct Reader<'a> {
    text: &'a str,
    arguments: &'a BTreeMap<String, String>,
    platform: (&'a str, &'a str),
    /// `ARG` lines before the first `FROM`.
    known: BTreeMap<String, String>,
    /// Names of stages; empty for those without.
    stages: Vec<String>,
    uses: Vec<(Range<usize>, String)>,
    declared: BTreeSet<String>,
}

impl Reader<'_> {
    fn instruction(&mut self, line: Range<usize>, escape: char) -> Result<(), String> {
        let words = words(self.text, line.clone(), escape);
        let Some(first) = words.first() else { return Ok(()) };
        match self.text[first.clone()].to_ascii_uppercase().as_str() {
            "ARG" => {
                for word in &words[1..] {
                    let (name, default) =
                        self.text[word.clone()].split_once('=').unwrap_or((&self.text[word.clone()], ""));
                    self.declared.insert(name.to_owned());
                    if !self.stages.is_empty() {
                        continue;
                    }
                    let default = default.trim_matches(['"', '\'']);
                    let value = match self.arguments.get(name) {
                        Some(value) => value.clone(),
                        None => self.expand(default)?,
                    };
                    self.known.insert(name.to_owned(), value);
                }
                Ok(())
            }
            "FROM" => self.from(&words[1..]),
            keyword @ ("COPY" | "ADD" | "RUN") => {
                self.no_heredoc(keyword, &line)?;
                self.sources(&words[1..])
            }
            _ => Ok(()),
        }
    }

    fn from(&mut self, words: &[Range<usize>]) -> Result<(), String> {
        let mut words = words.iter().peekable();
        while let Some(flag) = words.next_if(|word| self.text[(*word).clone()].starts_with("--")) {
            let text = &self.text[flag.clone()];
            let platform = text.strip_prefix("--platform=").ok_or_else(|| format!("FROM has no flag {text}"))?;
            let platform = self.expand(platform)?;
            let own = format!("{}/{}", self.platform.0, self.platform.1);
            if !platform.is_empty() && platform != own {
                return Err(format!("images are built for {own} here, not for {platform}"));
            }
        }
        let word = words.next().ok_or("FROM names no image")?.clone();
        let name = self.expand(self.text[word.clone()].trim_matches('"'))?;
        if name.is_empty() {
            let text = &self.text[word];
            return Err(format!("FROM {text} is empty: give its ARG a default, or a value in build.env"));
        }
        let stage = match (words.next(), words.next(), words.next()) {
            (None, _, _) => String::new(),
            (Some(keyword), Some(stage), None) if self.text[keyword.clone()].eq_ignore_ascii_case("as") => {
                self.text[stage.clone()].to_ascii_lowercase()
            }
            _ => return Err("expected FROM IMAGE or FROM IMAGE AS NAME".to_owned()),
        };
        if name != "scratch" && !self.stages.contains(&name.to_ascii_lowercase()) {
            self.uses(word, name)?;
        }
        self.stages.push(stage);
        Ok(())
    }

    /// `--from=NAME` and `--mount=…,from=NAME`.
    fn sources(&mut self, words: &[Range<usize>]) -> Result<(), String> {
        for word in words.iter().take_while(|word| self.text[(*word).clone()].starts_with("--")) {
            let text = &self.text[word.clone()];
            let found = if let Some(name) = text.strip_prefix("--from=") {
                Some((word.end - name.len(), name))
            } else if let Some(mount) = text.strip_prefix("--mount=") {
                let mut at = word.end - mount.len();
                let mut found = None;
                for part in mount.split(',') {
                    if let Some(name) = part.strip_prefix("from=") {
                        found = Some((at + "from=".len(), name));
                    }
                    at += part.len() + 1;
                }
                found
            } else {
                None
            };
            let Some((begin, name)) = found else { continue };
            if name.contains('$') {
                return Err(format!(
                    "the image of --from cannot be a variable ({name}): name a stage that begins FROM it"
                ));
            }
            let stage = name.parse::<usize>().is_ok() || self.stages.contains(&name.to_ascii_lowercase());
            if !stage && name != "scratch" && !name.is_empty() {
                self.uses(begin..begin + name.len(), name.to_owned())?;
            }
        }
        Ok(())
    }

    fn uses(&mut self, place: Range<usize>, name: String) -> Result<(), String> {
        if self.uses.len() == MAX_IMAGES {
            return Err(format!("it names more than {MAX_IMAGES} images"));
        }
        self.uses.push((place, name));
        Ok(())
    }

    /// A here-document's lines would be taken for instructions.
    fn no_heredoc(&self, keyword: &str, line: &Range<usize>) -> Result<(), String> {
        for (at, _) in self.text[line.clone()].match_indices("<<") {
            let rest = self.text[line.start + at + 2..line.end].trim_start_matches('-').trim_start_matches(['"', '\'']);
            let end: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let ends = || self.text[line.end..].lines().any(|line| line.trim() == end);
            if !end.is_empty() && ends() {
                return Err(format!(
                    "{keyword} <<{end}: here-documents are not read; put the text into a file and COPY it"
                ));
            }
        }
        Ok(())
    }

    /// `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:+value}`.
    fn expand(&self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let (inner, after) = match rest.strip_prefix('{') {
                Some(braced) => {
                    braced.split_once('}').ok_or_else(|| format!("{text} has a brace that is not closed"))?
                }
                None => {
                    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                    rest.split_at(end)
                }
            };
            let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
            let (name, modifier) = inner.split_at(end);
            let value = self.value(name);
            let set = value.as_ref().is_some_and(|value| !value.is_empty());
            if let Some(default) = modifier.strip_prefix(":-") {
                out.push_str(&if set { value.unwrap_or_default() } else { self.expand(default)? });
            } else if let Some(other) = modifier.strip_prefix(":+") {
                out.push_str(&if set { self.expand(other)? } else { String::new() });
            } else if modifier.is_empty() && !name.is_empty() {
                out.push_str(&value.ok_or_else(|| {
                    format!(
                        "${name} is not known before the build: set it by ARG {name}=… before FROM, or in build.env"
                    )
                })?);
            } else {
                return Err(format!("{text} cannot be read"));
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&self, name: &str) -> Option<String> {
        let (os, architecture) = self.platform;
        self.known.get(name).cloned().or_else(|| match name {
            "TARGETPLATFORM" | "BUILDPLATFORM" => Some(format!("{os}/{architecture}")),
            "TARGETOS" | "BUILDOS" => Some(os.to_owned()),
            "TARGETARCH" | "BUILDARCH" => Some(architecture.to_owned()),
            "TARGETVARIANT" | "BUILDVARIANT" => Some(String::new()),
            _ => None,
        })
    }
}

/// Places of the words of an instruction. Comments between continued lines and the marks of continuation are none.
fn words(text: &str, line: Range<usize>, escape: char) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut begin = line.start;
    for part in text[line].split_inclusive('\n') {
        let (start, trimmed) = (begin, part.trim_end());
        begin += part.len();
        if trimmed.trim_start().starts_with('#') {
            continue;
        }
        let kept = trimmed.strip_suffix(escape).unwrap_or(trimmed);
        let mut word: Option<usize> = None;
        for (at, c) in kept.char_indices() {
            match (c.is_whitespace(), word) {
                (true, Some(from)) => {
                    words.push(start + from..start + at);
                    word = None;
                }
                (false, None) => word = Some(at),
                _ => {}
            }
        }
        words.extend(word.map(|from| start + from..start + kept.len()));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, arguments: &[(&str, &str)]) -> Result<Dockerfile, DockerfileError> {
        let arguments = arguments.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Dockerfile::parse(text, &arguments, ("linux", "amd64"))
    }

    fn images(text: &str) -> Vec<String> {
        parse(text, &[]).unwrap().images().into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn images_are_found_wherever_they_are_named() {
        for (text, expected) in [
            ("FROM scratch\n", vec![]),
            ("from node:20\nRUN x", vec!["node:20"]),
            ("# syntax=docker/dockerfile:1\n\nARG V=20\nFROM node:$V AS a\nFROM a\nCOPY --from=a / /", vec!["node:20"]),
            ("ARG V\nARG W=${V:-3}\nFROM alpine:${W}", vec!["alpine:3"]),
            ("FROM --platform=$BUILDPLATFORM golang AS build\nFROM scratch\nCOPY --from=build /a /", vec!["golang"]),
            ("FROM scratch\nCOPY --chown=1:1 --from=busybox:1 \\\n  # why\n\n /bin /bin\n", vec!["busybox:1"]),
            ("FROM a\nRUN --mount=type=bind,from=b,target=/b ls\nCOPY --from=0 / /", vec!["a", "b"]),
            ("FROM a\nRUN echo \\\n FROM b\nRUN echo 'FROM c'\n# FROM d\nRUN cat <<< x", vec!["a"]),
            ("FROM \\\n  a@sha256:00 \\\n  AS b", vec!["a@sha256:00"]),
            ("# escape=`\nFROM a\nRUN dir `\n FROM b", vec!["a"]),
            ("FROM a as Build\nFROM build", vec!["a"]),
        ] {
            assert_eq!(images(text), expected, "{text}");
        }
    }

    #[test]
    fn values_of_the_build_win_over_defaults() {
        let found = parse("ARG V=1\nFROM a:$V\nARG W X=1", &[("V", "2")]).unwrap();
        assert_eq!(["V", "W", "X", "Y"].map(|name| found.declares(name)), [true, true, true, false]);
        assert_eq!(found.images().into_iter().collect::<Vec<_>>(), ["a:2"]);
    }

    #[test]
    fn names_are_replaced_in_their_places_and_nothing_else() {
        let text = "ARG V=1\nFROM  node:$V  AS x # node:1\nRUN echo node:1\nCOPY --from=node:1 a b\n";
        let text = text.replace(" # node:1", "");
        let found = parse(&text, &[]).unwrap();
        let local = BTreeMap::from([("node:1".to_owned(), "localhost/x".to_owned())]);
        let expected = "ARG V=1\nFROM  localhost/x  AS x\nRUN echo node:1\nCOPY --from=localhost/x a b\n";
        assert_eq!(found.with(&local), expected);
        assert_eq!(found.with(&BTreeMap::new()), text.replace("$V", "1"));
    }

    #[test]
    fn what_cannot_be_known_beforehand_is_refused_with_its_line() {
        for (text, line, what) in [
            ("", 1, "no FROM"),
            ("RUN x", 1, "no FROM"),
            ("\nFROM", 2, "names no image"),
            ("FROM a:$V", 1, "$V is not known"),
            ("ARG V\nFROM $V", 2, "is empty"),
            ("FROM --platform=linux/riscv64 a", 1, "linux/riscv64"),
            ("FROM --pull a", 1, "no flag"),
            ("FROM a b c", 1, "expected FROM"),
            ("FROM a\nCOPY --from=$X / /", 2, "cannot be a variable"),
            ("FROM a\nRUN <<EOF\nFROM b\nEOF\n", 2, "here-documents"),
            ("FROM a:${V", 1, "not closed"),
        ] {
            let error = parse(text, &[]).expect_err(text);
            assert!(error.line == line && error.what.contains(what), "{text:?}: {error}");
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        for text in
            ["\\", "FROM \\", "ARG", "ARG =", "FROM $", "FROM ${}", "COPY --from=", "FROM é\\\n\u{85}x", "#\\\nFROM a"]
        {
            let _ = parse(text, &[]);
        }
    }
}
