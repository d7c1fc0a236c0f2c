//! `cox policy`: sets, shows and removes the operators' policies.

use clap::Subcommand;
use coxswain_shared::control::policies::{self, By, Change, Standing};
use coxswain_shared::duration;
use coxswain_shared::id::PolicyName;
use coxswain_shared::policy::{self, Measure, Per, Policy};
use serde_json::json;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failed;
use crate::input;
use crate::output::{draw, table};

const EXAMPLES: &str = "\
Examples:
  cox policy apply policies.yaml --reason 'end of the month'
  cox policy list
  cox policy show per-tenant acme             what tenant acme has used
  cox policy remove per-tenant

A file has policies by name, in YAML or JSON:
  per-tenant:
    labels: { env: prod }                     which runs; `graph: nightly-*` as well, or neither for all
    per: { label: tenant }                    what is counted apart: all (default), graph, thread, or a label
    window: 1h
    limits: { runs: 100, cost: 20 }           also node_runs, failures, tokens, tool_calls, wall_time
    then: stop                                or refuse (new runs), or pause

A change holds everywhere within a second.";

/// Limit what runs of a graph, a label or a thread may use in a window
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

/// What to do with them.
#[derive(Debug, Subcommand)]
enum What {
    /// Set the policies of a file; others stay as they are
    Apply(Apply),
    /// List the policies, and what is used of them
    List,
    /// Show a policy, and what is used of it
    Show(Show),
    /// Remove policies
    Remove(Remove),
}

#[derive(Debug, clap::Args)]
struct Apply {
    /// The policies: a YAML or JSON file, or - for standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// Remove the policies that are not in the file
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Its name
    #[arg(value_name = "NAME")]
    name: PolicyName,
    /// Whose count: a graph, a thread, or a value of its label
    #[arg(value_name = "SUBJECT")]
    subject: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Remove {
    /// Their names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<PolicyName>,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, clap::Args)]
struct Why {
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Who changes them (`user@host` where absent)
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
}

impl Why {
    fn by(self) -> By {
        By { actor: Context::actor(self.actor), reason: self.reason }
    }
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failed> {
        match self.what {
            What::Apply(apply) => apply.run(context).await,
            What::List => {
                let standings = policies::list(context.store().await?.as_ref()).await?;
                context.output.result(&standings, || text(&standings));
                Ok(Exit::Ok)
            }
            What::Show(show) => {
                let store = context.store().await?;
                let standing = policies::look(store.as_ref(), &show.name, show.subject.as_deref()).await?;
                context.output.result(&standing, || whole(&standing, show.subject.as_deref()));
                Ok(Exit::Ok)
            }
            What::Remove(remove) => {
                let store = context.store().await?;
                tell(context, &policies::remove(store.as_ref(), &remove.names, &remove.why.by()).await?);
                Ok(Exit::Ok)
            }
        }
    }
}

impl Apply {
    async fn run(self, context: &Context) -> Result<Exit, Failed> {
        let Self { file, prune, why } = self;
        let text = input::read_text(&file).map_err(|why| {
            Failed::usage(
                format!("the policies in {file} cannot be read: {why}"),
                "name a YAML or JSON file, or - for standard input",
            )
        })?;
        let wanted = policy::read(&text).map_err(|mistakes| {
            Failed::usage(
                format!("{file} has mistakes; nothing was changed:\n  {}", mistakes.join("\n  ")),
                "`cox policy --help` shows what a policy says",
            )
        })?;
        let store = context.store().await?;
        tell(context, &policies::apply(store.as_ref(), wanted, prune, &why.by()).await?);
        Ok(Exit::Ok)
    }
}

fn tell(context: &Context, changes: &[Change]) {
    let documents: Vec<_> =
        changes.iter().map(|change| json!({"name": change.name, "answer": change.answer.name()})).collect();
    let lines = || {
        let lines = changes.iter().map(|Change { name, answer }| format!("{name}: {answer}"));
        lines.collect::<Vec<_>>().join("\n")
    };
    context.output.result(&documents, lines);
}

fn text(standings: &[Standing]) -> String {
    let mut table = table(&["policy", "for", "per", "in", "allows", "used", "then"]);
    for Standing { named, reading } in standings {
        let policy = &named.policy;
        let used = |measure: Measure| reading.as_ref().map(|reading| measure.show(reading.used.get(measure)));
        table.add_tall_row([
            vec![named.name.to_string()],
            vec![runs(policy)],
            vec![per(policy)],
            vec![duration::show(policy.window)],
            policy.limits.all().map(|(measure, limit)| measure.show(limit)).collect(),
            policy.limits.all().map(|(measure, _)| used(measure).unwrap_or_default()).collect(),
            vec![policy.then.name().to_owned()],
        ]);
    }
    draw(&table)
}

fn whole(standing: &Standing, subject: Option<&str>) -> String {
    let Standing { named, reading } = standing;
    let mut lines =
        vec![format!("{}: for {}, per {}: {}", named.name, runs(&named.policy), per(&named.policy), named.policy)];
    match reading {
        None => lines.push("name whose count you want to see".to_owned()),
        Some(reading) => {
            let whom = named.policy.whom(subject.unwrap_or_default());
            for (measure, limit) in named.policy.limits.all() {
                let (used, limit) = (measure.show(reading.used.get(measure)), measure.show(limit));
                lines.push(format!("used{whom}: {used} of {limit}"));
            }
            if let Some(room_at) = reading.room_at {
                let wait = policy::in_short(room_at.since(reading.now));
                lines.push(format!("there is no room now; there is in {wait}"));
            }
        }
    }
    lines.join("\n")
}

/// Which runs a policy is for.
fn runs(policy: &Policy) -> String {
    let graph = policy.graph.iter().map(|graph| format!("graph {graph}"));
    let labels = policy.labels.iter().map(|(name, value)| format!("{name}={value}"));
    let all: Vec<_> = graph.chain(labels).collect();
    if all.is_empty() { "all runs".to_owned() } else { all.join(", ") }
}

fn per(policy: &Policy) -> String {
    match &policy.per {
        Per::All => "all".to_owned(),
        Per::Graph => "graph".to_owned(),
        Per::Thread => "thread".to_owned(),
        Per::Label(name) => format!("label {name}"),
    }
}
