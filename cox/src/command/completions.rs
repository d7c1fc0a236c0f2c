//! `cox completions`: prints a script that teaches a shell the words of this command.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use crate::cli::Cli;
use crate::context::Context;
use crate::exit::Exit;

const EXAMPLES: &str = "\
Examples:
  cox completions bash > ~/.local/share/bash-completion/completions/cox
  cox completions zsh > ~/.zfunc/_cox     with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc
  cox completions fish > ~/.config/fish/completions/cox.fish

It completes commands, flags and their fixed values; ids of runs it does not know.";

/// Print a script that completes words of this command in a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The shell: bash, elvish, fish, powershell or zsh
    #[arg(value_enum, hide_possible_values = true)]
    shell: Shell,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Exit {
        context.output.text(&script(self.shell));
        Exit::Ok
    }
}

/// The script for a shell.
fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "cox", &mut script);
    String::from_utf8_lossy(&script).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_is_taught_every_command() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell} does not learn {}", command.get_name());
            }
        }
    }
}
