//! The arguments of `flowlog-analyze`, and those that `kubectl flowlog` shares with it.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use anstream::AutoStream;
use clap::{Args, ColorChoice, Parser, Subcommand};

use super::values::{flow_key, parse_time, score, size};
use crate::component_filter::ComponentFilter;
use crate::event::FlowKey;
use crate::ingest::IngestOptions;
use crate::owners::OwnersFormat;
use crate::render::{Output, Style};

/// Finds the first failing component of a distributed inference run in its logs
///
/// Exit status: 0 if the run is healthy, recovered or cancelled; 3 if nothing is proven; 1 if it
/// failed, if no line has the flow ID (`show`, `--flow`), or if a component scores below the threshold (`lint`); 2 if no
/// source could be read or the arguments are wrong.
#[derive(Debug, Parser)]
#[command(name = "flowlog-analyze", version, args_conflicts_with_subcommands = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub triage: Triage,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Report what failed first (the default)
    Triage(Triage),
    /// Score how well the logs of each component follow the structure
    ///
    /// Exit status: 0 if every component reaches the threshold, 1 if one does not, 2 if no source
    /// could be read or the arguments are wrong.
    Lint(Lint),
    /// Merge owner tables into one: `owners.toml`, Markdown, `areas.yaml`, CODEOWNERS
    Owners {
        /// Owner tables; format detected from the file name. The first file wins on conflicts
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Output format
        #[arg(long, value_enum, default_value_t = OwnersFormat::Toml, value_name = "FORMAT")]
        format: OwnersFormat,
    },
    /// Explain why a failure is attributed to its component, or why a flow ended as it did
    ///
    /// Prints the rule that decides, each step with its line, what would have contradicted it, and
    /// the alternatives that were ruled out. docs/rules.md describes the rules.
    Explain {
        /// Fingerprint of a failure (`v1:...`), or a flow ID, trace ID or request ID
        #[arg(value_name = "FINGERPRINT|FLOW")]
        id: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        /// The `--baseline` of the report that has the fingerprint; may be repeated
        #[arg(long, value_name = "PATH")]
        baseline: Vec<PathBuf>,
        #[command(flatten)]
        output: TextArgs,
        #[command(flatten)]
        input: InputArgs,
    },
    /// Write the profile of a good run, to compare others with: `triage --baseline FILE`
    Profile(InputArgs),
    /// Show one flow as a tree, with times, components and its first failure
    Show {
        /// Flow ID, trace ID or request ID
        id: String,
        #[command(flatten)]
        output: TextArgs,
        #[command(flatten)]
        input: InputArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct Triage {
    #[command(flatten)]
    pub output: OutputArgs,
    /// The run is known to have failed: name the best suspect if no failure is proven
    #[arg(long)]
    pub failed: bool,
    /// Logs of a good run to compare with, or its profile as written by `profile`; may be repeated
    #[arg(long, value_name = "PATH")]
    pub baseline: Vec<PathBuf>,
    /// Follow growing logs and print failures as they are detected; report at the end or on Ctrl-C
    ///
    /// Files may appear later, be rotated (as with `tail -F`) or be truncated.
    #[arg(short, long)]
    pub follow: bool,
    /// Approximate memory limit, e.g. `256M` or `2G`, at least `128M`; flows that do not fit are
    /// counted in the report but not diagnosed
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory_limit: Option<u64>,
    /// Only report the flow with this flow ID, trace ID or request ID, based on the logs from ten
    /// minutes before to ten minutes after it; may be repeated
    #[arg(long, value_name = "ID", value_parser = flow_key, conflicts_with = "follow")]
    pub flow: Vec<FlowKey>,
    #[command(flatten)]
    pub components: ComponentArgs,
    #[command(flatten)]
    pub input: InputArgs,
}

#[derive(Debug, Args)]
pub(super) struct Lint {
    /// Lowest score of a component that passes, 0 to 100
    #[arg(
        long,
        default_value_t = 100.0,
        value_name = "SCORE",
        value_parser = score,
        allow_negative_numbers = true
    )]
    pub threshold: f64,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub components: ComponentArgs,
    #[command(flatten)]
    pub input: InputArgs,
}

#[derive(Debug, Args)]
pub(super) struct ComponentArgs {
    /// Only read lines of this component; lines with no known component are skipped; may be
    /// repeated
    #[arg(
        long,
        value_name = "NAME",
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    pub component: Vec<String>,
}

impl ComponentArgs {
    pub(super) fn filter(&self) -> ComponentFilter {
        ComponentFilter::of(self.component.iter().map(String::as_str))
    }
}

#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    pub format: Output,
    #[command(flatten)]
    text: TextArgs,
    /// Owner table: `owners.toml`, a Markdown table, `areas.yaml` or CODEOWNERS; may be repeated
    #[arg(long, value_name = "FILE")]
    pub owners: Vec<PathBuf>,
}

impl OutputArgs {
    /// Returns how text is shown. Color is for the text format only.
    pub(super) fn text(&self) -> &TextArgs {
        const PLAIN: &TextArgs = &TextArgs { color: ColorChoice::Never };
        if self.format == Output::Text { &self.text } else { PLAIN }
    }
}

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct TextArgs {
    /// When to use color; `auto` means on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    color: ColorChoice,
}

impl TextArgs {
    pub(super) fn style(self) -> Style {
        let stdout = io::stdout();
        let is_colored = match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                stdout.is_terminal() && AutoStream::choice(&stdout) != anstream::ColorChoice::Never
            }
        };
        if is_colored { Style::Always } else { Style::Never }
    }
}

#[derive(Debug, Args)]
pub(super) struct InputArgs {
    /// Log files and folders; none, or `-`, reads standard input
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Skip lines before this time: `2025-11-22T08:27:15Z`, `2025-11-22 08:27` (UTC), or an age
    /// such as `90s`, `15m`, `2h`, `3d`
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub since: Option<i64>,
    /// Skip lines after this time
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub until: Option<i64>,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}

impl InputArgs {
    pub(super) fn ingest_options(&self) -> IngestOptions {
        IngestOptions {
            since: self.since.unwrap_or(i64::MIN),
            until: self.until.unwrap_or(i64::MAX),
            ..IngestOptions::default()
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct RuntimeArgs {
    /// Number of threads; 0 uses one per core
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub threads: usize,
    /// Never show progress
    #[arg(long)]
    pub no_progress: bool,
}
