//! The header of glog, which klog, NIXL and PyTorch share.

use flowlog_schema::Level;

use super::plain::{is_source_location, level};
use crate::timestamp::{self, Timestamp};

/// Parsed header of a line.
pub(super) struct Head<'a> {
    pub time: Timestamp,
    pub level: Level,
    pub place: &'a str,
    pub body: usize,
}

/// Parses the header, whichever program wrote it.
pub(super) fn head(text: &str) -> Option<Head<'_>> {
    let level =
        level(text.get(..1)?).filter(|_| text.as_bytes().get(1).is_some_and(u8::is_ascii_digit))?;
    let date = text.get(1..)?;
    let (time, end) = match timestamp::glog(date.as_bytes()) {
        Some(read) => read,
        // Since 0.6 the year comes first.
        None => {
            let (time, end) = timestamp::glog(date.get(4..)?.as_bytes())?;
            let year = date.get(..4)?.parse().ok()?;
            (
                Timestamp { ns: timestamp::with_year(time.ns, year)?, missing_year: false, ..time },
                end + 4,
            )
        }
    };
    let rest = date.get(end..)?.strip_prefix(' ')?.trim_start_matches(' ');
    let (thread, rest) = rest.split_once(' ')?;
    let (place, rest) = rest.split_once(']')?;
    if thread.is_empty()
        || !thread.bytes().all(|b| b.is_ascii_digit())
        || !is_source_location(place)
    {
        return None;
    }
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    Some(Head { time, level, place, body: text.len() - rest.len() })
}
