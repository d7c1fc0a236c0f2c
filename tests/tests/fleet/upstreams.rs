//! Upstreams that stall, limit or fail, and what two workers together make of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use coxswain_shared::graph::{Backoff, Channel, Graph, HttpNode, Jitter, Method, Node, Retry};
use coxswain_shared::id::RunId;
use coxswain_shared::lifecycle::Tasks;
use coxswain_tests::fleet::{Fleet, SOON, builder};
use coxswain_tests::wait_for;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::rig::tell;

/// Slots of a worker unless it is told otherwise.
const SLOTS: usize = 16;

/// How a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// It accepts, and says nothing.
    Stalled,
    /// It says 200, or 503 while it is ill.
    Quick,
}

/// A server of the outside.
struct Server {
    url: String,
    /// When it was called.
    calls: Arc<Mutex<Vec<Instant>>>,
    is_ill: Arc<AtomicBool>,
    tasks: Tasks,
}

impl Server {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (calls, is_ill, tasks) =
            (Arc::<Mutex<Vec<Instant>>>::default(), Arc::<AtomicBool>::default(), Tasks::new());
        let (all, ill, inner) = (Arc::clone(&calls), Arc::clone(&is_ill), tasks.clone());
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (all, ill) = (Arc::clone(&all), Arc::clone(&ill));
                inner.spawn(async move {
                    let mut request = [0; 4096];
                    if !stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                        return;
                    }
                    all.lock().unwrap().push(Instant::now());
                    if manner == Manner::Stalled {
                        while stream.read(&mut request).await.is_ok_and(|read| read > 0) {}
                        return;
                    }
                    let status = if ill.load(Ordering::SeqCst) { "503 Service Unavailable" } else { "200 OK" };
                    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
                    // Who has gone meanwhile is not answered.
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self { url, calls, is_ill, tasks }
    }

    fn calls(&self) -> Vec<Instant> {
        self.calls.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

/// One call of a server; tried so often, with hardly a pause.
fn calling(server: &Server, tries: u32) -> Graph {
    let pause = Duration::from_millis(50);
    let backoff = Backoff { first: pause, factor: 1.0, max: pause, jitter: Jitter::Full };
    let node = Node::http(HttpNode::new(Method::Get, server.url.as_str()))
        .into("text")
        .retry(Retry { attempts: tries, backoff });
    let graph = builder("calling").channel("text", Channel::last()).node("call", node);
    graph.edge("START", "call").edge("call", "END").build().unwrap()
}

/// The most calls in a time that is half as long as a stalled one holds its place (`first_byte_timeout`: 30 s). So many
/// were held together: on a slow machine the first have given up before the last are made.
fn busiest(calls: &[Instant]) -> usize {
    let together = |first: &Instant| {
        let near = *first..*first + Duration::from_secs(15);
        calls.iter().filter(|call| near.contains(*call)).count()
    };
    calls.iter().map(together).max().unwrap_or(0)
}

async fn submit(fleet: &Fleet, graph: &Graph, count: usize) -> Vec<RunId> {
    let mut runs = Vec::new();
    for _ in 0..count {
        runs.push(fleet.submit(graph).await);
    }
    runs
}

async fn workers(fleet: &mut Fleet, upstreams: &str) {
    for _ in 0..2 {
        fleet.add_worker(&[("COX_OUTSIDE_ALLOW", "127.0.0.1"), ("COX_UPSTREAMS", upstreams)]).await;
    }
}

/// The median of a few runs, one after another.
async fn median(fleet: &Fleet, graph: &Graph) -> Duration {
    let mut all = Vec::new();
    for _ in 0..15 {
        let begun = Instant::now();
        let run = fleet.submit(graph).await;
        fleet.succeeded(&run, SOON).await;
        all.push(begun.elapsed());
    }
    all.sort();
    all[all.len() / 2]
}

#[tokio::test]
async fn a_stalled_upstream_leaves_a_fleet_to_the_runs_that_do_not_use_it() {
    let (stalled, well) = (Server::start(Manner::Stalled).await, Server::start(Manner::Quick).await);
    let mut fleet = Fleet::start(1, 0).await;
    workers(&mut fleet, "{}").await;
    let (bad, good) = (calling(&stalled, 1), calling(&well, 1));
    let before = median(&fleet, &good).await;
    let stuck = submit(&fleet, &bad, 200).await;
    let begun = Instant::now();
    let first = fleet.submit(&good).await;
    fleet.succeeded(&first, SOON).await;
    let onset = begun.elapsed();
    let during = median(&fleet, &good).await;
    let at_once = busiest(&stalled.calls());
    tell(format_args!(
        "before {before:?}, the first behind 200 stalled {onset:?}, then {during:?}; {at_once} calls stall"
    ));
    assert!(at_once <= 2 * SLOTS * 3 / 4, "{at_once} calls are more than both workers' shares");
    // Without a gate they hold all slots until `first_byte_timeout`: 30 s.
    assert!(onset < Duration::from_secs(20), "{onset:?}");
    assert!(during < before * 10, "{during:?} instead of {before:?}");
    for run in &stuck {
        fleet.cancel(run).await;
    }
    for run in &stuck {
        assert!(fleet.ended(run, SOON).await.stop.unwrap().is_confirmed());
    }
    fleet.verdict(&stuck).await;
}

#[tokio::test]
async fn two_workers_call_no_more_often_than_their_fleet_may() {
    let server = Server::start(Manner::Quick).await;
    let mut fleet = Fleet::start(1, 0).await;
    workers(&mut fleet, "{127.0.0.1: {rate: 10/s, burst: 5}}").await;
    let runs = submit(&fleet, &calling(&server, 1), 40).await;
    for run in &runs {
        fleet.succeeded(run, SOON).await;
    }
    let calls = server.calls();
    let (first, last) = (calls[0], calls[calls.len() - 1]);
    tell(format_args!("{} calls within {:?}", calls.len(), last - first));
    assert_eq!(calls.len(), 40, "to be put off is no try, and costs no call");
    // Beyond the burst 35 intervals of 100 ms, of which the first and the last call may lose some on their way.
    assert!(last - first >= Duration::from_secs(3), "{:?}", last - first);
    fleet.verdict(&runs).await;
}

#[tokio::test]
async fn a_breaker_that_opens_is_open_for_the_whole_fleet_until_one_call_went_well() {
    let server = Server::start(Manner::Quick).await;
    server.is_ill.store(true, Ordering::SeqCst);
    let mut fleet = Fleet::start(1, 0).await;
    let upstreams = "{127.0.0.1: {retry_budget: off, breaker: {failures: 50%, of: 5, open_for: 3s}}}";
    workers(&mut fleet, upstreams).await;
    let runs = submit(&fleet, &calling(&server, 100), 60).await;
    // Once both workers know, nobody calls but the one call that tries, every three seconds.
    let quiet = wait_for("the breaker to be open for both workers", SOON, async || {
        let Some(last) = server.calls().last().copied() else { return Err("nobody has called") };
        if last.elapsed() >= Duration::from_millis(1_500) { Ok(server.calls().len()) } else { Err("they still call") }
    })
    .await;
    tell(format_args!("{quiet} calls until the breaker was open"));
    assert!(quiet < 60, "{quiet} calls: every run has called once, at least");
    server.is_ill.store(false, Ordering::SeqCst);
    for run in &runs {
        fleet.succeeded(run, SOON).await;
    }
    fleet.verdict(&runs).await;
}
