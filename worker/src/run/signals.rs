//! Listens to what the store pushes: stop orders at once, and a heartbeat at once where pushes may have been lost.

use std::sync::Arc;

use coxswain_shared::store::Signal;
use tokio::sync::broadcast::error::RecvError;

use crate::attempt::Shared;
use crate::leases::Order;

/// Listens for as long as the store pushes.
pub(super) async fn run_signals(shared: Arc<Shared>) {
    let mut signals = shared.store.signals();
    loop {
        match signals.recv().await {
            Ok(Signal::Stop { run, made_at, report }) => {
                shared.leases.carry_out(&Order { run, made_at, tasks: None, report });
            }
            Ok(Signal::Lost) | Err(RecvError::Lagged(_)) => shared.renew_now.notify_one(),
            Ok(Signal::StopTasks { run, made_at, tasks, report }) => {
                shared.leases.carry_out(&Order { run, made_at, tasks: Some(tasks), report });
            }
            Ok(Signal::Ready(_) | Signal::Due(_)) => {}
            // The heartbeat still brings every order.
            Err(RecvError::Closed) => return,
        }
    }
}
