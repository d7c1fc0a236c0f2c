//! What the fleet's tests share: looking at processes, letting time pass in the fleet, and measuring.

use std::time::Duration;

use coxswain_shared::time::{Clock, Timestamp};
use coxswain_tests::fleet::{Fleet, SOON};
use coxswain_tests::wait_for;
use nix::errno::Errno;
use nix::sys::signal::killpg;
use nix::unistd::Pid;

/// A script that leaves an effect every 50 ms until it is ended.
pub(crate) const TICKING: &str = "note start; while :; do note tick; sleep 0.05; done";

/// The machine's time, which is the store's too.
pub(crate) fn now() -> Timestamp {
    Clock::system().now()
}

/// Whether anything of the process group lives. What has ended and waits to be reaped by process 1 does not.
pub(crate) fn is_alive(group: i32) -> bool {
    let is_found = killpg(Pid::from_raw(group), None) != Err(Errno::ESRCH);
    let processes = std::fs::read_dir("/proc").expect("Linux shows its processes in /proc").flatten();
    let mut stats = processes.filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok());
    is_found && stats.any(|stat| is_live_member(&stat, group))
}

/// Whether `pid (name) state parent group …` is a live member of the group.
fn is_live_member(stat: &str, group: i32) -> bool {
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let fields: Vec<&str> = fields.split_whitespace().take(3).collect();
    matches!(fields[..], [state, _, member_of] if state != "Z" && state != "X" && member_of == group.to_string())
}

/// Waits until nothing of the process group lives.
pub(crate) async fn is_gone(group: i32) {
    wait_for("the process group to be gone", SOON, async || !is_alive(group)).await;
}

/// A user of Redis for one program that is to hear no push: it may do everything but subscribe.
pub(crate) struct Deaf {
    url: String,
}

impl Deaf {
    /// Makes the user, who may still subscribe: programs do not start without.
    pub(crate) async fn prepare(fleet: &Fleet) -> Self {
        let mut redis = fleet.redis.connection().await;
        let user = ["SETUSER", "deaf", "on", ">deaf", "~*", "&*", "+@all"];
        redis::cmd("ACL").arg(&user).exec_async(&mut redis).await.unwrap();
        Self { url: fleet.redis.url().replacen("redis://", "redis://deaf:deaf@", 1) }
    }

    /// The store's URL for the program.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Cuts the program's subscription, and lets it have none again.
    pub(crate) async fn deafen(&self, fleet: &Fleet) {
        let mut redis = fleet.redis.connection().await;
        redis::cmd("ACL").arg(&["SETUSER", "deaf", "-subscribe"]).exec_async(&mut redis).await.unwrap();
        let kill = ["KILL", "TYPE", "pubsub", "USER", "deaf"];
        let cut: u64 = redis::cmd("CLIENT").arg(&kill).query_async(&mut redis).await.unwrap();
        assert_eq!(cut, 1, "the program has one subscription");
    }
}

/// Lets the fleet do something else from beginning to end, so that what should not happen had the time to.
pub(crate) async fn meanwhile(fleet: &Fleet) {
    let graph = fleet.chain([fleet.script("note start; sleep 0.3; finish"), fleet.script("note start; finish")]);
    let run = fleet.submit(&graph).await;
    fleet.succeeded(&run, SOON).await;
}

/// Prints a measured time, and panics if it is over the limit.
#[track_caller]
pub(crate) fn within(what: &str, took: Duration, limit: Duration) {
    tell(format_args!("{what}: {took:?} (limit {limit:?})"));
    assert!(took <= limit, "{what} took {took:?}, more than {limit:?}");
}

/// Shows a measured value to whoever runs the tests with `--nocapture`.
#[expect(clippy::print_stdout, reason = "the test harness captures it, and shows it when it is asked to")]
pub(crate) fn tell(measured: impl std::fmt::Display) {
    println!("{measured}");
}
