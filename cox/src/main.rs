//! `cox`: the operator's and developer's command. Reads the command line, does what it says, and ends with its exit code.
//!
//! What the commands do to runs is in `coxswain_shared::control`; here are flags, words and colours.

mod attach;
mod budget;
mod cli;
mod command;
mod context;
mod definition;
mod embedded;
mod exit;
mod failure;
mod idle;
mod input;
mod measure;
mod output;
mod paint;
mod settings;
mod stream;
mod trouble;
mod view;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;

use crate::cli::Cli;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failed;
use crate::output::Output;

fn main() -> ExitCode {
    coxswain_worker::begin().unwrap_or_else(end_of_command)
}

fn end_of_command() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => ExitCode::from(run(cli).code()),
        Err(error) => {
            if error.use_stderr() {
                output::usage(&error.render().to_string());
                return ExitCode::from(Exit::Usage.code());
            }
            // Help and version are no errors; they go to standard output. There is nobody to tell if that is gone.
            let _ = error.print();
            ExitCode::from(Exit::Ok.code())
        }
    }
}

fn run(cli: Cli) -> Exit {
    let output = Arc::new(Output::new(cli.global.json, cli.global.quiet));
    act(cli, &output).unwrap_or_else(|failed| {
        output.failure(&failed);
        failed.exit
    })
}

fn act(cli: Cli, output: &Arc<Output>) -> Result<Exit, Failed> {
    let context = Context::new(Arc::clone(output), &cli.global);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failed::bare(Exit::Internal, format!("the threads could not be started: {error}")))?;
    let ended = runtime.block_on(cli.command.run(&context));
    // What is left, such as a read of the terminal, ends with the process.
    runtime.shutdown_background();
    ended
}
