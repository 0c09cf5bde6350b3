//! What others wrapped around a line: kubectl, container runtimes, CI systems, journals, terminals.
//!
//! Envelopes nest, so they are peeled in a loop. Each is one file's business and yields what it knows: when the line
//! was read, who wrote it, whether more of it follows.

mod actions;
mod cri;
mod docker;
mod gitlab;
mod journald;
mod kubernetes;
mod loki;
mod process;
mod terminal;

use std::borrow::Cow;
use std::hash::Hasher;
use std::ops::Range;

use compact_str::CompactString;

use crate::names;
use crate::stamp::Stamp;

/// Who wrote a line, as its envelopes tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Speaker {
    /// The machine.
    pub host: CompactString,
    /// The pod, or the service that stands for one.
    pub pod: CompactString,
    /// The container in the pod.
    pub container: CompactString,
    /// The process in it: a name, and whatever rank it has.
    pub process: CompactString,
}

impl Speaker {
    /// The component that its container's, pod's or process's name tells.
    pub fn component(&self) -> Option<&'static str> {
        [&self.container, &self.pod, &self.process]
            .into_iter()
            .find_map(|name| names::component_in(name))
    }

    /// Whether another is a process in it.
    pub fn is_around(&self, process: &Self) -> bool {
        self.process.is_empty()
            && (&self.host, &self.pod, &self.container)
                == (&process.host, &process.pod, &process.container)
    }

    /// A number that stands for it inside one source; zero where nothing is known.
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
        // Folded, and never zero.
        (u32::try_from(hash >> 32).unwrap_or(0) ^ u32::try_from(hash & 0xffff_ffff).unwrap_or(0))
            .max(1)
    }
}

/// What the envelopes of a line know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// When it was written or read: the innermost envelope that knows.
    pub time: Option<Stamp>,
    /// Who wrote it.
    pub speaker: Speaker,
    /// Which of the writer's streams it came by.
    pub stream: Stream,
    /// The envelope cuts lines, and this piece does not end one.
    pub partial: bool,
    /// The envelope cuts lines, and this piece goes on from the one before it.
    pub continues: bool,
    /// The envelope is one that cuts lines.
    pub cuts: bool,
    /// The envelope marks a piece that goes on from the one before, not one that will be gone on with.
    pub marks_later: bool,
    /// The number of the stream, where the envelope has several.
    pub lane: u8,
}

impl Facts {
    /// Lines with the same key can go on with one another: same speaker, same stream.
    pub fn thread(&self) -> u64 {
        u64::from(self.speaker.key()) << 16 | u64::from(self.lane) << 2 | self.stream as u64
    }

    /// The time, where it leaves nothing out.
    pub fn complete_time(&self) -> Option<i64> {
        self.time.filter(|stamp| stamp.is_complete()).map(|stamp| stamp.ns)
    }
}

/// A stream of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Not told.
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

/// A line out of its envelopes.
#[derive(Debug)]
pub struct Peeled<'a> {
    line: Cow<'a, [u8]>,
    range: Range<usize>,
    /// What they knew.
    pub facts: Facts,
    /// Their names, the outermost first.
    pub envelopes: [&'static str; MAX_DEPTH],
}

impl<'a> Peeled<'a> {
    fn new(line: Cow<'a, [u8]>, facts: Facts) -> Self {
        Self { range: 0..line.len(), line, facts, envelopes: [""; MAX_DEPTH] }
    }

    /// What was wrapped.
    pub fn content(&self) -> &[u8] {
        self.line.get(self.range.clone()).unwrap_or_default()
    }

    /// The same, out of the wrapping.
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
                Some(((envelope.peel)(content, &mut self.facts)?, envelope.name))
            });
            let Some((inside, name)) = found else { break };
            self.envelopes[depth] = name;
            match inside {
                Inside::Part(part) => {
                    self.range = self.range.start + part.start..self.range.start + part.end
                }
                Inside::Decoded(bytes) => {
                    self.range = 0..bytes.len();
                    self.line = Cow::Owned(bytes);
                }
            }
            if self.facts.cuts && !through {
                break;
            }
        }
    }
}

/// Deepest nesting that is peeled.
pub const MAX_DEPTH: usize = 8;

/// What is inside an envelope.
enum Inside {
    /// A part of the line.
    Part(Range<usize>),
    /// Something that the envelope encoded.
    Decoded(Vec<u8>),
}

impl Inside {
    fn after(at: usize, line: &[u8]) -> Self {
        Self::Part(at.min(line.len())..line.len())
    }
}

/// One kind of envelope.
struct Envelope {
    name: &'static str,
    /// Takes a line out of the envelope and notes what that knows; leaves every other line, at little cost.
    peel: fn(&[u8], &mut Facts) -> Option<Inside>,
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests and the reader use them"))]
    examples: &'static [Example],
}

/// A wrapped line, what is inside it, and what its envelope tells.
struct Example {
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests and the reader use it"))]
    line: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests and the reader use it"))]
    content: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests and the reader use it"))]
    tells: &'static str,
}

/// Every envelope. Of two that could take a line the outer comes first.
const ENVELOPES: [&Envelope; 23] = [
    &terminal::CONTROL,
    &terminal::BORDER,
    &terminal::PROGRESS,
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

/// Whether a few bytes tell that a line is in no envelope: the lines that come by the million are asked no more.
pub fn is_bare(line: &[u8]) -> bool {
    let at = |at: usize| line.get(at).copied().unwrap_or(0);
    let is_ours = match at(0) {
        // Objects of envelopes begin with other keys: `log`, `stream`, `labels`, `message`, `namespace`, `pod`, `MESSAGE`, `_PID`.
        b'{' => {
            at(1) == b'"'
                && at(2).is_ascii_lowercase()
                && !(at(2) == b's' && at(3) == b't')
                && (!matches!(at(2), b'l' | b'm' | b'n' | b'p') || at(2) == b'l' && at(3) == b'e')
        }
        // Six digits, a level, and not the two digits and the letter of a GitLab trace.
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

/// Takes a line out of everything that is wrapped around it; but out of an envelope that cuts lines only, for what is
/// inside is to be put together first ([`peel_more`]).
pub fn peel(line: &[u8]) -> Peeled<'_> {
    let mut peeled = Peeled::new(Cow::Borrowed(line), Facts::default());
    peeled.peel(false);
    peeled
}

/// Takes a line that is known to be whole out of everything.
pub fn peel_whole(line: &[u8]) -> (Cow<'_, [u8]>, Facts) {
    let peeled = peel(line);
    let facts = peeled.facts.clone();
    if facts.cuts {
        peel_more(peeled.into_content(), facts)
    } else {
        (peeled.into_content(), facts)
    }
}

/// The rest of the way, for a line that its envelope may have cut and that is whole again.
pub fn peel_more(line: Cow<'_, [u8]>, facts: Facts) -> (Cow<'_, [u8]>, Facts) {
    let mut peeled = Peeled::new(line, facts);
    peeled.peel(true);
    let facts = peeled.facts.clone();
    (peeled.into_content(), facts)
}

/// Whether a log comes newest first, as Loki answers unless told otherwise: most lines are its, and none is newer than
/// the one before.
pub fn is_newest_first(sample: &[u8]) -> bool {
    let (mut times, mut lines) = (Vec::new(), 0);
    for line in whole_lines(sample) {
        let peeled = peel(line);
        lines += 1;
        if peeled.envelopes.contains(&loki::DEFAULT.name)
            || peeled.envelopes.contains(&loki::JSONL.name)
        {
            times.extend(peeled.facts.time.map(|stamp| stamp.ns));
        } else if times.is_empty() && lines > MAX_PREAMBLE {
            return false;
        }
    }
    times.len() * 2 > lines
        && times.windows(2).all(|pair| pair[0] >= pair[1])
        && times.first() > times.last()
}

/// The lines of a sample that are not blank; its last may be cut, and is left out where there are others.
fn whole_lines(sample: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = memchr::memrchr(b'\n', sample).map_or(sample.len(), |end| end + 1);
    sample.get(..whole).unwrap_or_default().split(|b| *b == b'\n').filter(|line| !line.is_empty())
}

/// Lines that `logcli` says itself before it answers.
const MAX_PREAMBLE: usize = 8;

/// Whether every line of a log begins with the number of a task, as `srun --label` writes it: several numbers, and not
/// one after the other.
pub fn is_labelled(sample: &[u8]) -> bool {
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

/// As [`peel`], for a line that begins with the number of its task.
pub fn peel_of_task(line: &[u8]) -> Peeled<'_> {
    let mut peeled = Peeled::new(Cow::Borrowed(line), Facts::default());
    if let Some((task, at)) = process::label(line) {
        peeled.facts.speaker.pod = CompactString::from(format!("task {task}"));
        peeled.range.start = at;
    }
    peeled.peel(false);
    peeled
}

/// Text of some bytes that an envelope holds as a name; empty where they are none.
fn name(bytes: &[u8]) -> CompactString {
    CompactString::from_utf8(bytes.get(..bytes.len().min(MAX_NAME)).unwrap_or_default())
        .unwrap_or_default()
}

/// Longest name that is told apart: a pod's may have 253 characters (RFC 1123).
const MAX_NAME: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(facts: &Facts) -> String {
        let mut told: Vec<String> = Vec::new();
        if let Some(stamp) = facts.time {
            told.push(flowlog_schema::Time(stamp.ns).to_string());
        }
        for (what, value) in [
            ("host", &facts.speaker.host),
            ("pod", &facts.speaker.pod),
            ("container", &facts.speaker.container),
            ("process", &facts.speaker.process),
        ] {
            if !value.is_empty() {
                told.push(format!("{what}={value}"));
            }
        }
        if facts.stream != Stream::Unknown {
            told.push(format!("{:?}", facts.stream).to_lowercase());
        }
        for (what, is) in [("partial", facts.partial), ("continues", facts.continues)] {
            told.extend(is.then(|| what.to_owned()));
        }
        told.join(" ")
    }

    #[test]
    fn every_example_is_taken_by_its_own_envelope_alone() {
        for own in ENVELOPES {
            assert!(own.examples.len() >= 2, "{} has too few examples", own.name);
            for example in own.examples {
                for other in ENVELOPES {
                    let taken =
                        (other.peel)(example.line.as_bytes(), &mut Facts::default()).is_some();
                    assert_eq!(
                        taken,
                        own.name == other.name,
                        "{} and {}: {:?}",
                        own.name,
                        other.name,
                        example.line
                    );
                }
                let mut facts = Facts::default();
                let content = match (own.peel)(example.line.as_bytes(), &mut facts) {
                    Some(Inside::Part(part)) => example.line.as_bytes()[part].to_vec(),
                    Some(Inside::Decoded(bytes)) => bytes,
                    None => panic!("{}: {:?}", own.name, example.line),
                };
                assert_eq!(String::from_utf8_lossy(&content), example.content, "{}", own.name);
                assert_eq!(told(&facts), example.tells, "{}: {:?}", own.name, example.line);
            }
        }
    }

    #[test]
    fn envelopes_nest() {
        let line = "\u{feff}2025-11-22T08:27:15.1234567Z \u{1b}[36mworker-1  | \u{1b}[0m(EngineCore_DP0 pid=309) ERROR 11-22 08:27:15 [core.py:1] x";
        let peeled = peel(line.as_bytes());
        assert_eq!(peeled.content(), b"ERROR 11-22 08:27:15 [core.py:1] x");
        assert_eq!(
            told(&peeled.facts),
            "2025-11-22T08:27:15.123456Z pod=worker-1 process=EngineCore_DP0"
        );
        assert_eq!(peeled.envelopes[..5], ["terminal", "github", "compose", "process", ""]);
    }

    #[test]
    fn what_is_bare_is_in_no_envelope() {
        for example in ENVELOPES.iter().flat_map(|envelope| envelope.examples) {
            assert!(!is_bare(example.line.as_bytes()), "{}", example.line);
        }
        for line in [
            "{\"time\":1}",
            "2025-11-22T08:27:15.705274Z  INFO x: y",
            "2025-11-22T08:27:15.705274Z DEBUG x: y",
        ] {
            assert!(
                is_bare(line.as_bytes()) && peel(line.as_bytes()).envelopes[0].is_empty(),
                "{line}"
            );
        }
    }

    #[test]
    fn newest_first() {
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
    fn labels_of_tasks() {
        for (log, expected) in [
            (" 0: a\n 1: b\n 0: c\n10:   d\n 0: e\n 1: f\n", true),
            ("0: a\n1: b\nno label\n0: c\n1: d\n0: e\n", true),
            ("1: a\n2: b\n3: c\n4: d\n5: e\n", false),
            ("7: a\n7: b\n7: c\n7: d\n", false),
            ("a\nb\n", false),
            ("", false),
        ] {
            assert_eq!(is_labelled(log.as_bytes()), expected, "{log}");
        }
        let peeled = peel_of_task(b" 3:   File \"a.py\"");
        assert_eq!(
            (peeled.content(), peeled.facts.speaker.pod.as_str()),
            (&b"  File \"a.py\""[..], "task 3")
        );
        assert_eq!(peel_of_task(b"(EngineCore pid=7) x").content(), b"x");
    }

    #[test]
    fn redraws_inside_of_others() {
        let line = "[pod/w-0/main] 2025-11-22T08:27:15.123456789Z \rLoading: 10%\r(Worker_TP0 pid=412) ERROR 11-22 08:27:15 [core.py:1] boom";
        let peeled = peel(line.as_bytes());
        assert_eq!(peeled.content(), b"ERROR 11-22 08:27:15 [core.py:1] boom");
        assert_eq!(
            told(&peeled.facts),
            "2025-11-22T08:27:15.123456Z pod=w-0 container=main process=Worker_TP0"
        );
    }

    #[test]
    fn nesting_has_an_end() {
        let line = "(A pid=1) ".repeat(20);
        assert_eq!(peel(line.as_bytes()).content().len(), line.len() - MAX_DEPTH * 10);
    }

    #[test]
    fn lines_of_formats_are_in_no_envelope() {
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
