//! Process exits as the parent reports them: shells, CI runners, Compose, Slurm, MPI.

use flowlog_schema::Level;

use super::plain::{beginning, leveled};
use super::{EventStart, Example, LogFormat};
use crate::event::ParsedEvent;

/// Lines that report the exit of a process.
pub(super) const EXIT_STATUS: LogFormat = LogFormat {
    name: "exit_status",
    classify_start: |line| read(beginning(line, 256)).map(|_| EventStart::Whole),
    read,
    examples: &[
        Example {
            text: "##[error]Process completed with exit code 1.",
            expected: "ERROR ##[error]Process completed with exit code 1.",
        },
        Example {
            text: "worker-1 exited with code 137",
            expected: "ERROR worker-1 exited with code 137",
        },
        Example {
            text: "frontend-1 exited with code 0",
            expected: "INFO frontend-1 exited with code 0",
        },
        Example {
            text: "command terminated with exit code 137",
            expected: "ERROR command terminated with exit code 137",
        },
        Example {
            text: "srun: error: gpu-1: task 0: Exited with exit code 1",
            expected: "ERROR srun: error: gpu-1: task 0: Exited with exit code 1",
        },
        Example {
            text: "slurmstepd: error: *** STEP 1.0 ON gpu-1 CANCELLED AT 2025-11-22T08:27:15 ***",
            expected: "ERROR slurmstepd: error: *** STEP 1.0 ON gpu-1 CANCELLED AT 2025-11-22T08:27:15 ***",
        },
        Example {
            text: "make: *** [Makefile:3: test] Error 2",
            expected: "ERROR make: *** [Makefile:3: test] Error 2",
        },
        Example {
            text: "Main process exited, code=exited, status=137/n/a",
            expected: "ERROR Main process exited, code=exited, status=137/n/a",
        },
        Example { text: "rc=139", expected: "ERROR rc=139" },
        Example {
            text: "mpirun noticed that process rank 0 with PID 7 on node x exited on signal 9 (Killed).",
            expected: "ERROR mpirun noticed that process rank 0 with PID 7 on node x exited on signal 9 (Killed).",
        },
        Example {
            text: "MPI_ABORT was invoked on rank 0 in communicator MPI_COMM_WORLD",
            expected: "ERROR MPI_ABORT was invoked on rank 0 in communicator MPI_COMM_WORLD",
        },
    ],
};

/// Phrases before the exit code.
const CODES: [&str; 9] = [
    "Process completed with exit code ",
    "exited with code ",
    "terminated with exit code ",
    "Job failed: exit code ",
    "Exited with exit code ",
    "returned non-zero exit status ",
    "Task exit code: ",
    "returned a non-zero code: ",
    "code=exited, status=",
];

const LAUNCHERS: [&str; 8] = [
    "srun: ",
    "slurmstepd: ",
    "sbatch: ",
    "salloc: ",
    "mpirun noticed that ",
    "prterun noticed that ",
    "MPI_ABORT was invoked ",
    "ERROR: Job failed: ",
];

fn read(text: &str) -> Option<ParsedEvent<'_>> {
    let first = text.lines().next()?;
    // Each of the phrases has one of these words, and few other lines do.
    let may_have_code = first.contains("code") || first.contains("status");
    let code = CODES.iter().filter(|_| may_have_code).find_map(|words| {
        let (before, after) = first.split_once(words)?;
        // Prose about exit codes has more text before the number than a name.
        (before.len() < 80 && !before.contains(": ")
            || words.ends_with('=')
            || words.contains("non-zero code")
            || before.starts_with("srun: ")
            || before.starts_with("ERROR: "))
        .then_some(after)
    });
    let code =
        code.or_else(|| first.strip_prefix("rc=")).map(|after| after.trim_end_matches('.').trim());
    let number = code
        .and_then(|code| code.split([' ', ')', '.', '/']).next())
        .and_then(|code| code.parse::<i32>().ok());
    let launcher = LAUNCHERS.iter().any(|word| first.starts_with(word));
    let make = first.starts_with("make: *** [") || first == "Finished: FAILURE";
    if make {
        return Some(leveled(Level::Error, text));
    }
    if number.is_none() && !launcher {
        return None;
    }
    let calm = number == Some(0)
        || launcher
            && number.is_none()
            && !first.contains("error")
            && !first.contains("noticed")
            && !first.contains("ABORT");
    let level = if calm { Level::Info } else { Level::Error };
    Some(leveled(level, text))
}
