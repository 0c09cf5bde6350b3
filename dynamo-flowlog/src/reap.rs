//! What a dead process left open, closed by the next.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use flowlog_schema::Time;
use flowlog_schema::flight;

use crate::emitter::Emitter;
use crate::flight::SUFFIX;

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
/// emitter, and removes the file. A flight file of a process that lives, or of another machine, is left alone.
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
    for path in paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == SUFFIX)) {
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

/// How many flows of a dead process were closed; `None` where it is not for this one to say.
fn reap_one(path: &Path, emitter: &Emitter) -> io::Result<Option<usize>> {
    let bytes = fs::read(path)?;
    let found = flight::read(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no whole flight file"))?;
    // Of another machine's processes nothing is known here.
    if found.boot != boot() || found.is_alive(&boot(), stat(found.process_id).as_deref()) {
        return Ok(None);
    }
    // Of several that look at once one gets it.
    let mut mine = path.to_owned().into_os_string();
    mine.push(format!(".{}", std::process::id()));
    match fs::rename(path, &mine) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        renamed => renamed?,
    }
    for open in &found.open {
        emitter.write_record(&found.closing(open));
    }
    fs::remove_file(&mine)?;
    Ok(Some(found.open.len()))
}

/// The moment.
pub(crate) fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Time(since.ok().and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0))
}

/// The machine's boot: a process's number means something until the next.
pub(crate) fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// What the system tells of a process.
fn stat(process: u64) -> Option<String> {
    fs::read_to_string(format!("/proc/{process}/stat")).ok()
}

/// When this process started, in ticks since the machine did.
pub(crate) fn started() -> Option<u64> {
    flight::started(&stat(std::process::id().into())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_of_this_process() {
        assert!(started().is_some_and(|ticks| ticks > 0));
        assert_eq!((stat(u64::MAX), boot().len()), (None, 36));
    }
}
