//! What the operators' policies say before a task begins, and what they count of its try.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use coxswain_shared::id::{AttemptNumber, TaskKey};
use coxswain_shared::outcome::{Failure, FailureKind};
use coxswain_shared::policing::{Halt, Permit};
use coxswain_shared::policy::Then;
use coxswain_shared::store::Lease;

use super::{Shared, Switch};
use crate::handler::NodeError;
use crate::pause::Pause;

/// How soon, and how late at most, a task comes back that a policy has put off: the policy may be changed meanwhile.
const BACK_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Tasks that are remembered; beyond it all are forgotten, and count once more.
const PUT_OFF_MAX: usize = 10_000;

/// Tasks that have begun here, and come back without another try: policies have counted them.
#[derive(Debug, Default)]
pub(crate) struct PutOff(Mutex<BTreeSet<TaskKey>>);

impl PutOff {
    /// Remembers one.
    pub(super) fn add(&self, task: TaskKey) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.len() >= PUT_OFF_MAX {
            tasks.clear();
        }
        tasks.insert(task);
    }

    /// Forgets one; whether it was remembered.
    fn take(&self, task: &TaskKey) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(task)
    }
}

/// Why a task does not begin.
pub(super) enum Barred {
    /// There is no room now: it comes back later.
    Later(NodeError),
    /// Its run is stopped.
    Stopped(Box<Halt>),
}

/// Whether a task may begin, and whether its cost is limited then; repeats the question until it is answered, or the attempt
/// is to end anyway.
pub(super) async fn may_begin(shared: &Shared, task: &TaskKey, lease: &Lease, switch: &Switch) -> Result<bool, Barred> {
    let was_put_off = shared.put_off.take(task);
    let is_first = lease.attempt == AttemptNumber::new(1) && !was_put_off;
    let mut pause = Pause::new();
    let halt = loop {
        let asked = tokio::select! {
            biased;
            asked = shared.policing.may_begin(&task.run.id, is_first) => asked,
            _ = switch.given() => return Ok(false),
        };
        match asked {
            Ok(Permit::Granted { limits_cost }) => return Ok(limits_cost),
            Ok(Permit::Halted(halt)) => break halt,
            Err(error) if error.is_retryable() => pause.wait().await,
            Err(error) => {
                tracing::error!(%error, run.id = %task.run.id, "the policies cannot be read by this build: none of them holds here");
                return Ok(false);
            }
        }
    };
    shared.metrics.policy_halt(&halt);
    Err(match halt.then {
        Then::Stop => Barred::Stopped(Box::new(halt)),
        Then::Pause | Then::Refuse => {
            if was_put_off {
                shared.put_off.add(task.clone());
            }
            let after = halt.reached.room_in.clamp(BACK_AFTER.0, BACK_AFTER.1);
            let failure = Failure::new(FailureKind::PutOff, halt.reached.to_string());
            Barred::Later(NodeError::PutOff { failure, after })
        }
    })
}
