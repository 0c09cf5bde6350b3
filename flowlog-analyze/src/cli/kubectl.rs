//! `kubectl flowlog`: analyzes the logs of pods, which kubectl itself fetches.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgGroup, Parser};

use super::arguments::{OutputArgs, RuntimeArgs};
use super::values::{flow_memory_budget, size};
use super::{analyze_streaming, conclude, read_owners, report_read_errors, start_threads};
use crate::Options;
use crate::ingest::IngestOptions;
use crate::source::{Follower, NamedPipe, Sources};

/// Find the component that failed first in the logs of pods
///
/// Runs kubectl to fetch the logs of all containers, the logs of containers from before a restart,
/// and the state of the cluster: the selected pods, the namespace's events, workloads and services,
/// and the nodes. What the account may not read is listed as not read, and the rest is used.
///
/// Exit status, as for `flowlog-analyze`: 0 if the run is healthy, recovered or cancelled; 1 if it
/// failed; 2 if no log could be read or the arguments are wrong; 3 if nothing is proven.
#[derive(Debug, Parser)]
#[command(name = "kubectl-flowlog", bin_name = "kubectl flowlog", version)]
#[command(group = ArgGroup::new("which").required(true).multiple(false).args(["selector", "pods"]))]
pub(super) struct Arguments {
    /// Names of pods
    #[arg(value_name = "POD")]
    pods: Vec<String>,
    /// Label selector, in kubectl syntax: `app=dynamo,tier!=cache`
    #[arg(short = 'l', long, value_name = "QUERY")]
    selector: Option<String>,
    /// Namespace; defaults to that of the kubeconfig context
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Container of each pod; all if not given
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Kubeconfig context
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Kubeconfig file
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<String>,
    /// Follow the logs, including those of pods that start later, and print failures as they are
    /// detected; report on Ctrl-C or when all pods are gone
    #[arg(short, long)]
    follow: bool,
    /// The run is known to have failed: name the best suspect if no failure is proven
    #[arg(long)]
    failed: bool,
    /// Only return logs newer than a duration: `5s`, `2m`, `3h`
    #[arg(long, value_name = "AGE")]
    since: Option<String>,
    /// Approximate memory limit, e.g. `256M` or `2G`
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory_limit: Option<u64>,
    /// The kubectl program
    #[arg(long, value_name = "FILE", default_value = "kubectl")]
    kubectl: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Interval at which new pods and restarted containers are checked.
const POD_POLL_INTERVAL: Duration = Duration::from_secs(5);

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    start_threads(&arguments.runtime)?;
    let ingest = IngestOptions {
        memory: arguments.memory_limit.map(flow_memory_budget),
        follow: arguments.follow,
        ..IngestOptions::default()
    };
    let options = Options {
        owners: read_owners(&arguments.output.owners)?,
        ingest,
        has_failed: arguments.failed,
        ..Options::default()
    };
    let mut sources = Sources::default();
    let mut follower = if arguments.follow { Follower::live() } else { Follower::default() };
    let kubectl = Kubectl::of(arguments);
    // List containers before opening the logs, so that no pod that starts in between is missed.
    let known = if arguments.follow { kubectl.containers().ok() } else { None };
    for (name, pipe) in kubectl.all(arguments.follow)? {
        follower.add_pipe(&name, pipe, &mut sources);
    }
    if arguments.follow {
        let (sender, pipes) = channel();
        follower.set_pipe_receiver(pipes);
        thread::Builder::new()
            .name("pods".to_owned())
            .spawn(move || kubectl.watch(known, &sender))
            .context("failed to start a thread")?;
    }
    let report = analyze_streaming(
        &mut sources,
        &mut follower,
        &options,
        &arguments.output,
        &arguments.runtime,
    )?;
    if report.input.lines == 0 && !report.input.read_errors.is_empty() {
        report_read_errors(&report.input.read_errors);
        anyhow::bail!("no log could be read");
    }
    conclude(&report, &arguments.output)
}

/// Commands that show the state of the namespace, and of the nodes.
const STATE: [&[&str]; 4] = [
    &["get", "events"],
    &["get", "deployments,statefulsets,daemonsets,jobs,pods", "--output=wide"],
    &["describe", "services"],
    &["describe", "nodes"],
];

/// Builds and runs the kubectl commands.
struct Kubectl {
    program: String,
    /// Options of every command.
    global: Vec<String>,
    /// Arguments that select pods, each with a suffix for the names of their logs.
    which: Vec<(String, String)>,
    /// Options of `kubectl logs`.
    logs: Vec<String>,
    container: Option<String>,
}

/// Restart counts, by pod and container.
type Restarts = BTreeMap<String, BTreeMap<String, u64>>;

/// Output template, with one line per pod: phase, name, and `container=restarts` for each container
/// that has a status.
const CONTAINERS: &str = "jsonpath={range .items[*]}{.status.phase}{\" \"}{.metadata.name}{range .status.containerStatuses[*]}{\" \"}{.name}{\"=\"}{.restartCount}{end}{\"\\n\"}{end}";

impl Kubectl {
    fn of(arguments: &Arguments) -> Self {
        let option = |name: &str, value: &Option<String>| {
            value.as_ref().map(|value| format!("--{name}={value}"))
        };
        let global = [
            option("namespace", &arguments.namespace),
            option("context", &arguments.context),
            option("kubeconfig", &arguments.kubeconfig),
        ];
        let selector =
            option("selector", &arguments.selector).map(|selector| (selector, String::new()));
        let pods = arguments.pods.iter().map(|pod| (pod.clone(), format!(" {pod}")));
        let mut logs = vec!["--prefix".to_owned(), "--timestamps".to_owned()];
        logs.extend(option("since", &arguments.since));
        Self {
            program: arguments.kubectl.clone(),
            global: global.into_iter().flatten().collect(),
            which: selector.into_iter().chain(pods).collect(),
            logs,
            container: arguments.container.clone(),
        }
    }

    fn command(&self, command: &str) -> Command {
        let mut kubectl = Command::new(&self.program);
        kubectl.arg(command).args(&self.global).stdin(Stdio::null()).stdout(Stdio::piped());
        kubectl
    }

    /// Starts a command and returns its output as a pipe with that name.
    fn spawn(&self, name: &str, mut command: Command, may_fail: bool) -> anyhow::Result<NamedPipe> {
        if may_fail {
            command.stderr(Stdio::null());
        }
        let mut child =
            command.spawn().with_context(|| format!("failed to run `{}`", self.program))?;
        let out = child.stdout.take().context("the standard output of the command is not piped")?;
        Ok((name.to_owned(), Box::new(KubectlStream { child, out, may_fail })))
    }

    /// Returns a command for all selected pods.
    fn of_pods(&self, command: &str) -> Command {
        let mut kubectl = self.command(command);
        kubectl.arg("pods").args(self.which.iter().map(|(which, _)| which));
        kubectl
    }

    /// Starts the initial commands and returns their outputs.
    fn all(&self, follow: bool) -> anyhow::Result<Vec<NamedPipe>> {
        let mut pipes = Vec::new();
        for (which, of) in &self.which {
            for previous in [false, true] {
                let mut logs = self.command("logs");
                logs.arg(which).args(&self.logs).arg("--tail=-1").arg("--ignore-errors");
                match &self.container {
                    Some(container) => logs.arg(format!("--container={container}")),
                    None => logs.arg("--all-containers"),
                };
                let name = if previous {
                    format!("kubectl logs --previous{of}")
                } else {
                    format!("kubectl logs{of}")
                };
                if previous {
                    logs.arg("--previous");
                } else if follow {
                    logs.args(["--follow", "--max-log-requests=1000"]);
                }
                // This may fail: a container that was never restarted has no previous logs.
                pipes.push(self.spawn(&name, logs, previous)?);
            }
        }
        pipes.push(self.spawn("kubectl describe pods", self.of_pods("describe"), true)?);
        for words in STATE {
            let mut command = self.command(words[0]);
            command.args(&words[1..]);
            // An account may read a namespace and not its nodes. The report says so.
            pipes.push(self.spawn(&format!("kubectl {}", words.join(" ")), command, false)?);
        }
        Ok(pipes)
    }

    /// Returns the containers of all pods that have not ended.
    fn containers(&self) -> anyhow::Result<Restarts> {
        let output =
            self.of_pods("get").arg("--output").arg(CONTAINERS).stderr(Stdio::null()).output()?;
        if !output.status.success() {
            anyhow::bail!("`{} get pods` failed: {}", self.program, output.status);
        }
        let mut found = Restarts::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let mut words = line.split_whitespace();
            // A pod that has ended logs nothing more.
            if let (Some("Running" | "Pending" | "Unknown"), Some(pod)) =
                (words.next(), words.next())
            {
                let restarts = words
                    .filter_map(|word| word.split_once('='))
                    .filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)));
                found.insert(pod.to_owned(), restarts.collect());
            }
        }
        Ok(found)
    }

    /// Opens the logs of containers that start later, until no pod is left.
    fn watch(&self, known: Option<Restarts>, pipes: &Sender<NamedPipe>) {
        let Some(mut known) = known else { return };
        while !known.is_empty() {
            thread::sleep(POD_POLL_INTERVAL);
            let Ok(now) = self.containers() else { continue };
            for (pod, containers) in &now {
                let before = known.get(pod);
                let wanted = containers.iter().filter(|(name, _)| {
                    self.container.as_ref().is_none_or(|container| container == *name)
                });
                for (container, restarts) in wanted.filter(|(name, restarts)| {
                    before.and_then(|before| before.get(*name)) != Some(restarts)
                }) {
                    let mut logs = self.command("logs");
                    logs.args([pod, "--follow"])
                        .args(&self.logs)
                        .arg(format!("--container={container}"));
                    let name = format!("kubectl logs {pod} {container} ({restarts})");
                    let Ok(pipe) = self.spawn(&name, logs, true) else { continue };
                    if pipes.send(pipe).is_err() {
                        return;
                    }
                }
            }
            known = now;
        }
    }
}

/// Output of a command; its exit status is checked at the end of the output.
struct KubectlStream {
    child: Child,
    out: ChildStdout,
    may_fail: bool,
}

impl Read for KubectlStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let filled = self.out.read(buffer)?;
        if filled == 0 && !buffer.is_empty() {
            let status = self.child.wait()?;
            if !status.success() && !self.may_fail {
                return Err(io::Error::other(format!("kubectl failed: {status}")));
            }
        }
        Ok(filled)
    }
}
