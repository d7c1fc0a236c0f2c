//! `cox exit-codes`: explains how the program ends.

use crate::context::Context;
use crate::exit::Exit;
use crate::output::{draw, table};
use serde_json::json;

/// No flags of its own.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

impl Args {
    #[expect(clippy::unused_self, reason = "every command is called in the same way")]
    pub(crate) fn run(self, context: &Context) -> Exit {
        let document = Exit::ALL.map(|exit| json!({"code": exit.code(), "meaning": exit.meaning()}));
        context.output.result(&document, || {
            let mut table = table(&["code", "meaning"]);
            for exit in Exit::ALL {
                table.add_row([exit.code().to_string(), exit.meaning().to_owned()]);
            }
            draw(&table)
        });
        Exit::Ok
    }
}
