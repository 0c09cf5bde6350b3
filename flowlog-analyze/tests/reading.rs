//! Logs of many kinds, as they come, and what is read from them: every event with its lines, format, time, level,
//! component, speaker and requests.
//!
//! `FLOWLOG_BLESS=1 cargo test -p flowlog-analyze --test reading` writes what is read beside each log; read it before you
//! keep it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at what it did not expect")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use flowlog_analyze::events::{Event, NeedsPast, read_events};
use flowlog_analyze::lines::read_chunk;
use flowlog_analyze::source::{self, Sources};
use flowlog_analyze::timeline::{Timelines, YearMemory};
use flowlog_analyze::{format, lines};
use flowlog_schema::{Level, Time};

fn listing(sources: &Sources) -> String {
    let source = &sources.read[0];
    let timeline = Timelines::new(sources).of(sources, 0);
    let chunk = read_chunk(source, 0..source.size, false, Vec::new()).unwrap();
    let (mut out, mut before, mut count) = (String::new(), None, 0);
    read_events(&chunk, &mut |_| Ok(None), &mut |event: &Event<'_>| {
        let text = String::from_utf8_lossy(&event.text);
        let (format, observation) = format::read(text.trim_end());
        let stamp =
            observation.as_ref().and_then(|observation| observation.time).or(event.facts.time);
        let time = stamp.map(|stamp| {
            timeline
                .resolve(stamp, event.facts.complete_time(), before, &mut YearMemory::default())
                .0
        });
        before = time.or(before);
        count += event.lines;
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let speaker = &event.facts.speaker;
        let speaker = [&speaker.host, &speaker.pod, &speaker.container, &speaker.process];
        let speaker: Vec<&str> = speaker
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(compact_str::CompactString::as_str)
            .collect();
        let level = observation
            .as_ref()
            .and_then(|observation| observation.level)
            .map_or("", Level::as_str);
        let component = observation
            .as_ref()
            .and_then(|observation| observation.component.as_deref())
            .unwrap_or_default();
        let requests: Vec<String> = observation
            .as_ref()
            .map(|observation| observation.flows.iter().map(ToString::to_string).collect())
            .unwrap_or_default();
        let error = observation
            .as_ref()
            .filter(|observation| observation.level == Some(Level::Error))
            .map(|observation| {
                let sign = format::error_of(&observation.message);
                format!("{}: {}", sign.kind, sign.message.chars().take(60).collect::<String>())
            });
        let time = time.map_or_else(|| "-".to_owned(), |time| Time(time).to_string());
        let fields =
            [level, component, &speaker.join("/"), &requests.join(",")].map(or_dash).join(" ");
        writeln!(
            out,
            "{} {} {time} {fields} | {}",
            event.lines,
            format.name(),
            error.unwrap_or_default()
        )
        .unwrap();
        Ok::<(), NeedsPast>(())
    })
    .unwrap();
    assert_eq!(count as usize, lines::lines(&chunk.bytes).count());
    out
}

#[test]
fn logs_as_they_come() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reading");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end != "expected"));
    assert!(paths.len() >= 6);
    let sources = source::open(&paths);
    for source in &sources.read {
        // Each by itself: what it leaves out comes from its own lines.
        let alone = source::open(&[PathBuf::from(&source.name)]);
        let found = listing(&alone);
        let expected = PathBuf::from(format!("{}.expected", source.name));
        if std::env::var_os("FLOWLOG_BLESS").is_some() {
            fs::write(&expected, &found).unwrap();
        }
        assert_eq!(found, fs::read_to_string(&expected).unwrap_or_default(), "{}", source.name);
    }
}
