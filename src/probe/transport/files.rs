//! Small files that are read again and again: tokens, keys, certificates.

use std::io;
use std::path::Path;

use tokio::io::AsyncReadExt as _;

/// The whole file.
///
/// # Errors
///
/// It cannot be read, or is larger than `limit` bytes: then it is not what it was taken for.
pub(super) async fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    let read = file.take(limit + 1).read_to_end(&mut bytes).await?;
    if read as u64 > limit {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too large"))
    } else {
        Ok(bytes)
    }
}
