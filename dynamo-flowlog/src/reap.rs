//! What a dead process left open, closed by the next.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use flowlog_schema::flight::{self, Flight, OpenFlow};
use flowlog_schema::{Clock, ErrorInfo, Event, Level, Record, Time};

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
    if found.boot != boot() || is_alive(found.process_id, found.started) {
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
        emitter.write_record(closing(&found, open));
    }
    fs::remove_file(&mine)?;
    Ok(Some(found.open.len()))
}

/// The record that closes a dead process's flow, in its name.
fn closing<'a>(dead: &'a Flight<'_>, open: &'a OpenFlow<'_>) -> Record<'a> {
    let mut record = Record::new(dead.component, Event::Fail);
    record.time = Some(open.time);
    record.level = Some(Level::Error);
    record.instance = Some(dead.instance).filter(|name| !name.is_empty()).map(Into::into);
    record.flow_id = Some(open.flow_id);
    record.flow = Some(open.kind).filter(|kind| !kind.is_empty()).map(Into::into);
    record.state = Some(open.state).filter(|state| !state.is_empty()).map(Into::into);
    record.span_id = Some(open.span_id);
    record.parent_id = open.parent_id;
    record.clock = Some(Clock(open.clock.0.saturating_add(1)));
    let versions: serde_json::Map<String, serde_json::Value> = serde_json::from_str(dead.versions).unwrap_or_default();
    record.versions =
        versions.into_iter().filter_map(|(name, version)| Some((name.into(), version.as_str()?.to_owned().into()))).collect();
    let how = if dead.ended { "ended" } else { "was killed" };
    record.error = Some(ErrorInfo {
        kind: "process_killed".into(),
        message: format!("the process {how} while this was open (process {})", dead.process_id).into(),
        causes: Vec::new(),
    });
    record
}

/// The time of the last record that a dead process's flow has.
pub(crate) fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Time(since.ok().and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0))
}

/// The machine's boot: a process's number means something until the next.
pub(crate) fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// When a process started, in ticks since the machine did; none where there is no such process.
pub(crate) fn started(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the program's name, in brackets, with whatever it holds.
    let (_, rest) = stat.rsplit_once(')')?;
    // A zombie has ended.
    let mut fields = rest.split_ascii_whitespace();
    if matches!(fields.next(), None | Some("Z" | "X")) {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn is_alive(process: u64, since: u64) -> bool {
    u32::try_from(process).ok().and_then(started) == Some(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_one_that_was_here_before_does_not() {
        let own = std::process::id();
        let since = started(own).unwrap();
        assert!(is_alive(own.into(), since) && !is_alive(own.into(), since + 1));
        assert_eq!((started(u32::MAX), boot().len()), (None, 36));
    }
}
