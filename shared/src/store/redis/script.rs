//! The scripts: each `.lua` file with its part of the prelude, called by its hash and sent whole where it is unknown.

use redis::{Cmd, ErrorKind, ServerErrorKind, ToRedisArgs, Value};

use super::RedisConfig;
use super::encode;
use super::keys::Keys;
use super::link::{Link, fault};
use super::reply::Reply;
use super::{EARLY_KEPT, FORMAT, REFUSED_KEPT, STAGED_KEPT, words};
use crate::id::{NodeName, RunId};
use crate::limits::{
    AUDIT_PER_PARTITION_MAX, DESCENDANTS, EVENTS_PER_RUN_MAX, HANDED_BACK_AT_ONCE, HANDED_BACK_PAUSE,
    HANDED_BACK_PAUSE_MAX, Limit, SUSPECT_RESENT_AFTER, THREAD_QUEUE_MAX, UNCOUNTED_CRASHES_MAX,
};
use crate::outcome::{Failure, Outcome};
use crate::priority::Priority;
use crate::run::RunStatus;
use crate::spend::descendants_over;
use crate::stop::Cause;
use crate::store::Error;
use crate::task::Group;
use crate::time::millis;

/// One script as it is loaded.
#[derive(Debug)]
pub(super) struct Script {
    name: &'static str,
    code: String,
    hash: String,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) locate: Script,
    pub(super) find: Script,
    pub(super) unlocate: Script,
    pub(super) create: Script,
    pub(super) refuse: Script,
    pub(super) stop: Script,
    pub(super) stop_tasks: Script,
    pub(super) take_ready: Script,
    pub(super) hold_ready: Script,
    pub(super) stage: Script,
    pub(super) advance: Script,
    pub(super) claim: Script,
    pub(super) renew: Script,
    pub(super) settle: Script,
    pub(super) release: Script,
    pub(super) mark_sent: Script,
    pub(super) sweep: Script,
    pub(super) resume: Script,
    pub(super) emit: Script,
    pub(super) report_worker: Script,
    pub(super) workers: Script,
    pub(super) admit: Script,
    pub(super) breaker: Script,
    pub(super) set_policy: Script,
    pub(super) meter: Script,
    pub(super) load: Script,
    pub(super) shed: Script,
}

/// How the scripts know the time: from the server, and from a test.
const SERVER_TIME: &str = "local clock = redis.call('TIME')\nlocal now = clock[1] * 1000 + math.floor(clock[2] / 1000)";
const TOLD_TIME: &str = "local now = tonumber(table.remove(ARGV))";

const BASE: &str = include_str!("lua/base.lua");
const SCOPE: &str = include_str!("lua/scope.lua");
const LIFE: &str = include_str!("lua/life.lua");
const VALUES: &str = include_str!("lua/values.lua");

impl Scripts {
    /// Puts them together for one configuration. `is_told`: their last argument is the
    /// time, and they are held to one slot, which needs Redis 7.
    pub(super) fn new(config: &RedisConfig, keys: &Keys, is_told: bool) -> Self {
        let constants = constants(config, keys, is_told);
        // Life is a function: made by the calls that need it.
        let life = format!("make_life = function()\n{}{SCOPE}{LIFE}end\n", words_of_the_store());
        let life = life.as_str();
        let script = |name: &'static str, parts: &[&str], text: &str| {
            // A script with this first line is refused a key of another slot even where one node serves both.
            let strict = if is_told { "#!lua\n" } else { "" };
            let code = format!("{strict}{constants}{}{text}", parts.concat());
            let hash = redis::Script::new(&code).get_hash().to_owned();
            Script { name, code, hash }
        };
        Self {
            locate: script("locate", &[], include_str!("lua/locate.lua")),
            find: script("find", &[], include_str!("lua/find.lua")),
            unlocate: script("unlocate", &[], include_str!("lua/unlocate.lua")),
            create: script("create", &[BASE, life], include_str!("lua/create.lua")),
            refuse: script("refuse", &[BASE], include_str!("lua/refuse.lua")),
            stop: script("stop", &[BASE, life], include_str!("lua/stop.lua")),
            stop_tasks: script("stop_tasks", &[BASE, life], include_str!("lua/stop_tasks.lua")),
            take_ready: script("take_ready", &[BASE, VALUES], include_str!("lua/take_ready.lua")),
            hold_ready: script("hold_ready", &[BASE], include_str!("lua/hold_ready.lua")),
            stage: script("stage", &[BASE], include_str!("lua/stage.lua")),
            advance: script("advance", &[BASE, life], include_str!("lua/advance.lua")),
            claim: script("claim", &[BASE, life, VALUES], include_str!("lua/claim.lua")),
            renew: script("renew", &[BASE, life], include_str!("lua/renew.lua")),
            settle: script("settle", &[BASE, life], include_str!("lua/settle.lua")),
            release: script("release", &[BASE, life], include_str!("lua/release.lua")),
            mark_sent: script("mark_sent", &[BASE], include_str!("lua/mark_sent.lua")),
            sweep: script("sweep", &[BASE, life], include_str!("lua/sweep.lua")),
            resume: script("resume", &[BASE, life], include_str!("lua/resume.lua")),
            emit: script("emit", &[BASE], include_str!("lua/emit.lua")),
            report_worker: script("report_worker", &[], include_str!("lua/report_worker.lua")),
            workers: script("workers", &[], include_str!("lua/workers.lua")),
            admit: script("admit", &[], include_str!("lua/admit.lua")),
            breaker: script("breaker", &[], include_str!("lua/breaker.lua")),
            set_policy: script("set_policy", &[BASE], include_str!("lua/set_policy.lua")),
            meter: script("meter", &[], include_str!("lua/meter.lua")),
            load: script("load", &[], include_str!("lua/load.lua")),
            shed: script("shed", &[BASE, life], include_str!("lua/shed.lua")),
        }
    }
}

/// A call of a script in the making.
pub(super) struct Call<'a> {
    script: &'a Script,
    command: Cmd,
}

impl Script {
    /// Begins a call on a partition, by the prefix of its keys.
    pub(super) fn on(&self, key: &str) -> Call<'_> {
        self.on_all(&[key])
    }

    /// Begins a call on keys of one slot.
    pub(super) fn on_all(&self, keys: &[&str]) -> Call<'_> {
        let mut command = Cmd::new();
        command.arg("EVALSHA").arg(&self.hash).arg(keys.len()).arg(keys);
        Call { script: self, command }
    }
}

impl Call<'_> {
    /// Adds an argument.
    pub(super) fn arg(&mut self, arg: impl ToRedisArgs) -> &mut Self {
        self.command.arg(arg);
        self
    }

    /// Sends the call; where the server does not know the script (yet, or any more), it is sent along.
    pub(super) async fn run(&mut self, link: &Link) -> Result<Reply, Error> {
        let answer = match link.send(&self.command).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                link.send(&self.with_code()).await
            }
            answer => answer,
        };
        let value: Value = answer.map_err(|error| fault(link.place(), error))?;
        Ok(Reply::new(self.script.name, value))
    }

    fn with_code(&self) -> Cmd {
        let mut command = Cmd::new();
        command.arg("EVAL").arg(&self.script.code);
        for arg in self.command.args_iter().skip(2) {
            // A call has plain arguments alone.
            if let redis::Arg::Simple(bytes) = arg {
                command.arg(bytes);
            }
        }
        command
    }
}

/// What the scripts are told of the world: the time, limits and formats, as Lua constants.
fn constants(config: &RedisConfig, keys: &Keys, is_told: bool) -> String {
    let now = if is_told { TOLD_TIME } else { SERVER_TIME };
    let (back_pause, back_pause_max) = (millis(HANDED_BACK_PAUSE), millis(HANDED_BACK_PAUSE_MAX));
    let head_starts = Priority::ALL.map(|priority| format!("{priority} = {}", millis(priority.head_start())));
    [
        now.to_owned(),
        format!("local FORMAT = '{FORMAT}'"),
        format!("local RETENTION, STEP_KEPT = {}, {}", millis(config.retention), millis(config.step_retention)),
        format!("local EARLY_KEPT, STAGED_KEPT, REFUSED_KEPT = {EARLY_KEPT}, {STAGED_KEPT}, {REFUSED_KEPT}"),
        format!("local DESCENDANTS = {DESCENDANTS}"),
        format!("local OVER_DESCENDANTS = {}", quote(&descendants_over("%.0f", "%.0f", "%.0f"))),
        format!("local UNCOUNTED_MAX, SUSPECT_RESENT = {UNCOUNTED_CRASHES_MAX}, {}", millis(SUSPECT_RESENT_AFTER)),
        format!("local QUEUE_MAX, AUDIT_MAX, EVENTS_MAX = {THREAD_QUEUE_MAX}, {AUDIT_PER_PARTITION_MAX}, {EVENTS_PER_RUN_MAX}"),
        format!("local HEAD_START = {{ {} }}", head_starts.join(", ")),
        format!("local BACK_AT_ONCE, BACK_PAUSE, BACK_PAUSE_MAX = {HANDED_BACK_AT_ONCE}, {back_pause}, {back_pause_max}"),
        format!("local SEND_AFTER, CHUNK = {}, {}", super::SEND_AFTER, encode::CHUNK),
        format!("local CHANNEL_STOP = {}", quote(&keys.stop_channel())),
        format!("local CHANNEL_READY = {}", quote(&keys.ready_channel())),
        String::new(),
    ]
    .join("\n")
}

/// How causes end a run, and the outcomes and failures that the scripts write themselves.
fn words_of_the_store() -> String {
    let ends: Vec<_> = Cause::ALL.iter().map(|cause| format!("{cause} = '{}'", cause.end())).collect();
    let node = NodeName::new("__node__").expect("the placeholder is a name");
    let child = RunId::new("__child__").expect("the placeholder is a name");
    let word = |failure: Failure, wrap: fn(Failure) -> Outcome| {
        let (message, json) = (failure.message.clone(), encode::json(&failure));
        let outcome = encode::json(&wrap(failure)).replace(&json, "__failure__");
        format!("{{ outcome = {}, json = {}, message = {} }}", quote(&outcome), quote(&json), quote(&message))
    };
    let late: fn(Failure) -> Outcome = |failure| Outcome::TimedOut { limit: Limit::Timeout, failure };
    let late_in_queue: fn(Failure) -> Outcome = |failure| Outcome::TimedOut { limit: Limit::QueueTimeout, failure };
    // Any status will do: its name is replaced by the placeholder, which the script fills in.
    let ended = words::child_ended(&child, RunStatus::Failed, &node);
    let ended_message = ended.message.replace(RunStatus::Failed.name(), "__status__");
    let ended_json = encode::json(&ended).replace(&ended.message, &ended_message);
    [
        format!("local END_OF = {{ {} }}", ends.join(", ")),
        "local WORDS = {".to_owned(),
        format!("timeout = {},", word(words::timed_out(Limit::Timeout, "__length__", (&node, "")), late)),
        format!(
            "queue_timeout = {},",
            word(words::timed_out(Limit::QueueTimeout, "__length__", (&node, "__pool__")), late_in_queue)
        ),
        format!(
            "crashed = {},",
            word(words::crashed("__crashes__", "__beside__", &node), |failure| Outcome::Crashed { failure })
        ),
        format!("child_taken = {},", word(words::child_taken(&child, &node), |failure| Outcome::Failed { failure })),
        format!("child_ended = {{ json = {}, message = {} }},", quote(&ended_json), quote(&ended_message)),
        format!(
            "enough = {}, too_many_failed = {}, by_group = {},",
            quote(Group::ENOUGH),
            quote(Group::TOO_MANY_FAILED),
            quote(Group::BY)
        ),
        format!(
            "waited = {}, stopped = {} }}\n",
            quote(&encode::json(&words::waited())),
            quote(&encode::json(&words::stopped()))
        ),
    ]
    .join("\n")
}

/// A text as a Lua string; long brackets, which nothing that is quoted here contains.
fn quote(text: &str) -> String {
    format!("[=[{text}]=]")
}
