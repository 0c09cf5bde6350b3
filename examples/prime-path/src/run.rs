//! Starts the whole system, sends requests, and stops it again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use axum::body::Body;
use clap::ValueEnum;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustix::process::{Pid, Signal};
use serde::Serialize;
use serde_json::{Value, json};

use crate::component::Found;
use crate::fault::Switch;
use crate::router::INSTANCES;

/// Output of the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Logs {
    /// Logs in JSON, and flight files.
    Json,
    /// Logs in text, and flight files.
    Text,
    /// Flight files only; all processes are killed at the end.
    Flight,
}

/// Options of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Fault to inject, if any.
    pub fault: Option<Switch>,
    /// Output of the processes.
    pub logs: Logs,
    /// Instance with a wrong wall clock, if any.
    pub skew: Option<Skew>,
    /// Number of requests to send.
    pub requests: usize,
    /// Output folder, with `logs/`, `flight/` and `run.json`.
    pub out: PathBuf,
    /// Path of the program `prime-path`; this process's own if `None`.
    pub program: Option<PathBuf>,
}

/// Wrong wall clock of an instance. Needs `libfaketime` (Debian: `faketime`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skew {
    /// Affected instance.
    pub instance: String,
    /// Offset in seconds; positive if the clock is ahead.
    pub seconds: i64,
}

impl FromStr for Skew {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text
            .split_once('=')
            .and_then(|(instance, seconds)| Some((instance, seconds.parse().ok()?)));
        let (instance, seconds) =
            parts.ok_or("invalid skew: expected INSTANCE=SECONDS, such as `prefill-1=3600`")?;
        Ok(Self { instance: instance.to_owned(), seconds })
    }
}

/// Outcome of a request, as seen by its client.
#[derive(Debug, Clone, Serialize)]
pub struct Answered {
    /// Request ID that the client sent.
    pub request_id: String,
    /// HTTP status; 0 if the response broke off.
    pub status: u16,
    /// Error that was received instead of tokens.
    pub error: Option<String>,
}

/// Instances started here after the router and before the planner; the planner starts `decode-1`.
const INSTANCES_STARTED: [&str; 6] =
    ["kvbm-0", "nixl-0", "prefill-0", "prefill-1", "decode-0", "frontend-0"];

/// Number of concurrent requests.
const AT_ONCE: usize = 3;

/// Maximum time to wait for processes to start or stop.
const STEP_TIMEOUT: Duration = Duration::from_secs(120);

/// Process group, killed on drop.
#[derive(Debug)]
struct Group(Child);

impl Group {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt;
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        Ok(Self(
            child
                .with_context(|| format!("failed to start {}", command.get_program().display()))?,
        ))
    }

    fn signal(&self, signal: Signal) {
        let _ = rustix::process::kill_process_group(Pid::from_child(&self.0), signal);
    }

    /// Returns whether the process exits within a time.
    fn is_gone(&mut self, timeout: Duration) -> bool {
        let began = Instant::now();
        while began.elapsed() < timeout {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.0.wait();
    }
}

/// Runs the system, and returns the outcome of each request.
///
/// # Errors
/// Returns an error if a process does not start or stop, or if NATS is not installed.
pub fn run(plan: &Plan) -> anyhow::Result<Vec<Answered>> {
    fs::create_dir_all(plan.out.join("logs"))
        .with_context(|| format!("failed to create `{}`", plan.out.display()))?;
    let began = Instant::now();
    let (_nats, url) = nats(&plan.out)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = runtime.block_on(reach(&url))?;
    let found = |wanted: usize| runtime.block_on(wait_for(&client, wanted));
    // Callees start before their callers.
    let mut groups = vec![start(plan, "router-0", &url)?];
    found(1)?;
    for instance in INSTANCES_STARTED {
        groups.push(start(plan, instance, &url)?);
    }
    found(1 + INSTANCES_STARTED.len())?;
    groups.push(start(plan, "planner-0", &url)?);
    let all = found(3 + INSTANCES_STARTED.len())?;
    let frontend = all
        .iter()
        .find(|found| found.component == "frontend")
        .context("no frontend is registered")?;
    let answers = runtime
        .block_on(send(&format!("http://{}/v1/completions", frontend.address), plan.requests));
    // Lets work that continues after a response finish.
    std::thread::sleep(Duration::from_millis(300));
    let signal = if plan.logs == Logs::Flight { Signal::KILL } else { Signal::TERM };
    groups.iter().for_each(|group| group.signal(signal));
    for group in &mut groups {
        if !group.is_gone(STEP_TIMEOUT) {
            bail!("a process did not stop within {} s", STEP_TIMEOUT.as_secs());
        }
    }
    let fault = plan.fault.as_ref().map(ToString::to_string);
    let summary =
        json!({"fault": fault, "seconds": began.elapsed().as_secs_f64(), "requests": answers});
    fs::write(plan.out.join("run.json"), serde_json::to_vec_pretty(&summary)?)?;
    Ok(answers)
}

fn start(plan: &Plan, instance: &str, nats: &str) -> anyhow::Result<Group> {
    let program = plan.program.clone().map_or_else(std::env::current_exe, Ok)?;
    let mut command = Command::new(program);
    command.args(["component", instance, "--nats", nats]);
    if let Some(fault) = &plan.fault {
        command.args(["--fault", &fault.to_string()]);
    }
    let sink = match plan.logs {
        Logs::Flight => "none".to_owned(),
        _ => format!("file:{}", plan.out.join("logs").join(format!("{instance}.log")).display()),
    };
    let form = if plan.logs == Logs::Text { "readable" } else { "jsonl" };
    command
        .env("FLOWLOG_SINK", sink)
        .env("FLOWLOG_FLIGHT", plan.out.join("flight"))
        .env("DYN_LOGGING_CONSOLE_FORMAT", form);
    if let Some(skew) = plan.skew.as_ref().filter(|skew| skew.instance == instance) {
        command
            .env("LD_PRELOAD", faketime()?)
            .env("FAKETIME", format!("{:+}", skew.seconds))
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
    Group::start(&mut command)
}

/// Returns the path of the library that gives a process a wrong time.
fn faketime() -> anyhow::Result<PathBuf> {
    let folders = fs::read_dir("/usr/lib")?
        .flatten()
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    folders
        .into_iter()
        .find(|path| path.is_file())
        .context("`libfaketime.so.1` not found: it is in Debian's package `faketime`")
}

/// Starts NATS on loopback, and returns its URL.
fn nats(out: &Path) -> anyhow::Result<(Group, String)> {
    // Debian installs it in a directory that is not in every user's path.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let program = path
        .split(':')
        .map(|folder| Path::new(folder).join("nats-server"))
        .find(|program| program.is_file());
    let program =
        program.context("`nats-server` not found: it is in Debian's package `nats-server`")?;
    let log = File::create(out.join("nats.txt"))?;
    // The server chooses its port: one that is chosen here could be taken before it starts.
    let ports = out.join("nats-ports");
    fs::create_dir_all(&ports)?;
    let mut group = Group::start(
        Command::new(program)
            .args(["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir"])
            .arg(&ports)
            .stdout(log.try_clone()?)
            .stderr(log),
    )?;
    let began = Instant::now();
    loop {
        if let Some(url) = nats_url(&ports) {
            return Ok((group, url));
        }
        if began.elapsed() > STEP_TIMEOUT || group.is_gone(Duration::from_millis(10)) {
            let log = fs::read_to_string(out.join("nats.txt"))?;
            bail!("`nats-server` did not start: {log}");
        }
    }
}

/// Reads the URL from the file that `nats-server` writes once it listens.
fn nats_url(folder: &Path) -> Option<String> {
    let file = fs::read_dir(folder).ok()?.flatten().next()?;
    let ports: Value = serde_json::from_slice(&fs::read(file.path()).ok()?).ok()?;
    Some(ports["nats"][0].as_str()?.to_owned())
}

async fn reach(url: &str) -> anyhow::Result<async_nats::Client> {
    async_nats::connect(url).await.with_context(|| format!("failed to reach NATS at {url}"))
}

/// Waits until the router knows the given number of instances.
async fn wait_for(nats: &async_nats::Client, wanted: usize) -> anyhow::Result<Vec<Found>> {
    let began = Instant::now();
    let mut found: Vec<Found> = Vec::new();
    while began.elapsed() < STEP_TIMEOUT {
        if let Ok(answer) = nats.request(INSTANCES, "".into()).await {
            let answer: Value = serde_json::from_slice(&answer.payload)?;
            found = serde_json::from_value(answer["ok"].clone())?;
            if found.len() >= wanted {
                return Ok(found);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!(
        "{} of {wanted} components are registered: {:?}",
        found.len(),
        found.iter().map(|found| &found.instance).collect::<Vec<_>>()
    )
}

/// Sends requests, a few at a time.
async fn send(url: &str, requests: usize) -> Vec<Answered> {
    use futures_util::StreamExt;
    let all = futures_util::stream::iter(
        (0..requests).map(|number| ask(url, format!("req-{number:03}"))),
    );
    let mut answers: Vec<Answered> = all.buffer_unordered(AT_ONCE).collect().await;
    answers.sort_by(|one, other| one.request_id.cmp(&other.request_id));
    answers
}

async fn ask(url: &str, request_id: String) -> Answered {
    let prompt = "tell me which component failed first and who owns it ".repeat(2);
    let body = json!({"model": "tiny", "prompt": prompt, "max_tokens": 8}).to_string();
    let asked = async {
        let request = axum::http::Request::post(url)
            .header("content-type", "application/json")
            .header("x-request-id", &request_id);
        let answer = Client::builder(TokioExecutor::new())
            .build_http()
            .request(request.body(Body::from(body))?)
            .await?;
        let status = answer.status().as_u16();
        let words = answer.into_body().collect().await?.to_bytes();
        anyhow::Ok((status, String::from_utf8_lossy(&words).into_owned()))
    };
    match asked.await {
        Ok((200, _)) => Answered { request_id, status: 200, error: None },
        Ok((status, words)) => Answered { request_id, status, error: Some(words) },
        Err(error) => Answered { request_id, status: 0, error: Some(format!("{error:#}")) },
    }
}
