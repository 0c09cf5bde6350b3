//! Property: the fast path reads the same as the decoder, and it reads ordinary records.
#![allow(clippy::unwrap_used, reason = "a test may panic on unexpected values")]

use std::borrow::Cow;

use flowlog_schema::{
    Clock, EventKind, FastRecord, FlowId, Level, Record, RecordCache, Scalar, SpanId, Time, json,
    text,
};
use proptest::prelude::*;

/// Generates words that need no quotes or escapes.
fn word() -> impl Strategy<Value = Cow<'static, str>> {
    "[a-z][a-zA-Z0-9_.-]{0,12}".prop_map(Cow::Owned)
}

prop_compose! {
    fn progress()(
        micros in -9_000_000_000_000i64..9_000_000_000_000_000,
        level in prop::sample::select(Level::ALL.to_vec()),
        (target, file, line) in (prop::option::of(word()), prop::option::of(word()), prop::option::of(0u32..999_999_999)),
        message in prop::option::of("[a-z][ a-z:/,']{0,20}[a-z]"),
        (component, instance, state) in ("[a-z][a-z0-9_.-]{0,10}", prop::option::of(word()), prop::option::of(word())),
        event in prop::sample::select(vec![EventKind::Start, EventKind::State, EventKind::End]),
        (flow_id, flow) in (1u128.., prop::option::of(word())),
        (span_id, parent_id, clock) in (1u64.., prop::option::of(1u64..), prop::option::of(any::<u64>())),
        version in prop::option::of((word(), word())),
        (field, number, seq) in (word(), prop::option::of(0i64..1_000_000_000), prop::option::of(0i64..1_000_000_000)),
    ) -> Record<'static> {
        let mut record = Record::new(component, event);
        record.time = Some(Time(micros * 1_000));
        record.level = Some(level);
        record.target = target;
        record.file = file;
        record.line = line;
        record.message = message.map(Cow::Owned);
        record.instance = instance;
        record.flow_id = FlowId::from_u128(flow_id).ok();
        record.flow = flow;
        record.state = state;
        record.versions = version.into_iter().collect();
        record.span_id = SpanId::from_u64(span_id).ok();
        record.parent_id = parent_id.and_then(|id| SpanId::from_u64(id).ok());
        record.clock = clock.map(Clock);
        record.fields.extend(seq.map(|seq| ("seq".into(), Scalar::Int(seq))));
        record.fields.push(("worker_id".into(), Scalar::Text(field)));
        record.fields.extend(number.map(|number| ("tokens".into(), Scalar::Int(number))));
        record
    }
}

/// Converts a decoded record to a fast-path record.
fn fast_record<'a>(record: &'a Record<'_>) -> FastRecord<'a> {
    FastRecord {
        time: record.time.unwrap(),
        component: &record.component,
        instance: record.instance.as_deref(),
        flow_id: record.flow_id.unwrap(),
        event: record.event,
        state: record.state.as_deref(),
        has_versions: !record.versions.is_empty(),
        span_id: record.span_id.unwrap(),
        parent_id: record.parent_id,
        clock: record.clock,
        message: record.message.as_deref().unwrap_or_default(),
    }
}

/// Returns whether the fast path reads a line, and checks the result against the decoder.
fn check(line: &[u8], is_json: bool) -> Result<bool, TestCaseError> {
    let shown = String::from_utf8_lossy(line);
    let mut fields: Vec<(&str, &str)> = Vec::new();
    let mut keep = |key, value| {
        fields.push((std::str::from_utf8(key).unwrap(), std::str::from_utf8(value).unwrap()));
        true
    };
    let fast = if is_json {
        json::decode_fast(line, &mut keep)
    } else {
        text::decode_fast(line, &mut keep)
    };
    let Some(fast) = fast else { return Ok(false) };
    let decoded = if is_json { json::decode(line).ok() } else { text::decode(line).ok() };
    let Some((record, problems)) = decoded else {
        return Err(TestCaseError::fail(format!("not a record: {shown}")));
    };
    prop_assert!(problems.is_empty() && record.error.is_none(), "{}", shown);
    prop_assert_eq!(fast, fast_record(&record), "{}", shown);
    for (key, value) in &fields {
        let decoded = record.field(key).map(|value| value.to_text().into_owned());
        // In text, the decoder parses a value that looks like a number as one.
        if is_json || !value.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            prop_assert_eq!(decoded.as_deref(), Some(*value), "{}", shown);
        }
    }
    prop_assert_eq!(fields.len(), record.fields.len(), "{}", shown);
    Ok(true)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn fast_path_reads_ordinary_records(record in progress()) {
        let mut line = Vec::new();
        json::encode(&record, &mut line);
        prop_assert!(check(&line, true)?, "{}", String::from_utf8_lossy(&line));
        line.clear();
        // In text, a source line is the only number among the record's own keys, and the fast path
        // declines it.
        let record = Record { line: None, ..record };
        text::encode(&record, &mut line);
        prop_assert!(check(&line, false)?, "{}", String::from_utf8_lossy(&line));
    }

    #[test]
    fn fast_path_agrees_with_the_decoder(
        record in progress(),
        (at, byte) in (any::<prop::sample::Index>(), any::<u8>()),
        (from, to, put) in (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        piece in prop::sample::select(vec!["\"", "\\", "{", "}", " ", ",", ":", "=", "@", "-", "0", "9", "e", "null", ",\"error\":\"x\"", ",\"a\":1", " a=1", " x@1"]),
    ) {
        for is_json in [true, false] {
            let mut line = Vec::new();
            if is_json { json::encode(&record, &mut line) } else { text::encode(&record, &mut line) }
            let mut changed = line.clone();
            changed[at.index(line.len())] = byte;
            check(&changed, is_json)?;
            // Testing all ASCII bytes at all offsets would take long, so insert one piece of syntax
            // at one offset.
            let mut changed = line.clone();
            let location = put.index(line.len());
            changed.splice(location..location, piece.bytes());
            check(&changed, is_json)?;
            // Copy a part of the line to another offset.
            let (from, to) = (from.index(line.len()), to.index(line.len()));
            let part = line[from.min(to)..from.max(to)].to_vec();
            let mut changed = line.clone();
            changed.splice(location..location, part);
            check(&changed, is_json)?;
            let mut changed = line.clone();
            changed.drain(from.min(to)..from.max(to));
            check(&changed, is_json)?;
        }
    }

    #[test]
    fn record_cache_agrees_with_the_fast_path(
        records in prop::collection::vec((progress(), any::<bool>()), 1..4),
        turns in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 1u128.., any::<bool>()), 1..40),
    ) {
        let mut cache = RecordCache::default();
        for (which, at, byte, id, is_changed) in turns {
            let (record, is_json) = &records[which.index(records.len())];
            // Another flow at the same code location, sometimes damaged.
            let mut record = Record { flow_id: FlowId::from_u128(id).ok(), time: Some(Time(i64::from(byte) * 1_000)), line: None, ..record.clone() };
            for (name, value) in &mut record.fields {
                if name == "seq" {
                    *value = Scalar::Int(i64::from(byte));
                }
            }
            let mut line = Vec::new();
            if *is_json { json::encode(&record, &mut line) } else { text::encode(&record, &mut line) }
            if is_changed {
                let at = at.index(line.len());
                line[at] = byte;
            }
            let shown = String::from_utf8_lossy(&line).into_owned();
            let (mut known, mut fields) = (Vec::new(), Vec::new());
            let cached = cache.decode(&line, &mut |key, value| { known.push((key, value)); true });
            let mut keep = |key, value| { fields.push((key, value)); true };
            let fast = if *is_json { json::decode_fast(&line, &mut keep) } else { text::decode_fast(&line, &mut keep) };
            let Some(cached) = cached else {
                prop_assert!(fast.is_none(), "{}", shown);
                continue;
            };
            let (producer, transition) = (cache.producer(cached.producer).unwrap(), cache.transition(cached.transition).unwrap());
            let full = |text: &'_ str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let read = (cached.time, cached.flow_id, cached.span_id, cached.parent_id, cached.clock, cached.message.to_owned());
            let words = (producer.component.clone(), full(&producer.instance), transition.event, full(&transition.state), transition.has_versions);
            let Some(fast) = fast else { return Err(TestCaseError::fail(format!("declined by the fast path: {shown}"))) };
            let same = (fast.time, fast.flow_id, fast.span_id, fast.parent_id, fast.clock, fast.message.to_owned());
            prop_assert_eq!(read, same, "{}", shown);
            let same = (fast.component.to_owned(), fast.instance.map(str::to_owned), fast.event, fast.state.map(str::to_owned), fast.has_versions);
            prop_assert_eq!(words, same, "{}", shown);
            if cached.tail.is_none() {
                known.sort_unstable();
                fields.sort_unstable();
                prop_assert_eq!(known, fields, "{}", shown);
            }
        }
    }
}
