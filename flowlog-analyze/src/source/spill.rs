//! What does not fit in memory: a file without a name, written once and read again by place.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::read_full;

/// A nameless file in the folder for temporary files (`TMPDIR`), made when it is first written to. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Spill {
    file: Option<Arc<File>>,
    size: u64,
}

impl Spill {
    /// Writes bytes behind all others; where they begin.
    ///
    /// # Errors
    /// Whatever making the file and writing to it say: no folder for temporary files, no space. Nothing was added then.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(Arc::new(tempfile::tempfile()?)),
        };
        file.write_all_at(bytes, self.size)?;
        let begin = self.size;
        self.size += bytes.len() as u64;
        Ok(begin)
    }

    /// Reads bytes that were written there.
    ///
    /// # Errors
    /// Whatever reading says; `UnexpectedEof` where fewer bytes were written.
    pub fn read(&self, begin: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let filled = match &self.file {
            Some(file) => read_full(file, begin, &mut bytes)?,
            None => 0,
        };
        if filled < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let mut spill = Spill::default();
        assert!(spill.read(0, 1).is_err());
        assert_eq!(spill.append(b"one").unwrap(), 0);
        assert_eq!(spill.append(b"three").unwrap(), 3);
        assert_eq!(spill.clone().read(3, 5).unwrap(), b"three");
        assert_eq!(spill.read(0, 3).unwrap(), b"one");
        assert_eq!(spill.read(4, 5).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
