//! Why a request was not carried out, and what can be done about it.

use crate::graph::canonical;
use crate::id::{ChannelName, GraphHash, NodeName, PolicyName, PoolName, RunId, Step, ThreadId};
use crate::limits::{DESCENDANTS_CEILING, LABELS_MAX, Limit, MAX_STEPS_CEILING, POLICIES_MAX, TEXT_BYTES_MAX};
use crate::load::Overload;
use crate::policy::Reached;
use crate::priority::Priority;
use crate::run::RunStatus;
use crate::{duration, state, store};

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// There is no such run.
    #[error("there is no run `{0}`")]
    RunNotFound(RunId),
    /// There is no such thread.
    #[error("there is no thread `{0}`")]
    ThreadNotFound(ThreadId),
    /// The run has no checkpoint of this step.
    #[error("run `{run}` has no checkpoint of step {step}")]
    NoSuchStep {
        /// The run.
        run: RunId,
        /// The step that was asked for.
        step: Step,
        /// Its last checkpoint.
        last: Step,
    },
    /// The run has no checkpoint at all.
    #[error("run `{run}` is {status} and has no checkpoint")]
    NoCheckpoint {
        /// The run.
        run: RunId,
        /// Where it stands.
        status: RunStatus,
    },
    /// The run's graph is not in the store.
    #[error("the graph {0} is not in the store")]
    GraphMissing(GraphHash),
    /// What is stored is no graph that this version can read.
    #[error("the graph {hash} in the store cannot be read")]
    GraphUnreadable {
        /// Its hash.
        hash: GraphHash,
        /// What is wrong with it.
        #[source]
        source: canonical::Error,
    },
    /// A name is no channel of the graph.
    #[error("`{channel}` is no channel of the graph")]
    UnknownChannel {
        /// The name that was given.
        channel: ChannelName,
        /// What was probably meant.
        nearest: Option<ChannelName>,
        /// All channels.
        known: Vec<ChannelName>,
    },
    /// A name is no node of the graph.
    #[error("`{node}` is no node of the graph")]
    UnknownNode {
        /// The name that was given.
        node: NodeName,
        /// What was probably meant.
        nearest: Option<NodeName>,
        /// All nodes.
        known: Vec<NodeName>,
    },
    /// Values cannot be put into the state.
    #[error(transparent)]
    BadValue(#[from] state::Error),
    /// More labels than a run may have.
    #[error("{0} labels are more than the {LABELS_MAX} that a run may have")]
    TooManyLabels(usize),
    /// A text is longer than it may be.
    #[error("{what} has {bytes} bytes, over the limit of {TEXT_BYTES_MAX}")]
    LongText {
        /// Which text.
        what: String,
        /// Its length.
        bytes: usize,
    },
    /// A text has a character that would steer a terminal, or forge a line.
    #[error("{what} has the control character U+{:04X}", u32::from(*.character))]
    ControlCharacter {
        /// Which text.
        what: String,
        /// The first such character.
        character: char,
    },
    /// A label has no name.
    #[error("a label has an empty name")]
    NamelessLabel,
    /// A time is outside of its bounds.
    #[error("the {limit} of {} is not between {} and {}", duration::show(*.given), duration::show(.limit.floor()), duration::show(.limit.ceiling()))]
    BadLimit {
        /// Which limit.
        limit: Limit,
        /// What was given.
        given: std::time::Duration,
    },
    /// A number of steps is outside of its bounds.
    #[error("{0} is no number of steps: it is from 1 to {MAX_STEPS_CEILING}")]
    BadMaxSteps(u64),
    /// A number of child runs is over its bound.
    #[error("{0} is no number of child runs: it is at most {DESCENDANTS_CEILING}")]
    BadDescendants(u64),
    /// The thread has a run in flight, and the strategy is `reject`.
    #[error("thread `{thread}` is busy with run `{active}`")]
    ThreadBusy {
        /// The thread.
        thread: ThreadId,
        /// Its run in flight.
        active: RunId,
    },
    /// A pool that the run needs is overloaded, and it may wait.
    #[error("runs of {priority} priority are not taken now: pool `{pool}` is overloaded since {}: {}", .overload.since, .overload.over)]
    Overloaded {
        /// The pool.
        pool: PoolName,
        /// Since when, and how.
        overload: Overload,
        /// The run's priority.
        priority: Priority,
    },
    /// As many runs as are allowed wait on the thread.
    #[error("{max} runs wait on thread `{thread}`, as many as may")]
    QueueFull {
        /// The thread.
        thread: ThreadId,
        /// The limit.
        max: usize,
    },
    /// A policy of the operators has no room for another run.
    #[error("the run is refused: {0}")]
    Refused(Reached),
    /// There is no such policy.
    #[error("there is no policy `{name}`")]
    NoSuchPolicy {
        /// The name that was given.
        name: PolicyName,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// There are as many policies as may be.
    #[error("the policy `{0}` is not set: there are {POLICIES_MAX} policies, as many as may be")]
    TooManyPolicies(PolicyName),
    /// A policy counts all runs together.
    #[error("policy `{0}` has one count for all runs: nobody has a count of its own")]
    NoSubjects(PolicyName),
    /// The id that was chosen for a new run is taken.
    #[error("a run `{run}` exists already; it is {status}")]
    IdTaken {
        /// The id.
        run: RunId,
        /// Where that run stands.
        status: RunStatus,
    },
    /// The run is in flight: it can neither be answered nor taken up again.
    #[error("run `{run}` is {status}")]
    InFlight {
        /// The run.
        run: RunId,
        /// Where it stands.
        status: RunStatus,
    },
    /// A run that waits for a human is to be taken up from a checkpoint.
    #[error("run `{0}` waits for an answer: it goes on where it is, not from a checkpoint")]
    Waits(RunId),
    /// A run that has ended was given an answer.
    #[error("run `{run}` is {status}: it waits for no answer")]
    WaitsForNothing {
        /// The run.
        run: RunId,
        /// Where it stands.
        status: RunStatus,
    },
    /// A run that waits for a human was given no answer.
    #[error("run `{run}` waits for an answer to {}", list(.questions))]
    MissingAnswer {
        /// The run.
        run: RunId,
        /// The questions that are open.
        questions: Vec<String>,
    },
    /// One answer was given, and it could be that of several questions.
    #[error("run `{run}` waits for {} answers: {}", .questions.len(), list(.questions))]
    AmbiguousAnswer {
        /// The run.
        run: RunId,
        /// The questions that it could be for.
        questions: Vec<String>,
    },
    /// Two answers were given to one question.
    #[error("the question `{question}` of run `{run}` was given two answers")]
    AnsweredTwice {
        /// The run.
        run: RunId,
        /// The question.
        question: String,
    },
    /// An answer names what does not wait for one.
    #[error("nothing of run `{run}` waits for an answer under the name `{name}`")]
    UnknownAnswer {
        /// The run.
        run: RunId,
        /// The name.
        name: String,
        /// The questions that are open.
        open: Vec<String>,
    },
    /// An answer does not have the form that its node takes.
    #[error("node `{node}` names no channel for its answer, so the answer is an object of values by channel")]
    AnswerForm {
        /// The node.
        node: NodeName,
    },
    /// The run has ended, or stops as a whole: there are no tasks of it to stop.
    #[error("run `{run}` is {status}: it starts nothing any more, and none of its tasks is stopped alone")]
    Over {
        /// The run.
        run: RunId,
        /// Where it stands.
        status: RunStatus,
    },
    /// A node has no task that could be stopped.
    #[error("run `{run}` is at step {step}, in which node `{node}` has nothing that is queued or at work")]
    NothingToStop {
        /// The run.
        run: RunId,
        /// The node.
        node: NodeName,
        /// The step in flight.
        step: Step,
    },
    /// The run changed while it was being answered.
    #[error("run `{0}` changed while it was being answered")]
    Changed(RunId),
    /// Several runs are named where one is asked for.
    #[error("tasks are stopped in one run at a time")]
    OneRun,
    /// Nothing says which runs are meant.
    #[error("nothing says which runs are meant")]
    NoFilter,
}

/// What kind of mistake an error is: it decides a program's exit code, and a server's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// What was asked for makes no sense: ask for something else.
    Usage,
    /// What was asked for is not there.
    NotFound,
    /// It makes sense, but not as things stand.
    Conflict,
    /// There is too much to do for it now: ask again later.
    Overloaded,
    /// The store cannot be reached: ask again later.
    Unavailable,
    /// What is stored is damaged, or too new for this version.
    Internal,
}

impl Error {
    /// Its kind.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => match error {
                store::Error::Unavailable { .. } => ErrorKind::Unavailable,
                store::Error::TooLarge { .. } | store::Error::Unsuitable { .. } | store::Error::Cursor { .. } => {
                    ErrorKind::Usage
                }
                store::Error::Corrupt { .. } | store::Error::Format { .. } => ErrorKind::Internal,
            },
            Self::RunNotFound(_)
            | Self::ThreadNotFound(_)
            | Self::NoSuchPolicy { .. }
            | Self::NoSuchStep { .. }
            | Self::NoCheckpoint { .. } => ErrorKind::NotFound,
            Self::Overloaded { .. } => ErrorKind::Overloaded,
            Self::GraphMissing(_) | Self::GraphUnreadable { .. } => ErrorKind::Internal,
            Self::UnknownChannel { .. }
            | Self::UnknownNode { .. }
            | Self::BadValue(_)
            | Self::TooManyLabels(_)
            | Self::LongText { .. }
            | Self::ControlCharacter { .. }
            | Self::NamelessLabel
            | Self::BadLimit { .. }
            | Self::BadMaxSteps(_)
            | Self::BadDescendants(_)
            | Self::AmbiguousAnswer { .. }
            | Self::AnsweredTwice { .. }
            | Self::MissingAnswer { .. }
            | Self::UnknownAnswer { .. }
            | Self::AnswerForm { .. }
            | Self::OneRun
            | Self::NoSubjects(_)
            | Self::NoFilter => ErrorKind::Usage,
            Self::ThreadBusy { .. }
            | Self::QueueFull { .. }
            | Self::Refused(_)
            | Self::TooManyPolicies(_)
            | Self::IdTaken { .. }
            | Self::InFlight { .. }
            | Self::Over { .. }
            | Self::NothingToStop { .. }
            | Self::Waits(_)
            | Self::WaitsForNothing { .. }
            | Self::Changed(_) => ErrorKind::Conflict,
        }
    }

    /// What can be done about it, in a sentence; absent where the message says it already.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.remedy().map(str::to_owned),
            Self::RunNotFound(_) => Some("list the runs there are; finished ones are kept for 7 days".to_owned()),
            Self::NoSuchStep { last, .. } => Some(format!("its last checkpoint is of step {last}")),
            Self::NoCheckpoint { .. } => {
                Some("nothing of it is kept that could go on: submit its graph again".to_owned())
            }
            Self::UnknownChannel { nearest, known, .. } => Some(meant(nearest.as_ref(), known)),
            Self::UnknownNode { nearest, known, .. } => Some(meant(nearest.as_ref(), known)),
            Self::ThreadBusy { .. } => {
                Some("wait for it, or choose what happens to it: enqueue, interrupt or rollback".to_owned())
            }
            Self::Overloaded { .. } => Some(
                "nothing was stored: submit it again later, or with a higher priority if it cannot wait".to_owned(),
            ),
            Self::QueueFull { .. } => Some("wait until some have run, or cancel some".to_owned()),
            Self::Refused(_) => Some("submit it again by then; `cox policy list` shows the policies".to_owned()),
            Self::NoSuchPolicy { nearest, .. } => Some(match nearest {
                Some(name) => format!("did you mean `{name}`?"),
                None => "`cox policy list` shows those that there are".to_owned(),
            }),
            Self::TooManyPolicies(_) => Some("remove one that is not needed".to_owned()),
            Self::NoSubjects(_) => Some("ask without a subject".to_owned()),
            Self::IdTaken { .. } => Some("choose another id, or none".to_owned()),
            Self::InFlight { .. } => Some("wait until it has ended, or cancel it first".to_owned()),
            Self::Waits(_) => Some("answer it; or cancel it, then take it up from any checkpoint".to_owned()),
            Self::WaitsForNothing { .. } => Some("take it up from a checkpoint, without an answer".to_owned()),
            Self::MissingAnswer { questions, .. } | Self::AmbiguousAnswer { questions, .. } => Some(each(questions)),
            Self::AnsweredTwice { .. } => Some("give it one of them".to_owned()),
            Self::UnknownAnswer { open, .. } if open.is_empty() => {
                Some("it pauses between two steps: resume it without an answer".to_owned())
            }
            Self::UnknownAnswer { open, .. } => Some(format!("these are open: {}", list(open))),
            Self::NothingToStop { .. } => Some(
                "see what it does now with `cox get`; what waits for a human is answered with `cox resume`".to_owned(),
            ),
            Self::Changed(_) => Some("look at it again".to_owned()),
            Self::NoFilter => Some("name runs or conditions, or say explicitly that all are meant".to_owned()),
            Self::ThreadNotFound(_)
            | Self::GraphMissing(_)
            | Self::GraphUnreadable { .. }
            | Self::BadValue(_)
            | Self::TooManyLabels(_)
            | Self::LongText { .. }
            | Self::ControlCharacter { .. }
            | Self::NamelessLabel
            | Self::BadLimit { .. }
            | Self::BadMaxSteps(_)
            | Self::BadDescendants(_)
            | Self::Over { .. }
            | Self::OneRun
            | Self::AnswerForm { .. } => None,
        }
    }
}

/// How several questions are answered.
fn each(questions: &[String]) -> String {
    match questions.iter().find_map(|name| name.split_once('[')) {
        Some((node, _)) => {
            format!(
                "answer each under its name, in any number and order, or all items of `{node}` alike as `{node}[*]`"
            )
        }
        None => "answer each under its name, in any number and order".to_owned(),
    }
}

fn meant<N: std::fmt::Display>(nearest: Option<&N>, known: &[N]) -> String {
    match nearest {
        Some(name) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "it has none".to_owned(),
        None => format!("it has {}", list(known)),
    }
}

/// The most names that a message lists.
const LISTED_MAX: usize = 12;

fn list<N: std::fmt::Display>(names: &[N]) -> String {
    let shown: Vec<_> = names.iter().take(LISTED_MAX).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > LISTED_MAX { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}
