//! What is known on this machine of attempts whose worker was killed. A supervisor that has ended all of an attempt, after
//! its worker was gone, leaves a file that says so. A later attempt of the task may then be sure that nothing of the
//! earlier one runs on; on another machine, or if the supervisor was killed as well, nobody can be.

use std::fs::{DirBuilder, File, read_dir, remove_file};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coxswain_shared::id::{Fence, RunId, TaskId};
use nix::unistd::getuid;

/// How long a file is kept. A task that is tried again later than this finds none, and its stop is not confirmed.
const KEPT: Duration = Duration::from_hours(24 * 7);

/// The name of an attempt's file. Ids have no blank and no slash in them.
pub(super) fn name_of(run: &RunId, task: &TaskId, fence: Fence) -> String {
    format!("{}{fence}", prefix(run, task))
}

fn prefix(run: &RunId, task: &TaskId) -> String {
    format!("{run}+{task}+").replace(['/', '\n'], "_")
}

/// Says that all of an attempt has ended.
pub(super) fn leave(name: &str) {
    let folder = folder();
    // One that is there belongs to this user, or the file cannot be made; then a later attempt is not sure, which is true.
    let _ = DirBuilder::new().mode(0o700).create(&folder);
    let _ = File::create(folder.join(name));
}

/// How many earlier attempts of a task are known to have ended on this machine.
pub(super) fn count(run: &RunId, task: &TaskId) -> usize {
    count_in(&folder(), &prefix(run, task))
}

fn count_in(folder: &Path, prefix: &str) -> usize {
    let files = read_dir(folder).into_iter().flatten().flatten();
    files.filter(|file| file.file_name().to_string_lossy().starts_with(prefix)).count()
}

/// Removes files that nobody will ask for any more.
pub(super) fn forget_old() {
    for file in read_dir(folder()).into_iter().flatten().flatten() {
        let age = file.metadata().and_then(|data| data.modified()).ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > KEPT) {
            let _ = remove_file(file.path());
        }
    }
}

/// Of this user, on this machine: whatever folder the attempt is told to use for its own files.
fn folder() -> PathBuf {
    PathBuf::from(format!("/tmp/coxswain-{}", getuid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attempts_of_one_task_are_counted_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["r+1:a:0+3", "r+1:a:0+7", "r+1:a:01+3", "r2+1:a:0+3"] {
            File::create(folder.path().join(name)).unwrap();
        }
        let (run, task) = (RunId::new("r").unwrap(), "1:a:0".parse().unwrap());
        assert_eq!(name_of(&run, &task, Fence::new(7)), "r+1:a:0+7");
        assert_eq!(count_in(folder.path(), &prefix(&run, &task)), 2);
        assert_eq!(count_in(&folder.path().join("none"), "r"), 0);
    }
}
