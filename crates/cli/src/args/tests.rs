use super::*;

/// The binary's command line in small.
#[derive(Debug, clap::Parser)]
#[command(name = "dockless", version)]
struct Program {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Words,
}

#[derive(Debug, clap::Subcommand)]
enum Words {
    /// Start the platform
    Serve,
    #[command(flatten)]
    Client(Command),
}

fn line(words: &str) -> Result<Program, clap::Error> {
    parse(std::iter::once("dockless").chain(words.split_whitespace()).map(OsString::from))
}

#[test]
fn the_command_line_is_sound() {
    dress(<Program as clap::CommandFactory>::command()).debug_assert();
}

#[test]
fn deploy_need_not_be_typed() {
    for (words, folder, name) in [
        ("", ".", None),
        ("site", "site", None),
        ("./ls", "./ls", None),
        ("--name shop", ".", Some("shop")),
        ("--name ls site", "site", Some("ls")),
        ("-n shop site", "site", Some("shop")),
        ("--json --server http://a site", "site", None),
        ("--server=http://a", ".", None),
        ("--token ls --data ps -q", ".", None),
        ("deploy ls", "ls", None),
        ("--quiet deploy", ".", None),
    ] {
        let program = line(words).unwrap();
        let Words::Client(Command::Deploy(args)) = program.command else { panic!("{words:?}: {:?}", program.command) };
        assert_eq!((args.folder.to_str(), args.name.as_deref()), (Some(folder), name), "{words:?}");
    }
}

#[test]
fn a_command_stays_a_command() {
    assert!(matches!(line("serve").unwrap().command, Words::Serve));
    assert!(matches!(line("--json ls").unwrap().command, Words::Client(Command::Ls(_))));
    assert!(matches!(line("--server http://a ps").unwrap().command, Words::Client(Command::Ps(_))));
    assert!(line("ls --json").unwrap().global.json);
    for words in ["--help", "-h", "--version", "help", "help ls", "-q --help"] {
        assert_eq!(line(words).unwrap_err().exit_code(), 0, "{words:?}");
    }
    for words in ["ls --no-such", "--no-such", "logs", "rm", "ls --limit 0", "logs x --since yesterday"] {
        assert_eq!(line(words).unwrap_err().exit_code(), 2, "{words:?}");
    }
}

#[test]
fn secrets_of_the_command_line_are_not_shown() {
    let program = line("--token abc --env A=hidden").unwrap();
    let shown = format!("{program:?}");
    assert!(!shown.contains("abc") && !shown.contains("hidden"), "{shown}");
}

#[test]
fn every_command_says_what_it_does_and_gives_two_examples() {
    let mut program = dress(<Program as clap::CommandFactory>::command());
    program.build();
    for command in program.get_subcommands_mut().filter(|c| !matches!(c.get_name(), "help" | "serve")) {
        let help = command.render_long_help().to_string();
        let examples = help.split("Examples:\n").nth(1).unwrap_or_default();
        let count = examples.lines().filter(|line| line.trim_start().starts_with("dockless")).count();
        assert!(count >= 2, "{}: {count} examples\n{help}", command.get_name());
        assert!(command.get_about().is_some(), "{}", command.get_name());
    }
}
