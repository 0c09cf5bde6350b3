//! Logs as other programs deliver them: timestamped, prefixed, encoded, split, or merged into one.

use std::fmt::Write as _;

use crate::Cluster;

/// Envelope around each line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    /// `kubectl logs --timestamps`, one file per pod.
    KubectlTimestamps,
    /// `kubectl logs --prefix --timestamps` of all pods.
    KubectlPrefix,
    /// The kubelet's log files, with long lines split.
    Cri,
    /// Docker's json-file driver, with long lines split.
    DockerJson,
    /// Docker Compose, with all services and in color.
    Compose,
    /// stern, with all pods.
    Stern,
    /// Raw job log of GitHub Actions to which the logs of all pods were printed.
    Github,
    /// `gh run view --log` of such a job.
    GithubColumns,
    /// GitLab trace in which some lines continue on the next one.
    Gitlab,
    /// journald of one machine, with `-o short-iso`.
    Journald,
    /// `logcli --output=jsonl`, newest line first.
    Loki,
    /// Docker Compose inside a GitHub job.
    ComposeInGithub,
}

impl Envelope {
    /// All envelopes.
    pub const ALL: [Self; 12] = [
        Self::KubectlTimestamps,
        Self::KubectlPrefix,
        Self::Cri,
        Self::DockerJson,
        Self::Compose,
        Self::Stern,
        Self::Github,
        Self::GithubColumns,
        Self::Gitlab,
        Self::Journald,
        Self::Loki,
        Self::ComposeInGithub,
    ];

    /// Returns whether the lines of all processes are merged into one log, and the envelope does
    /// not name their process.
    pub fn loses_names(self) -> bool {
        matches!(self, Self::Github | Self::GithubColumns | Self::Gitlab)
    }

    fn joins(self) -> bool {
        !matches!(self, Self::KubectlTimestamps | Self::Cri | Self::DockerJson)
    }
}

/// Number of bytes after which [`Envelope::Cri`] and [`Envelope::DockerJson`] split a line.
const SPLIT_BYTES: usize = 300;

/// Wraps every line of a cluster's logs.
pub fn wrap(cluster: &Cluster, envelope: Envelope) -> Cluster {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for (log, (_, bytes)) in cluster.logs.iter().enumerate() {
        let mut time = "2025-11-22T08:00:00.000000";
        for (at, line) in
            bytes.split(|b| *b == b'\n').enumerate().filter(|(_, line)| !line.is_empty())
        {
            let line = std::str::from_utf8(line).unwrap_or_default();
            time = line.find("2025-11-").and_then(|at| line.get(at..at + 26)).unwrap_or(time);
            lines.push(Line { log, at, time, text: line });
        }
    }
    if envelope.joins() {
        lines.sort_by_key(|line| (line.time, line.log, line.at));
    }
    if envelope == Envelope::Loki {
        lines.reverse();
    }
    let mut logs: Vec<(String, String)> = Vec::new();
    for line in &lines {
        let pod = cluster.logs[line.log].0.trim_end_matches(".log");
        let name =
            if envelope.joins() { "job.log".to_owned() } else { cluster.logs[line.log].0.clone() };
        let known = logs.iter().position(|(known, _)| *known == name);
        let log = known.unwrap_or_else(|| {
            // Raw job logs of GitHub begin with a byte order mark.
            let mark = if matches!(envelope, Envelope::Github | Envelope::ComposeInGithub) {
                "\u{feff}"
            } else {
                ""
            };
            logs.push((name, mark.to_owned()));
            logs.len() - 1
        });
        line.write(pod, envelope, &mut logs[log].1);
    }
    Cluster {
        logs: logs.into_iter().map(|(name, log)| (name, log.into_bytes())).collect(),
        truth: cluster.truth.clone(),
    }
}

struct Line<'a> {
    log: usize,
    at: usize,
    /// With microseconds, without a time zone.
    time: &'a str,
    text: &'a str,
}

impl Line<'_> {
    /// Returns standard error for every third line, standard output for the others.
    fn stream(&self) -> &'static str {
        if self.at.is_multiple_of(3) { "stderr" } else { "stdout" }
    }

    fn write(&self, pod: &str, envelope: Envelope, out: &mut String) {
        let Self { time, text, .. } = *self;
        // Writing to a string cannot fail.
        let _ = match envelope {
            Envelope::KubectlTimestamps => writeln!(out, "{time}123Z {text}"),
            Envelope::KubectlPrefix => writeln!(out, "[pod/{pod}/main] {time}123Z {text}"),
            Envelope::Cri => {
                let pieces = pieces(text, SPLIT_BYTES);
                for (at, piece) in pieces.iter().enumerate() {
                    let tag = if at + 1 == pieces.len() { "F" } else { "P" };
                    let _ = writeln!(out, "{time}123Z {} {tag} {piece}", self.stream());
                }
                Ok(())
            }
            Envelope::DockerJson => {
                let pieces = pieces(text, SPLIT_BYTES);
                for (at, piece) in pieces.iter().enumerate() {
                    let end = if at + 1 == pieces.len() { "\n" } else { "" };
                    let log = serde_json::Value::from(format!("{piece}{end}"));
                    let _ = writeln!(
                        out,
                        r#"{{"log":{log},"stream":"{}","time":"{time}123Z"}}"#,
                        self.stream()
                    );
                }
                Ok(())
            }
            Envelope::Compose => writeln!(out, "\u{1b}[36m{pod:<12}  | \u{1b}[0m{text}"),
            Envelope::Stern => writeln!(out, "{pod} main {time}123Z {text}"),
            Envelope::Github => writeln!(out, "{time}1Z {text}"),
            Envelope::GithubColumns => {
                writeln!(out, "stress (gpu_1)\tCollect logs\t{time}1Z {text}")
            }
            Envelope::Gitlab => {
                let pieces = if self.at.is_multiple_of(7) {
                    pieces(text, text.len() / 2 + 1)
                } else {
                    vec![text]
                };
                for (at, piece) in pieces.iter().enumerate() {
                    let _ = writeln!(out, "{time}Z 01O{}{piece}", if at == 0 { ' ' } else { '+' });
                }
                Ok(())
            }
            Envelope::Journald => {
                writeln!(out, "{time}+00:00 node-1 {pod}[{}]: {text}", 1000 + self.log)
            }
            Envelope::Loki => {
                let line = serde_json::Value::from(text);
                writeln!(
                    out,
                    r#"{{"labels":{{"container":"main","pod":"{pod}"}},"line":{line},"timestamp":"{time}123Z"}}"#
                )
            }
            Envelope::ComposeInGithub => writeln!(out, "{time}1Z {pod:<12}  | {text}"),
        };
    }
}

/// Splits text into pieces of at most `most` bytes. Returns at least one piece.
fn pieces(text: &str, most: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > most {
        let cut = (0..=most).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(0).max(1);
        let (piece, after) = rest.split_at(cut);
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}
