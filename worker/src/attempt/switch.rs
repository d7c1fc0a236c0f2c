//! The switch that ends an attempt: anybody may throw it, the reason that prevails stays, and all who wait on it learn
//! of it at once.

use std::sync::Arc;
use std::time::Duration;

use coxswain_shared::stop::{EndReason, StopOrder, StopReport};
use tokio::sync::watch;
use tokio::time::Instant;

use super::state::prevails;

/// Why and since when an attempt is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// The reason that prevails.
    pub(crate) reason: EndReason,
    /// When this reason was learned.
    pub(crate) observed: Instant,
    /// When the first reason was learned: grace counts from here.
    pub(crate) since: Instant,
    /// Without any grace.
    pub(crate) at_once: bool,
}

impl Notice {
    /// How long cleaning up may take, from [`Notice::since`]; `own` is the task's grace.
    pub(crate) fn grace(&self, own: Duration) -> Duration {
        match &self.reason {
            _ if self.at_once => Duration::ZERO,
            EndReason::StopOrdered(order) => order.order.grace.unwrap_or(own),
            EndReason::Shutdown | EndReason::DeadlineExceeded(_) | EndReason::LeaseLost => own,
        }
    }
}

/// One attempt's switch. Clones are the same switch.
#[derive(Debug, Clone)]
pub(crate) struct Switch(Arc<watch::Sender<Option<Notice>>>);

impl Switch {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Gives a reason to end; `at_once` adds that there is no grace.
    pub(crate) fn give(&self, reason: EndReason, at_once: bool) {
        self.0.send_if_modified(|notice| add(notice, reason, at_once));
    }

    /// Gives the loss of the lease as a reason to end; whether that was not known before.
    pub(crate) fn lose(&self) -> bool {
        let mut is_news = false;
        self.0.send_if_modified(|notice| {
            is_news = notice.as_ref().is_none_or(|notice| notice.reason != EndReason::LeaseLost);
            add(notice, EndReason::LeaseLost, false)
        });
        is_news
    }

    /// Gives a stop order as a reason; one by force leaves no grace.
    pub(crate) fn give_order(&self, report: &StopReport) {
        let forced = report.order.order.force || report.forced_at.is_some();
        let mut order: StopOrder = report.order.clone();
        order.order.force = forced;
        self.give(EndReason::StopOrdered(order), forced);
    }

    /// The notice, if there is one.
    pub(crate) fn notice(&self) -> Option<Notice> {
        self.0.borrow().clone()
    }

    /// Waits for a notice. Cancel safe.
    pub(crate) async fn given(&self) -> Notice {
        let mut receiver = self.0.subscribe();
        let notice = receiver.wait_for(Option::is_some).await.expect("the switch holds its own sender");
        notice.clone().expect("it was waited for")
    }

    /// Waits until the lease is lost. Cancel safe.
    pub(crate) async fn lease_lost(&self) {
        let is_lost = |notice: &Option<Notice>| {
            notice.as_ref().is_some_and(|notice| matches!(notice.reason, EndReason::LeaseLost))
        };
        let mut receiver = self.0.subscribe();
        receiver.wait_for(is_lost).await.expect("the switch holds its own sender");
    }

    /// Waits until a grace is over that began at `since`: force ends it early. Cancel safe.
    pub(crate) async fn grace_over(&self, since: Instant, own: Duration) {
        let mut receiver = self.0.subscribe();
        loop {
            let grace = receiver.borrow_and_update().as_ref().map_or(own, |notice| notice.grace(own));
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(since + grace) => return,
                changed = receiver.changed() => changed.expect("the switch holds its own sender"),
            }
        }
    }
}

/// Adds a reason to a notice; whether that changes it.
fn add(notice: &mut Option<Notice>, reason: EndReason, at_once: bool) -> bool {
    let observed = Instant::now();
    let Some(old) = notice else {
        *notice = Some(Notice { reason, observed, since: observed, at_once });
        return true;
    };
    let (is_new, is_harder) = (prevails(&reason, &old.reason), at_once && !old.at_once);
    if is_new {
        old.reason = reason;
        old.observed = observed;
    }
    old.at_once |= at_once;
    is_new || is_harder
}

#[cfg(test)]
mod tests {
    use coxswain_shared::limits::Limit;
    use coxswain_shared::stop::{Cause, NewOrder};
    use coxswain_shared::time::Timestamp;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn report(grace: Option<Duration>, forced_at: Option<Timestamp>) -> StopReport {
        let order = NewOrder { cause: Cause::Cancelled, reason: None, actor: "ann".into(), grace, force: false };
        let order = StopOrder { order, at: Timestamp::from_millis(0) };
        StopReport { forced_at, ..StopReport::new(order, 1) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_takes_the_place_of_a_deadline_and_grace_counts_from_the_first_reason() {
        let switch = Switch::new();
        let start = Instant::now();
        switch.give(EndReason::DeadlineExceeded(Limit::AttemptTimeout), false);
        tokio::time::advance(SECOND).await;
        switch.give_order(&report(Some(SECOND * 3), None));
        switch.give(EndReason::Shutdown, false);
        let notice = switch.given().await;
        assert!(matches!(notice.reason, EndReason::StopOrdered(_)));
        assert_eq!((notice.since, notice.observed), (start, start + SECOND));
        switch.grace_over(notice.since, SECOND * 9).await;
        assert_eq!(start.elapsed(), SECOND * 3, "the order's own grace holds");
    }

    #[tokio::test(start_paused = true)]
    async fn force_ends_a_grace_that_is_under_way() {
        let switch = Switch::new();
        switch.give_order(&report(None, None));
        let since = switch.given().await.since;
        let waiting = switch.grace_over(since, SECOND * 60);
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(SECOND, &mut waiting).await.is_err());
        switch.give_order(&report(None, Some(Timestamp::from_millis(1))));
        let forced = Instant::now();
        waiting.await;
        assert_eq!(forced.elapsed(), Duration::ZERO);
    }
}
