//! Opens a connection: checks that the file is ours and of this version, and makes its tables where it is new.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use super::config::SqliteConfig;
use super::fault::from_sql_at_the_start;
use super::files;
use crate::store::Error;

/// The version of `schema.sql`.
pub(super) const SCHEMA_VERSION: u32 = 2;

/// Marks a file as ours: "coxs" in ASCII.
const APPLICATION_ID: i32 = 0x636f_7873;

/// What was added to version 1: tables that older builds neither need nor touch, and whose rows may be missing.
const ADDED: &str = "CREATE TABLE IF NOT EXISTS ends (
    status TEXT    NOT NULL,
    cause  TEXT    NOT NULL, -- of the stop order; empty without one
    count  INTEGER NOT NULL,
    PRIMARY KEY (status, cause)
) WITHOUT ROWID;
-- Stop orders to single tasks.
CREATE TABLE IF NOT EXISTS task_orders (
    task INTEGER PRIMARY KEY REFERENCES tasks (seq) ON DELETE CASCADE,
    json TEXT NOT NULL
);
-- Groups of tasks that are not decided yet: the items of a node from `first` to below `upto`.
CREATE TABLE IF NOT EXISTS task_groups (
    run       INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
    step      INTEGER NOT NULL,
    node      TEXT    NOT NULL,
    first     INTEGER NOT NULL,
    upto      INTEGER NOT NULL,
    following INTEGER NOT NULL, -- from here on the next pending item is looked for
    need      INTEGER, -- successes that are needed still
    may_fail  INTEGER -- failures that are allowed still
);
-- How pools are judged, for as long as it holds.
CREATE TABLE IF NOT EXISTS pool_loads (
    pool  TEXT    PRIMARY KEY,
    until INTEGER NOT NULL,
    json  TEXT    NOT NULL
) WITHOUT ROWID;
-- What runs have spent at models: those that have.
CREATE TABLE IF NOT EXISTS run_spend (
    run  INTEGER PRIMARY KEY REFERENCES runs (seq) ON DELETE CASCADE,
    json TEXT NOT NULL
);
-- What attempts that go on have spent so far, by the fence of their lease: those that have.
CREATE TABLE IF NOT EXISTS task_spend (
    task  INTEGER PRIMARY KEY REFERENCES tasks (seq) ON DELETE CASCADE,
    fence INTEGER NOT NULL,
    json  TEXT    NOT NULL
);
-- The operators' policies, and what they count: how much was used in one part of a window, as JSON.
CREATE TABLE IF NOT EXISTS policies (
    name TEXT PRIMARY KEY,
    json TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meters (
    policy  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    part    INTEGER NOT NULL, -- the length of a part in milliseconds
    number  INTEGER NOT NULL,
    ends_at INTEGER NOT NULL, -- when it has left the window
    used    TEXT    NOT NULL,
    PRIMARY KEY (policy, subject, part, number)
);
CREATE INDEX IF NOT EXISTS meters_by_end ON meters (ends_at);
-- How often upstreams are called, and their breakers, for as long as that matters.
CREATE TABLE IF NOT EXISTS upstream_rates (
    upstream  TEXT PRIMARY KEY,
    arrival   INTEGER NOT NULL, -- theoretical, in microseconds
    forget_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS upstream_breakers (
    upstream  TEXT PRIMARY KEY,
    json      TEXT    NOT NULL,
    forget_at INTEGER NOT NULL
) WITHOUT ROWID;
-- The priorities of runs: those that are not normal.
CREATE TABLE IF NOT EXISTS run_priorities (
    run      INTEGER PRIMARY KEY REFERENCES runs (seq) ON DELETE CASCADE,
    priority TEXT NOT NULL
);
-- Runs whose own budget names a cost.
CREATE TABLE IF NOT EXISTS run_cost_limits (
    run INTEGER PRIMARY KEY REFERENCES runs (seq) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS task_groups_by_place ON task_groups (run, step, node, first);";

/// How often a file that another process is just setting up is tried, each time for the whole `busy_timeout`.
const SETUP_ATTEMPTS: u32 = 3;

/// Prepared statements that a connection keeps: more than there are.
const STATEMENTS_MAX: usize = 256;

/// Opens the connection that writes, and sets the file up. Answers it with the file's number of partitions.
pub(super) fn open_writer(config: &SqliteConfig) -> Result<(Connection, u16), Error> {
    let place = config.place();
    if let Some(path) = &config.path {
        check_kind(path, &place)?;
    }
    let mut attempt = 1;
    loop {
        match set_up(config, &place) {
            Err(Error::Unavailable { .. }) if attempt < SETUP_ATTEMPTS => attempt += 1,
            done => return done,
        }
    }
}

/// Opens a connection that only reads, to a file that `open_writer` has set up.
pub(super) fn open_reader(config: &SqliteConfig, path: &Path) -> Result<Connection, Error> {
    let open = || {
        let conn =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        tune(&conn, config)?;
        Ok(conn)
    };
    open().map_err(|error| from_sql_at_the_start(&error, &config.place()))
}

fn set_up(config: &SqliteConfig, place: &str) -> Result<(Connection, u16), Error> {
    let refuse = |error| from_sql_at_the_start(&error, place);
    let mut conn = match &config.path {
        // Where it cannot be made, opening it says why.
        Some(path) => {
            let _ = files::make_file(path);
            Connection::open(path)
        }
        None => Connection::open_in_memory(),
    }
    .map_err(refuse)?;
    tune(&conn, config).map_err(refuse)?;
    check_version(&conn, place)?;
    conn.pragma_update(None, "journal_mode", "WAL").map_err(refuse)?;
    // A call that was answered is on the disk, whatever happens to the machine.
    conn.pragma_update(None, "synchronous", "FULL").map_err(refuse)?;
    let partitions = make_tables(&mut conn, config.partitions.max(1)).map_err(refuse)?;
    Ok((conn, partitions))
}

fn tune(conn: &Connection, config: &SqliteConfig) -> rusqlite::Result<()> {
    conn.busy_timeout(config.busy_timeout)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    // In KiB, hence negative: 32 MiB.
    conn.pragma_update(None, "cache_size", -32 * 1024)
}

/// SQLite would make a file of any name into its own if it is empty, and say little about anything that is no file.
fn check_kind(path: &Path, place: &str) -> Result<(), Error> {
    if path.is_dir() {
        let why = "it is a folder: name a file in it".to_owned();
        return Err(Error::Unsuitable { place: place.to_owned(), why });
    }
    Ok(())
}

/// Refuses a file of another program, and one of a newer version of this one.
fn check_version(conn: &Connection, place: &str) -> Result<(), Error> {
    let refuse = |error| from_sql_at_the_start(&error, place);
    let unsuitable = |why: String| Err(Error::Unsuitable { place: place.to_owned(), why });
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(refuse)?;
    let application: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(refuse)?;
    let version: u32 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(refuse)?;
    if tables > 0 && application != APPLICATION_ID {
        return unsuitable("it is the database of another program: name another file".to_owned());
    }
    if tables > 0 && version < SCHEMA_VERSION {
        return unsuitable(format!(
            "its schema has version {version}, this build knows {SCHEMA_VERSION} alone: go on with the earlier build, or name another \
             file; to begin anew, remove this one"
        ));
    }
    if version > SCHEMA_VERSION {
        return unsuitable(format!(
            "its schema has version {version}, this build knows {SCHEMA_VERSION}: use the newer build that wrote it, or another file"
        ));
    }
    Ok(())
}

/// Makes the tables unless another process has; answers the number of partitions that the file has.
fn make_tables(conn: &mut Connection, partitions: u16) -> rusqlite::Result<u16> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: u32 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == 0 {
        tx.execute_batch(include_str!("schema.sql"))?;
        tx.execute("INSERT INTO settings (name, value) VALUES ('partitions', ?1)", [partitions.to_string()])?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    tx.execute_batch(ADDED)?;
    let kept: Option<String> =
        tx.query_row("SELECT value FROM settings WHERE name = 'partitions'", [], |row| row.get(0)).optional()?;
    tx.commit()?;
    Ok(kept.and_then(|text| text.parse().ok()).unwrap_or(partitions))
}
