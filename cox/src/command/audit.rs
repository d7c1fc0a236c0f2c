//! `cox audit`: shows the trail of commands.

use coxswain_shared::id::RunId;
use coxswain_shared::store::AuditEntry;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failed;
use crate::measure::cut;
use crate::output::{draw, table};

const EXAMPLES: &str = "\
Examples:
  cox audit
  cox audit nightly-7
  cox audit --limit 1000 --json | jq '.rows[] | select(.action == \"stop\")'";

/// Show who stopped, resumed and changed what, and what came of it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Of this run alone
    #[arg(value_name = "RUN")]
    run: Option<RunId>,
    /// How many entries, from 1 to 1000
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Where to go on: what the page before said
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failed> {
        let store = context.store().await?;
        let page = store.audit(self.run.as_ref(), self.cursor.as_deref(), usize::from(self.limit)).await?;
        context.output.result(&page, || text(&page.rows));
        if let Some(next) = &page.next {
            context.output.note(format!("there may be more: --cursor {next}"));
        }
        Ok(Exit::Ok)
    }
}

fn text(entries: &[AuditEntry]) -> String {
    let mut table = table(&["when", "action", "run", "actor", "result", "reason"]);
    for entry in entries {
        table.add_row([
            entry.at.to_string(),
            entry.action.clone(),
            entry.run.to_string(),
            cut(&entry.actor, 40),
            entry.result.clone(),
            cut(entry.reason.as_deref().unwrap_or_default(), 60),
        ]);
    }
    draw(&table)
}
