//! What a dead process left open, closed by the next.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use flowlog_schema::flight::{self, Flight};
use flowlog_schema::{Event, Level, Record};

use crate::emitter::Emitter;
use crate::flight::SUFFIX;
use crate::system::{boot, now};

/// What was found of dead processes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Flight files of processes that are no more.
    pub processes: usize,
    /// Flows that they had open, each closed with a `fail` record of error type `process_killed`.
    pub flows: usize,
    /// Files that could not be read, and why.
    pub unread: Vec<(PathBuf, String)>,
}

/// Closes the flows of every process that died and left its flight file in a folder: in the dead one's name, with this process's
/// emitter, with what it lost and had no time to say, and removes the file, and with it the process's last records: whoever wants to
/// read those does so before. A flight file of a process that lives, or of another machine, is left alone.
///
/// An emitter with a [flight file](crate::Builder::flight) does that by itself when it is installed.
///
/// # Errors
/// Whatever reading the folder says. A folder that is not there holds nothing.
pub fn reap(folder: &Path, emitter: &Emitter) -> io::Result<Reaped> {
    let mut reaped = Reaped::default();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(reaped),
        entries => entries?,
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths.into_iter().filter(|path| is_flight(path)) {
        match reap_one(&path, emitter) {
            Ok(None) => {}
            Ok(Some(flows)) => {
                reaped.processes += 1;
                reaped.flows += flows;
            }
            Err(error) => reaped.unread.push((path, error.to_string())),
        }
    }
    Ok(reaped)
}

/// Whether it is named as a flight file.
fn is_flight(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == SUFFIX)
}

/// How many flows of a dead process were closed; `None` where it is not for this one to say.
fn reap_one(path: &Path, emitter: &Emitter) -> io::Result<Option<usize>> {
    let mut file = File::open(path)?;
    // One that is being made is not locked yet, and must not be locked by anybody else.
    let mut magic = [0; flight::MAGIC.len()];
    if file.read_exact_at(&mut magic, 0).is_err() || magic != *flight::MAGIC {
        return Err(not_whole());
    }
    // Its process holds the lock as long as it lives, wherever it does; of several that look at once one gets it.
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let found = flight::read(&bytes).ok_or_else(not_whole)?;
    // Of another machine's processes nothing is known here; and one that another reaped is gone from its name.
    if found.boot != boot()
        || !fs::metadata(path)
            .is_ok_and(|named| file.metadata().is_ok_and(|own| own.ino() == named.ino()))
    {
        return Ok(None);
    }
    let unsaid = Some(found.unsaid).filter(|unsaid| *unsaid > 0).map(|unsaid| lost(&found, unsaid));
    let closings = found.open.iter().map(|open| found.closing(open));
    let refused =
        unsaid.into_iter().chain(closings).filter(|record| !emitter.write_record(record)).count();
    // What the sink did not take now, the next process tells once more.
    if refused > 0 {
        return Err(io::Error::new(
            io::ErrorKind::WriteZero,
            format!("the sink did not take {refused} records about it"),
        ));
    }
    fs::remove_file(path)?;
    Ok(Some(found.open.len()))
}

fn not_whole() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no whole flight file")
}

/// What a dead process lost and had no time to say, in its name.
fn lost<'a>(dead: &'a Flight<'_>, count: u64) -> Record<'a> {
    let mut record = Record::new(dead.component, Event::Lost);
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
    fn many_that_start_at_once_leave_each_others_files_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..30 {
                        drop(
                            Emitter::builder("worker")
                                .sink(Sink::Nothing)
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
