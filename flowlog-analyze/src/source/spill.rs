//! Storage for data that does not fit in memory: an unnamed file, written once and read by offset.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::read_full;

/// Unnamed file in the folder for temporary files (`TMPDIR`), created by the first write.
///
/// Clones made after that share it.
#[derive(Debug, Clone, Default)]
pub struct Spill {
    file: Option<Arc<File>>,
    size: u64,
}

impl Spill {
    /// Appends bytes. Returns the offset at which they begin.
    ///
    /// # Errors
    /// Returns the error of creating the file or writing to it, such as no folder for temporary
    /// files or no space. Nothing was appended then.
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

    /// Reads `length` bytes from the offset `begin`.
    ///
    /// # Errors
    /// Returns the error of reading, or `UnexpectedEof` if fewer bytes were written.
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
    fn appended_bytes_are_read_back() {
        let mut spill = Spill::default();
        assert!(spill.read(0, 1).is_err());
        assert_eq!(spill.append(b"one").unwrap(), 0);
        assert_eq!(spill.append(b"three").unwrap(), 3);
        assert_eq!(spill.clone().read(3, 5).unwrap(), b"three");
        assert_eq!(spill.read(0, 3).unwrap(), b"one");
        assert_eq!(spill.read(4, 5).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
