//! Messages between a program and its processes: a length in four bytes, then so many bytes of JSON.

use std::io::{self, Read, Write};

/// The longest message: a whole state, with every byte of it escaped.
pub(super) const FRAME_BYTES_MAX: usize = 6 * crate::limits::STATE_BYTES_MAX + 1024 * 1024;

/// Writes a message.
pub(super) fn write(to: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(|_| too_long(message.len()))?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(message)?;
    to.flush()
}

/// Reads a message; nothing where the other end has closed.
pub(super) fn read(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Err(too_long(length));
    }
    let mut message = vec![0; length];
    from.read_exact(&mut message)?;
    Ok(Some(message))
}

fn too_long(length: usize) -> io::Error {
    io::Error::other(format!("a message of {length} bytes, more than {FRAME_BYTES_MAX}"))
}
