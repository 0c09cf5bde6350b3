//! Reading of the part of a source that holds the state of objects, and its division into forms.

use super::line::Line;
use super::object::Cluster;
use super::{describe, manifest, table};
use crate::envelope::peel_whole;
use crate::flow::LineRef;
use crate::source::Sources;

/// Maximum number of bytes of one source that are read.
const MAX_BYTES: u64 = 64 << 20;

/// Bytes read before the first line that is known to describe an object.
const LEAD_BYTES: u64 = 64 << 10;

/// Bytes read after the last such line.
const TAIL_BYTES: u64 = 64 << 10;

/// Reads a range of a source.
pub(super) fn read(sources: &Sources, number: u32, (from, to): (u64, u64), cluster: &mut Cluster) {
    let Some(source) = sources.read.get(number as usize) else { return };
    let start = from.saturating_sub(LEAD_BYTES);
    let end = source.size.min(to.saturating_add(TAIL_BYTES)).min(start.saturating_add(MAX_BYTES));
    let Ok(len) = usize::try_from(end.saturating_sub(start)) else { return };
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        let rest = bytes.get_mut(filled..).unwrap_or_default();
        match source.read_at(start + filled as u64, rest) {
            Ok(0) | Err(_) => break,
            Ok(read) => filled += read,
        }
    }
    bytes.truncate(filled);
    let mut lines: Vec<Line> = Vec::new();
    let mut at = start;
    for line in bytes.split(|byte| *byte == b'\n') {
        let (content, _) = peel_whole(line.strip_suffix(b"\r").unwrap_or(line));
        let line_ref = LineRef { source: number, offset: at, producer: 0 };
        lines.push(Line { at: line_ref, text: String::from_utf8_lossy(&content).into_owned() });
        at += line.len() as u64 + 1;
    }
    // The first line may have lost its beginning.
    if start > 0 && !lines.is_empty() {
        lines.remove(0);
    }
    divide(&lines, cluster);
}

/// Divides lines into manifests, descriptions and tables, and reads each.
fn divide(lines: &[Line], cluster: &mut Cluster) {
    let mut at = 0;
    let mut command = "";
    while let Some(line) = lines.get(at) {
        if line.text.contains("kubectl ") {
            command = &line.text;
        }
        let rest = lines.get(at..).unwrap_or_default();
        let used = if manifest::begins(rest) {
            manifest::read(rest, cluster)
        } else if describe::begins(&line.text) {
            describe::read(rest, cluster)
        } else if table::is_header(&line.text) {
            table::read(rest, cluster)
        } else if describe::begins_events(&line.text) {
            describe::read_events(rest, command, cluster)
        } else {
            table::read_bare(line, cluster);
            1
        };
        at += used.max(1);
    }
}
