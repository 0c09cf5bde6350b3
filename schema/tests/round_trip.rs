//! Property: every record in normal form survives both round trips, and no byte string makes a
//! decoder panic.

use std::borrow::Cow;

use flowlog_schema::{
    Clock, ErrorInfo, EventKind, FlowId, Level, Record, Scalar, SecondText, SpanId, Time, json,
    text,
};
use proptest::prelude::*;

fn words() -> impl Strategy<Value = Cow<'static, str>> {
    prop_oneof![
        "[a-z]{1,8}",
        "\\PC{1,12}",
        "[ \"\\\\{}\\[\\]=@:/%\n\t\u{1b}\u{85}a1-]{1,10}",
        "-?[0-9]{1,20}(e[0-9])?",
        "true|false|-|null"
    ]
    .prop_map(Cow::Owned)
}

fn maybe_empty() -> impl Strategy<Value = Cow<'static, str>> {
    prop_oneof![4 => words(), 1 => Just(Cow::Borrowed(""))]
}

fn scalar() -> impl Strategy<Value = Scalar<'static>> {
    prop_oneof![
        maybe_empty().prop_map(Scalar::Text),
        any::<i64>().prop_map(Scalar::Int),
        (i64::MAX as u64 + 1..=u64::MAX).prop_map(Scalar::Uint),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Scalar::Float),
        any::<bool>().prop_map(Scalar::Bool),
    ]
}

fn error() -> impl Strategy<Value = ErrorInfo<'static>> {
    ("[A-Za-z_][A-Za-z0-9_.:]{0,12}", maybe_empty(), prop::collection::vec(maybe_empty(), 0..3))
        .prop_map(|(kind, message, causes)| ErrorInfo { kind: Cow::Owned(kind), message, causes })
}

fn unique<V: std::fmt::Debug>(
    keys: impl Strategy<Value = Cow<'static, str>>,
    values: impl Strategy<Value = V>,
) -> impl Strategy<Value = Vec<(Cow<'static, str>, V)>> {
    prop::collection::vec((keys, values), 0..4).prop_map(|mut entries| {
        let mut seen = std::collections::HashSet::new();
        entries.retain(|(key, _)| seen.insert(key.clone()));
        entries
    })
}

prop_compose! {
    fn record()(
        time in prop::option::of(-9_000_000_000_000_000i64..9_000_000_000_000_000),
        level in prop::option::of(prop::sample::select(Level::ALL.to_vec())),
        (target, file, line, message) in (prop::option::of(words()), prop::option::of(words()), prop::option::of(any::<u32>()), prop::option::of(words())),
        component in "[a-z][a-z0-9_.-]{0,10}",
        (instance, flow, state) in (prop::option::of(words()), prop::option::of(words()), prop::option::of("[A-Za-z0-9_.-][A-Za-z0-9_.:-]{0,8}[A-Za-z0-9_.]")),
        event in prop::sample::select(EventKind::ALL.to_vec()),
        (flow_id, span_id, parent_id, clock) in (prop::option::of(1u128..), prop::option::of(1u64..), prop::option::of(1u64..), prop::option::of(any::<u64>())),
        versions in unique(words(), maybe_empty()),
        error in prop::option::of(error()),
        fields in unique(words(), scalar()),
    ) -> Record<'static> {
        let mut record = Record::new(component, event);
        record.time = time.map(|micros| Time(micros * 1_000));
        record.level = level;
        record.target = target;
        record.file = file;
        record.line = line;
        record.message = message;
        record.instance = instance;
        record.flow = flow;
        record.state = state.map(Cow::Owned);
        record.flow_id = flow_id.and_then(|id| FlowId::from_u128(id).ok());
        record.span_id = span_id.and_then(|id| SpanId::from_u64(id).ok());
        record.parent_id = parent_id.and_then(|id| SpanId::from_u64(id).ok());
        record.clock = clock.map(Clock);
        record.versions = versions;
        record.error = error;
        record.fields = fields.into_iter().filter(|(key, _)| !json::KNOWN.contains(&key.as_ref())).collect();
        record
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn json_round_trip(record in record()) {
        let mut line = Vec::new();
        json::encode(&record, &mut line);
        prop_assert!(!line.contains(&b'\n'));
        let (read, problems) = json::decode(&line).unwrap();
        prop_assert!(problems.is_empty(), "{}", String::from_utf8_lossy(&line));
        prop_assert_eq!(&read, &record, "{}", String::from_utf8_lossy(&line));
    }

    #[test]
    fn text_round_trip(record in record()) {
        let mut line = Vec::new();
        text::encode(&record, &mut line);
        prop_assert!(!line.contains(&b'\n'));
        let (read, problems) = text::decode(&line).unwrap();
        prop_assert!(problems.is_empty(), "{}", String::from_utf8_lossy(&line));
        prop_assert_eq!(&read, &record, "{}", String::from_utf8_lossy(&line));
    }

    #[test]
    fn record_template_agrees_with_the_encoder(record in record(), number in 0u64..1000, is_elsewhere in any::<bool>()) {
        let mut record = Record {
            time: record.time.or(Some(Time(0))),
            level: record.level.or(Some(Level::Info)),
            clock: record.clock.or(Some(Clock(1))),
            file: record.file.filter(|_| is_elsewhere),
            line: record.line.filter(|_| is_elsewhere),
            ..record
        };
        record.fields.retain(|(name, _)| name != "seq");
        let fields: Vec<(&str, Scalar<'_>)> = record.fields.iter().map(|(name, value)| (name.as_ref(), value.clone())).collect();
        let line = json::RecordData {
            time: record.time.unwrap(),
            level: record.level.unwrap(),
            location: is_elsewhere.then(|| json::CodeLocation {
                target: record.target.as_deref().unwrap_or_default(),
                file: record.file.as_deref(),
                line: record.line,
            }),
            message: record.message.as_deref().unwrap_or_default(),
            event: record.event,
            state: record.state.as_deref().unwrap_or_default(),
            names_versions: true,
            clock: record.clock.unwrap(),
            error: record.error.as_ref(),
            fields: &fields,
            number,
        };
        let (mut quick, mut whole) = (Vec::new(), Vec::new());
        // The template's code location may differ from that of a single record.
        let target = if is_elsewhere { Some("flowlog".into()) } else { record.target.clone() };
        let template = json::RecordTemplate::of(&Record { target, ..record.clone() });
        template.encode(&line, &mut SecondText::default(), &mut quick);
        if number > 0 {
            record.fields.insert(0, ("seq".into(), i64::try_from(number).unwrap().into()));
        }
        json::encode(&record, &mut whole);
        prop_assert_eq!(String::from_utf8(quick).unwrap(), String::from_utf8(whole).unwrap());
    }

    #[test]
    fn decoders_never_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (json::decode(&line), text::decode(&line));
    }

    #[test]
    fn decoders_never_panic_on_damaged_records(record in record(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for encode in [json::encode, text::encode] {
            let mut line = Vec::new();
            encode(&record, &mut line);
            let at = at.index(line.len());
            let _ = (json::decode(&line[..at]), text::decode(&line[..at]), json::decode(&line[at..]), text::decode(&line[at..]));
            line[at] = byte;
            let _ = (json::decode(&line), text::decode(&line));
        }
    }
}
