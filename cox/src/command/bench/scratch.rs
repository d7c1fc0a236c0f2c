//! A folder for the store's file, gone in the end with all that is in it.

use std::path::PathBuf;

use coxswain_shared::id::RunId;

use crate::exit::Exit;
use crate::failure::Failed;

/// The folder.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes it, for this user alone.
    pub(super) fn make() -> Result<Self, Failed> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = std::env::temp_dir().join(format!("cox-bench-{}", RunId::fresh()));
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(|error| {
            let message = format!("the folder {} cannot be made: {error}", path.display());
            Failed {
                remedy: Some("name a folder that can be written to: TMPDIR".to_owned()),
                ..Failed::bare(Exit::Usage, message)
            }
        })?;
        Ok(Self(path))
    }

    /// A store in it.
    pub(super) fn store(&self) -> String {
        format!("sqlite:{}", self.0.join("bench.db").display())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "a temporary folder could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_goes_with_all_that_is_in_it() {
        let scratch = Scratch::make().unwrap();
        let file = scratch.0.join("bench.db");
        std::fs::write(&file, "x").unwrap();
        assert_eq!(scratch.store(), format!("sqlite:{}", file.display()));
        let folder = scratch.0.clone();
        drop(scratch);
        assert!(!folder.exists());
    }
}
