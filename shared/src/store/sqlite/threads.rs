//! Threads: the run in flight, the queue behind it, and the head that holds the thread's state.

use rusqlite::{Connection, OptionalExtension, params};

use super::create;
use super::fault::{Naming, Result};
use super::run_row::RunRow;
use super::tx::Tx;
use crate::id::{RunId, Step, ThreadId};
use crate::store::Thread;

/// The run in flight on a thread; makes the thread if there is none.
pub(super) fn open(tx: &Tx<'_>, thread: &ThreadId) -> Result<Option<RunId>> {
    tx.conn.prepare_cached("INSERT OR IGNORE INTO threads (id) VALUES (?1)")?.execute([thread])?;
    active(tx.conn, thread)
}

fn active(conn: &Connection, thread: &ThreadId) -> Result<Option<RunId>> {
    let active = conn
        .prepare_cached("SELECT active FROM threads WHERE id = ?1")?
        .query_row([thread], |row| row.get(0))
        .optional()
        .naming(|| format!("thread {thread}"))?;
    Ok(active.flatten())
}

pub(super) fn set_active(tx: &Tx<'_>, thread: &ThreadId, run: Option<&RunId>) -> Result<()> {
    tx.conn.prepare_cached("UPDATE threads SET active = ?2 WHERE id = ?1")?.execute(params![thread, run])?;
    Ok(())
}

/// The checkpoint that holds a thread's state.
pub(super) fn head(tx: &Tx<'_>, thread: &ThreadId) -> Result<Option<(RunId, Step)>> {
    Ok(find(tx.conn, thread)?.and_then(|thread| thread.head))
}

/// The runs that wait for their turn, first come first.
pub(super) fn waiting(tx: &mut Tx<'_>, thread: &ThreadId) -> Result<Vec<RunId>> {
    tx.flush()?;
    queue(tx.conn, thread)
}

fn queue(conn: &Connection, thread: &ThreadId) -> Result<Vec<RunId>> {
    conn.prepare_cached("SELECT id FROM runs WHERE thread = ?1 AND waiting = 1 ORDER BY seq")?
        .query_map([thread], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()
        .naming(|| format!("the queue of thread {thread}"))
}

/// A run has ended: if it was in flight, it leaves its state to the thread, and the next one starts.
pub(super) fn hand_over(tx: &mut Tx<'_>, ended: &RunRow) -> Result<()> {
    let thread = &ended.thread;
    if active(tx.conn, thread)?.as_ref() != Some(&ended.key.id) {
        return Ok(());
    }
    if ended.life.take_back {
        set_head(tx, thread, ended.life.base.as_ref())?;
    } else if let Some(step) = ended.plan.last_checkpoint {
        set_head(tx, thread, Some(&(ended.key.id.clone(), step)))?;
    }
    tx.flush()?;
    let next: Option<RunId> = tx
        .conn
        .prepare_cached("SELECT id FROM runs WHERE thread = ?1 AND waiting = 1 ORDER BY seq LIMIT 1")?
        .query_row([thread], |row| row.get(0))
        .optional()
        .naming(|| format!("the queue of thread {thread}"))?;
    set_active(tx, thread, next.as_ref())?;
    next.map_or(Ok(()), |next| create::start(tx, &next))
}

fn set_head(tx: &Tx<'_>, thread: &ThreadId, head: Option<&(RunId, Step)>) -> Result<()> {
    tx.conn.prepare_cached("UPDATE threads SET head_run = ?2, head_step = ?3 WHERE id = ?1")?.execute(params![
        thread,
        head.map(|head| &head.0),
        head.map(|head| head.1)
    ])?;
    Ok(())
}

/// A thread as the store shows it.
pub(super) fn find(conn: &Connection, id: &ThreadId) -> Result<Option<Thread>> {
    let found = conn
        .prepare_cached("SELECT active, head_run, head_step FROM threads WHERE id = ?1")?
        .query_row([id], |row| {
            let (active, head_run, head_step): (_, Option<RunId>, Option<Step>) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(Thread { id: id.clone(), active, queue: Vec::new(), head: head_run.zip(head_step) })
        })
        .optional()
        .naming(|| format!("thread {id}"))?;
    let Some(thread) = found else { return Ok(None) };
    Ok(Some(Thread { queue: queue(conn, id)?, ..thread }))
}
