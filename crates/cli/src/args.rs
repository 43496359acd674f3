//! The command line: what is shared by all commands, the commands themselves, and the one that need not be typed.

use crate::commands::{
    account, alias, completions, deploy, dev, env, inspect, logs, ls, man, probe, promote, ps, rm, rollback, scale,
    secrets, sleep, status, token, upgrade, usage,
};
use clap::Parser;
use dockless_model::Secret;
use std::{ffi::OsString, path::PathBuf};

/// Options of every command. Flags win over the environment.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Address of the server; the local one if not given
    #[arg(long, global = true, value_name = "URL", env = "DOCKLESS_SERVER", hide_env_values = true)]
    pub server: Option<String>,
    /// Token of an account; the local server's own if not given
    #[arg(long, global = true, value_name = "TOKEN", env = "DOCKLESS_TOKEN", hide_env_values = true, value_parser = secret)]
    pub token: Option<Secret>,
    /// Data folder of the local server
    #[arg(long, global = true, value_name = "DIR", env = "DOCKLESS_DATA", hide_env_values = true)]
    pub data: Option<PathBuf>,
    /// Print the answer as JSON: one object, or one a line for streams
    #[arg(long, global = true)]
    pub json: bool,
    /// Print the answer, warnings and errors only
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Draw no bars and spinners
    #[arg(long, global = true)]
    pub no_progress: bool,
}

/// `Debug` of a parsed line must not print it.
#[expect(clippy::unnecessary_wraps, reason = "the signature of a value parser")]
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

/// What a client can ask for. The first line of a variant is its place in the list; the rest is its own help.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Deploy a folder (this command need not be typed)
    ///
    /// Files become files, each api/**/*.js becomes a function. Prints the URL: it is this version's own and stays. The
    /// project's address moves to it unless --no-alias is given.
    ///
    /// Left out are .git, node_modules, .env* and the like, and what the first of .docklessignore, .nowignore and
    /// .vercelignore lists in the way of a .gitignore.
    ///
    /// With --image an image of a registry is deployed instead: a server that is started by the first request and
    /// stopped when nobody asks any more. Logins are those of docker, podman and skopeo.
    Deploy(Box<deploy::Args>),
    /// Serve a folder on this machine and build it again on every save
    ///
    /// Starts a platform of its own, as root; needs no server, and leaves none. Pages load themselves again when a build is online; a
    /// build that fails is shown in the terminal and over the page, and what was online stays. What functions write is
    /// printed. .env and .env.local are read. Results of builds are kept in .dockless.
    Dev(dev::Args),
    /// List deployments, newest first
    Ls(ls::Args),
    /// Show everything about a deployment
    Inspect(inspect::Args),
    /// List instances: what runs, and what is frozen
    ///
    /// An instance is one sandbox of one function. booting: starting. ready: running, without a request. busy: serving
    /// one. frozen: stopped until the next request. abandoned: the client left, the program still runs. draining: ending.
    Ps(ps::Args),
    /// Print what a deployment's functions wrote
    ///
    /// Oldest line first: time, function, text. Where the platform speaks of a function (a crash, a deadline, dropped
    /// lines) the text begins with `dockless:`.
    Logs(logs::Args),
    /// Remove deployments
    ///
    /// With their instances, logs and addresses. This cannot be undone.
    Rm(rm::Args),
    /// Set, list and remove aliases: addresses that lead to a deployment
    ///
    /// Setting one that exists moves it: requests go to the old deployment or to the new one, never to neither.
    Alias(alias::Args),
    /// Point a project's address at a deployment of it
    ///
    /// It stays there until the next deployment is created.
    Promote(promote::Args),
    /// Point a project's address back at an earlier deployment
    ///
    /// Given a project: at the newest ready one created before the one it leads to. Given the URL of a deployment: at that
    /// one. It stays there until the next deployment is created.
    Rollback(rollback::Args),
    /// Set, list and remove variables of a project: what its deployments get when they are created
    ///
    /// Functions and builds get them. What `deploy --env` says goes before them. Values are encrypted at rest and never
    /// shown.
    Env(env::Args),
    /// Add, list, rename and remove secrets: values to which variables refer by @name
    ///
    /// Values are encrypted at rest and never shown.
    Secrets(secrets::Args),
    /// Switch a deployment off and on, or bound its instances
    ///
    /// 0 switches it off: its addresses answer 503 and its instances are retired. Any other scale switches it on. The most
    /// holds for each function and service, from the next start on: requests beyond it wait. The least is started before
    /// anybody asks, never stopped for being idle, and replaced where one ends.
    Scale(scale::Args),
    /// Retire a deployment's instances now
    ///
    /// Idle ones at once, busy ones after their request. The next request starts a new one.
    Sleep(sleep::Args),
    /// Replace the running server by the binary on disk
    ///
    /// The new server takes over listeners and instances; the old one finishes what it has accepted. Returns once the new
    /// one answers.
    Upgrade(upgrade::Args),
    /// Send constant load to a URL and account for every request
    ///
    /// Requests leave on time whether or not earlier ones were answered. Exits with 1 if one was lost: without a complete
    /// answer, or with an error of the platform's own. Refusals (429, 503) are counted apart.
    Probe(probe::Args),
    /// Make, list and revoke tokens of this account
    Token(token::Args),
    /// Make, list and remove accounts, as the owner of the platform
    ///
    /// An account sees and changes only what is its own. An owner may also act on the platform itself: status, upgrade,
    /// accounts.
    Account(account::Args),
    /// Say what deployments cost: requests, processor time, memory, bytes sent, time asleep
    ///
    /// CPU-S: seconds of processor time, counted when an instance ends. GB-S: memory of functions times the time from a
    /// request to the end of its answer. SENT: bytes of answers. ASLEEP: time that instances were frozen. Removed
    /// deployments are still listed.
    Usage(usage::Args),
    /// Say what the server is and how it is doing
    Status(status::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Print the manual page, or write one for each command
    Man(man::Args),
}

/// What all of the binary's command line shares. Set here and not by doc comments: those of flattened enums would replace
/// them.
pub(crate) fn dress(program: clap::Command) -> clap::Command {
    program
        .bin_name("dockless")
        .override_usage("dockless [OPTIONS] [DIR]\n       dockless [OPTIONS] COMMAND")
        .about("Serverless without the dock: a folder becomes a URL and runs only while somebody asks for it")
        .long_about(None)
        .after_help(
            "Examples:\n  dockless serve\n  dockless my-folder\n\nExit codes: 0 done, 1 refused or failed, 2 usage, \
             3 no server or not signed in, 4 our mistake",
        )
        .max_term_width(100)
}

/// The whole command line of a binary whose commands include [`Command`].
#[must_use]
pub fn command_line<P: Parser>() -> clap::Command {
    dress(P::command())
}

/// Reads the command line of a binary whose commands include [`Command`].
///
/// `dockless`, `dockless DIR` and `dockless --name x` mean `dockless deploy …`: `deploy` is put in when what follows the
/// global options is not a command.
///
/// # Errors
/// What clap has to say, help and version included: print it, and exit with its code.
pub fn parse<P: Parser>(arguments: impl IntoIterator<Item = OsString>) -> Result<P, clap::Error> {
    let mut program = dress(P::command());
    let matches = program.try_get_matches_from_mut(with_default_command(&program.clone(), arguments))?;
    P::from_arg_matches(&matches).map_err(|error| error.format(&mut program))
}

/// Puts `deploy` behind the program's name unless a command, help or the version is asked for.
fn with_default_command(program: &clap::Command, arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    if !names_a_command(program, arguments.get(1..).unwrap_or_default()) {
        arguments.insert(1.min(arguments.len()), "deploy".into());
    }
    arguments
}

fn names_a_command(program: &clap::Command, arguments: &[OsString]) -> bool {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let Some(argument) = argument.to_str() else { return false };
        if !argument.starts_with('-') {
            let help = argument == "help" && !program.is_disable_help_subcommand_set();
            return help || program.find_subcommand(argument).is_some();
        }
        if matches!(argument, "-h" | "--help" | "-V" | "--version") {
            return true;
        }
        let (flag, value) = argument.split_once('=').map_or((argument, None), |(flag, value)| (flag, Some(value)));
        let option = program.get_arguments().find(|option| {
            option.get_long().is_some_and(|long| flag.strip_prefix("--") == Some(long))
                || option.get_short().is_some_and(|short| flag.strip_prefix('-') == Some(short.to_string().as_str()))
        });
        match option {
            // The next word is its value, whatever it looks like.
            Some(option) if option.get_action().takes_values() && value.is_none() => drop(arguments.next()),
            Some(_) => {}
            // Not ours: an option of `deploy`.
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests;
