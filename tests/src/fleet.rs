//! A whole fleet as real processes: Redis, RabbitMQ, schedulers and workers, and what their `exec` nodes leave behind.
//!
//! ```text
//! test ── control ──► Redis (private, AOF synced always) ◄── cox-scheduler × n ──► RabbitMQ ──► cox-worker × n
//!   ▲                                                                                          │ sh -c "note start; …"
//!   └────────────────────── effects: one line a note, appended to a file ◄─────────────────────┘
//! ```
//!
//! RabbitMQ takes seconds to start: tests that do not harm it share one, and keep apart by queue prefix. It is not for
//! what one process can show: that is in the crates' own tests.

mod effect;
mod verdict;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coxswain_shared::broker::{Broker, BrokerUrl, RabbitBroker, RabbitConfig};
use coxswain_shared::control::{self, Submission};
use coxswain_shared::graph::{Channel, END, Graph, GraphBuilder, Node, NodeBuilder, START};
use coxswain_shared::id::{PoolName, RunId, WorkerId};
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::priority::Lane;
use coxswain_shared::run::RunStatus;
use coxswain_shared::stop::{Cause, NewOrder};
use coxswain_shared::store::redis::{RedisConfig, RedisStore};
use coxswain_shared::store::{Run, StopAnswer, Store};
use tempfile::TempDir;
use tokio::sync::OnceCell;

pub use self::effect::Effect;
use crate::{Cox, RabbitServer, RedisOptions, RedisServer, wait_for};

/// Who the fleet's tests are in the audit trail.
pub const ACTOR: &str = "ann@test";

/// Enough for whatever takes a second on an idle machine.
pub const SOON: Duration = Duration::from_mins(1);

/// The functions that scripts of [`Fleet::script`] may call: `note WORD`, and `finish`, which notes `done` and prints
/// the result that the verdict looks at.
const PRELUDE: &str = r#"
note() { echo "$(date +%s%3N) $1 $COX_RUN $COX_TASK $COX_FENCE $COX_ATTEMPT $$" >> "$EFFECTS"; }
finish() { note done; printf '{"done":{"run":"%s","task":"%s","fence":%s}}\n' "$COX_RUN" "$COX_TASK" "$COX_FENCE"; }
"#;

/// The broker of the tests that do not harm it.
static SHARED: OnceCell<RabbitServer> = OnceCell::const_new();

/// A fleet of one's own. Dropped, its processes are gone.
#[derive(Debug)]
pub struct Fleet {
    /// The schedulers, in the order of their start. Before the servers, so that they end before them.
    pub schedulers: Vec<Cox>,
    /// The workers, in the order of their start.
    pub workers: Vec<Cox>,
    /// The store, as those who submit reach it.
    pub store: Arc<dyn Store>,
    /// The Redis behind it.
    pub redis: RedisServer,
    own_rabbit: Option<RabbitServer>,
    prefix: String,
    tasks: Tasks,
    folder: TempDir,
}

impl Fleet {
    /// Starts a fleet on the broker that tests share.
    pub async fn start(schedulers: usize, workers: usize) -> Self {
        Self::launch(None, schedulers, workers).await
    }

    /// Starts a fleet with a broker of its own, which may be harmed.
    pub async fn with_own_broker(schedulers: usize, workers: usize) -> Self {
        Self::launch(Some(RabbitServer::start().await), schedulers, workers).await
    }

    async fn launch(own_rabbit: Option<RabbitServer>, schedulers: usize, workers: usize) -> Self {
        if own_rabbit.is_none() {
            SHARED.get_or_init(RabbitServer::start).await;
        }
        let redis = RedisServer::start(RedisOptions { appendonly: true, ..Default::default() }).await;
        let tasks = Tasks::new();
        let store = RedisStore::connect(RedisConfig::new(redis.url()), &tasks).await;
        let folder = tempfile::Builder::new().prefix("coxswain-fleet-").tempdir();
        let mut fleet = Self {
            schedulers: Vec::new(),
            workers: Vec::new(),
            store: Arc::new(store.expect("a running redis-server can be used as a store")),
            redis,
            own_rabbit,
            prefix: format!("t{:08x}", rand::random::<u32>()),
            tasks,
            folder: folder.expect("a temporary folder can be made"),
        };
        for _ in 0..schedulers {
            fleet.add_scheduler(&[]).await;
        }
        for _ in 0..workers {
            fleet.add_worker(&[]).await;
        }
        fleet
    }

    /// Starts one more scheduler with these variables beside the usual ones, and returns when it runs.
    pub async fn add_scheduler(&mut self, variables: &[(&str, &str)]) {
        let program = self.program("cox-scheduler", variables);
        wait_for("a scheduler to run", SOON, async || says(&program, "the scheduler runs")).await;
        self.schedulers.push(program);
    }

    /// Starts one more worker, `w1`, `w2` and so on, and returns when it has reported itself.
    pub async fn add_worker(&mut self, variables: &[(&str, &str)]) {
        let id = self.worker_id(self.workers.len());
        let mut all = vec![("COX_WORKER_ID", id.as_str())];
        all.extend(variables);
        let program = self.program("cox-worker", &all);
        wait_for("a worker to report itself", SOON, async || {
            let seen = self.store.workers().await.map_err(|error| error.to_string())?;
            if seen.iter().any(|worker| worker.id == id) { Ok(()) } else { Err(program.tails()) }
        })
        .await;
        self.workers.push(program);
    }

    /// The id of the worker at this place of [`Self::workers`].
    pub fn worker_id(&self, place: usize) -> WorkerId {
        WorkerId::new(format!("w{}", place + 1)).expect("a letter and a number are a name")
    }

    fn program(&self, name: &str, variables: &[(&str, &str)]) -> Cox {
        let launch = Cox::program(name)
            .env("COX_STORE", self.redis.url())
            .env("COX_BROKER", self.rabbit().url())
            .env("COX_BROKER_QUEUE_PREFIX", &self.prefix)
            .env("COX_HTTP", "127.0.0.1:0");
        variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value)).start()
    }

    /// The broker.
    pub fn rabbit(&self) -> &RabbitServer {
        self.own_rabbit.as_ref().or_else(|| SHARED.get()).expect("a fleet is started on a broker")
    }

    /// The broker, to be harmed; panics if it is shared.
    pub fn rabbit_mut(&mut self) -> &mut RabbitServer {
        self.own_rabbit.as_mut().expect("only a broker of one's own may be harmed: start the fleet with one")
    }

    /// An adapter on the fleet's queues, to publish and to count with.
    pub async fn broker(&self) -> RabbitBroker {
        let mut config = RabbitConfig::new(BrokerUrl::new(&self.rabbit().url()).expect("the server knows its URL"));
        config.queue_prefix.clone_from(&self.prefix);
        let broker = RabbitBroker::start(config).expect("the settings are right");
        broker.connected(SOON).await.expect("a running broker can be reached");
        broker
    }

    /// Messages that wait on the queue of the standard pool; none while nobody has made the queue.
    pub async fn backlog(&self) -> u64 {
        let broker = self.broker().await;
        let waiting = waiting(&broker).await;
        broker.close().await;
        waiting
    }

    /// The name of the standard pool's queue.
    pub fn queue(&self) -> String {
        format!("{}.tasks.{}", self.prefix, PoolName::standard())
    }

    /// Messages of the standard pool's queue that wait, and those that a worker has in hand, as the broker itself says:
    /// some seconds late.
    pub async fn messages(&self) -> (u64, u64) {
        let queue = self.queue();
        let listed = self.rabbit().ctl(&["list_queues", "name", "messages_ready", "messages_unacknowledged"]).await;
        let row = listed.lines().find_map(|line| line.strip_prefix(&queue)?.strip_prefix('\t'));
        let counts: Vec<u64> = row.unwrap_or_default().split('\t').filter_map(|count| count.parse().ok()).collect();
        let [ready, in_hand] = counts[..] else { panic!("the broker does not list {queue}:\n{listed}") };
        (ready, in_hand)
    }

    /// What the scripts of a thread's runs have written, as the state of this run's last checkpoint shows it: the runs,
    /// in the order of their results.
    pub async fn written_by(&self, run: &RunId) -> Vec<RunId> {
        let state = control::state(self.store.as_ref(), run, None).await.expect("the run has a checkpoint");
        let entries = state.values.get("done").and_then(|done| done.as_array().cloned()).unwrap_or_default();
        let by = |entry: &serde_json::Value| RunId::new(entry["run"].as_str()?).ok();
        entries.iter().map(|entry| by(entry).unwrap_or_else(|| panic!("{entry} names no run"))).collect()
    }

    /// An `exec` node that runs a shell script, in which `note WORD` leaves an effect and `finish` one and a result.
    pub fn script(&self, script: &str) -> NodeBuilder {
        let file = self.effects_file();
        let file = file.to_str().expect("a temporary path is text");
        Node::exec(["sh", "-c", &format!("{PRELUDE}{script}")]).env("EFFECTS", file)
    }

    /// A graph of these nodes, one after another.
    pub fn chain(&self, nodes: impl IntoIterator<Item = NodeBuilder>) -> Graph {
        let mut graph = builder("chain");
        let mut last = START.to_owned();
        for (index, node) in nodes.into_iter().enumerate() {
            let name = format!("n{}", index + 1);
            graph = graph.node(&name, node).edge(last, &name);
            last = name;
        }
        graph.edge(last, END).build().expect("a chain is a valid graph")
    }

    /// Submits a run.
    pub async fn submit(&self, graph: &Graph) -> RunId {
        self.submit_as(Submission::new(graph.clone(), ACTOR)).await
    }

    /// Submits a run with all that can be said of it.
    pub async fn submit_as(&self, submission: Submission) -> RunId {
        control::submit(self.store.as_ref(), submission).await.expect("the submission is right").key.id
    }

    /// Orders a run to stop, as a user who cancels does.
    pub async fn cancel(&self, run: &RunId) -> StopAnswer {
        let order = NewOrder {
            cause: Cause::Cancelled,
            reason: Some("a test".to_owned()),
            actor: ACTOR.to_owned(),
            grace: None,
            force: false,
        };
        control::cancel::one(self.store.as_ref(), run, &order).await.expect("a run can be ordered to stop")
    }

    /// The run as it is.
    pub async fn run(&self, run: &RunId) -> Run {
        control::find(self.store.as_ref(), run).await.expect("the run is there")
    }

    /// Waits for the run's end.
    pub async fn ended(&self, run: &RunId, within: Duration) -> Run {
        wait_for("the run to end", within, async || {
            let run = control::find(self.store.as_ref(), run).await.map_err(|error| error.to_string())?;
            if run.status.is_final() { Ok(run) } else { Err(format!("{run:?}")) }
        })
        .await
    }

    /// Waits for the run's end, which must be a success.
    pub async fn succeeded(&self, run: &RunId, within: Duration) -> Run {
        let run = self.ended(run, within).await;
        assert_eq!(run.status, RunStatus::Succeeded, "{run:?}\n{}", self.tails());
        run
    }

    /// What scripts of a run have noted, in the order of the file.
    pub fn effects(&self, run: &RunId) -> Vec<Effect> {
        let mut effects = effect::read(&self.effects_file());
        effects.retain(|effect| effect.run == *run);
        effects
    }

    /// Waits until a run has noted a word so often, and returns these effects.
    pub async fn noted(&self, run: &RunId, word: &str, times: usize, within: Duration) -> Vec<Effect> {
        wait_for(&format!("{times} × `{word}` of the run"), within, async || {
            let effects: Vec<_> = self.effects(run).into_iter().filter(|effect| effect.word == word).collect();
            if effects.len() >= times {
                return Ok(effects);
            }
            let run = self.store.run(run).await;
            Err(format!("{effects:?} of {run:?}\n{}", self.tails()))
        })
        .await
    }

    /// The end of all programs' outputs, for a failure's message.
    pub fn tails(&self) -> String {
        self.schedulers.iter().chain(&self.workers).map(Cox::tails).collect::<Vec<_>>().join("\n")
    }

    /// The URL of the broker through a proxy before it.
    pub fn rabbit_through(&self, proxy: &crate::Proxy) -> String {
        proxy.url(&self.rabbit().url())
    }

    /// The URL of the store through a proxy before its Redis.
    pub fn redis_through(&self, proxy: &crate::Proxy) -> String {
        proxy.url(&format!("redis://{}:{}/", Ipv4Addr::LOCALHOST, self.redis.port()))
    }

    /// Makes a file `$EFFECTS.NAME`, for scripts that wait for it.
    pub fn open(&self, name: &str) {
        let file = self.effects_file().with_extension(name);
        std::fs::write(file, "").expect("a file can be made in the fleet's folder");
    }

    fn effects_file(&self) -> PathBuf {
        self.folder.path().join("effects")
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

/// A graph with the channel that [`Fleet::script`]'s `finish` writes to.
pub fn builder(name: &str) -> GraphBuilder {
    Graph::builder(name).channel("done", Channel::append())
}

/// Messages that wait on the queue of the standard pool; none while nobody has made the queue.
pub async fn waiting(broker: &RabbitBroker) -> u64 {
    let waiting = broker.backlog(&Lane::normal(PoolName::standard())).await;
    waiting.unwrap_or_else(|error| panic!("a running broker counts its messages: {error}")).unwrap_or(0)
}

fn says(program: &Cox, words: &str) -> Result<(), String> {
    let said = program.stdout().contains(words) || program.stderr().contains(words);
    if said { Ok(()) } else { Err(program.tails()) }
}
