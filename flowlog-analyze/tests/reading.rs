//! Logs of many kinds, unmodified, and what is parsed from them: every event with its lines,
//! format, time, level, component, producer and requests.
//!
//! `FLOWLOG_BLESS=1 cargo test -p flowlog-analyze --test reading` writes the result next to each
//! log; review it before you commit it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use flowlog_analyze::lines::read_chunk;
use flowlog_analyze::multiline::{NeedsLookbehind, RawEvent, read_events};
use flowlog_analyze::source::{self, Sources};
use flowlog_analyze::timestamp_inference::{TimestampResolvers, YearCache};
use flowlog_analyze::{format, lines};
use flowlog_schema::{Level, Time};

fn listing(sources: &Sources) -> String {
    let source = &sources.read[0];
    let resolver = TimestampResolvers::new(sources).of(sources, 0);
    let chunk = read_chunk(source, 0..source.size, false, Vec::new()).unwrap();
    let (mut out, mut before, mut count) = (String::new(), None, 0);
    read_events(&chunk, &mut |_| Ok(None), &mut |raw: &RawEvent<'_>| {
        let text = String::from_utf8_lossy(&raw.text);
        let (format, event) = format::read(text.trim_end());
        let stamp = event.as_ref().and_then(|event| event.time).or(raw.meta.time);
        let time = stamp.map(|stamp| {
            resolver.resolve(stamp, raw.meta.complete_time(), before, &mut YearCache::default()).0
        });
        before = time.or(before);
        count += raw.lines;
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let producer = &raw.meta.producer;
        let producer = [&producer.host, &producer.pod, &producer.container, &producer.process];
        let producer: Vec<&str> = producer
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(compact_str::CompactString::as_str)
            .collect();
        let level = event.as_ref().and_then(|event| event.level).map_or("", Level::as_str);
        let component =
            event.as_ref().and_then(|event| event.component.as_deref()).unwrap_or_default();
        let requests: Vec<String> = event
            .as_ref()
            .map(|event| event.flows.iter().map(ToString::to_string).collect())
            .unwrap_or_default();
        let error = event.as_ref().filter(|event| event.level == Some(Level::Error)).map(|event| {
            let sign = format::error_of(&event.message);
            format!("{}: {}", sign.kind, sign.message.chars().take(60).collect::<String>())
        });
        let time = time.map_or_else(|| "-".to_owned(), |time| Time(time).to_string());
        let fields =
            [level, component, &producer.join("/"), &requests.join(",")].map(or_dash).join(" ");
        writeln!(
            out,
            "{} {} {time} {fields} | {}",
            raw.lines,
            format.name(),
            error.unwrap_or_default()
        )
        .unwrap();
        Ok::<(), NeedsLookbehind>(())
    })
    .unwrap();
    assert_eq!(count as usize, lines::lines(&chunk.bytes).count());
    out
}

#[test]
fn logs_are_parsed_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reading");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end != "expected"));
    assert!(paths.len() >= 6);
    let sources = source::open(&paths);
    for source in &sources.read {
        // Each log by itself, so that missing years and zones are inferred from its own lines.
        let alone = source::open(&[PathBuf::from(&source.name)]);
        let found = listing(&alone);
        let expected = PathBuf::from(format!("{}.expected", source.name));
        if std::env::var_os("FLOWLOG_BLESS").is_some() {
            fs::write(&expected, &found).unwrap();
        }
        assert_eq!(found, fs::read_to_string(&expected).unwrap_or_default(), "{}", source.name);
    }
}
