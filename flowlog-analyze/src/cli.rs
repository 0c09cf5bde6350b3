//! The commands `flowlog-analyze` and `kubectl-flowlog`: what they do with their arguments, and
//! their exit status.

mod arguments;
mod values;
mod output;
mod progress;
mod follow;
mod kubectl;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use flowlog_schema::report::{ReadError, Report, RunOutcome};

use crate::evidence::sanitize;
use crate::ingest::IngestOptions;
use crate::owners::Owners;
use crate::profile::Profile;
use crate::render::{self, Output};
use crate::source::{self, Follower, Sources};
use crate::{Options, analyze, analyze_growing, lint_logs, show_flow};
use arguments::{Cli, Command, InputArgs, Lint, OutputArgs, RuntimeArgs, Triage};
use output::{message, write_stdout};
use progress::with_progress;
use values::flow_memory_budget;

/// Exit status if the run failed, a threshold was missed, or no line has the given flow ID.
const EXIT_FAILED: u8 = 1;

/// Exit status if the logs prove neither a failure nor that the run went well.
const EXIT_INCONCLUSIVE: u8 = 3;

/// Exit status if no source could be read or the arguments are wrong.
const EXIT_UNUSABLE: u8 = 2;

/// Runs the command `flowlog-analyze`.
pub fn main() -> ExitCode {
    output::set_program("flowlog-analyze");
    exit_code(run(&Cli::parse()))
}

/// Runs the command `kubectl-flowlog`, which kubectl invokes as `kubectl flowlog`.
pub fn kubectl() -> ExitCode {
    output::set_program("kubectl flowlog");
    exit_code(kubectl::run(&kubectl::Arguments::parse()))
}

fn exit_code(result: anyhow::Result<u8>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            message(&format!("{error:#}"));
            ExitCode::from(EXIT_UNUSABLE)
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run(cli: &Cli) -> anyhow::Result<u8> {
    match &cli.command {
        None => {
            reject_unknown_command(&cli.triage)?;
            triage(&cli.triage)
        }
        Some(Command::Triage(arguments)) => triage(arguments),
        Some(Command::Lint(arguments)) => lint(arguments),
        Some(Command::Owners { files, format }) => {
            let owners = read_owners(files)?.write(*format);
            write_stdout(|out| out.write_all(owners.as_bytes())).map(|()| 0)
        }
        Some(Command::Profile(input)) => profile(input),
        Some(Command::Show { id, output, input }) => show(id, *output, input),
        Some(Command::Explain { id, json, baseline, output, input }) => {
            explain(id, *json, baseline, *output, input)
        }
    }
}

/// Fails on a subcommand that is misspelled or not in the first place.
fn reject_unknown_command(arguments: &Triage) -> anyhow::Result<()> {
    let paths = &arguments.input.paths;
    let is_command = |path: &&PathBuf| {
        matches!(path.to_str(), Some("triage" | "lint" | "show" | "explain" | "owners" | "profile"))
            && !path.exists()
    };
    if let Some(command) = paths.iter().find(is_command) {
        anyhow::bail!(
            "`{0}` is a subcommand and must come first; usage: flowlog-analyze {0} [OPTIONS] ...",
            command.display()
        );
    }
    // A followed log may appear later.
    let first = paths.first().filter(|first| !arguments.follow && !first.exists());
    let is_word = |first: &&PathBuf| {
        first.to_str().is_some_and(|name| {
            name != "-" && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
        })
    };
    if let Some(word) = first.filter(is_word) {
        anyhow::bail!(
            "`{}` is neither a subcommand (triage, show, explain, lint, profile, owners) nor an existing path",
            word.display()
        );
    }
    Ok(())
}

fn triage(arguments: &Triage) -> anyhow::Result<u8> {
    let (output, input) = (&arguments.output, &arguments.input);
    let options = Options {
        owners: read_owners(&output.owners)?,
        ingest: IngestOptions {
            memory: arguments.memory_limit.map(flow_memory_budget),
            follow: arguments.follow,
            components: arguments.components.filter(),
            flows: arguments.flow.clone(),
            ..input.ingest_options()
        },
        has_failed: arguments.failed,
        baselines: baselines(&arguments.baseline, input)?,
    };
    let (mut sources, mut follower) =
        if arguments.follow { follow::start(input)? } else { start(input)? };
    let report = if follower.finished() && !arguments.follow {
        with_progress(&input.runtime, &sources, |progress| analyze(&sources, &options, progress))
    } else {
        analyze_streaming(&mut sources, &mut follower, &options, output, &input.runtime)?
    };
    if report.input.sources == 0 {
        return Err(no_source_error(&report.input.read_errors));
    }
    if !arguments.flow.is_empty() && report.flows.total == 0 {
        return Ok(no_such_flow(arguments.flow.iter().map(ToString::to_string)));
    }
    let filters: Vec<&str> = [
        (input.since.is_some(), "--since"),
        (input.until.is_some(), "--until"),
        (!arguments.components.component.is_empty(), "--component"),
    ]
    .into_iter()
    .filter_map(|(is_given, option)| is_given.then_some(option))
    .collect();
    if report.input.lines == 0 && !filters.is_empty() {
        message(&format!("no line matches {}", filters.join(" and ")));
    }
    conclude(&report, output)
}

/// Reads the profiles of good runs: saved ones, and those of logs.
fn baselines(paths: &[PathBuf], input: &InputArgs) -> anyhow::Result<Vec<Profile>> {
    paths
        .iter()
        .map(|path| {
            if let Some(text) = saved_profile(path)? {
                return Profile::from_json(&text)
                    .with_context(|| format!("failed to read `{}`", path.display()));
            }
            let sources = source::open(std::slice::from_ref(path));
            if sources.read.is_empty() {
                return Err(no_source_error(&sources.read_errors));
            }
            Ok(with_progress(&input.runtime, &sources, |progress| {
                crate::profile_run(&sources, &Options::default(), progress)
            }))
        })
        .collect()
}

/// Returns the text of a file that is a saved profile.
fn saved_profile(path: &Path) -> anyhow::Result<Option<String>> {
    let is_file = path.is_file();
    let context = || format!("failed to read `{}`", path.display());
    if !is_file {
        return Ok(None);
    }
    let mut head = [0; 64];
    let mut file = std::fs::File::open(path).with_context(context)?;
    let filled = io::Read::read(&mut file, &mut head).with_context(context)?;
    if !Profile::is_profile(head.get(..filled).unwrap_or_default()) {
        return Ok(None);
    }
    std::fs::read_to_string(path).map(Some).with_context(context)
}

/// Writes the profile of a run.
fn profile(input: &InputArgs) -> anyhow::Result<u8> {
    let sources = open(input)?;
    let options = Options { ingest: input.ingest_options(), ..Options::default() };
    let profile = with_progress(&input.runtime, &sources, |progress| {
        crate::profile_run(&sources, &options, progress)
    });
    let text = profile.to_json()?;
    write_stdout(|out| writeln!(out, "{text}")).map(|()| 0)
}

/// Analyzes sources that grow, and shows alerts or progress meanwhile.
fn analyze_streaming(
    sources: &mut Sources,
    follower: &mut Follower,
    options: &Options,
    output: &OutputArgs,
    runtime: &RuntimeArgs,
) -> anyhow::Result<Report> {
    Ok(if options.ingest.follow {
        let mut observer =
            follow::TerminalObserver::new(output.format == Output::Text, *output.text(), runtime)?;
        analyze_growing(sources, follower, options, &mut observer)
    } else {
        analyze_growing(sources, follower, options, &mut progress::PipeObserver::new(runtime))
    })
}

/// Writes a report and returns the exit status.
fn conclude(report: &Report, output: &OutputArgs) -> anyhow::Result<u8> {
    let style = output.text().style();
    write_stdout(|out| render::report(report, output.format, style, out))?;
    Ok(match report.verdict.outcome {
        RunOutcome::Failed => EXIT_FAILED,
        RunOutcome::Inconclusive => EXIT_INCONCLUSIVE,
        RunOutcome::Healthy | RunOutcome::Recovered | RunOutcome::Cancelled => 0,
    })
}

fn report_read_errors(errors: &[ReadError]) {
    for error in errors {
        message(&format!("{}: {}", quoted(&error.source), sanitize(&error.error, 500)));
    }
}

fn no_source_error(errors: &[ReadError]) -> anyhow::Error {
    report_read_errors(errors);
    anyhow::anyhow!(
        "no source could be read: name log files, a folder with files, or `-` for standard input"
    )
}

/// Reports that no flow has one of the IDs, and returns the exit status.
fn no_such_flow(ids: impl IntoIterator<Item = String>) -> u8 {
    let ids: Vec<String> = ids.into_iter().map(|id| quoted(&id)).collect();
    message(&format!("no flow has the flow, trace or request ID {}", ids.join(" or ")));
    EXIT_FAILED
}

fn quoted(name: &str) -> String {
    format!("`{}`", sanitize(name, 500))
}

fn lint(arguments: &Lint) -> anyhow::Result<u8> {
    let Lint { threshold, output, components, input } = arguments;
    let options = Options {
        owners: read_owners(&output.owners)?,
        ingest: IngestOptions { components: components.filter(), ..input.ingest_options() },
        ..Options::default()
    };
    let sources = open(input)?;
    let report = with_progress(&input.runtime, &sources, |progress| {
        lint_logs(&sources, &options, *threshold, progress)
    });
    let style = output.text().style();
    write_stdout(|out| render::lint_report(&report, output.format, style, out))?;
    Ok(if report.passed { 0 } else { EXIT_FAILED })
}

/// Fails if the ID is missing: its place is taken by a path, and no path follows.
fn reject_path_as_id(id: &str, command: &str, input: &InputArgs) -> anyhow::Result<()> {
    if Path::new(id).exists() && input.paths.is_empty() {
        anyhow::bail!("{} is a path; usage: flowlog-analyze {command} ID PATH...", quoted(id));
    }
    Ok(())
}

fn explain(
    id: &str,
    json: bool,
    baseline: &[PathBuf],
    output: arguments::TextArgs,
    input: &InputArgs,
) -> anyhow::Result<u8> {
    reject_path_as_id(id, "explain", input)?;
    let sources = open(input)?;
    // The best suspect has a fingerprint, too.
    let options = Options {
        ingest: input.ingest_options(),
        has_failed: true,
        baselines: baselines(baseline, input)?,
        ..Options::default()
    };
    let explained = with_progress(&input.runtime, &sources, |progress| {
        crate::explain(&sources, id, &options, progress)
    });
    let Some(explained) = explained else {
        message(&format!(
            "no failure has the fingerprint, and no flow the flow, trace or request ID {}",
            quoted(id)
        ));
        return Ok(EXIT_FAILED);
    };
    write_stdout(|out| render::explanation(&explained, json, output.style(), out)).map(|()| 0)
}

fn show(id: &str, output: arguments::TextArgs, input: &InputArgs) -> anyhow::Result<u8> {
    reject_path_as_id(id, "show", input)?;
    let sources = open(input)?;
    let options = Options { ingest: input.ingest_options(), ..Options::default() };
    let tree = with_progress(&input.runtime, &sources, |progress| {
        show_flow(&sources, id, &options, output.style(), progress)
    });
    let Some(tree) = tree else {
        return Ok(no_such_flow([id.to_owned()]));
    };
    write_stdout(|out| out.write_all(tree.as_bytes())).map(|()| 0)
}

/// Reads owner tables into one. The first of two rows that differ wins.
fn read_owners(files: &[PathBuf]) -> anyhow::Result<Owners> {
    let mut owners = Owners::default();
    for file in files {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("failed to read `{}`", file.display()))?;
        for conflict in owners.merge(Owners::read(&file.to_string_lossy(), &text)?) {
            message(&format!("`{}`: {}", file.display(), sanitize(&conflict, 500)));
        }
    }
    Ok(owners)
}

/// Opens the named sources and waits until every pipe has ended.
fn open(input: &InputArgs) -> anyhow::Result<Sources> {
    let (mut sources, mut follower) = start(input)?;
    follower.wait_for_all(&mut sources);
    if sources.read.is_empty() {
        return Err(no_source_error(&sources.read_errors));
    }
    Ok(sources)
}

/// Opens the named sources.
fn start(input: &InputArgs) -> anyhow::Result<(Sources, Follower)> {
    prepare(input)?;
    let (sources, follower) = source::start(&input.paths);
    if sources.read.is_empty() && follower.finished() {
        return Err(no_source_error(&sources.read_errors));
    }
    Ok((sources, follower))
}

/// Starts the threads. At a terminal, says that standard input is being read.
fn prepare(input: &InputArgs) -> anyhow::Result<()> {
    start_threads(&input.runtime)?;
    if source::has_stdin(&input.paths) && io::stdin().is_terminal() {
        message("reading standard input; press Ctrl-D to end it; see `flowlog-analyze --help`");
    }
    Ok(())
}

fn start_threads(runtime: &RuntimeArgs) -> anyhow::Result<()> {
    if runtime.threads > 0 {
        rayon::ThreadPoolBuilder::new()
            .num_threads(runtime.threads)
            .build_global()
            .context("failed to start threads")?;
    }
    Ok(())
}
