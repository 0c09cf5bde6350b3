//! Layouts: envelopes that no table of known ones has, learned from the first lines of a source.
//!
//! Exports as CSV have their columns in a header. Other prefixes are found by peeling: what most
//! lines of a source share in front is an envelope if what is left is then better understood.

use std::borrow::Cow;

use compact_str::CompactString;

use super::columns::Columns;
use super::{EnvelopeMeta, Peeled, has_task_labels, name, process, whole_lines};
use crate::timestamp;

/// Layout of a source's lines.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Layout {
    /// Known envelopes only.
    #[default]
    Plain,
    /// Lines that begin with the number of their task.
    TaskLabels,
    /// Rows of a table with a header.
    Columns(Columns),
    /// Prefixes, outermost first.
    Prefixes(Vec<Prefix>),
}

/// Shape of a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// A timestamp, in brackets or not.
    Time,
    /// A name and a bar: `web-1  | `.
    Bar,
    /// A name and a process ID in parentheses: `(MapWorker(MapBatches(f)) pid=7, ip=10.0.0.1) `.
    Parentheses,
    /// A name in brackets.
    Brackets,
    /// The mark of quoted text: `> `.
    Quote,
}

const SHAPES: [Prefix; 5] =
    [Prefix::Quote, Prefix::Time, Prefix::Bar, Prefix::Parentheses, Prefix::Brackets];

/// Maximum number of prefixes of a line.
const MAX_PREFIXES: usize = 3;

/// Number of lines that are looked at.
const MAX_LINES: usize = 64;

/// Minimum share of lines that have a prefix.
const MIN_SHARE: f64 = 0.6;

/// Minimum by which the mean understanding of a line must rise, of at most 2.
const MIN_GAIN: f64 = 0.3;

/// The same for prefixes with a time, which is not lost if nothing else is understood.
const MIN_GAIN_WITH_TIME: f64 = 0.05;

impl Layout {
    /// Learns the layout of a source from its first bytes. `understanding` says how well a line is
    /// understood without its envelopes, from 0 to 2.
    pub fn of(sample: &[u8], understanding: fn(&[u8]) -> u8) -> Self {
        if has_task_labels(sample) {
            return Self::TaskLabels;
        }
        if let Some(columns) = Columns::of(sample) {
            return Self::Columns(columns);
        }
        let lines: Vec<&[u8]> = whole_lines(sample).take(MAX_LINES).collect();
        let peeled: Vec<Cow<'_, [u8]>> =
            lines.iter().map(|line| super::peel_whole(line).0).collect();
        #[expect(clippy::cast_precision_loss, reason = "a mean tolerates rounding")]
        let mean = |prefixes: &[Prefix]| {
            let (mut sum, mut having) = (0.0, 0.0);
            for line in &peeled {
                let rest = peel_all(prefixes, line, &mut EnvelopeMeta::default());
                having += f64::from(u8::from(rest.is_some()));
                let understood =
                    understanding(rest.map_or(line, |at| line.get(at..).unwrap_or_default()));
                // A line with a time is read, whatever follows.
                let has_time = rest.is_some() && prefixes.contains(&Prefix::Time);
                sum += f64::from(understood.max(u8::from(has_time)));
            }
            let count = peeled.len().max(1) as f64;
            (sum / count, having / count)
        };
        let (plain, _) = mean(&[]);
        if peeled.len() < 4 || plain > 2.0 - MIN_GAIN {
            return Self::Plain;
        }
        let mut best = (plain, Vec::new());
        let mut open: Vec<Vec<Prefix>> = vec![Vec::new()];
        for _ in 0..MAX_PREFIXES {
            let mut longer = Vec::new();
            for known in &open {
                for shape in SHAPES {
                    let mut prefixes = known.clone();
                    prefixes.push(shape);
                    let (understood, having) = mean(&prefixes);
                    if having < MIN_SHARE {
                        continue;
                    }
                    let has_time = prefixes.contains(&Prefix::Time);
                    let gained = understood - plain;
                    if understood > best.0
                        && gained > if has_time { MIN_GAIN_WITH_TIME } else { MIN_GAIN }
                    {
                        best = (understood, prefixes.clone());
                    }
                    longer.push(prefixes);
                }
            }
            open = longer;
        }
        if best.1.is_empty() { Self::Plain } else { Self::Prefixes(best.1) }
    }

    /// Returns whether every line is peeled as the known envelopes say.
    pub fn is_plain(&self) -> bool {
        *self == Self::Plain
    }

    /// Peels the envelopes off a line.
    pub fn peel<'a>(&self, line: &'a [u8]) -> Peeled<'a> {
        let mut peeled = Peeled::new(Cow::Borrowed(line), EnvelopeMeta::default());
        match self {
            Self::Plain => {}
            Self::TaskLabels => {
                if let Some((task, at)) = process::label(line) {
                    peeled.meta.producer.pod = CompactString::from(format!("task {task}"));
                    peeled.range.start = at;
                }
            }
            Self::Columns(columns) => {
                if let Some(content) = columns.peel(line, &mut peeled.meta) {
                    peeled.range = 0..content.len();
                    peeled.line = Cow::Owned(content);
                }
            }
            Self::Prefixes(prefixes) => {
                peeled.peel(false);
                if !peeled.meta.splits_lines {
                    let mut meta = peeled.meta.clone();
                    if let Some(at) = peel_all(prefixes, peeled.content(), &mut meta) {
                        peeled.range.start += at;
                        peeled.meta = meta;
                    }
                }
            }
        }
        peeled.peel(false);
        peeled
    }
}

/// Returns the length of all prefixes of a line; `None` if it lacks one.
fn peel_all(prefixes: &[Prefix], line: &[u8], meta: &mut EnvelopeMeta) -> Option<usize> {
    let mut at = 0;
    for prefix in prefixes {
        at += prefix.peel(line.get(at..)?, meta)?;
    }
    Some(at)
}

impl Prefix {
    /// Returns the length of the prefix, with the blanks after it.
    fn peel(self, line: &[u8], meta: &mut EnvelopeMeta) -> Option<usize> {
        match self {
            Self::Time => {
                let open = usize::from(line.first() == Some(&b'['));
                let rest = line.get(open..)?;
                let end = match timestamp::any(rest) {
                    Some((stamp, len)) => {
                        meta.time.get_or_insert(stamp);
                        len
                    }
                    None => timestamp::time_of_day(rest)?,
                };
                let behind = rest.get(end..)?;
                let behind = if open == 1 { behind.strip_prefix(b"]")? } else { behind };
                let blanks = behind.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
                (blanks > 0).then(|| {
                    line.len() - behind.len()
                        + blanks.min(1).max(usize::from(open == 0) * blanks.min(2))
                })
            }
            Self::Quote => {
                let rest = line.strip_prefix(b">")?;
                Some(1 + usize::from(rest.first() == Some(&b' ')))
            }
            Self::Bar => {
                let head = line.get(..line.len().min(64))?;
                let bar = memchr::memchr(b'|', head)?;
                let label = head.get(..bar)?.trim_ascii();
                let is_name = label
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
                if !is_name || !line.get(..bar)?.ends_with(b" ") {
                    return None;
                }
                if !label.is_empty() {
                    meta.producer.pod = name(label);
                }
                Some(bar + 1 + usize::from(line.get(bar + 1) == Some(&b' ')))
            }
            Self::Parentheses => {
                let inner = line.strip_prefix(b"(")?;
                let end = process::closing(inner)?;
                let label = std::str::from_utf8(inner.get(..end)?).ok()?;
                // A bare process ID names nobody.
                if let Some(process) = process::label_of(label) {
                    meta.producer.process = process;
                }
                let blank = usize::from(inner.get(end + 1) == Some(&b' '));
                Some(1 + end + 1 + blank)
            }
            Self::Brackets => {
                let inner = line.strip_prefix(b"[")?;
                let end = memchr::memchr(b']', inner.get(..inner.len().min(64))?)?;
                let label = inner.get(..end)?;
                let is_name = label.first().is_some_and(u8::is_ascii_alphabetic)
                    && label.iter().all(|byte| {
                        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':')
                    });
                if !is_name {
                    return None;
                }
                meta.producer.pod = name(label);
                Some(1 + end + 1 + usize::from(inner.get(end + 1) == Some(&b' ')))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Understands lines that begin with a level.
    fn understanding(line: &[u8]) -> u8 {
        u8::from(line.starts_with(b"INFO ")) * 2
    }

    fn content(sample: &str) -> (Layout, String, String) {
        let layout = Layout::of(sample.as_bytes(), understanding);
        let first = sample.lines().find(|line| line.contains("INFO")).unwrap_or_default();
        let peeled = layout.peel(first.as_bytes());
        let producer = &peeled.meta.producer;
        let who = format!("{}{}", producer.pod, producer.process);
        (layout.clone(), String::from_utf8_lossy(peeled.content()).into_owned(), who)
    }

    #[test]
    fn prefixes_are_learned() {
        for (line, expected, who) in [
            ("09:14:02 web.1    | INFO up", "INFO up", "web.1"),
            (
                "2026-03-09 01:26:30.040100128 (MapWorker(MapBatches(f)) pid=7, ip=10.0.0.1) INFO up",
                "INFO up",
                "MapWorker(MapBatches(f)) 10.0.0.1",
            ),
            ("(pid=44204) [2026-08-01T22:58:03Z] INFO up", "INFO up", "pid 44204"),
            ("[2026-08-01T22:58:03Z] INFO up", "INFO up", ""),
            ("  | INFO up", "INFO up", ""),
            ("> INFO up", "INFO up", ""),
        ] {
            let sample = format!("{line}\n").repeat(8);
            let (layout, inner, name) = content(&sample);
            assert_eq!((inner.as_str(), name.as_str()), (expected, who), "{line}: {layout:?}");
        }
    }

    #[test]
    fn a_prefix_that_explains_nothing_stays() {
        let sample = "[a] one\n[b] two\n[c] three\n[d] four\n[e] five\n";
        assert!(Layout::of(sample.as_bytes(), understanding).is_plain());
        let sample = "INFO one\n".repeat(9);
        assert!(Layout::of(sample.as_bytes(), understanding).is_plain());
    }
}
