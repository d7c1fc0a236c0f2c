//! Workers that are parted from one of their two servers, and not from the other: G3, G4 and G6.
//!
//! The proxy stands before one server, for one worker. The machine's network is not touched.

use coxswain_tests::fleet::{Fleet, SOON};
use coxswain_tests::{Mode, Proxy, wait_for};

use crate::rig;

/// The broker takes the worker for dead, and hands its message to the other one, which finds the lease renewed.
#[tokio::test]
async fn a_worker_that_is_parted_from_rabbitmq_keeps_its_lease_and_nobody_else_begins() {
    const SCRIPT: &str = "note start; until [ -e \"$EFFECTS.go\" ]; do sleep 0.05; done; finish";
    let mut fleet = Fleet::start(1, 0).await;
    let proxy = Proxy::start(fleet.rabbit().port()).await;
    let through = fleet.rabbit_through(&proxy);
    fleet.add_worker(&[("COX_BROKER", &through)]).await;
    let run = fleet.submit(&fleet.chain([fleet.script(SCRIPT), fleet.script("note start; finish")])).await;
    let first = fleet.noted(&run, "start", 1, SOON).await.remove(0);
    fleet.add_worker(&[]).await;
    wait_for("the broker to tell of the message in hand", SOON, async || fleet.messages().await == (0, 1)).await;
    proxy.set(Mode::Blackhole);
    wait_for("the message to be given to another and dropped as a duplicate", SOON, async || {
        match fleet.messages().await {
            (0, 0) => Ok(()),
            left => Err(format!("{left:?} messages wait and are in hand")),
        }
    })
    .await;
    let open = fleet.run(&run).await;
    assert_eq!((open.open_leases, fleet.effects(&run).len()), (1, 1), "{open:?}");
    fleet.open("go");
    fleet.succeeded(&run, SOON).await;
    let effects = fleet.effects(&run);
    assert_eq!(effects.len(), 4, "two tasks, each once: {effects:?}");
    let done = effects.iter().find(|effect| effect.word == "done").expect("it is done");
    assert_eq!((done.fence, &done.task), (first.fence, &first.task), "under the lease that it had");
    proxy.set(Mode::Pass);
    rig::meanwhile(&fleet).await;
    fleet.verdict(&[run]).await;
}
