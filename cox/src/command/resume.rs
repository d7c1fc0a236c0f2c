//! `cox resume`: lets a run go on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use coxswain_shared::control::{self, Answers, ResumedAs, Resumption};
use coxswain_shared::duration;
use coxswain_shared::graph::canonical::pools;
use coxswain_shared::id::{PoolName, RunId, Step};
use coxswain_shared::store::Store;

use super::run::work_and_watch;
use super::submit::Strategy;
use crate::budget::BudgetFlags;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failed;
use crate::idle;
use crate::input;
use crate::view::still_open;

const EXAMPLES: &str = "\
Examples:
  cox resume review-7 --answer yes     the one question that is open is answered
  cox resume review-7 --answer-to legal=yes --answer-to tone='too harsh'
  cox resume survey-7 --answer-to 'ask[2]=no'     one item of a fan-out; the others stay open
  cox resume survey-7 --answer-to 'ask[*]=yes'     all that are open, alike
  cox resume review-7     go on after a pause between two steps
  cox resume nightly-7     go on from the last checkpoint
  cox resume nightly-7 --from 7 --update limit=10 --max-steps 50
  cox resume nightly-7 --watch

A run that waits goes on where it is, once none of its questions is open; `cox get` names them. One that has ended goes on as a new run, whose id is printed; it knows \
where it comes from. Somebody has to work on it: a fleet, or `cox up` on the same store; with --watch on a \
store in a file this process does, as `cox run` would.";

/// Answer an interrupted run, or go on from a checkpoint of one that has ended
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The run
    #[arg(value_name = "RUN")]
    run: RunId,
    /// The answer to the one question that is open: JSON, a text, or @file
    #[arg(long, short, value_name = "VALUE", conflicts_with = "answer_to")]
    answer: Option<String>,
    /// The answer to one of several questions, by the name that `cox get` shows: name=value; may be given several times
    #[arg(long, value_name = "ANSWER")]
    answer_to: Vec<String>,
    /// Of a run that has ended: the step to go on from [default: the last one that is complete]
    #[arg(long, value_name = "STEP")]
    from: Option<u64>,
    /// Of a run that has ended: a value set by hand, replacing its channel's: name=value, a JSON object, or @file
    #[arg(long, short, value_name = "VALUE")]
    update: Vec<String>,
    /// The new run's id [default: a fresh one]
    #[arg(long, value_name = "ID")]
    id: Option<RunId>,
    /// What happens to the run in flight on the thread
    #[arg(long, value_name = "STRATEGY", default_value = "enqueue")]
    on_conflict: Strategy,
    /// A label put over the old ones: name=value; may be given several times
    #[arg(long, value_name = "LABEL")]
    label: Vec<String>,
    /// The new run's time, such as 90s or 2h, up to 30d [default: the old one's]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    run_timeout: Option<Duration>,
    /// The steps that the new run may take, from 1 to 1000000 [default: the old one's]
    #[arg(long, value_name = "STEPS")]
    max_steps: Option<u64>,
    #[command(flatten)]
    budget: BudgetFlags,
    /// Watch it until its end, as `cox run` does
    #[arg(long, short)]
    watch: bool,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Who resumes it (`user@host` where absent)
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failed> {
        let is_watched = self.watch;
        let wish = self.wish()?;
        if is_watched {
            return work_and_watch(context, None, async |store| {
                let resumed = control::resume(store, wish).await?;
                tell(context, &resumed);
                Ok((resumed.run().clone(), needed(store, &resumed).await?))
            })
            .await;
        }
        let store = context.store().await?;
        let resumed = control::resume(store.as_ref(), wish).await?;
        tell(context, &resumed);
        idle::note(context, store.as_ref(), &needed(store.as_ref(), &resumed).await?).await?;
        context.output.result(&resumed, || resumed.run().to_string());
        Ok(Exit::Ok)
    }

    fn wish(self) -> Result<Resumption, Failed> {
        Ok(Resumption {
            answers: answers(self.answer.as_deref(), &self.answer_to)?,
            from: self.from.map(Step::new),
            update: input::values("--update", &self.update)?,
            id: self.id,
            on_conflict: self.on_conflict.into(),
            labels: input::labels(&self.label)?,
            run_timeout: self.run_timeout,
            max_steps: self.max_steps,
            budget: self.budget.budget(),
            reason: self.reason,
            ..Resumption::new(self.run, Context::actor(self.actor))
        })
    }
}

fn tell(context: &Context, resumed: &ResumedAs) {
    match resumed {
        ResumedAs::New { origin, step, run } => {
            let id = &run.key.id;
            context.output.note(format!("run {id} goes on from step {step} of run {origin}"));
        }
        ResumedAs::Itself { run } => context.output.note(format!("run {run} goes on")),
        ResumedAs::Waiting { run, open } => {
            context.output.note(format!("run {run} waits on: {}", still_open(open)));
        }
    }
}

/// The pools that the run needs.
async fn needed(store: &dyn Store, resumed: &ResumedAs) -> Result<BTreeSet<PoolName>, Failed> {
    let run = control::find(store, resumed.run()).await?;
    Ok(pools(&control::graph_of(store, &run.graph_hash).await?))
}

fn answers(one: Option<&str>, several: &[String]) -> Result<Answers, Failed> {
    if let Some(text) = one {
        return Ok(Answers::One(input::value("--answer", text)?));
    }
    if several.is_empty() {
        return Ok(Answers::None);
    }
    let mut by_name = BTreeMap::new();
    for text in several {
        let (name, value) = input::pair("--answer-to", text)?;
        if by_name.insert(name.clone(), value).is_some() {
            return Err(input::mistake("--answer-to", &format!("`{name}` is given two answers")));
        }
    }
    Ok(Answers::ByName(by_name))
}
