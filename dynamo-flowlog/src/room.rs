//! Files that are mapped: their room is on the disk before anybody writes to it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::FallocateFlags;

/// Makes a file that is not there yet, and maps it. Where there is no room for so many bytes there is no file.
pub(crate) fn make(path: &Path, length: u64) -> io::Result<(File, MmapRaw)> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    // A page of a file that finds no room on the disk is a SIGBUS.
    let room =
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, length).map_err(io::Error::from);
    match room.and_then(|()| MmapOptions::new().map_raw(&file)) {
        Ok(map) => Ok((file, map)),
        Err(error) => {
            let _ = fs::remove_file(path);
            Err(error)
        }
    }
}
