//! Closes the flows that a dead process left open.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use flowlog_schema::flight::{self, Flight};
use flowlog_schema::{EventKind, Level, Record};

use crate::emitter::Emitter;
use crate::flight::SUFFIX;
use crate::platform::{boot, now};

/// Result of recovering the flight files of dead processes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Flight files of dead processes.
    pub processes: usize,
    /// Flows that those processes had open, each closed with a `fail` record of error type
    /// `process_killed`.
    pub flows: usize,
    /// Files that could not be read or reported, with the reason.
    pub read_errors: Vec<(PathBuf, String)>,
}

/// Closes the flows of every dead process that left its flight file in a folder.
///
/// This process's emitter writes the records in the name of the dead process, including one for
/// losses that the dead process did not report. The file is then deleted, and with it the last
/// records of the dead process, so read those first if they are needed. Flight files of processes
/// that are alive, or that ran on another machine, are left untouched.
///
/// An emitter with a [flight file](crate::Builder::flight) does this itself when it is set up.
///
/// # Errors
/// Returns any error from reading the folder. A folder that does not exist counts as empty.
pub fn recover(folder: &Path, emitter: &Emitter) -> io::Result<Recovered> {
    let mut recovered = Recovered::default();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(recovered),
        entries => entries?,
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths.into_iter().filter(|path| is_flight(path)) {
        match recover_one(&path, emitter) {
            Ok(None) => {}
            Ok(Some(flows)) => {
                recovered.processes += 1;
                recovered.flows += flows;
            }
            Err(error) => recovered.read_errors.push((path, error.to_string())),
        }
    }
    Ok(recovered)
}

/// Returns whether the path has the extension of a flight file.
fn is_flight(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == SUFFIX)
}

/// Closes the flows of one dead process and returns their number; `None` if the file is not for
/// this process to recover.
fn recover_one(path: &Path, emitter: &Emitter) -> io::Result<Option<usize>> {
    let mut file = File::open(path)?;
    // A file that is still being created is not locked yet, and no other process may lock it.
    let mut magic = [0; flight::MAGIC.len()];
    if file.read_exact_at(&mut magic, 0).is_err() || magic != *flight::MAGIC {
        return Err(not_whole());
    }
    // The owner holds the lock for as long as it lives, in whichever namespace. Of several
    // concurrent reapers, one gets the lock.
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let found = flight::read(&bytes).ok_or_else(not_whole)?;
    // Nothing is known here about processes of another machine, and the path of a file that another
    // process has recovered no longer names that file.
    if found.boot != boot()
        || !fs::metadata(path)
            .is_ok_and(|named| file.metadata().is_ok_and(|own| own.ino() == named.ino()))
    {
        return Ok(None);
    }
    let unreported_lost = Some(found.unreported_lost)
        .filter(|unreported_lost| *unreported_lost > 0)
        .map(|unreported_lost| lost(&found, unreported_lost));
    let closings = found.open.iter().map(|open| found.closing_record(open));
    let refused = unreported_lost
        .into_iter()
        .chain(closings)
        .filter(|record| !emitter.write_record(record))
        .count();
    // If the sink rejected any record, the file stays, and the next process writes the records
    // again.
    if refused > 0 {
        return Err(io::Error::new(
            io::ErrorKind::WriteZero,
            format!("the sink rejected {refused} records about the dead process"),
        ));
    }
    fs::remove_file(path)?;
    Ok(Some(found.open.len()))
}

fn not_whole() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "incomplete flight file")
}

/// Returns the `lost` record, in the name of a dead process, for losses that it did not report.
fn lost<'a>(dead: &'a Flight<'_>, count: u64) -> Record<'a> {
    let mut record = Record::new(dead.component, EventKind::Lost);
    record.time = Some(now());
    record.level = Some(Level::Warn);
    record.instance = Some(dead.instance).filter(|name| !name.is_empty()).map(Into::into);
    record.fields = vec![("count".into(), count.into())];
    record
}

#[cfg(test)]
mod tests {
    use crate::{Emitter, Sink};

    #[test]
    fn concurrent_starts_do_not_reap_live_flight_files() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..30 {
                        drop(
                            Emitter::builder("worker")
                                .sink(Sink::Discard)
                                .flight(folder.path())
                                .build()
                                .unwrap(),
                        );
                    }
                });
            }
        });
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
