//! Who may read a store's files: their owner alone, whatever the umask is. They hold what graphs were given and what came of it.

use std::fs::{DirBuilder, OpenOptions, Permissions, set_permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// The folder of the store where none is set. It is the project's own, with all that is in it.
const OWN_FOLDER: &str = ".cox";
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Makes the folder of a store's file, if there is none. One that is the project's own is closed to others.
pub(crate) fn make_folder(file: &Path) -> io::Result<()> {
    let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
    if folder.file_name().is_some_and(|name| name == OWN_FOLDER) { close_folder(folder) } else { Ok(()) }
}

/// Makes a store's file, if there is none: the files that are made beside it later have its permissions.
pub(super) fn make_file(file: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(file) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Takes from others what they may do with a folder and its files. Another user's files stay as they are.
fn close_folder(folder: &Path) -> io::Result<()> {
    close(folder, FOLDER_MODE)?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // A file may have gone since.
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            close(&entry.path(), FILE_MODE)?;
        }
    }
    Ok(())
}

fn close(path: &Path, mode: u32) -> io::Result<()> {
    let closed = std::fs::metadata(path).and_then(|found| {
        let is_open = found.permissions().mode() & 0o077 != 0;
        if is_open { set_permissions(path, Permissions::from_mode(mode)) } else { Ok(()) }
    });
    match closed {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::store::sqlite::{SqliteConfig, SqliteStore};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_the_project_made_is_its_owners_alone_also_if_it_was_open_before() {
        let desk = tempfile::tempdir().unwrap();
        let (folder, file) = (desk.path().join(".cox"), desk.path().join(".cox/cox.db"));
        for round in 0..2 {
            make_folder(&file).unwrap();
            let store = SqliteStore::open(SqliteConfig::file(&file)).unwrap();
            let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert!(names.len() >= 3, "the file, and the two beside it: {names:?}");
            assert_eq!((mode(&folder), names.iter().map(|name| mode(name)).max()), (0o700, Some(0o600)), "{round}");
            drop(store);
            set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
            for name in names.iter().filter(|name| name.exists()) {
                set_permissions(name, Permissions::from_mode(0o644)).unwrap();
            }
        }
    }

    #[test]
    fn a_folder_of_the_users_own_stays_as_it_is_and_a_new_file_in_it_is_closed() {
        let desk = tempfile::tempdir().unwrap();
        set_permissions(desk.path(), Permissions::from_mode(0o755)).unwrap();
        let file = desk.path().join("mine.db");
        make_folder(&file).unwrap();
        drop(SqliteStore::open(SqliteConfig::file(&file)).unwrap());
        assert_eq!((mode(desk.path()), mode(&file)), (0o755, 0o600));
    }
}
