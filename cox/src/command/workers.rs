//! `cox workers`: lists the workers and schedulers that were seen within the last minute.

use coxswain_shared::store::{Role, Standing, WorkerRecord};
use coxswain_shared::time::Timestamp;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failed;
use crate::measure::brief;
use crate::output::{draw, table};
use crate::view::names;

const EXAMPLES: &str = "\
Examples:
  cox workers
  cox workers --json | jq 'map(.slots - .busy) | add'";

/// List the workers and schedulers
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failed> {
        let store = context.store().await?;
        let (workers, now) = (store.workers().await?, store.now().await?);
        let listed: Vec<_> =
            workers.iter().map(|worker| Listed { worker, role: worker.role, state: worker.standing(now) }).collect();
        context.output.result(&listed, || text(&workers, now));
        if workers.iter().all(|worker| worker.role != Role::Worker) {
            context.output.note("no worker was seen within the last minute");
        }
        Ok(Exit::Ok)
    }
}

/// A program with how it stands.
#[derive(serde::Serialize)]
struct Listed<'a> {
    role: Role,
    state: Standing,
    #[serde(flatten)]
    worker: &'a WorkerRecord,
}

fn text(workers: &[WorkerRecord], now: Timestamp) -> String {
    let mut table = table(&["worker", "role", "pools", "busy", "stuck", "state", "up", "seen", "version"]);
    for worker in workers {
        let of_worker = |text: String| if worker.role == Role::Worker { text } else { String::new() };
        table.add_row([
            worker.id.to_string(),
            worker.role.name().to_owned(),
            names(&worker.pools),
            of_worker(format!("{}/{}", worker.busy, worker.slots)),
            of_worker(worker.stuck.to_string()),
            state(worker, now).to_owned(),
            brief(now.since(worker.started_at)),
            format!("{} ago", brief(now.since(worker.seen_at))),
            worker.version.clone(),
        ]);
    }
    draw(&table)
}

/// How it stands, in words: a scheduler plans.
fn state(worker: &WorkerRecord, now: Timestamp) -> &'static str {
    match (worker.role, worker.standing(now)) {
        (Role::Scheduler, Standing::TakingWork) => "planning",
        (Role::Worker | Role::Scheduler, standing) => standing.name(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use coxswain_shared::id::WorkerId;

    use super::*;

    #[test]
    fn one_that_reports_no_more_is_silent_and_then_lost_whatever_it_said_last() {
        let seen_at = Timestamp::from_millis(1_000_000);
        let worker = |role, draining| WorkerRecord {
            id: WorkerId::new("w1").unwrap(),
            role,
            pools: Vec::new(),
            slots: 4,
            busy: 1,
            stuck: 0,
            waited: Vec::new(),
            draining,
            version: String::new(),
            started_at: seen_at,
            seen_at,
        };
        let after =
            |role, draining, seconds| state(&worker(role, draining), seen_at.after(Duration::from_secs(seconds)));
        let (one, other) = (Role::Worker, Role::Scheduler);
        assert_eq!(
            [0, 4, 5, 9, 10, 59].map(|seconds| after(one, false, seconds)),
            ["taking work", "taking work", "silent", "silent", "lost", "lost"]
        );
        assert_eq!([0, 6, 11].map(|seconds| after(one, true, seconds)), ["draining", "silent", "lost"]);
        assert_eq!([0, 6, 11].map(|seconds| after(other, false, seconds)), ["planning", "silent", "lost"]);
        let table = text(&[worker(one, false), worker(other, false)], seen_at);
        assert!(table.contains("1/4") && table.contains("scheduler") && !table.contains("0/4"), "{table}");
    }
}
