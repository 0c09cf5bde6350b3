//! Logs whose end is missing: what their processes did afterwards is unknown, so that they did not
//! fall silent.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{Source, Sources};

/// Why the end of a log is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incomplete {
    /// The CI system stopped collecting output at its size limit.
    SizeLimit,
    /// The log ends in the middle of a line.
    MidLine,
}

impl Incomplete {
    /// Returns the reason in words.
    pub fn reason(self) -> &'static str {
        match self {
            Self::SizeLimit => "the CI system cut the log at its size limit",
            Self::MidLine => "the log ends in the middle of a line",
        }
    }
}

/// What CI systems write in place of the output that they do not collect: GitLab and Travis CI.
const SIZE_LIMITS: [&[u8]; 2] =
    [b"Job's log exceeded limit of", b"The job exceeded the maximum log length"];

/// Bytes at the end of a source that are searched. A CI system's cleanup follows its remark.
const TAIL_BYTES: u64 = 16 * 1024;

/// How a source ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    AtLimit,
    /// Without a line feed. Some programs write none after their last line.
    WithoutLineFeed,
    /// In the middle of a JSON object.
    InsideObject,
}

/// Returns when the last line of each source whose end is missing was logged, by index. `lines` are
/// the last lines of whatever logs there, each with its source and its time.
pub fn cut_times(
    incomplete: &BTreeMap<u32, Incomplete>,
    lines: impl Iterator<Item = (u32, i64)>,
) -> BTreeMap<u32, i64> {
    let mut times = BTreeMap::new();
    for (source, time) in lines.filter(|(source, _)| incomplete.contains_key(source)) {
        let cut = times.entry(source).or_insert(time);
        *cut = time.max(*cut);
    }
    times
}

/// Returns the sources whose end is missing, by index.
///
/// A line feed proves that the last line is complete. Its absence proves nothing if most sources
/// lack it: then whatever collected them writes none.
pub(super) fn of(sources: &Sources) -> BTreeMap<u32, Incomplete> {
    let ends: Vec<End> = sources.read.par_iter().map(end).collect();
    let without = ends.iter().filter(|end| **end == End::WithoutLineFeed).count();
    (0..)
        .zip(&ends)
        .filter_map(|(index, end)| {
            let incomplete = match end {
                End::AtLimit => Incomplete::SizeLimit,
                End::InsideObject => Incomplete::MidLine,
                End::WithoutLineFeed if without * 2 < ends.len() => Incomplete::MidLine,
                End::WithoutLineFeed | End::Complete => return None,
            };
            Some((index, incomplete))
        })
        .collect()
}

fn end(source: &Source) -> End {
    let size = source.size.min(TAIL_BYTES);
    let mut tail = vec![0; usize::try_from(size).unwrap_or(0)];
    // The reader of the whole source reports errors.
    let filled = source.read_at(source.size - size, &mut tail).unwrap_or(0);
    end_of(tail.get(..filled).unwrap_or_default())
}

fn end_of(tail: &[u8]) -> End {
    if SIZE_LIMITS.iter().any(|remark| memchr::memmem::find(tail, remark).is_some()) {
        return End::AtLimit;
    }
    let Some((last, before)) = tail.split_last() else { return End::Complete };
    if *last == b'\n' {
        return End::Complete;
    }
    let line = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
    let line = tail.get(line..).unwrap_or_default().trim_ascii();
    match line.first() {
        Some(b'{') if [&b"}"[..], b"}]", b"},"].iter().any(|end| line.ends_with(end)) => {
            End::Complete
        }
        Some(b'{') if line.starts_with(b"{\"") => End::InsideObject,
        _ => End::WithoutLineFeed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_logs() {
        for (tail, expected) in [
            ("", End::Complete),
            ("a\nb\n", End::Complete),
            ("a\nb", End::WithoutLineFeed),
            ("{\"a\":1}\n{\"a\":1}", End::Complete),
            ("{\"a\":1}\n{\"a\":", End::InsideObject),
            ("[{\"a\":1},\n{\"a\":1}]", End::Complete),
            ("{job} done", End::WithoutLineFeed),
            (
                "step\n\u{1b}[0;33mJob's log exceeded limit of 4194304 bytes.\nJob execution will \
                 continue but no more output will be collected.\n",
                End::AtLimit,
            ),
        ] {
            assert_eq!(end_of(tail.as_bytes()), expected, "{tail:?}");
        }
    }

    #[test]
    fn a_missing_line_feed_is_a_habit_if_most_logs_lack_it() {
        let of = |texts: &[(&str, &str)]| {
            let texts = texts.iter().map(|(name, text)| (*name, text.as_bytes()));
            of(&Sources::from_texts(texts).unwrap())
        };
        let expected = BTreeMap::from([(1, Incomplete::MidLine)]);
        assert_eq!(of(&[("a", "x\n"), ("b", "x\ny"), ("c", "x\n")]), expected);
        assert_eq!(of(&[("a", "x\ny"), ("b", "x\ny"), ("c", "x\n")]), BTreeMap::new());
        assert_eq!(of(&[("a", "x\ny")]), BTreeMap::new());
        assert_eq!(of(&[("a", "x\n"), ("b", "{\"message\":\"")]), expected);
    }
}
