//! The heartbeat: renews all leases in one call, tells attempts of stop orders and lost leases, and treats leases as
//! lost when the store was silent for too long.

use std::sync::Arc;

use coxswain_shared::store::{Error, Renewal, Renewed};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::report::Report;
use crate::attempt::Shared;

/// A heartbeat on its way.
struct InFlight {
    renewals: Vec<Renewal>,
    sent: Instant,
    answer: BoxFuture<'static, Result<Vec<Renewed>, Error>>,
}

enum Event {
    Due,
    Answered(Result<Vec<Renewed>, Error>),
}

/// Sends heartbeats for as long as it lives.
pub(super) async fn run_heartbeat(shared: Arc<Shared>, report: Report) {
    // Nothing is held at the start.
    let mut ticks = interval_at(Instant::now() + shared.terms.heartbeat, shared.terms.heartbeat);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut in_flight: Option<InFlight> = None;
    let mut failing = false;
    loop {
        let event = tokio::select! {
            biased;
            answer = answer_of(&mut in_flight) => Event::Answered(answer),
            () = shared.renew_now.notified() => Event::Due,
            _ = ticks.tick() => Event::Due,
        };
        match event {
            Event::Due => {
                for lost in shared.leases.expire(Instant::now(), shared.terms.patience()) {
                    shared.note_lost(&lost);
                }
                shared.metrics.stops_by_heartbeat.inc_by(shared.leases.never_pushed(shared.terms.heartbeat));
                if in_flight.as_ref().is_none_or(|beat| beat.sent.elapsed() >= shared.terms.patience() / 2) {
                    in_flight = send(&shared);
                }
            }
            Event::Answered(answer) => {
                let beat = in_flight.take().expect("what was answered was in flight");
                // A store that is too slow for the worker's own report is not taken for a silent one.
                if answer.is_ok() {
                    report.store_answered();
                }
                if let Err(error) = &answer {
                    report.store_failed(error);
                }
                failing = take_answer(&shared, beat, answer, failing);
            }
        }
    }
}

async fn answer_of(in_flight: &mut Option<InFlight>) -> Result<Vec<Renewed>, Error> {
    match in_flight {
        Some(beat) => (&mut beat.answer).await,
        None => std::future::pending().await,
    }
}

fn send(shared: &Arc<Shared>) -> Option<InFlight> {
    let renewals = shared.leases.renewals(shared.terms.ttl);
    if renewals.is_empty() {
        return None;
    }
    let (store, batch) = (Arc::clone(&shared.store), renewals.clone());
    let answer = Box::pin(async move { store.renew(&batch).await });
    Some(InFlight { renewals, sent: Instant::now(), answer })
}

/// Gives the answers to the attempts; says whether heartbeats fail now.
fn take_answer(shared: &Shared, beat: InFlight, answer: Result<Vec<Renewed>, Error>, failing: bool) -> bool {
    match answer {
        Ok(answers) => {
            if failing {
                tracing::info!("heartbeats get through again");
            }
            let tally = shared.leases.answer(beat.renewals, answers, beat.sent);
            for lost in &tally.lost {
                shared.note_lost(lost);
            }
            false
        }
        Err(error) => {
            shared.metrics.heartbeats_failed.inc();
            if !failing {
                tracing::warn!(%error, leases = beat.renewals.len(), "a heartbeat failed");
            }
            true
        }
    }
}
