//! The kind itself: ties an attempt to a child process.

use std::sync::Arc;
use std::time::Duration;

use coxswain_shared::config::Source;
use coxswain_shared::graph::NodeKind;
use coxswain_shared::outcome::FailureKind;
use futures_util::future::BoxFuture;

use super::child;
use super::command::{Prepared, Setting};
use super::mark::{Mark, end_left_behind};
use super::warm::{self, Limits, Pool, Starter};
use super::{supervisor, trace};
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
    setting: Arc<Setting>,
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
        let setting = Arc::new(Setting { passed_on, limits: config.exec_limits.or_inherited(), mark: Mark::own() });
        let starter = Starter { setting: Arc::clone(&setting), metrics: metrics.clone() };
        let limits = Limits { processes: config.slots, start: config.warm_start, idle: config.warm_idle };
        Self { setting, metrics, pool: Arc::new(Pool::new(starter, limits)) }
    }

    /// Sees to what earlier attempts of a task may have left, which were lost with their workers: it is ended as far as it
    /// is found, and what nobody can be sure of is noted for the attempt's proof.
    async fn see_to_earlier(ctx: &Context) {
        let crashes = ctx.assignment().lease.crashes;
        if crashes == 0 {
            return;
        }
        Self::end_left_behind().await;
        let known = trace::count(ctx.run(), ctx.task());
        if known < usize::try_from(crashes).unwrap_or(usize::MAX) {
            ctx.doubt(format!(
                "{crashes} earlier attempt(s) at task {} were lost with their workers, and {known} of them are known to \
                 have ended on this machine: what the others had started may run on",
                ctx.task()
            ));
        }
    }

    /// Ends what workers have left on this machine that were killed together with their supervisors.
    pub(crate) async fn end_left_behind() {
        let ended = tokio::task::spawn_blocking(|| {
            trace::forget_old();
            end_left_behind()
        });
        let Ok((count, is_all)) = ended.await else { return };
        if count > 0 {
            tracing::warn!(count, is_all, "processes were ended that a killed worker had left on this machine");
        }
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
        if !supervisor::is_available() {
            let message =
                "this worker cannot run `exec` nodes: its program does not begin with coxswain_worker::begin()";
            return Err(NodeError::refused(FailureKind::Unknown, message));
        }
        let work = if node.warm {
            let pool = Arc::clone(&self.pool);
            Work::new(async move {
                Self::see_to_earlier(&ctx).await;
                warm::serve(ctx, pool).await
            })
        } else {
            let (setting, metrics) = (Arc::clone(&self.setting), self.metrics.clone());
            Work::new(async move {
                let prepared = Prepared::new(&ctx, &setting)?;
                Self::see_to_earlier(&ctx).await;
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
