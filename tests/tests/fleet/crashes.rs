//! Workers and schedulers that die or hang: G3, G4, G5 and G6.

use std::time::Duration;

use coxswain_shared::crashpoint::CrashPoint;
use coxswain_shared::id::{RunId, Step};
use coxswain_shared::run::RunStatus;
use coxswain_shared::stop::StopReport;
use coxswain_shared::task::Task;
use coxswain_tests::fleet::{Fleet, SOON};
use coxswain_tests::{Signal, wait_for};

use crate::rig::{self, within};

/// The design's limit for a worker that was killed: two heartbeats after its last one, and a process has to start.
const KILLED_RERUN_WITHIN: Duration = Duration::from_millis(2_500);

/// The design's limit for a worker that hangs.
const RERUN_WITHIN: Duration = Duration::from_secs(12);

/// The time a shared machine may add: an attempt is seen by the process it starts.
const MARGIN: Duration = Duration::from_secs(3);

/// Runs in flight while something crashes.
const RUNS: usize = 6;

#[tokio::test]
async fn a_killed_workers_task_is_run_elsewhere_and_has_one_outcome() {
    let mut fleet = Fleet::start(1, 1).await;
    let run = fleet.submit(&fleet.chain([fleet.script("note start; sleep 2; finish")])).await;
    let first = fleet.noted(&run, "start", 1, SOON).await;
    fleet.add_worker(&[]).await;
    let killed = rig::now();
    fleet.workers[0].kill(Signal::SIGKILL);
    let both = fleet.noted(&run, "start", 2, SOON).await;
    within("worker killed → re-run", both[1].at.since(killed), KILLED_RERUN_WITHIN);
    assert!(both[1].fence > first[0].fence, "{both:?}");
    rig::is_gone(first[0].pid).await;
    fleet.succeeded(&run, SOON).await;
    assert_eq!(fleet.effects(&run).len(), 3, "two starts and one end: {:?}", fleet.effects(&run));
    fleet.verdict(&[run]).await;
}

/// The hung worker wakes up while the second attempt runs; its process has ended well meanwhile, so it wants to settle.
#[tokio::test]
async fn a_hung_workers_task_is_run_elsewhere_and_its_late_write_is_refused() {
    const SCRIPT: &str = "note start
        if mkdir \"$EFFECTS.first\" 2>/dev/null; then sleep 1; else until [ -e \"$EFFECTS.go\" ]; do sleep 0.05; done; fi
        finish";
    let mut fleet = Fleet::start(1, 1).await;
    let run = fleet.submit(&fleet.chain([fleet.script(SCRIPT)])).await;
    fleet.noted(&run, "start", 1, SOON).await;
    fleet.add_worker(&[]).await;
    let hung = rig::now();
    fleet.workers[0].kill(Signal::SIGSTOP);
    let starts = fleet.noted(&run, "start", 2, SOON).await;
    within("worker hung → re-run", starts[1].at.since(hung), RERUN_WITHIN + MARGIN);
    let zombie = fleet.noted(&run, "done", 1, SOON).await;
    assert_eq!(zombie[0].fence, starts[0].fence, "the first process ends while its worker hangs");
    let woken = rig::now();
    fleet.workers[0].kill(Signal::SIGCONT);
    wait_for("the worker to be back", SOON, async || {
        let seen = fleet.store.workers().await.unwrap();
        seen.iter().any(|worker| worker.id == fleet.worker_id(0) && worker.seen_at > woken && worker.busy == 0)
    })
    .await;
    assert!(!fleet.run(&run).await.status.is_final(), "the late write was taken for the outcome");
    fleet.open("go");
    fleet.succeeded(&run, SOON).await;
    fleet.verdict(&[run]).await;
}

/// A task that kills its worker beside long ones: whoever was under way is tried again alone, so that it alone is blamed.
#[tokio::test]
async fn a_task_that_kills_its_worker_costs_those_beside_it_nothing_and_ends_by_its_own_crashes() {
    const INNOCENTS: usize = 20;
    const LONG: Duration = Duration::from_mins(4);
    let slots = ("COX_SLOTS", "24");
    let mut fleet = Fleet::start(1, 0).await;
    fleet.add_worker(&[slots]).await;
    let long = fleet.chain([fleet.script("note start; sleep 2; finish")]);
    let poison = fleet.chain([fleet.script("note start; kill -9 $(cut -d\" \" -f4 /proc/$PPID/stat); sleep 60")]);
    let mut innocents = Vec::new();
    for _ in 0..INNOCENTS {
        innocents.push(fleet.submit(&long).await);
    }
    for run in &innocents {
        fleet.noted(run, "start", 1, SOON).await;
    }
    let poison = fleet.submit(&poison).await;
    let until = tokio::time::Instant::now() + LONG;
    loop {
        let mut open = 0;
        for run in innocents.iter().chain([&poison]) {
            open += usize::from(!fleet.run(run).await.status.is_final());
        }
        if open == 0 {
            break;
        }
        assert!(tokio::time::Instant::now() < until, "{open} runs are open\n{}", fleet.tails());
        let alive = fleet.workers.iter_mut().filter_map(|worker| worker.is_running().then_some(())).count();
        for _ in alive..2 {
            fleet.add_worker(&[slots]).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for run in &innocents {
        fleet.succeeded(run, SOON).await;
        let task = only_task(&fleet, run).await;
        assert_eq!((task.attempts, task.crashes), (1, 0), "{task:?}\n{}", fleet.tails());
    }
    assert_eq!(fleet.run(&poison).await.status, RunStatus::Failed);
    let task = only_task(&fleet, &poison).await;
    assert_eq!((task.crashes, task.crashes_uncounted), (3, 1), "{task:?}");
    let failure = task.outcome.as_ref().and_then(|outcome| outcome.failure()).expect("it says why");
    assert!(
        failure.message.starts_with("3 attempts crashed while they ran alone on their worker, and 1 "),
        "{failure}"
    );
    fleet.verdict(&innocents).await;
}

async fn only_task(fleet: &Fleet, run: &RunId) -> Task {
    let shown = fleet.run(run).await;
    let mut tasks = fleet.store.tasks(&shown.key, Step::new(1), 0, 10).await.expect("tasks are read");
    assert_eq!(tasks.len(), 1, "{tasks:?}");
    tasks.remove(0)
}

async fn submit_some(fleet: &Fleet) -> Vec<RunId> {
    let step = || fleet.script("note start; finish");
    let graph = fleet.chain([step(), step()]);
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(fleet.submit(&graph).await);
    }
    runs
}

async fn all_succeed(fleet: &Fleet, runs: &[RunId]) {
    for run in runs {
        fleet.succeeded(run, SOON).await;
    }
}

#[tokio::test]
async fn a_worker_that_crashes_at_every_point_of_an_attempt_loses_and_doubles_nothing() {
    let mut fleet = Fleet::start(1, 1).await;
    let mut all = Vec::new();
    for point in CrashPoint::ATTEMPT {
        let armed = format!("{}=abort", point.name());
        fleet.add_worker(&[("COX_CRASH_POINT", &armed)]).await;
        let runs = submit_some(&fleet).await;
        let status = fleet.workers.last_mut().expect("one was added").wait_exit(SOON).await;
        assert!(!status.success(), "the worker was to crash at `{}`", point.name());
        all_succeed(&fleet, &runs).await;
        all.extend(runs);
    }
    fleet.verdict(&all).await;
}

#[tokio::test]
async fn a_scheduler_that_crashes_at_every_point_of_an_advance_loses_and_doubles_nothing() {
    let mut fleet = Fleet::start(1, 1).await;
    let mut all = Vec::new();
    for point in CrashPoint::ADVANCE {
        let armed = format!("{}=abort", point.name());
        fleet.add_scheduler(&[("COX_CRASH_POINT", &armed)]).await;
        // The schedulers race for the runs: the armed one gets some of them before long.
        let mut rounds = 0;
        while fleet.schedulers.last_mut().expect("one was added").is_running() {
            rounds += 1;
            assert!(rounds <= 20, "the scheduler does not reach `{}`", point.name());
            let runs = submit_some(&fleet).await;
            all_succeed(&fleet, &runs).await;
            all.extend(runs);
        }
        let status = fleet.schedulers.last_mut().expect("one was added").wait_exit(SOON).await;
        assert!(!status.success(), "the scheduler was to crash at `{}`", point.name());
    }
    fleet.verdict(&all).await;
}

/// A script whose processes leave in every way, and leave an effect every 50 ms: a pipeline, one without its environment
/// in a session of its own, and the script itself.
const SCATTERED: &str = r#"note start
    (while :; do note tick; sleep 0.05; done | cat) &
    setsid env -i EFFECTS="$EFFECTS" COX_RUN="$COX_RUN" COX_TASK="$COX_TASK" COX_FENCE="$COX_FENCE" COX_ATTEMPT="$COX_ATTEMPT" \
        PATH="$PATH" sh -c 'while :; do echo "$(date +%s%3N) tick $COX_RUN $COX_TASK $COX_FENCE $COX_ATTEMPT $$" >> "$EFFECTS"; sleep 0.05; done' &
    while :; do sleep 1; done"#;

/// A warm process learns by its line what it works for.
const WARM: &str = r#"echo '{"ready": true}'; read -r line
    field() { printf %s "$line" | sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }
    COX_RUN=$(field run) COX_TASK=1:n1:0 COX_FENCE=$(field fence) COX_ATTEMPT=1"#;

#[tokio::test]
async fn what_an_attempt_has_started_ends_with_its_killed_worker_and_a_later_stop_is_confirmed() {
    for is_warm in [false, true] {
        let mut fleet = Fleet::start(1, 1).await;
        let node = if is_warm { fleet.script(&format!("{WARM}\n{SCATTERED}")).warm() } else { fleet.script(SCATTERED) };
        let run = fleet.submit(&fleet.chain([node])).await;
        fleet.noted(&run, "tick", 6, SOON).await;
        fleet.add_worker(&[]).await;
        let killed = rig::now();
        fleet.workers[0].kill(Signal::SIGKILL);
        let starts = fleet.noted(&run, "start", 2, SOON).await;
        let of = |fence| fleet.effects(&run).into_iter().filter(move |effect| effect.fence == fence);
        wait_for("the second attempt to be at work", SOON, async || of(starts[1].fence).count() > 10).await;
        let last = of(starts[0].fence).last().expect("it ticked");
        within("worker killed → last effect", last.at.since(killed), Duration::from_secs(1));
        fleet.cancel(&run).await;
        let ended = fleet.ended(&run, SOON).await;
        assert!(ended.stop.as_ref().is_some_and(StopReport::is_confirmed), "warm: {is_warm}, {ended:?}");
        rig::meanwhile(&fleet).await;
        fleet.verdict(&[run]).await;
    }
}

#[tokio::test]
async fn a_stop_is_unconfirmed_and_names_the_task_if_nobody_knows_what_an_earlier_attempt_has_left() {
    let mut fleet = Fleet::start(1, 1).await;
    let run = fleet.submit(&fleet.chain([fleet.script(rig::TICKING)])).await;
    let first = fleet.noted(&run, "tick", 1, SOON).await;
    fleet.add_worker(&[]).await;
    // The supervisor is the parent of the command: both it and the worker are gone before they can do anything.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", first[0].pid)).unwrap();
    let supervisor = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap();
    fleet.workers[0].kill(Signal::SIGSTOP);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(supervisor), Signal::SIGKILL).unwrap();
    fleet.workers[0].kill(Signal::SIGKILL);
    fleet.noted(&run, "start", 2, SOON).await;
    // It bore its mark, and so the other worker has found it before it began.
    assert!(!rig::is_alive(first[0].pid));
    fleet.cancel(&run).await;
    let ended = fleet.ended(&run, SOON).await;
    assert!(!ended.stop.as_ref().unwrap().is_confirmed(), "{ended:?}");
    let tasks = fleet.store.tasks(&ended.key, coxswain_shared::id::Step::new(1), 0, 10).await.unwrap();
    let doubt = tasks[0].proof.clone().unwrap().doubt.unwrap();
    assert!(doubt.contains("1 earlier attempt(s) at task 1:n1:0"), "{doubt}");
    fleet.verdict(&[run]).await;
}
