//! The one table of all programs' variables, by name.
//!
//! Each program accepts those of all: one environment, or one file, serves a whole fleet. What a variable means stands
//! beside the component that reads it; tests hold this table against what each program reads and lists, and against the
//! names in code and docs (`tests/tests/tidy.rs`).

/// The variables that some program reads, in order.
pub const NAMES: [&str; 51] = [
    "COX_ADVANCERS",
    "COX_ADVANCE_BATCH",
    "COX_ADVANCE_HOLD",
    "COX_BROKER",
    "COX_BROKER_BACKOFF_MAX",
    "COX_BROKER_BACKOFF_MIN",
    "COX_BROKER_DELIVERY_LIMIT",
    "COX_BROKER_PUBLISH_TIMEOUT",
    "COX_BROKER_QUEUE_EXPIRES",
    "COX_BROKER_QUEUE_LENGTH_MAX",
    "COX_BROKER_QUEUE_PREFIX",
    "COX_BROKER_TLS_CA",
    "COX_CONFIG",
    "COX_CRASH_POINT",
    "COX_DRAIN_GRACE",
    "COX_EXEC_CPU",
    "COX_EXEC_ENV",
    "COX_EXEC_FILES",
    "COX_EXEC_FILE_SIZE",
    "COX_EXEC_MEMORY",
    "COX_EXEC_PROCESSES",
    "COX_HEARTBEAT",
    "COX_HTTP",
    "COX_KINDS",
    "COX_KNOWN_POOLS",
    "COX_LEASE_TTL",
    "COX_LOG",
    "COX_LOG_FORMAT",
    "COX_OUTSIDE_ALLOW",
    "COX_OVERLOAD_BACKLOG",
    "COX_OVERLOAD_QUEUE_AGE",
    "COX_OVERLOAD_SHED_AFTER",
    "COX_POLL",
    "COX_POOLS",
    "COX_PRICES",
    "COX_RESEND_AFTER",
    "COX_RETENTION",
    "COX_SECRETS",
    "COX_SECRETS_DIR",
    "COX_SLOTS",
    "COX_STORE",
    "COX_STORE_PREFIX",
    "COX_STORE_TLS_CA",
    "COX_STUCK_MAX",
    "COX_SWEEP_BATCH",
    "COX_SWEEP_EVERY",
    "COX_UPSTREAMS",
    "COX_WARM_IDLE",
    "COX_WARM_START",
    "COX_WORKER_ID",
    "COX_WORK_THREADS",
];

/// Variables that are no settings of a program, and that it may find in its environment all the same: how it hands its own
/// variables to itself, what an `exec` node
/// gives its process, which may call `cox`, and the ports of `scripts/model-servers`.
const BESIDE: [&str; 14] = [
    "COX_ATTEMPT",
    "COX_CHROMA_PORT",
    "COX_DEADLINE_AT",
    "COX_DEADLINE_MS",
    "COX_FENCE",
    "COX_GRACE_MS",
    "COX_HANDED_OVER",
    "COX_IDEMPOTENCY_KEY",
    "COX_ITEM",
    "COX_MODEL_PORT",
    "COX_NODE",
    "COX_PROCESS_MARK",
    "COX_RUN",
    "COX_TASK",
];

/// How the variables begin by which an `exec` node tells its process of channels and of an item's fields.
const BESIDE_PREFIXES: [&str; 2] = ["COX_STATE_", "COX_ITEM_"];

/// Whether it is a setting of some program, or one that may stand beside them.
pub fn is_known(name: &str) -> bool {
    let is_beside = || BESIDE.contains(&name) || BESIDE_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    NAMES.binary_search(&name).is_ok() || is_beside()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_finds_each_name() {
        assert!(NAMES.is_sorted(), "names are looked up by halves");
        assert!(NAMES.into_iter().all(is_known) && !is_known("COX_SLOT"));
        assert!(is_known("COX_RUN") && is_known("COX_STATE_NAME") && !is_known("COX_STATES"));
    }
}
