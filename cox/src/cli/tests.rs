//! Holds the help and the reference (`docs/cli.md`) to what the program accepts.

use std::fmt::Write as _;

use clap::{CommandFactory as _, Parser as _};

use super::Cli;
use crate::exit::Exit;

const REFERENCE: &str = include_str!("../../../docs/cli.md");

/// Every command with its words, `cox` itself included.
fn commands() -> Vec<(String, clap::Command)> {
    let mut root = Cli::command();
    root.build();
    let mut found = Vec::new();
    let mut open = vec![("cox".to_owned(), root)];
    while let Some((words, command)) = open.pop() {
        let inner = command.get_subcommands().filter(|inner| inner.get_name() != "help");
        open.extend(inner.map(|inner| (format!("{words} {}", inner.get_name()), inner.clone())));
        found.push((words, command));
    }
    found
}

/// The reference's section on a command.
fn section(words: &str) -> &'static str {
    let heading = format!("## `{words}`\n");
    let (_, rest) = REFERENCE.split_once(&heading).unwrap_or_else(|| panic!("docs/cli.md lacks the heading {heading}"));
    rest.split("\n## ").next().unwrap_or(rest)
}

/// A command's arguments as the reference lists them.
fn table(command: &clap::Command, with_global: bool) -> String {
    let mut text = String::new();
    let arguments = command.get_arguments().filter(|arg| arg.is_global_set() == with_global && !is_help(arg));
    for arg in arguments {
        let takes_value = arg.get_action().takes_values();
        let name = match arg.get_long() {
            Some(long) => format!("--{long}"),
            None => arg.get_value_names().map(|names| names[0].to_string()).unwrap_or_default(),
        };
        let value = match (arg.get_long(), takes_value, arg.get_value_names()) {
            (Some(_), true, Some(names)) => format!(" {}", names[0]),
            (_, _, _) => String::new(),
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let default = arg.get_default_values().first().filter(|_| takes_value).and_then(|value| value.to_str());
        let default = default.map(|value| format!(" [default: {value}]")).unwrap_or_default();
        let _ = writeln!(text, "| `{name}{value}` | {help}{default} |");
    }
    text
}

fn is_help(arg: &clap::Arg) -> bool {
    matches!(arg.get_id().as_str(), "help" | "version")
}

/// The commands that a text shows: lines that begin with `cox`, up to a pipe, a redirection or a remark.
fn examples(text: &str) -> Vec<Vec<String>> {
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with("cox "));
    lines.map(|line| split(line.split("   ").next().unwrap_or(line))).collect()
}

/// Splits a line as a shell does, as far as examples need it.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            '|' | '>' | '#' if !quoted => break,
            ' ' if !quoted => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            c => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn the_reference_has_every_command_with_every_flag() {
    let mut missing = String::new();
    for (words, command) in commands() {
        let wanted = table(&command, words == "cox");
        if !section(&words).contains(&wanted) {
            let _ = writeln!(missing, "## `{words}`\n\n| argument | meaning |\n|---|---|\n{wanted}");
        }
    }
    assert!(missing.is_empty(), "docs/cli.md differs from the program in these tables:\n{missing}");
}

#[test]
fn the_reference_has_no_command_that_does_not_exist() {
    let known: Vec<_> = commands().into_iter().map(|(words, _)| words).collect();
    for heading in REFERENCE.lines().filter_map(|line| line.strip_prefix("## `")) {
        let words = heading.trim_end_matches('`');
        assert!(known.iter().any(|known| known == words), "docs/cli.md describes `{words}`, which does not exist");
    }
}

#[test]
fn the_reference_has_every_exit_code() {
    for exit in Exit::ALL {
        let row = format!("| {} | {} |", exit.code(), exit.meaning());
        assert!(REFERENCE.contains(&row), "docs/cli.md lacks the row: {row}");
    }
}

#[test]
fn every_command_teaches_with_examples_that_are_accepted() {
    for (words, command) in commands() {
        if command.has_subcommands() || words == "cox exit-codes" {
            continue;
        }
        // A command of a group is taught by the group.
        let parent = words.rsplit_once(' ').map_or("cox", |(parent, _)| parent);
        let own = command.get_after_help().map(ToString::to_string);
        let text = own.or_else(|| {
            let (_, parent) = commands().into_iter().find(|(known, _)| known == parent)?;
            parent.get_after_help().map(ToString::to_string)
        });
        let text = text.unwrap_or_else(|| panic!("`{words}` has no examples"));
        assert!(!examples(&text).is_empty(), "`{words}` has no examples");
        accept(&words, &text);
    }
    accept("docs/cli.md", REFERENCE);
}

fn accept(place: &str, text: &str) {
    for example in examples(text) {
        if let Err(error) = Cli::try_parse_from(&example) {
            let is_help = !error.use_stderr();
            assert!(is_help, "an example of {place} is not accepted: {example:?}\n{error}");
        }
    }
}
