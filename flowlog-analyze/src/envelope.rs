//! Envelopes that kubectl, container runtimes, CI systems, journals and terminals add to a line.
//!
//! Envelopes nest, so they are peeled in a loop. Each kind has a module, and yields what it knows:
//! when the line was read, its producer, and whether more of the line follows.

mod actions;
mod columns;
mod cri;
mod docker;
mod gitlab;
mod journald;
mod kubernetes;
mod layout;
mod loki;
mod process;
mod terminal;

use std::borrow::Cow;
use std::hash::Hasher;
use std::ops::Range;

use compact_str::CompactString;
use flowlog_schema::Level;

use crate::component_names;
use crate::timestamp::Timestamp;

pub use layout::Layout;

/// Producer of a line, as its envelopes name it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Producer {
    /// Host name.
    pub host: CompactString,
    /// Pod, or the service that stands for one.
    pub pod: CompactString,
    /// Container in the pod.
    pub container: CompactString,
    /// Process in the container: its name, with its rank if it has one.
    pub process: CompactString,
}

impl Producer {
    /// Returns the component named by the container, the pod or the process, in this order.
    pub fn component(&self) -> Option<&'static str> {
        [&self.container, &self.pod, &self.process]
            .into_iter()
            .find_map(|name| component_names::component_in(name))
    }

    /// Returns whether this producer is the container of `process`: it names the same host, pod and
    /// container, and no process.
    pub fn contains(&self, process: &Self) -> bool {
        self.process.is_empty()
            && (&self.host, &self.pod, &self.container)
                == (&process.host, &process.pod, &process.container)
    }

    /// Returns a hash that identifies the producer within one source; zero if nothing is known.
    pub fn key(&self) -> u32 {
        let parts = [&self.host, &self.pod, &self.container, &self.process];
        if parts.iter().all(|part| part.is_empty()) {
            return 0;
        }
        let mut hasher = fnv::FnvHasher::default();
        for part in parts {
            hasher.write(part.as_bytes());
            hasher.write_u8(0);
        }
        let hash = hasher.finish();
        // Fold the hash to 32 bits. Zero is reserved.
        (u32::try_from(hash >> 32).unwrap_or(0) ^ u32::try_from(hash & 0xffff_ffff).unwrap_or(0))
            .max(1)
    }
}

/// Metadata from the envelopes of a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvelopeMeta {
    /// Time the line was written or read, from the innermost envelope that has one.
    pub time: Option<Timestamp>,
    /// Producer of the line.
    pub producer: Producer,
    /// Severity, if the envelope has one.
    pub level: Option<Level>,
    /// Standard stream that the producer wrote the line to.
    pub stream: Stream,
    /// Whether the envelope splits lines and this fragment does not end one.
    pub partial: bool,
    /// Whether the envelope splits lines and this fragment continues the one before it.
    pub is_continuation: bool,
    /// Whether the envelope is of a kind that splits lines.
    pub splits_lines: bool,
    /// Whether the envelope marks a fragment that continues the one before, rather than one that
    /// will be continued.
    pub marks_continuations: bool,
    /// Number of the stream, if the envelope has several.
    pub stream_index: u8,
}

impl EnvelopeMeta {
    /// Returns a key of producer and stream. Lines with the same key can continue one another.
    pub fn stream_key(&self) -> u64 {
        u64::from(self.producer.key()) << 16
            | u64::from(self.stream_index) << 2
            | self.stream as u64
    }

    /// Returns the time, if it has a year and a zone.
    pub fn complete_time(&self) -> Option<i64> {
        self.time.filter(|stamp| stamp.is_complete()).map(|stamp| stamp.ns)
    }
}

/// Standard stream of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Not known.
    #[default]
    Unknown,
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Stream {
    fn parse(name: &[u8]) -> Option<Self> {
        match name {
            b"stdout" => Some(Self::Out),
            b"stderr" => Some(Self::Err),
            _ => None,
        }
    }
}

/// Line without its envelopes.
#[derive(Debug)]
pub struct Peeled<'a> {
    line: Cow<'a, [u8]>,
    range: Range<usize>,
    /// Metadata from the envelopes.
    pub meta: EnvelopeMeta,
    /// Names of the envelopes, outermost first.
    pub envelopes: [&'static str; MAX_DEPTH],
}

impl<'a> Peeled<'a> {
    fn new(line: Cow<'a, [u8]>, meta: EnvelopeMeta) -> Self {
        Self { range: 0..line.len(), line, meta, envelopes: [""; MAX_DEPTH] }
    }

    /// Returns the content of the envelopes.
    pub fn content(&self) -> &[u8] {
        self.line.get(self.range.clone()).unwrap_or_default()
    }

    /// Converts the line into the content of its envelopes.
    pub fn into_content(self) -> Cow<'a, [u8]> {
        match self.line {
            Cow::Borrowed(line) => Cow::Borrowed(line.get(self.range).unwrap_or_default()),
            Cow::Owned(line) => Cow::Owned(line.get(self.range).unwrap_or_default().to_vec()),
        }
    }

    fn peel(&mut self, through: bool) {
        for depth in 0..MAX_DEPTH {
            let content = self.line.get(self.range.clone()).unwrap_or_default();
            let found = ENVELOPES.iter().find_map(|envelope| {
                Some(((envelope.peel)(content, &mut self.meta)?, envelope.name))
            });
            let Some((inside, name)) = found else { break };
            self.envelopes[depth] = name;
            match inside {
                Inner::Part(part) => {
                    self.range = self.range.start + part.start..self.range.start + part.end;
                }
                Inner::Decoded(bytes) => {
                    self.range = 0..bytes.len();
                    self.line = Cow::Owned(bytes);
                }
            }
            if self.meta.splits_lines && !through {
                break;
            }
        }
    }
}

/// Maximum depth of nested envelopes that is peeled.
pub const MAX_DEPTH: usize = 8;

/// Content of an envelope.
enum Inner {
    /// Range of the line.
    Part(Range<usize>),
    /// Content that the envelope had encoded.
    Decoded(Vec<u8>),
}

impl Inner {
    fn after(at: usize, line: &[u8]) -> Self {
        Self::Part(at.min(line.len())..line.len())
    }
}

/// Kind of envelope.
struct Envelope {
    name: &'static str,
    /// Unwraps a line and records the envelope's metadata. Declines any other line, at little cost.
    peel: fn(&[u8], &mut EnvelopeMeta) -> Option<Inner>,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "used by the tests, and documents the envelope")
    )]
    examples: &'static [Example],
}

/// Wrapped line, its content, and the metadata from its envelope.
struct Example {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "used by the tests, and documents the envelope")
    )]
    line: &'static str,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "used by the tests, and documents the envelope")
    )]
    content: &'static str,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "used by the tests, and documents the envelope")
    )]
    expected: &'static str,
}

/// All envelopes. Where two could match a line, the outer one comes first.
const ENVELOPES: [&Envelope; 24] = [
    &terminal::CONTROL,
    &terminal::BORDER,
    &terminal::PROGRESS,
    &terminal::GREP_NUMBER,
    &kubernetes::TIMESTAMPS,
    &kubernetes::PREFIX,
    &kubernetes::STERN,
    &kubernetes::STERN_JSON,
    &cri::CRI,
    &docker::JSON_FILE,
    &docker::COMPOSE,
    &actions::RAW,
    &actions::COLUMNS,
    &actions::TIMESTAMPER,
    &gitlab::TRACE,
    &gitlab::SECTION,
    &journald::SHORT,
    &journald::JSON,
    &loki::DEFAULT,
    &loki::JSONL,
    &process::PARENTHESES,
    &process::RANK,
    &process::NAME,
    &terminal::REDRAW,
];

/// Returns whether a few bytes show that a line has no envelope.
///
/// This is the fast path for lines that come by the million.
pub fn has_no_envelope(line: &[u8]) -> bool {
    let at = |at: usize| line.get(at).copied().unwrap_or(0);
    let is_ours = match at(0) {
        // Envelope objects begin with other keys: `log`, `stream`, `labels`, `message`,
        // `namespace`, `pod`, `MESSAGE`, `_PID`.
        b'{' => {
            at(1) == b'"'
                && at(2).is_ascii_lowercase()
                && !(at(2) == b's' && at(3) == b't')
                && (!matches!(at(2), b'l' | b'm' | b'n' | b'p') || at(2) == b'l' && at(3) == b'e')
        }
        // Six digits and a level, but not the two digits and the letter of a GitLab trace.
        b'0'..=b'9' => {
            at(26) == b'Z'
                && at(27) == b' '
                && matches!(at(28), b' ' | b'E' | b'D' | b'T')
                && !matches!(at(30), b'O' | b'E')
        }
        _ => false,
    };
    is_ours && memchr::memchr2(0x1b, b'\r', line).is_none()
}

/// Peels the envelopes off a line, up to and including one that splits lines.
///
/// The fragments of a split line must be joined before the rest is peeled ([`peel_rest`]).
pub fn peel(line: &[u8]) -> Peeled<'_> {
    let mut peeled = Peeled::new(Cow::Borrowed(line), EnvelopeMeta::default());
    peeled.peel(false);
    peeled
}

/// Peels all envelopes off a line that is known to be complete.
pub fn peel_whole(line: &[u8]) -> (Cow<'_, [u8]>, EnvelopeMeta) {
    let peeled = peel(line);
    let meta = peeled.meta.clone();
    if meta.splits_lines {
        peel_rest(peeled.into_content(), meta)
    } else {
        (peeled.into_content(), meta)
    }
}

/// Peels the remaining envelopes off a line that may have been split and is complete again.
pub fn peel_rest(line: Cow<'_, [u8]>, meta: EnvelopeMeta) -> (Cow<'_, [u8]>, EnvelopeMeta) {
    let mut peeled = Peeled::new(line, meta);
    peeled.peel(true);
    let meta = peeled.meta.clone();
    (peeled.into_content(), meta)
}

/// Returns whether a log is ordered newest first, as Loki returns it by default.
///
/// Most lines must be Loki's, none may be newer than the one before, and they must not all have the
/// same time.
pub fn is_newest_first(sample: &[u8]) -> bool {
    let (mut times, mut lines) = (Vec::new(), 0);
    for line in whole_lines(sample) {
        let peeled = peel(line);
        lines += 1;
        if peeled.envelopes.contains(&loki::DEFAULT.name)
            || peeled.envelopes.contains(&loki::JSONL.name)
        {
            times.extend(peeled.meta.time.map(|stamp| stamp.ns));
        } else if times.is_empty() && lines > MAX_PREAMBLE {
            return false;
        }
    }
    times.len() * 2 > lines
        && times.windows(2).all(|pair| pair[0] >= pair[1])
        && times.first() > times.last()
}

/// Returns the lines of a sample that are not empty, without an incomplete last line unless it is
/// the only one.
fn whole_lines(sample: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = memchr::memrchr(b'\n', sample).map_or(sample.len(), |end| end + 1);
    sample.get(..whole).unwrap_or_default().split(|b| *b == b'\n').filter(|line| !line.is_empty())
}

/// Maximum number of lines before the first match: `logcli` prints some before its results.
const MAX_PREAMBLE: usize = 8;

/// Returns whether the lines of a log begin with a task number, as `srun --label` writes them.
///
/// There must be several numbers, and they must not simply count up.
fn has_task_labels(sample: &[u8]) -> bool {
    let (mut labels, mut lines) = (Vec::new(), 0_usize);
    for line in whole_lines(sample) {
        lines += 1;
        match process::label(line) {
            Some((task, _)) => labels.push(task.parse::<u32>().unwrap_or(0)),
            None if lines > MAX_PREAMBLE && labels.is_empty() => return false,
            None => {}
        }
    }
    let counted = labels.windows(2).filter(|pair| pair[1] == pair[0] + 1).count();
    let distinct: std::collections::BTreeSet<u32> = labels.iter().copied().collect();
    labels.len() >= 4
        && labels.len() * 5 >= lines * 4
        && distinct.len() >= 2
        && distinct.len() * 2 <= labels.len()
        && counted * 2 < labels.len()
}

/// Returns a name from an envelope as text; empty if it is not valid UTF-8.
fn name(bytes: &[u8]) -> CompactString {
    CompactString::from_utf8(bytes.get(..bytes.len().min(MAX_NAME_BYTES)).unwrap_or_default())
        .unwrap_or_default()
}

/// Maximum length of a name in bytes: a pod name may have 253 characters (RFC 1123).
const MAX_NAME_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(meta: &EnvelopeMeta) -> String {
        let mut summary: Vec<String> = Vec::new();
        if let Some(stamp) = meta.time {
            summary.push(flowlog_schema::Time(stamp.ns).to_string());
        }
        for (what, value) in [
            ("host", &meta.producer.host),
            ("pod", &meta.producer.pod),
            ("container", &meta.producer.container),
            ("process", &meta.producer.process),
        ] {
            if !value.is_empty() {
                summary.push(format!("{what}={value}"));
            }
        }
        if meta.stream != Stream::Unknown {
            summary.push(format!("{:?}", meta.stream).to_lowercase());
        }
        for (what, is) in [("partial", meta.partial), ("continues", meta.is_continuation)] {
            summary.extend(is.then(|| what.to_owned()));
        }
        summary.join(" ")
    }

    #[test]
    fn every_example_matches_only_its_own_envelope() {
        for own in ENVELOPES {
            assert!(own.examples.len() >= 2, "{} has too few examples", own.name);
            for example in own.examples {
                for other in ENVELOPES {
                    let taken = (other.peel)(example.line.as_bytes(), &mut EnvelopeMeta::default())
                        .is_some();
                    assert_eq!(
                        taken,
                        own.name == other.name,
                        "{} and {}: {:?}",
                        own.name,
                        other.name,
                        example.line
                    );
                }
                let mut meta = EnvelopeMeta::default();
                let content = match (own.peel)(example.line.as_bytes(), &mut meta) {
                    Some(Inner::Part(part)) => example.line.as_bytes()[part].to_vec(),
                    Some(Inner::Decoded(bytes)) => bytes,
                    None => panic!("{}: {:?}", own.name, example.line),
                };
                assert_eq!(String::from_utf8_lossy(&content), example.content, "{}", own.name);
                assert_eq!(summary(&meta), example.expected, "{}: {:?}", own.name, example.line);
            }
        }
    }

    #[test]
    fn envelopes_nest() {
        let line = "\u{feff}2025-11-22T08:27:15.1234567Z \u{1b}[36mworker-1  | \u{1b}[0m(EngineCore_DP0 pid=309) ERROR 11-22 08:27:15 [core.py:1] x";
        let peeled = peel(line.as_bytes());
        assert_eq!(peeled.content(), b"ERROR 11-22 08:27:15 [core.py:1] x");
        assert_eq!(
            summary(&peeled.meta),
            "2025-11-22T08:27:15.123456Z pod=worker-1 process=EngineCore_DP0"
        );
        assert_eq!(peeled.envelopes[..5], ["terminal", "github", "compose", "process", ""]);
    }

    #[test]
    fn has_no_envelope_agrees_with_peel() {
        for example in ENVELOPES.iter().flat_map(|envelope| envelope.examples) {
            assert!(!has_no_envelope(example.line.as_bytes()), "{}", example.line);
        }
        for line in [
            "{\"time\":1}",
            "2025-11-22T08:27:15.705274Z  INFO x: y",
            "2025-11-22T08:27:15.705274Z DEBUG x: y",
        ] {
            assert!(
                has_no_envelope(line.as_bytes()) && peel(line.as_bytes()).envelopes[0].is_empty(),
                "{line}"
            );
        }
    }

    #[test]
    fn newest_first_order_is_detected() {
        let line = |second: u32| format!("2025-11-22T08:27:{second:02}Z {{pod=\"a\"}} x\n");
        let log = |seconds: &[u32]| seconds.iter().map(|second| line(*second)).collect::<String>();
        for (seconds, expected) in [
            (&[9, 9, 7, 3][..], true),
            (&[3, 7, 9], false),
            (&[9, 7, 8], false),
            (&[7, 7], false),
            (&[7], false),
        ] {
            assert_eq!(is_newest_first(log(seconds).as_bytes()), expected, "{seconds:?}");
        }
        assert!(is_newest_first(
            format!("2025/11/22 08:30:00 Common labels: {{}}\n{}", log(&[9, 7])).as_bytes()
        ));
        assert!(!is_newest_first(
            b"2025-11-22T08:27:15.705274Z  INFO x: y\n2025-11-22T08:27:14.705274Z  INFO x: y\n"
        ));
    }

    #[test]
    fn task_labels_are_detected_and_peeled() {
        for (log, expected) in [
            (" 0: a\n 1: b\n 0: c\n10:   d\n 0: e\n 1: f\n", true),
            ("0: a\n1: b\nno label\n0: c\n1: d\n0: e\n", true),
            ("1: a\n2: b\n3: c\n4: d\n5: e\n", false),
            ("7: a\n7: b\n7: c\n7: d\n", false),
            ("a\nb\n", false),
            ("", false),
        ] {
            assert_eq!(has_task_labels(log.as_bytes()), expected, "{log}");
        }
        let peeled = Layout::TaskLabels.peel(b" 3:   File \"a.py\"");
        assert_eq!(
            (peeled.content(), peeled.meta.producer.pod.as_str()),
            (&b"  File \"a.py\""[..], "task 3")
        );
        assert_eq!(Layout::TaskLabels.peel(b"(EngineCore pid=7) x").content(), b"x");
    }

    #[test]
    fn redraws_nest_in_other_envelopes() {
        let line = "[pod/w-0/main] 2025-11-22T08:27:15.123456789Z \rLoading: 10%\r(Worker_TP0 pid=412) ERROR 11-22 08:27:15 [core.py:1] boom";
        let peeled = peel(line.as_bytes());
        assert_eq!(peeled.content(), b"ERROR 11-22 08:27:15 [core.py:1] boom");
        assert_eq!(
            summary(&peeled.meta),
            "2025-11-22T08:27:15.123456Z pod=w-0 container=main process=Worker_TP0"
        );
    }

    #[test]
    fn nesting_depth_is_bounded() {
        let line = "(A pid=1) ".repeat(20);
        assert_eq!(peel(line.as_bytes()).content().len(), line.len() - MAX_DEPTH * 10);
    }

    #[test]
    fn lines_of_known_formats_have_no_envelope() {
        for line in [
            "",
            r#"{"time":"2025-11-22T08:27:15.705274Z","level":"INFO","target":"log","message":"up"}"#,
            "2025-11-22T08:27:15.705274Z  INFO main.init: worker initialized",
            "2025-11-22T08:27:15.705274Z  INFO router/r-0 - 019aaaac-a5da-7347-bb80-1089c1876100 - start - {}",
            "2025-11-22T08:27:15Z\tINFO\tsetup\tstarting manager",
            "[2025-11-22 08:27:15 TP0] Scheduler hit an exception",
            "[11/22/2025-08:27:15] [TRT-LLM] [E] boom",
            "[TensorRT-LLM][ERROR] Assertion failed",
            "[1763800035.705274] [host:7  :0] ib.c:1 UCX  ERROR x",
            "[7] 2025/11/22 08:27:15.705274 [INF] Server is ready",
            "[ 1234.567890] NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.",
            "INFO 11-22 08:27:15 [core.py:1] x",
            "ERROR:root:x",
            "    0: creating primary lease",
            "  File \"a.py\", line 1",
            "I1122 08:27:15.705274       1 main.go:1] x",
            "| GPU | memory |",
            "frontend   | Go       | 12",
            "etcd-1 | running | 2379/tcp",
            "[router] add retry to http client",
            "[vllm] upgrade to 0.9.0",
            "[pod/nginx created]",
            "(see pid=5) text",
            "5:   File \"app.py\", line 3",
            "10: {\"x\":1}",
        ] {
            let peeled = peel(line.as_bytes());
            assert_eq!((peeled.content(), peeled.envelopes[0]), (line.as_bytes(), ""), "{line}");
        }
    }
}
