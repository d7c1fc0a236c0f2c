//! The text of a setting that is written as a file, or in place.

use std::fs;

/// Bytes of such a file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The text itself where it is YAML or JSON of a mapping in place, else that of the file of this path.
pub(super) fn text(setting: &str) -> Result<String, String> {
    let is_inline = setting.trim_start().starts_with('{') || setting.contains(['\n', '\r']);
    if is_inline { Ok(setting.to_owned()) } else { file(setting) }
}

fn file(path: &str) -> Result<String, String> {
    let unreadable = |error| format!("the file {path} cannot be read: {error}");
    if fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(format!("the file {path} is longer than {FILE_BYTES_MAX} bytes"));
    }
    fs::read_to_string(path).map_err(unreadable)
}
