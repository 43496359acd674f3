//! `dockless.toml`: what `dockless serve` takes as flags, as keys of a file.
//!
//! ```text
//! default < dockless.toml < DOCKLESS_* < flag
//! ```
//! There is one description of the settings, the flags' own: a key is a flag's name (`alias-domain` or `alias_domain`; a
//! table's name goes before those in it, so `cert` in `[tls]` is `tls-cert`), and its value is read by the flag's reader.
//! What the command line and the environment leave open is added to the line as if it had been typed.

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where the file is if nobody says so, and if it is there at all.
pub(crate) const DEFAULT_FILE: &str = "/etc/dockless/dockless.toml";
/// Room for many listeners and words about them.
const MOST_BYTES: u64 = 256 * 1024;
/// Global options of the client: not the platform's.
const NOT_SETTINGS: [&str; 8] = ["help", "version", "config", "server", "token", "json", "quiet", "no_progress"];

/// What `dockless config --help` begins with.
pub(crate) const ABOUT: &str = "Show the settings of `dockless serve`: each with its value and where it comes from. Takes the \
    flags of `serve`, so that one can see what a line would do. Starts nothing.";
/// What it ends with.
pub(crate) const EXAMPLES: &str = "Examples:
  dockless config show
  dockless config show --config ./dockless.toml --listen 8080 --json";

/// Flags of `dockless config`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// What to do with the settings.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Action {
    /// Print each value with its origin: a flag, a variable, the file, or the default
    Show(crate::serve::Args),
}

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Setting {
    /// One, or all of a list; none where nothing is set.
    values: Vec<String>,
    /// `flag`, a variable's name, a file's path, or `default`.
    origin: String,
}

/// A file that cannot be used, or a line that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read {}", .file.display())]
    Unreadable {
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{0} can be written by others than its owner\nhint: chmod go-w {0}", .file.display())]
    Open { file: PathBuf },
    #[error("{}: {source}", .file.display())]
    Toml {
        file: PathBuf,
        // Shown above: it names line and column.
        source: Box<toml::de::Error>,
    },
    #[error("{}: there is no setting {key:?}{near}", .file.display())]
    Unknown { file: PathBuf, key: String, near: String },
    #[error("{}: {key}: {message}", .file.display())]
    Value { file: PathBuf, key: String, message: String },
}

/// The command line with the file's values put in, and where each setting comes from.
pub(crate) struct Layered<P> {
    pub(crate) program: P,
    pub(crate) settings: BTreeMap<String, Setting>,
}

/// The command that a line means, if it is one that has settings. What is wrong with the line is not said here: part of it
/// may be in the file.
pub(crate) fn concerns<P: clap::Parser>(arguments: &[OsString]) -> Option<&'static [&'static str]> {
    let matches = lenient::<P>().try_get_matches_from(arguments).ok()?;
    match matches.subcommand()? {
        ("serve", _) => Some(&["serve"]),
        ("config", inner) => inner.subcommand_matches("show").map(|_| &["config", "show"][..]),
        _ => None,
    }
}

/// Reads a line that [`concerns`] settings, with the file under it.
pub(crate) fn layer<P: clap::Parser>(
    arguments: Vec<OsString>,
    path: &[&str],
    default: &Path,
) -> anyhow::Result<Layered<P>> {
    let mut program = dockless_cli::command_line::<P>();
    // Puts the global options where they are looked up.
    program.build();
    let first = lenient::<P>().try_get_matches_from(&arguments)?;
    let (command, typed) = descend(&program, &first, path);
    let asked = typed.get_one::<PathBuf>("config").map(PathBuf::as_path);
    let (file, table) = match read(asked.unwrap_or(default), asked.is_some())? {
        Some(table) => (asked.unwrap_or(default).to_owned(), table),
        None => (default.to_owned(), toml::Table::new()),
    };
    let mut keys = BTreeMap::new();
    flatten("", table, &mut keys);
    let mut line = arguments;
    let mut from_file = Vec::new();
    for (key, value) in keys {
        let argument = command
            .get_arguments()
            .find(|argument| argument.get_long() == Some(key.as_str()) && is_setting(argument.get_id().as_str()))
            .ok_or_else(|| ConfigError::Unknown { file: file.clone(), near: near(&key, command), key: key.clone() })?;
        let id = argument.get_id().to_string();
        let wrong = |message: String| ConfigError::Value { file: file.clone(), key: key.clone(), message };
        let words = words(&key, argument.get_action(), value).map_err(wrong)?;
        // Also where a flag or variable goes before it: a mistake in the file is said before it counts.
        if let Err(error) =
            alone(argument).try_get_matches_from(words.iter().map(|word| word.replacen(&key, "value", 1)))
        {
            return Err(wrong(message(&error)).into());
        }
        let said = matches!(typed.value_source(&id), Some(ValueSource::CommandLine | ValueSource::EnvVariable));
        if !said {
            line.extend(words.into_iter().map(OsString::from));
            from_file.push(id);
        }
    }
    let matches = program.clone().try_get_matches_from(line)?;
    let (command, last) = descend(&program, &matches, path);
    let settings = command
        .get_arguments()
        .filter(|argument| is_setting(argument.get_id().as_str()))
        .filter_map(|argument| {
            let id = argument.get_id().as_str();
            let origin = match last.value_source(id) {
                _ if from_file.iter().any(|key| key == id) => file.display().to_string(),
                Some(ValueSource::CommandLine) => "flag".to_owned(),
                Some(ValueSource::EnvVariable) => argument.get_env()?.to_string_lossy().into_owned(),
                _ => "default".to_owned(),
            };
            let values = if id == "data" && last.value_source(id).is_none() {
                vec![crate::serve::DEFAULT_DATA.to_owned()]
            } else if matches!(argument.get_action(), ArgAction::SetTrue) {
                vec![last.get_flag(id).to_string()]
            } else {
                let raw = last.get_raw(id).into_iter().flatten();
                raw.map(|value| value.to_string_lossy().into_owned()).collect()
            };
            Some((argument.get_long()?.to_owned(), Setting { values, origin }))
        })
        .collect();
    Ok(Layered { program: P::from_arg_matches(&matches)?, settings })
}

/// The command line without what one flag asks of another: the other may be in the file, and only the whole is judged.
fn lenient<P: clap::Parser>() -> Command {
    let free = |command: Command| {
        command.mut_args(|argument| {
            argument.requires(Resettable::<clap::Id>::Reset).conflicts_with(Resettable::<clap::Id>::Reset)
        })
    };
    dockless_cli::command_line::<P>()
        .mut_subcommand("serve", free)
        .mut_subcommand("config", |config| config.mut_subcommand("show", free))
}

/// A line that takes this one flag, without what it asks of others.
fn alone(argument: &clap::Arg) -> Command {
    let copy = clap::Arg::new("value").long("value").action(argument.get_action().clone());
    let copy = copy.value_parser(argument.get_value_parser().clone()).value_delimiter(argument.get_value_delimiter());
    Command::new("dockless").no_binary_name(true).arg(copy)
}

fn is_setting(id: &str) -> bool {
    !NOT_SETTINGS.contains(&id)
}

/// The subcommand that a line means, with what was typed for it.
fn descend<'a>(program: &'a Command, matches: &'a ArgMatches, path: &[&str]) -> (&'a Command, &'a ArgMatches) {
    path.iter().fold((program, matches), |(command, matches), name| {
        match (command.find_subcommand(name), matches.subcommand_matches(name)) {
            (Some(command), Some(matches)) => (command, matches),
            _ => (command, matches),
        }
    })
}

/// The file's table; `None` if nobody asked for it and it is not there.
fn read(file: &Path, asked: bool) -> Result<Option<toml::Table>, ConfigError> {
    use std::io::Read as _;
    use std::os::unix::fs::MetadataExt as _;
    let unreadable = |source| ConfigError::Unreadable { file: file.to_owned(), source };
    let opened = match std::fs::File::open(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !asked => return Ok(None),
        opened => opened.map_err(unreadable)?,
    };
    // It names the program that functions run under, and is read by root.
    if opened.metadata().map_err(unreadable)?.mode() & 0o022 != 0 {
        return Err(ConfigError::Open { file: file.to_owned() });
    }
    let mut text = String::new();
    opened.take(MOST_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    let table = text.parse::<toml::Table>();
    table.map(Some).map_err(|source| ConfigError::Toml { file: file.to_owned(), source: Box::new(source) })
}

/// `[tls] cert = …` is `tls-cert = …`.
fn flatten(prefix: &str, table: toml::Table, into: &mut BTreeMap<String, toml::Value>) {
    for (key, value) in table {
        let key = format!("{prefix}{}", key.replace('_', "-"));
        match value {
            toml::Value::Table(inner) => flatten(&format!("{key}-"), inner, into),
            value => drop(into.insert(key, value)),
        }
    }
}

/// A value as it would be typed.
fn words(key: &str, action: &ArgAction, value: toml::Value) -> Result<Vec<String>, String> {
    let one = |value: toml::Value| match value {
        toml::Value::String(text) => Ok(format!("--{key}={text}")),
        toml::Value::Integer(number) => Ok(format!("--{key}={number}")),
        _ => Err("expected a text or a whole number".to_owned()),
    };
    match (action, value) {
        (ArgAction::SetTrue, toml::Value::Boolean(true)) => Ok(vec![format!("--{key}")]),
        (ArgAction::SetTrue, toml::Value::Boolean(false)) => Ok(Vec::new()),
        (ArgAction::SetTrue, _) => Err("expected true or false".to_owned()),
        (ArgAction::Append, toml::Value::Array(items)) => items.into_iter().map(one).collect(),
        (_, value) => one(value).map(|word| vec![word]),
    }
}

/// `; is "listen" meant?`
fn near(key: &str, command: &Command) -> String {
    let known = command.get_arguments().filter(|argument| is_setting(argument.get_id().as_str()));
    let closest = known.filter_map(clap::Arg::get_long).map(|name| (distance(key, name), name)).min();
    match closest {
        Some((distance, name)) if distance <= 2.max(key.len() / 3) => format!("; is {name:?} meant?"),
        _ => String::new(),
    }
}

/// Letters to add, remove or change to come from one to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, letter) in (1..).zip(from.chars()) {
        let mut corner = std::mem::replace(&mut row[0], line);
        for (column, other) in (1..).zip(&to) {
            let changed = corner + usize::from(letter != *other);
            corner = row[column];
            row[column] = changed.min(corner + 1).min(row[column - 1] + 1);
        }
    }
    row[to.len()]
}

/// What clap has to say about a value, in one line, without the flag's name: the key stands before it.
fn message(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    match (line.split_once(" for '--"), line.rsplit_once("': ").or_else(|| line.rsplit_once(">': "))) {
        (Some((head, _)), Some((_, why))) => format!("{head}: {why}"),
        _ => line.to_owned(),
    }
}

/// `dockless config show`: prints what [`layer`] found.
pub(crate) fn show(settings: &BTreeMap<String, Setting>, json: bool) -> ExitCode {
    let mut text = String::new();
    if json {
        text = serde_json::to_string(settings).unwrap_or_default();
        text.push('\n');
    } else {
        let value = |setting: &Setting| match setting.values.as_slice() {
            [] => "-".to_owned(),
            values => values.join(", "),
        };
        let width =
            |get: &dyn Fn(&String, &Setting) -> usize| settings.iter().map(|(k, s)| get(k, s)).max().unwrap_or(0);
        let (names, values) = (width(&|key, _| key.len()), width(&|_, setting| value(setting).len()));
        for (key, setting) in settings {
            text.push_str(&format!("{key:names$}  {:values$}  {}\n", value(setting), setting.origin));
        }
    }
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// What went wrong, and the exit code: 2 for the command line, 1 for a file.
pub(crate) fn refuse(error: &anyhow::Error) -> ExitCode {
    if let Some(error) = error.downcast_ref::<clap::Error>() {
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    }
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
    if let Some(ConfigError::Unknown { .. } | ConfigError::Value { .. }) = error.downcast_ref() {
        let _ = writeln!(std::io::stderr(), "hint: `dockless serve --help` says what each setting takes");
    }
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Program;
    use clap::CommandFactory as _;

    fn show_with(text: &str, more: &[&str]) -> anyhow::Result<BTreeMap<String, Setting>> {
        let folder = std::env::temp_dir().join(format!("dockless-config-{}-{:p}", std::process::id(), &text));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("dockless.toml");
        std::fs::write(&file, text).unwrap();
        let line = ["dockless", "config", "show", "--config"].iter().map(OsString::from);
        let line = line.chain([file.clone().into_os_string()]).chain(more.iter().map(OsString::from)).collect();
        let layered = layer::<Program>(line, &["config", "show"], &file);
        std::fs::remove_dir_all(&folder).unwrap();
        layered.map(|layered| layered.settings)
    }

    fn of(settings: &BTreeMap<String, Setting>, key: &str) -> (Vec<String>, String) {
        let Setting { values, origin } = settings[key].clone();
        let origin = if origin.ends_with(".toml") { "file".to_owned() } else { origin };
        (values, origin)
    }

    fn pair(values: &[&str], origin: &str) -> (Vec<String>, String) {
        (values.iter().map(|value| (*value).to_owned()).collect(), origin.to_owned())
    }

    #[test]
    fn each_layer_goes_before_the_one_below_it() {
        let text = "listen = [\"127.0.0.1:8080\", \"0.0.0.0:80=apps\"]\nshelf = 2\ndomain = \"apps.example.org\"\n\
                    no_server_timing = true\ndata = \"/srv/dockless\"\n";
        let settings = show_with(text, &["--shelf", "7"]).unwrap();
        assert_eq!(of(&settings, "listen"), pair(&["127.0.0.1:8080", "0.0.0.0:80=apps"], "file"));
        assert_eq!(of(&settings, "shelf"), pair(&["7"], "flag"));
        assert_eq!(of(&settings, "domain"), pair(&["apps.example.org"], "file"));
        assert_eq!(of(&settings, "no-server-timing"), pair(&["true"], "file"));
        assert_eq!(of(&settings, "data"), pair(&["/srv/dockless"], "file"));
        assert_eq!(of(&settings, "grace"), pair(&["10"], "default"));
        assert_eq!(of(&settings, "alias-domain"), pair(&[], "default"));
        assert_eq!(of(&show_with("", &[]).unwrap(), "data"), pair(&["/var/lib/dockless"], "default"));
    }

    #[test]
    fn tables_are_the_beginnings_of_names() {
        let settings = show_with("[alias]\ndomain = [\"example.org\"]\n[no]\nserver_timing = false\n", &[]).unwrap();
        assert_eq!(of(&settings, "alias-domain"), pair(&["example.org"], "file"));
        assert_eq!(settings["no-server-timing"].values, ["false"]);
    }

    #[test]
    fn what_services_may_ask_is_a_table() {
        let text = "[service]\nmin_duration = 1\nmax-concurrency = 1000\nslot = [\"big=c2-m8192\"]\n";
        let settings = show_with(text, &["--service-min-timeout", "5"]).unwrap();
        assert_eq!(of(&settings, "service-min-duration"), pair(&["1"], "file"));
        assert_eq!(of(&settings, "service-min-timeout"), pair(&["5"], "flag"));
        assert_eq!(of(&settings, "service-max-concurrency"), pair(&["1000"], "file"));
        assert_eq!(of(&settings, "service-slot"), pair(&["big=c2-m8192"], "file"));
        let without = show_with("", &[]).unwrap();
        assert_eq!(of(&without, "service-min-duration"), pair(&["60"], "default"));
        assert_eq!(of(&without, "service-max-concurrency"), pair(&["256"], "default"));
        for (text, words) in [
            ("[service]\nmin_timeout = 0\n", "1..=60"),
            ("[service]\nmin_duration = 61\n", "1..=60"),
            ("[service]\nmax_concurrency = 255\n", "256..=65536"),
            ("[service]\nslot = [\"c1-m64=c1-m64\"]\n", "named slot"),
        ] {
            let error = format!("{:#}", show_with(text, &[]).unwrap_err());
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_flag_may_find_its_other_half_in_the_file() {
        let settings = show_with("[tls]\nkey = \"key.pem\"\n", &["--tls-cert", "chain.pem"]).unwrap();
        assert_eq!(of(&settings, "tls-key"), pair(&["key.pem"], "file"));
        assert_eq!(of(&settings, "tls-cert"), pair(&["chain.pem"], "flag"));
        let half = show_with("[tls]\nkey = \"key.pem\"\n", &[]).unwrap_err();
        assert!(half.to_string().contains("--tls-cert"), "{half}");
    }

    #[test]
    fn only_lines_with_settings_are_read_twice() {
        let concerns = |line: &str| {
            let words: Vec<OsString> =
                std::iter::once("dockless").chain(line.split_whitespace()).map(OsString::from).collect();
            super::concerns::<Program>(&words).map(|path| path.join(" "))
        };
        for (line, expected) in [
            ("serve", Some("serve")),
            ("--data x serve --shelf 1", Some("serve")),
            ("serve --tls-cert a", Some("serve")),
            ("config show --tls-cert a", Some("config show")),
            ("serve --no-such-flag", None),
            ("config show", Some("config show")),
            ("serve --help", None),
            ("ls", None),
            ("", None),
            ("my-folder", None),
            ("deploy serve", None),
        ] {
            assert_eq!(concerns(line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn mistakes_in_the_file_are_named_even_where_a_flag_goes_before_them() {
        for (text, words) in [
            ("listne = 1", &["no setting \"listne\"", "\"listen\" meant"][..]),
            ("nothing_like_it = 1", &["no setting \"nothing-like-it\""]),
            ("token = \"x\"", &["no setting \"token\""]),
            ("config = \"x\"", &["no setting \"config\""]),
            ("shelf = \"many\"", &["shelf", "many"]),
            ("shelf = [1]", &["shelf", "expected a text or a whole number"]),
            ("shelf = 1.5", &["shelf", "expected"]),
            ("no_server_timing = 1", &["no-server-timing", "expected true or false"]),
            ("listen = [\"nowhere\"]", &["listen", "nowhere", "is not an address"]),
            ("domain = \"under score!\"", &["domain"]),
            ("shelf = ", &["line 1"]),
        ] {
            let error = format!("{:#}", show_with(text, &["--shelf", "1", "--listen", "3000"]).unwrap_err());
            assert!(error.contains("dockless.toml"), "{text}: {error}");
            for word in words {
                assert!(error.contains(word), "{text}: {error} does not say {word}");
            }
        }
    }

    #[test]
    fn the_reference_names_every_flag_with_its_variable_and_default() {
        let page = include_str!("../../../docs/configuration.md");
        let program = Program::command();
        let serve = program.find_subcommand("serve").unwrap();
        for argument in serve.get_arguments().filter(|argument| argument.get_id() != "help") {
            let long = argument.get_long().unwrap();
            let row = page.lines().find(|line| line.starts_with(&format!("| `--{long}")));
            let row = row.unwrap_or_else(|| panic!("docs/configuration.md has no row for --{long}"));
            if let Some(variable) = argument.get_env() {
                assert!(row.contains(&format!("`{}`", variable.to_string_lossy())), "{row}");
            }
            for default in argument.get_default_values() {
                assert!(row.contains(&format!("`{}`", default.to_string_lossy())), "{row}");
            }
        }
    }

    #[test]
    fn distances() {
        for (from, to, expected) in
            [("", "abc", 3), ("listne", "listen", 2), ("same", "same", 0), ("shelv", "shelf", 1)]
        {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }
}
