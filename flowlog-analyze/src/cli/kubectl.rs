//! `kubectl flowlog`: the logs of some pods, by way of kubectl itself.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgGroup, Parser};

use super::{Told, Work, as_it_comes, conclude, of_flows, owners, say_unread, size};
use crate::Options;
use crate::ingest::Plan;
use crate::source::{Growing, NamedPipe, Sources};

/// Finds the first failing component in the logs of pods, which it has kubectl fetch: those of all containers, those of containers
/// before they were restarted, and what `kubectl describe` says of how they ended.
///
/// Exit status as that of `flowlog-analyze`: 0 when the run is healthy, recovered or cancelled; 1 when it failed; 2 when no log
/// could be read or the arguments are wrong.
#[derive(Debug, Parser)]
#[command(name = "kubectl-flowlog", bin_name = "kubectl flowlog", version)]
#[command(group = ArgGroup::new("which").required(true).multiple(false).args(["selector", "pods"]))]
pub(super) struct Arguments {
    /// Pods
    #[arg(value_name = "POD")]
    pods: Vec<String>,
    /// Label query, as kubectl takes it: `app=dynamo,tier!=cache`
    #[arg(short = 'l', long, value_name = "QUERY")]
    selector: Option<String>,
    /// Namespace; else that of the kubeconfig's context
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// One container of each pod; else all
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The kubeconfig
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<String>,
    /// Go on reading, pods that start later too, and say at once what goes wrong; the report comes on Ctrl-C, or when all pods are gone
    #[arg(short, long)]
    follow: bool,
    /// Lines of so long only: `5s`, `2m`, `3h`
    #[arg(long, value_name = "AGE")]
    since: Option<String>,
    /// Most memory to use, about, such as `256M` or `2G`
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory_limit: Option<u64>,
    /// The program to run
    #[arg(long, value_name = "FILE", default_value = "kubectl")]
    kubectl: String,
    #[command(flatten)]
    told: Told,
    #[command(flatten)]
    work: Work,
}

/// How often pods are looked for that started since.
const LOOK: Duration = Duration::from_secs(5);

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    arguments.work.start_threads()?;
    let plan = Plan {
        memory: arguments.memory_limit.map(of_flows),
        follows: arguments.follow,
        ..Plan::default()
    };
    let options = Options { owners: owners(&arguments.told.owners)?, plan };
    let mut sources = Sources::default();
    let mut growing = if arguments.follow { Growing::live() } else { Growing::default() };
    let asks = Asks::of(arguments);
    // Before the logs, so that no pod starts between the two.
    let known = if arguments.follow { asks.containers().ok() } else { None };
    for (name, pipe) in asks.all(arguments.follow)? {
        growing.add_pipe(&name, pipe, &mut sources);
    }
    if arguments.follow {
        let (sender, pipes) = channel();
        growing.expect(pipes);
        thread::Builder::new()
            .name("pods".to_owned())
            .spawn(move || asks.watch(known, &sender))
            .context("failed to start a thread")?;
    }
    let report =
        as_it_comes(&mut sources, &mut growing, &options, &arguments.told, &arguments.work)?;
    if report.input.lines == 0 && !report.input.unread.is_empty() {
        say_unread(&report.input.unread);
        anyhow::bail!("no log could be read");
    }
    conclude(&report, &arguments.told)
}

/// What kubectl is asked.
struct Asks {
    program: String,
    /// Of every command.
    global: Vec<String>,
    /// Which pods: each argument that names some, and what it adds to the name of their logs.
    which: Vec<(String, String)>,
    /// Of `logs`.
    logs: Vec<String>,
    container: Option<String>,
}

/// The containers of a pod, each with how often it was restarted.
type Restarts = BTreeMap<String, BTreeMap<String, u64>>;

/// Pods, a line each: phase, name, then `container=restarts` of each that has a status.
const CONTAINERS: &str = "jsonpath={range .items[*]}{.status.phase}{\" \"}{.metadata.name}{range .status.containerStatuses[*]}{\" \"}{.name}{\"=\"}{.restartCount}{end}{\"\\n\"}{end}";

impl Asks {
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

    /// A command of which the output is read, under the name that it is known by.
    fn pipe(&self, name: &str, mut command: Command, may_fail: bool) -> anyhow::Result<NamedPipe> {
        if may_fail {
            command.stderr(Stdio::null());
        }
        let mut child =
            command.spawn().with_context(|| format!("failed to run `{}`", self.program))?;
        let out = child.stdout.take().context("a command without an output")?;
        Ok((name.to_owned(), Box::new(Output { child, out, may_fail })))
    }

    /// A command about all pods that are asked for.
    fn of_pods(&self, command: &str) -> Command {
        let mut kubectl = self.command(command);
        kubectl.arg("pods").args(self.which.iter().map(|(which, _)| which));
        kubectl
    }

    /// Everything that is asked at once.
    fn all(&self, follows: bool) -> anyhow::Result<Vec<NamedPipe>> {
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
                } else if follows {
                    logs.args(["--follow", "--max-log-requests=1000"]);
                }
                // That a container was never restarted is no failure.
                pipes.push(self.pipe(&name, logs, previous)?);
            }
        }
        pipes.push(self.pipe("kubectl describe pods", self.of_pods("describe"), true)?);
        Ok(pipes)
    }

    /// The containers that there are.
    fn containers(&self) -> anyhow::Result<Restarts> {
        let output =
            self.of_pods("get").arg("--output").arg(CONTAINERS).stderr(Stdio::null()).output()?;
        if !output.status.success() {
            anyhow::bail!("`{} get pods` ended with {}", self.program, output.status);
        }
        let mut found = Restarts::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let mut words = line.split_whitespace();
            // One that ended has said all.
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

    /// Asks for the logs of containers that started since, until there are none at all.
    fn watch(&self, known: Option<Restarts>, pipes: &Sender<NamedPipe>) {
        let Some(mut known) = known else { return };
        while !known.is_empty() {
            thread::sleep(LOOK);
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
                    let Ok(pipe) = self.pipe(&name, logs, true) else { continue };
                    if pipes.send(pipe).is_err() {
                        return;
                    }
                }
            }
            known = now;
        }
    }
}

/// What a command writes; at its end it is asked how that went.
struct Output {
    child: Child,
    out: ChildStdout,
    may_fail: bool,
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let filled = self.out.read(buffer)?;
        if filled == 0 && !buffer.is_empty() {
            let status = self.child.wait()?;
            if !status.success() && !self.may_fail {
                return Err(io::Error::other(format!("kubectl ended with {status}")));
            }
        }
        Ok(filled)
    }
}
