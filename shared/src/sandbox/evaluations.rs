//! Who evaluates for a plan or an attempt: what is light where it is asked for, everything else in the sandbox; all
//! together within a time.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::pool::{Refusal, Sandbox};
use super::request::{Reply, Request};
use super::{TIME_MAX, TIME_TOGETHER_MAX};
use crate::expr::{Error, Evaluation, Evaluator};

/// Evaluates for one plan or one attempt. It blocks the thread that asks; a runtime's other tasks go on elsewhere.
pub struct Evaluations {
    sandbox: Sandbox,
    /// When the clock began that all evaluations run against; absent where only those in the sandbox count.
    begun: Option<Instant>,
    so_far: Mutex<SoFar>,
    is_wanted: Box<dyn Fn() -> bool + Send + Sync>,
}

#[derive(Debug, Default)]
struct SoFar {
    /// What evaluations in the sandbox took.
    used: Duration,
    /// What was waited for a process: that is no fault of the expressions.
    waited: Duration,
    /// Why something could not be evaluated, through no fault of its own.
    trouble: Option<String>,
}

impl Evaluations {
    /// For a plan: everything between its evaluations counts too.
    pub fn of_plan(sandbox: Sandbox, is_wanted: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { begun: Some(Instant::now()), ..Self::of_attempt(sandbox, is_wanted) }
    }

    /// For an attempt, which also does other things: only what the sandbox takes counts.
    pub fn of_attempt(sandbox: Sandbox, is_wanted: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { sandbox, begun: None, so_far: Mutex::default(), is_wanted: Box::new(is_wanted) }
    }

    /// Checks a value by a JSON schema, or the schema alone: what does not fit, or why the schema is none.
    pub fn check(&self, schema: &Value, value: Option<&Value>) -> Result<Result<Vec<String>, String>, Refusal> {
        match self.ask(&Request::Check { schema: schema.clone(), value: value.cloned() })? {
            Reply::Mistakes(mistakes) => Ok(Ok(mistakes)),
            Reply::NoSchema(why) => Ok(Err(why)),
            Reply::Value(_) | Reply::Failed(_) => Err(Refusal::Unavailable(OTHER.to_owned())),
        }
    }

    /// Why something could not be evaluated, through no fault of its own: what was made of it is of no use.
    pub fn trouble(&self) -> Option<String> {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner).trouble.clone()
    }

    fn ask(&self, request: &Request<'_>) -> Result<Reply, Refusal> {
        let left = self.left();
        if left.is_zero() {
            return Err(Refusal::Exceeded(together()));
        }
        let begun = Instant::now();
        let (answer, took) = off_the_runtime(|| self.sandbox.ask(request, TIME_MAX.min(left), &self.is_wanted));
        let mut so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        so_far.used += took;
        so_far.waited += begun.elapsed().saturating_sub(took);
        if let Err(refusal @ (Refusal::Unwanted | Refusal::Unavailable(_))) = &answer {
            so_far.trouble.get_or_insert_with(|| refusal.to_string());
        }
        answer
    }

    fn left(&self) -> Duration {
        let so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        let used = self.begun.map_or(so_far.used, |begun| begun.elapsed().saturating_sub(so_far.waited));
        TIME_TOGETHER_MAX.saturating_sub(used)
    }
}

const OTHER: &str = "its process answered something else";

fn together() -> String {
    format!("longer than {TIME_TOGETHER_MAX:?}, together with what was evaluated before it")
}

/// Does something that blocks. A thread of a runtime hands its other tasks over before.
fn off_the_runtime<T>(blocking: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(blocking),
        Ok(_) | Err(_) => blocking(),
    }
}

impl Evaluator for Evaluations {
    fn heavy(&self, evaluation: &Evaluation<'_>) -> Result<Value, Error> {
        let text = || evaluation.text.to_string();
        match self.ask(&Request::Evaluate(evaluation.clone())) {
            Ok(Reply::Value(value)) => Ok(value),
            Ok(Reply::Failed(error)) => Err(error),
            Ok(Reply::NoSchema(_) | Reply::Mistakes(_)) => {
                Err(Error::Unavailable { text: text(), why: OTHER.to_owned() })
            }
            Err(Refusal::Exceeded(bound)) => Err(Error::Exceeded { text: text(), bound }),
            Err(refusal @ (Refusal::Unwanted | Refusal::Unavailable(_))) => {
                Err(Error::Unavailable { text: text(), why: refusal.to_string() })
            }
        }
    }

    fn light(&self, text: &str, _: usize) -> Result<(), Error> {
        if self.left().is_zero() {
            return Err(Error::Exceeded { text: text.to_owned(), bound: together() });
        }
        Ok(())
    }
}

impl fmt::Debug for Evaluations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evaluations").field("left", &self.left()).finish_non_exhaustive()
    }
}
