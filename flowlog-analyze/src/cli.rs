//! The commands: arguments, exit status, what goes to which stream.
#![expect(clippy::print_stderr, reason = "messages for the person who runs the command go there")]

mod follow;
mod kubectl;
mod progress;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use flowlog_schema::report::{Report, RunOutcome, Unread};

use crate::evidence::printable;
use crate::ingest::Plan;
use crate::names::Components;
use crate::observation::FlowKey;
use crate::owners::{Owners, OwnersForm};
use crate::render::{self, Output, Paint};
use crate::source::{self, Growing, Sources};
use crate::{Options, analyze, analyze_growing, check, draw_flow};
use progress::with_progress;

/// Finds the first failing component of a distributed inference run in its logs.
///
/// Exit status: 0 when the run is healthy, recovered or cancelled; 1 when it failed (for `flow`: when no line names
/// the id; for `lint`: when a component scores less than the threshold); 2 when no source could be read or the arguments are wrong.
#[derive(Debug, Parser)]
#[command(name = "flowlog-analyze", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    triage: Triage,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what failed first (the default)
    Triage(Triage),
    /// Say how well the logs of each component follow the structure
    ///
    /// Exit status: 0 when every component reaches the threshold, 1 when one does not, 2 when no source could be
    /// read or the arguments are wrong.
    Lint {
        /// Least score of a component, 0 to 100, that passes
        #[arg(long, default_value_t = 100.0, value_name = "SCORE", value_parser = score, allow_negative_numbers = true)]
        threshold: f64,
        #[command(flatten)]
        told: Told,
        #[command(flatten)]
        chosen: Chosen,
        #[command(flatten)]
        common: Common,
    },
    /// Read tables of owners and write them as one: `owners.toml`, Markdown, `areas.yaml`, CODEOWNERS
    Owners {
        /// Tables, each told by its name's ending (`.toml`, `.yaml`, CODEOWNERS, else Markdown); of two that differ the first counts
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// How to write the table
        #[arg(long, value_enum, default_value_t = OwnersFormat::Toml, value_name = "FORMAT")]
        format: OwnersFormat,
    },
    /// Show one flow as a tree with times, components and the place where it broke
    Flow {
        /// A flow id, trace id or request id
        id: String,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
struct Triage {
    #[command(flatten)]
    told: Told,
    /// Go on reading as logs grow, and say at once what goes wrong; the report comes at the end of the pipes, or on Ctrl-C
    ///
    /// Logs that are not there yet are waited for; rotated ones are read on, as `tail -F` does.
    #[arg(short, long)]
    follow: bool,
    /// Most memory to use, about, such as `256M` or `2G`; flows that do not fit are counted, not judged, and the report says so
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory_limit: Option<u64>,
    /// Judge only the flow with this id (flow id, trace id or request id), by what was logged up to ten minutes before and after it; may be
    /// given several times
    #[arg(long, value_name = "ID", value_parser = flow_key, conflicts_with = "follow")]
    flow: Vec<FlowKey>,
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    common: Common,
}

/// Whose lines count.
#[derive(Debug, Args)]
struct Chosen {
    /// Leave out lines of other components, and lines whose component neither they nor their file's name tell; may be given
    /// several times
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    component: Vec<String>,
}

impl Chosen {
    fn components(&self) -> Components {
        Components::of(self.component.iter().map(String::as_str))
    }
}

/// How a report is told.
#[derive(Debug, Args)]
struct Told {
    /// How to write the report
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    format: Format,
    /// Whose a component is: `owners.toml`, a Markdown table, `areas.yaml` or CODEOWNERS; may be given several times
    #[arg(long, value_name = "FILE")]
    owners: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct Common {
    /// Log files and folders; none, or `-`, reads standard input
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Leave out lines before this moment: `2025-11-22T08:27:15Z`, `2025-11-22 08:27` (UTC), or `90s`, `15m`, `2h`, `3d` ago
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    since: Option<i64>,
    /// Leave out lines after this moment
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    until: Option<i64>,
    #[command(flatten)]
    work: Work,
}

/// How the work is done.
#[derive(Debug, Args)]
struct Work {
    /// Threads to use; 0 takes one per core
    #[arg(long, default_value_t = 0, value_name = "N")]
    threads: usize,
    /// Show no progress, also on a terminal
    #[arg(long)]
    no_progress: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For a person
    Text,
    /// One JSON object (schema/report.schema.json; of `lint` schema/lint.schema.json)
    Json,
    /// For a pull request or an issue
    Markdown,
}

impl From<Format> for Output {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Json => Self::Json,
            Format::Markdown => Self::Markdown,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OwnersFormat {
    /// `owners.toml`
    Toml,
    /// Markdown tables
    Markdown,
}

/// Exit status when nothing could be read.
const UNREADABLE: u8 = 2;

/// The command `flowlog-analyze`.
pub fn main() -> ExitCode {
    ended(run(&Cli::parse()))
}

/// The command `kubectl-flowlog`, which kubectl runs as `kubectl flowlog`.
pub fn kubectl() -> ExitCode {
    ended(kubectl::run(&kubectl::Arguments::parse()))
}

fn ended(result: anyhow::Result<u8>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        // Whoever read the report has enough of it.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flowlog-analyze: {error:#}");
            ExitCode::from(UNREADABLE)
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run(cli: &Cli) -> anyhow::Result<u8> {
    match &cli.command {
        None => {
            let is_command = |path: &&PathBuf| {
                matches!(path.to_str(), Some("triage" | "lint" | "flow" | "owners"))
                    && !path.exists()
            };
            if let Some(command) = cli.triage.common.paths.iter().find(is_command) {
                anyhow::bail!(
                    "`{0}` is a command and stands first: flowlog-analyze {0} [OPTIONS] ...",
                    command.display()
                );
            }
            triage(&cli.triage)
        }
        Some(Command::Triage(triage_arguments)) => triage(triage_arguments),
        Some(Command::Lint { threshold, told, chosen, common }) => {
            lint(*threshold, told, chosen, common)
        }
        Some(Command::Owners { files, format }) => {
            let form = match format {
                OwnersFormat::Toml => OwnersForm::Toml,
                OwnersFormat::Markdown => OwnersForm::Markdown,
            };
            write(&owners(files)?.write(form)).map(|()| 0)
        }
        Some(Command::Flow { id, common }) => flow(id, common),
    }
}

fn triage(arguments: &Triage) -> anyhow::Result<u8> {
    let (told, common) = (&arguments.told, &arguments.common);
    let plan = Plan {
        memory: arguments.memory_limit.map(of_flows),
        follows: arguments.follow,
        components: arguments.chosen.components(),
        flows: arguments.flow.clone(),
        ..common.plan()
    };
    let options = Options { owners: owners(&told.owners)?, plan };
    let (mut sources, mut growing) =
        if arguments.follow { follow::start(common)? } else { start(common)? };
    let report = if growing.is_over() && !arguments.follow {
        with_progress(&common.work, &sources, |progress| analyze(&sources, &options, progress))
    } else {
        as_it_comes(&mut sources, &mut growing, &options, told, &common.work)?
    };
    if report.input.sources == 0 {
        return Err(nothing_read(&report.input.unread));
    }
    if !arguments.flow.is_empty() && report.flows.total == 0 {
        let ids: Vec<String> = arguments
            .flow
            .iter()
            .map(|id| format!("`{}`", printable(&id.to_string(), 200)))
            .collect();
        anyhow::bail!("no line names the flow {}", ids.join(" or "));
    }
    if report.input.lines == 0
        && (common.since.is_some()
            || common.until.is_some()
            || !arguments.chosen.component.is_empty())
    {
        eprintln!("flowlog-analyze: no line is left by --since, --until and --component");
    }
    conclude(&report, told)
}

/// Analyzes what grows, and shows how that goes.
fn as_it_comes(
    sources: &mut Sources,
    growing: &mut Growing,
    options: &Options,
    told: &Told,
    work: &Work,
) -> anyhow::Result<Report> {
    Ok(if options.plan.follows {
        analyze_growing(
            sources,
            growing,
            options,
            &mut follow::Screen::new(told.format.into(), work)?,
        )
    } else {
        analyze_growing(sources, growing, options, &mut progress::Pipe::new(work))
    })
}

/// Tells a report; the exit status.
fn conclude(report: &Report, told: &Told) -> anyhow::Result<u8> {
    let failed = report.verdict.outcome == RunOutcome::Failed;
    tell(|out| render::report(report, told.format.into(), paint(), out), failed)
}

fn say_unread(unread: &[Unread]) {
    for unread in unread {
        eprintln!(
            "flowlog-analyze: `{}`: {}",
            printable(&unread.source, 500),
            printable(&unread.error, 500)
        );
    }
}

/// Says what could not be read where nothing could.
fn nothing_read(unread: &[Unread]) -> anyhow::Error {
    say_unread(unread);
    anyhow::anyhow!(
        "no source could be read; name log files, a folder of them, or `-` for standard input"
    )
}

fn lint(threshold: f64, told: &Told, chosen: &Chosen, common: &Common) -> anyhow::Result<u8> {
    let options = Options {
        owners: owners(&told.owners)?,
        plan: Plan { components: chosen.components(), ..common.plan() },
    };
    let sources = open(common)?;
    let report = with_progress(&common.work, &sources, |progress| {
        check(&sources, &options, threshold, progress)
    });
    tell(|out| render::lint_report(&report, told.format.into(), paint(), out), !report.passed)
}

/// Writes a report; the exit status stands whether or not its reader stays to the end.
fn tell(report: impl FnOnce(&mut dyn Write) -> io::Result<()>, found: bool) -> anyhow::Result<u8> {
    let mut out = BufWriter::new(io::stdout().lock());
    match report(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("failed to write the report")
        }
        _ => Ok(u8::from(found)),
    }
}

/// A moment in nanoseconds since the epoch.
fn moment(text: &str) -> Result<i64, String> {
    let ago = || {
        let span: jiff::Span =
            text.parse().ok().filter(|_| text.starts_with(|c: char| c.is_ascii_digit()))?;
        let ago = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
        jiff::Timestamp::now().checked_sub(ago).ok()
    };
    let in_utc = || {
        text.parse::<jiff::civil::DateTime>()
            .ok()?
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()
            .map(|zoned| zoned.timestamp())
    };
    let found = text.parse::<jiff::Timestamp>().ok().or_else(in_utc).or_else(ago);
    let found = found.and_then(|moment| i64::try_from(moment.as_nanosecond()).ok());
    found.ok_or_else(|| "it should be a time such as `2025-11-22T08:27:15Z` or `2025-11-22 08:27`, or an age such as `2h`".to_owned())
}

/// The id of a flow.
fn flow_key(text: &str) -> Result<FlowKey, String> {
    FlowKey::parse(text)
        .ok_or_else(|| "it should be a flow id, a trace id or a request id".to_owned())
}

/// Bytes, as people write them.
fn size(text: &str) -> Result<u64, String> {
    let bytes = parse_size::Config::new()
        .with_binary()
        .parse_size(text)
        .map_err(|error| error.to_string())?;
    if bytes < (128 << 20) { Err("it should be 128M or more".to_owned()) } else { Ok(bytes) }
}

/// What of all memory is left for flows, beside the chunks that are read and what is kept of processes.
fn of_flows(all: u64) -> u64 {
    all.saturating_sub(80 << 20)
}

impl Work {
    fn start_threads(&self) -> anyhow::Result<()> {
        if self.threads > 0 {
            rayon::ThreadPoolBuilder::new()
                .num_threads(self.threads)
                .build_global()
                .context("failed to start threads")?;
        }
        Ok(())
    }
}

impl Common {
    /// Starts threads, and tells a person at a terminal that something is waited for.
    fn begin(&self) -> anyhow::Result<()> {
        self.work.start_threads()?;
        if source::has_stdin(&self.paths) && io::stdin().is_terminal() {
            eprintln!(
                "flowlog-analyze: reading standard input; Ctrl-D ends it, `flowlog-analyze --help` tells more"
            );
        }
        Ok(())
    }

    /// How to read what the arguments ask for.
    fn plan(&self) -> Plan {
        Plan {
            since: self.since.unwrap_or(i64::MIN),
            until: self.until.unwrap_or(i64::MAX),
            ..Plan::default()
        }
    }
}

/// A number from 0 to 100.
fn score(text: &str) -> Result<f64, String> {
    let score: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if (0.0..=100.0).contains(&score) {
        Ok(score)
    } else {
        Err("it should lie between 0 and 100".to_owned())
    }
}

fn flow(id: &str, common: &Common) -> anyhow::Result<u8> {
    let sources = open(common)?;
    match with_progress(&common.work, &sources, |progress| {
        draw_flow(
            &sources,
            id,
            &Options { plan: common.plan(), ..Options::default() },
            paint(),
            progress,
        )
    }) {
        Some(picture) => write(&picture).map(|()| 0),
        None => {
            eprintln!("flowlog-analyze: no line names the flow `{}`", printable(id, 200));
            Ok(1)
        }
    }
}

/// Reads tables of owners into one.
fn owners(files: &[PathBuf]) -> anyhow::Result<Owners> {
    let mut owners = Owners::default();
    for file in files {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("failed to read `{}`", file.display()))?;
        for conflict in owners.merge(Owners::read(&file.to_string_lossy(), &text)?) {
            eprintln!("flowlog-analyze: `{}`: {}", file.display(), printable(&conflict, 500));
        }
    }
    Ok(owners)
}

/// Opens what the arguments name, and waits for the end of every pipe.
fn open(common: &Common) -> anyhow::Result<Sources> {
    let (mut sources, mut growing) = start(common)?;
    growing.wait_for_all(&mut sources);
    if sources.read.is_empty() {
        return Err(nothing_read(&sources.unread));
    }
    Ok(sources)
}

/// Opens what the arguments name.
fn start(common: &Common) -> anyhow::Result<(Sources, Growing)> {
    common.begin()?;
    let (sources, growing) = source::start(&common.paths);
    if sources.read.is_empty() && growing.is_over() {
        return Err(nothing_read(&sources.unread));
    }
    Ok((sources, growing))
}

fn paint() -> Paint {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stdout().is_terminal() && !no_color { Paint::Always } else { Paint::Never }
}

fn write(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}
