//! Mapped files with disk space reserved before anything is written.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::FallocateFlags;

/// Creates and maps a file that must not exist yet. If the disk has no space for `length` bytes, no
/// file is left behind.
pub(crate) fn make(path: &Path, length: u64) -> io::Result<(File, MmapRaw)> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    // Accessing a mapped page that finds no space on the disk raises SIGBUS.
    let capacity =
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, length).map_err(io::Error::from);
    match capacity.and_then(|()| MmapOptions::new().map_raw(&file)) {
        Ok(map) => Ok((file, map)),
        Err(error) => {
            let _ = fs::remove_file(path);
            Err(error)
        }
    }
}
