//! The kind itself: ties an attempt to a child process.

use std::sync::Arc;
use std::time::Duration;

use coxswain_shared::config::Source;
use coxswain_shared::graph::NodeKind;
use futures_util::future::BoxFuture;

use super::child;
use super::command::Prepared;
use super::guard::Guard;
use super::warm::{self, Limits, Pool, Starter};
use crate::config::Config;
use crate::handler::{Context, NodeError};
use crate::kind::{Kind, Work};
use crate::metrics::Metrics;

/// What every child may see of the worker's environment.
const PASSED_ON: [&str; 13] = [
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NUMERIC",
    "LC_TIME",
    "TZ",
    "TMPDIR",
    "USER",
];
/// Time beyond the grace to reap what was killed, so that the proof can say that it is gone.
const REAP: Duration = Duration::from_millis(60);

/// Child processes.
#[derive(Debug)]
pub(crate) struct ExecKind {
    passed_on: Vec<(String, String)>,
    guard: Guard,
    metrics: Metrics,
    pool: Arc<Pool>,
}

impl ExecKind {
    /// Its name.
    pub(crate) const NAME: &str = "exec";

    /// The kind, as the worker's settings want it.
    pub(crate) fn new(config: &Config, metrics: Metrics) -> Self {
        let names = PASSED_ON.into_iter().chain(config.exec_env.iter().map(String::as_str));
        let passed_on: Vec<_> = names.filter_map(|name| Some((name.to_owned(), Source::foreign(name)?))).collect();
        let guard = Guard::find(Source::foreign("PATH").as_deref());
        let starter = Starter { passed_on: passed_on.clone(), guard: guard.clone(), metrics: metrics.clone() };
        let limits = Limits { processes: config.slots, start: config.warm_start, idle: config.warm_idle };
        Self { passed_on, guard, metrics, pool: Arc::new(Pool::new(starter, limits)) }
    }
}

impl Kind for ExecKind {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn start(&self, ctx: Context) -> Result<Work, NodeError> {
        let NodeKind::Exec(node) = &ctx.definition().kind else {
            unreachable!("the registry hands each kind its own nodes");
        };
        let work = if node.warm {
            Work::new(warm::serve(ctx, Arc::clone(&self.pool)))
        } else {
            let (passed_on, guard, metrics) = (self.passed_on.clone(), self.guard.clone(), self.metrics.clone());
            Work::new(async move {
                let prepared = Prepared::new(&ctx, passed_on, &guard)?;
                child::run(ctx, prepared, metrics).await
            })
        };
        Ok(work.with_grace(true).with_last_words(REAP))
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let pool = Arc::clone(&self.pool);
        Box::pin(async move { pool.close().await })
    }
}
