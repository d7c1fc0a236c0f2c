//! The processes below this one, as the kernel tells them.

use std::fs::{read_dir, read_to_string};

use nix::unistd::{Pid, getpid};

/// The children of a process.
pub(super) fn children_of(parent: Pid) -> Vec<Pid> {
    listed(parent).unwrap_or_else(|| searched(parent))
}

/// The children of this process.
pub(super) fn own_children() -> Vec<Pid> {
    children_of(getpid())
}

/// All that descends from this process. What is started meanwhile may lack.
pub(super) fn descendants() -> Vec<Pid> {
    let mut found = own_children();
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        let children = children_of(*parent);
        found.extend(children);
        next += 1;
    }
    found
}

/// The children as the kernel lists them by thread, where it was built to.
fn listed(parent: Pid) -> Option<Vec<Pid>> {
    let mut found = Vec::new();
    for thread in read_dir(format!("/proc/{parent}/task")).ok()?.flatten() {
        let text = match read_to_string(thread.path().join("children")) {
            Ok(text) => text,
            // The thread has ended, or the kernel has no such list.
            Err(_) if thread.path().exists() => return None,
            Err(_) => continue,
        };
        found.extend(text.split_ascii_whitespace().filter_map(|id| id.parse().ok()).map(Pid::from_raw));
    }
    Some(found)
}

/// The children, by the parent that each process names.
fn searched(parent: Pid) -> Vec<Pid> {
    let Ok(processes) = read_dir("/proc") else { return Vec::new() };
    let ids = processes.flatten().filter_map(|process| process.file_name().to_str()?.parse().ok());
    ids.map(Pid::from_raw).filter(|id| parent_of(*id) == Some(parent)).collect()
}

fn parent_of(id: Pid) -> Option<Pid> {
    let stat = read_to_string(format!("/proc/{id}/stat")).ok()?;
    // `pid (name) state parent …`: the name may have spaces and brackets in it; what follows the last bracket has neither.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(1)?.parse().ok().map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_is_found_by_both_ways() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let id = Pid::from_raw(child.id().cast_signed());
        assert!(searched(getpid()).contains(&id) && own_children().contains(&id) && descendants().contains(&id));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!searched(getpid()).contains(&id) && !own_children().contains(&id));
    }
}
