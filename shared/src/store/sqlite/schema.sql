-- The embedded store's file, version 1.
--
-- Reads and writes: made once by `schema.rs`, when a file is new. `application_id` says that a file is ours,
-- `user_version` which version of this schema it has; both are set there.
--
-- Conventions: times are milliseconds since 1970 UTC, lengths are milliseconds, flags are 0 or 1. Structures that only
-- the program reads are JSON. What changes often is kept apart from what is large: a row is rewritten as a whole.

-- One value a name; `partitions` is the number of partitions that the file was made with.
CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE graphs (
    hash TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    json TEXT NOT NULL
);

CREATE TABLE runs (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT, -- grows with each run made: the order of a thread's queue
    id              TEXT    NOT NULL UNIQUE,
    partition       INTEGER NOT NULL,
    thread          TEXT    NOT NULL,
    graph           TEXT    NOT NULL,
    graph_hash      TEXT    NOT NULL,
    status          TEXT    NOT NULL,
    waiting         INTEGER NOT NULL, -- it waits for its turn on its thread
    step            INTEGER NOT NULL,
    revision        INTEGER NOT NULL,
    run_timeout     INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    started_at      INTEGER,
    ended_at        INTEGER,
    deadline_at     INTEGER,
    overdue_at      INTEGER, -- `deadline_at` while it is among the deadlines
    ready_at        INTEGER, -- from when it may be taken, while it is among the ready
    is_taken        INTEGER NOT NULL DEFAULT 0, -- somebody has it for its plan
    lost_plans      INTEGER NOT NULL DEFAULT 0, -- how often who had it neither advanced it nor gave it back,
    lost_revision   INTEGER NOT NULL DEFAULT 0, -- at this revision
    open_tasks      INTEGER NOT NULL,
    open_leases     INTEGER NOT NULL,
    open_children   INTEGER NOT NULL,
    descendants     INTEGER NOT NULL, -- child runs at every depth that its steps have asked for
    fence           INTEGER NOT NULL, -- the highest lease number given
    last_checkpoint INTEGER,
    base_run        TEXT,
    base_step       INTEGER,
    parent_run      TEXT,
    parent_task     TEXT,
    parent_depth    INTEGER,
    advance_nonce   TEXT,
    resume_nonce    TEXT,
    resumed         INTEGER NOT NULL, -- a human let it go on from a pause between two steps
    take_back       INTEGER NOT NULL, -- its end moves the thread's head to its base
    stop            TEXT, -- JSON: the report
    failure         TEXT  -- JSON
);
CREATE INDEX runs_by_age ON runs (created_at, id);
CREATE INDEX runs_by_thread ON runs (thread, created_at, id);
CREATE INDEX runs_by_status ON runs (status, created_at, id);
CREATE INDEX runs_ready ON runs (partition, ready_at, id) WHERE ready_at IS NOT NULL;
CREATE INDEX runs_overdue ON runs (partition, overdue_at, id) WHERE overdue_at IS NOT NULL;
CREATE INDEX runs_ended ON runs (partition, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX runs_waiting ON runs (thread, seq) WHERE waiting = 1;

-- What of a run never changes and may be large.
CREATE TABLE run_specs (
    run  INTEGER PRIMARY KEY REFERENCES runs (seq) ON DELETE CASCADE,
    json TEXT NOT NULL
);

CREATE TABLE threads (
    id        TEXT PRIMARY KEY,
    active    TEXT, -- the run in flight
    head_run  TEXT,
    head_step INTEGER
) WITHOUT ROWID;
CREATE INDEX threads_by_head ON threads (head_run) WHERE head_run IS NOT NULL;

CREATE TABLE tasks (
    seq            INTEGER PRIMARY KEY,
    run            INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
    step           INTEGER NOT NULL,
    node           TEXT    NOT NULL,
    item           INTEGER NOT NULL,
    partition      INTEGER NOT NULL,
    state          TEXT    NOT NULL,
    pool           TEXT, -- of one that a worker does
    child          TEXT, -- the run that stands for it
    payload        TEXT, -- JSON: what a human is shown
    timeout        INTEGER NOT NULL,
    queue_timeout  INTEGER NOT NULL,
    grace          INTEGER NOT NULL,
    max_crashes    INTEGER NOT NULL,
    fails_run      INTEGER NOT NULL,
    attempts       INTEGER NOT NULL,
    crashes        INTEGER NOT NULL,
    uncounted      INTEGER NOT NULL, -- crashes that do not count
    alone          INTEGER NOT NULL, -- its lease: 0 others may run beside it, 1 it was claimed alone, 2 and renewed since
    blamed         INTEGER NOT NULL, -- the lease of the last crash that counts
    fence          INTEGER NOT NULL,
    worker         TEXT,
    nonce          TEXT, -- of the last claim
    taken_over     INTEGER NOT NULL, -- its lease was, from a silent worker
    sent           INTEGER NOT NULL, -- a message was confirmed since it was last queued
    made_at        INTEGER NOT NULL,
    queued_at      INTEGER NOT NULL,
    started_at     INTEGER,
    renewed_at     INTEGER,
    settled_at     INTEGER,
    due_at         INTEGER, -- its time on the agenda
    answered       TEXT,    -- what the last settle or release was: `settled`, `released` or `handed_back`
    answered_fence INTEGER,
    answered_end   INTEGER, -- whether that completed the step, or ended the run
    outcome        TEXT,    -- JSON
    last_failure   TEXT,    -- JSON
    proof          TEXT,    -- JSON
    handed_back    INTEGER, -- how often in a row it was
    without_order  INTEGER  -- whether the last time by an order that is not here
);
CREATE UNIQUE INDEX tasks_by_place ON tasks (run, step, node, item);
CREATE INDEX agenda ON tasks (partition, due_at) WHERE due_at IS NOT NULL;

-- The task as it was planned, for its worker.
CREATE TABLE task_specs (
    task INTEGER PRIMARY KEY REFERENCES tasks (seq) ON DELETE CASCADE,
    json TEXT NOT NULL
);

-- Steps that are over, whose tasks are forgotten after a while.
CREATE TABLE finished_steps (
    run       INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
    step      INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (run, step)
) WITHOUT ROWID;
CREATE INDEX finished_steps_by_age ON finished_steps (partition, at);

-- A checkpoint names the version of each channel; `versions` repeats that part of it, to be read without the rest.
CREATE TABLE checkpoints (
    run      INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
    step     INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    versions TEXT    NOT NULL,
    json     TEXT    NOT NULL,
    PRIMARY KEY (run, step)
);

-- The values of channels, one row a version.
CREATE TABLE channel_values (
    run     INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
    channel TEXT    NOT NULL,
    version INTEGER NOT NULL,
    json    TEXT    NOT NULL,
    PRIMARY KEY (run, channel, version)
);

CREATE TABLE events (
    run  INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
    seq  INTEGER NOT NULL,
    at   INTEGER NOT NULL,
    json TEXT    NOT NULL,
    PRIMARY KEY (run, seq)
);

-- Stop orders for runs that do not exist yet.
CREATE TABLE early_orders (
    run       TEXT PRIMARY KEY,
    at        INTEGER NOT NULL,
    forced_at INTEGER,
    json      TEXT    NOT NULL
);
CREATE INDEX early_orders_by_age ON early_orders (at);

-- `place` counts within a partition, so that the oldest entry is found without counting.
CREATE TABLE audit (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    partition INTEGER NOT NULL,
    place     INTEGER NOT NULL,
    run       TEXT    NOT NULL,
    json      TEXT    NOT NULL
);
CREATE UNIQUE INDEX audit_by_place ON audit (partition, place);
CREATE INDEX audit_by_run ON audit (run, seq);

CREATE TABLE workers (
    id      TEXT PRIMARY KEY,
    seen_at INTEGER NOT NULL,
    json    TEXT    NOT NULL
);
