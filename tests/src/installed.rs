//! Finding the servers' programs. A missing one fails the test with its remedy; it never skips it.

use std::path::{Path, PathBuf};

/// Where Debian keeps the broker's own scripts; those in the `PATH` switch to another user.
const RABBITMQ_FOLDERS: &[&str] = &["/usr/lib/rabbitmq/bin"];

/// Where Debian keeps servers that a plain user's `PATH` may lack.
const SYSTEM_FOLDERS: &[&str] = &["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// Returns the path of `redis-server`.
pub fn redis_server() -> PathBuf {
    program("redis-server", "redis-server", &[])
}

/// Returns the path of one of the broker's programs: `rabbitmq-server`, `rabbitmqctl`.
pub fn rabbitmq(name: &str) -> PathBuf {
    program(name, "rabbitmq-server", RABBITMQ_FOLDERS)
}

/// Returns the path of Erlang's port mapper, which comes with the broker.
pub fn epmd() -> PathBuf {
    program("epmd", "rabbitmq-server", &[])
}

/// Returns the path of `prometheus`.
pub fn prometheus() -> PathBuf {
    program("prometheus", "prometheus", &[])
}

/// Returns the path of `promtool`, which comes with Prometheus.
pub fn promtool() -> PathBuf {
    program("promtool", "prometheus", &[])
}

/// Returns the folder that `scripts/model-servers` installs a small model and its servers into.
pub fn models() -> PathBuf {
    let cache = ["XDG_CACHE_HOME", "HOME"].into_iter().find_map(|name| Some((name, std::env::var_os(name)?)));
    let cache = match cache {
        Some(("HOME", home)) => PathBuf::from(home).join(".cache"),
        Some((_, cache)) => PathBuf::from(cache),
        None => PathBuf::from("/tmp/.cache"),
    };
    let folder = cache.join("coxswain/models");
    assert!(
        folder.join("installed").is_file(),
        "the model's servers are not installed, and live tests are never skipped: run `scripts/model-servers --install`, \
         or `scripts/test`, which does"
    );
    folder
}

/// Looks in the preferred folders, then the `PATH`, then the system's; panics with the remedy.
fn program(name: &str, package: &str, preferred: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let preferred = preferred.iter().map(PathBuf::from);
    let system = SYSTEM_FOLDERS.iter().map(PathBuf::from);
    preferred
        .chain(std::env::split_paths(&path))
        .chain(system)
        .map(|folder| folder.join(name))
        .find(|file| is_program(file))
        .unwrap_or_else(|| {
            panic!(
                "{name} is not installed, and live tests are never skipped: run `apt-get install {package}`, or \
                 `scripts/test`, which installs it"
            )
        })
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "run `apt-get install no-such-package`")]
    fn a_missing_program_names_its_remedy() {
        program("no-such-program", "no-such-package", &[]);
    }
}
