//! Text decoder: the grammar, with nom.

use std::borrow::Cow;
use std::collections::HashSet;

use nom::branch::alt;
use nom::bytes::complete::{take_till, take_till1};
use nom::character::complete::{char, space0, space1};
use nom::combinator::{opt, recognize, rest, verify};
use nom::multi::many0_count;
use nom::sequence::{pair, preceded, terminated};
use nom::{IResult, Parser};

use super::is_state;
use crate::record::{UNKNOWN, is_component, lower, split_type};
use crate::{Clock, ErrorInfo, EventKind, FlowId, Level, Problems, Record, Scalar, SpanId, Time};

/// The line is not a flowlog record in text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a flowlog record in text form")]
pub struct NotText;

/// Decodes one line.
///
/// Any run of blanks is a separator. Time and level are optional. A bare line, which has no event
/// after the second ` - `, is a `fail` if it contains an error, otherwise a `state`.
///
/// # Errors
/// [`NotText`] if the line has no `<component> - <flow id> - ` head, or if it has no event and its
/// flow is `-`.
pub fn decode(line: &[u8]) -> Result<(Record<'_>, Problems), NotText> {
    let line = std::str::from_utf8(line).map_err(|_| NotText)?;
    let (body, head) = head(line).map_err(|_| NotText)?;
    let mut problems = Problems::default();
    let (after_event, event) = match word(body) {
        Ok((after, word)) => match EventKind::parse(word) {
            Some(event) => (after, Some(event)),
            None => (body, None),
        },
        Err(_) => (body, None),
    };
    // Without an event, only a flow ID distinguishes the line from any other text with dashes.
    if event.is_none() && head.flow_id.is_none() {
        return Err(NotText);
    }
    let mut record =
        Record::new(lower(Cow::Borrowed(head.component)), event.unwrap_or(EventKind::State));
    record.time = head.time;
    record.level = head.level;
    record.instance = head.instance.filter(|instance| !instance.is_empty()).map(percent_decode);
    record.flow_id = head.flow_id;

    let (after_state, state) =
        match preceded(space0::<_, nom::error::Error<&str>>, state).parse(after_event) {
            Ok((after, state)) => (after, Some(state)),
            Err(_) => (after_event, None),
        };
    record.state = state.filter(|state| *state != "-").map(Cow::Borrowed);
    let mut tail = after_state;
    // Braces are a group only directly after the state.
    if (state.is_some() || event.is_none())
        && let Ok((after, entries)) = preceded(space0, braces).parse(after_state)
    {
        tail = after;
        let mut seen = SeenKeys::new();
        for entry in entries {
            apply(&mut record, entry, &mut seen, &mut problems);
        }
    }
    finish(&mut record, tail.trim(), event.is_none());
    Ok((record, problems))
}

struct Head<'a> {
    time: Option<Time>,
    level: Option<Level>,
    component: &'a str,
    instance: Option<&'a str>,
    flow_id: Option<FlowId>,
}

fn word(input: &str) -> IResult<&str, &str> {
    preceded(space0, take_till1(char::is_whitespace)).parse(input)
}

fn dash(input: &str) -> IResult<&str, ()> {
    let (input, _) = (space1, char('-'), space1).parse(input)?;
    Ok((input, ()))
}

fn head(input: &str) -> IResult<&str, Head<'_>> {
    let (input, time) = opt(nom::combinator::map_opt(word, Time::parse)).parse(input)?;
    let (input, level) = opt(nom::combinator::map_opt(word, Level::parse)).parse(input)?;
    let (input, who) = word(input)?;
    let (component, instance) = match who.split_once('/') {
        Some((component, instance)) => (component, Some(instance)),
        None => (who, None),
    };
    let (_, component) = verify(rest, is_component).parse(component)?;
    let (input, ()) = dash(input)?;
    let flow = alt((
        nom::combinator::map_opt(word, |word| (word == "-").then_some(None)),
        nom::combinator::map_opt(word, |word| FlowId::parse(word).ok().map(Some)),
    ));
    let (input, flow_id) = terminated(flow, dash).parse(input)?;
    Ok((input, Head { time, level, component, instance, flow_id }))
}

/// Parses `-` or a state. A word that ends in a colon is an error type, not a state.
fn state(input: &str) -> IResult<&str, &str> {
    verify(take_till1(|c: char| c.is_whitespace() || c == '{'), |word: &str| {
        word == "-" || (is_state(word) && !word.ends_with(':'))
    })
    .parse(input)
}

enum Entry<'a> {
    Version(Cow<'a, str>, Cow<'a, str>),
    Pair { key: Cow<'a, str>, quoted_key: bool, value: Value<'a> },
}

enum Value<'a> {
    /// A JSON string.
    Quoted(Cow<'a, str>),
    /// An unquoted word, interpreted according to its key.
    Word(&'a str),
    /// A JSON array, as in `causes`.
    Array(&'a str),
}

impl<'a> Value<'a> {
    fn text(self) -> Cow<'a, str> {
        match self {
            Self::Quoted(text) => text,
            Self::Word(text) | Self::Array(text) => Cow::Borrowed(text),
        }
    }

    fn scalar(self) -> Scalar<'a> {
        match self {
            Self::Word(word) => {
                Scalar::parse_word(word).unwrap_or(Scalar::Text(Cow::Borrowed(word)))
            }
            other => Scalar::Text(other.text()),
        }
    }
}

fn braces(input: &str) -> IResult<&str, Vec<Entry<'_>>> {
    let (mut input, _) = (char('{'), space0).parse(input)?;
    let mut entries = Vec::new();
    loop {
        if let Ok((after, _)) = char::<_, nom::error::Error<&str>>('}').parse(input) {
            // A brace group must be followed by a blank or the end of the line.
            verify(rest, |after: &str| after.is_empty() || after.starts_with(char::is_whitespace))
                .parse(after)?;
            return Ok((after, entries));
        }
        let (after, entry) = entry(input)?;
        entries.push(entry);
        let (after, blanks) = space0(after)?;
        if blanks.is_empty() && !after.starts_with('}') {
            return Err(nom::Err::Error(nom::error::Error::new(
                after,
                nom::error::ErrorKind::Space,
            )));
        }
        input = after;
    }
}

fn entry(input: &str) -> IResult<&str, Entry<'_>> {
    if input.starts_with('"') {
        let (after, name) = json_string(input)?;
        let (after, mark) = alt((char('='), char('@'))).parse(after)?;
        if mark == '@' {
            let (after, version) = version(after)?;
            return Ok((after, Entry::Version(name, version)));
        }
        let (after, value) = value(after)?;
        return Ok((after, Entry::Pair { key: name, quoted_key: true, value }));
    }
    // An unquoted word ends at a blank or the closing brace. A quoted or bracketed value may follow
    // `=` or `@`.
    let (after_name, name) =
        take_till1(|c: char| c.is_whitespace() || matches!(c, '=' | '{' | '}' | '"' | '[' | ']'))
            .parse(input)?;
    if let Ok((after, _)) = char::<_, nom::error::Error<&str>>('=').parse(after_name) {
        let (after, value) = value(after)?;
        return Ok((after, Entry::Pair { key: Cow::Borrowed(name), quoted_key: false, value }));
    }
    if let Some(name) = name.strip_suffix('@') {
        let (after, version) = json_string(after_name)?;
        return Ok((after, Entry::Version(Cow::Borrowed(name), version)));
    }
    match name.rsplit_once('@') {
        Some((name, version)) if !name.is_empty() => {
            Ok((after_name, Entry::Version(Cow::Borrowed(name), Cow::Borrowed(version))))
        }
        _ => Err(nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::Verify))),
    }
}

fn version(input: &str) -> IResult<&str, Cow<'_, str>> {
    if input.starts_with('"') {
        return json_string(input);
    }
    let (after, text) =
        take_till1(|c: char| c.is_whitespace() || matches!(c, '"' | '{' | '}' | '[' | ']' | '='))
            .parse(input)?;
    Ok((after, Cow::Borrowed(text)))
}

fn value(input: &str) -> IResult<&str, Value<'_>> {
    if input.starts_with('"') {
        let (after, text) = json_string(input)?;
        return Ok((after, Value::Quoted(text)));
    }
    if input.starts_with('[') {
        let (after, text) = recognize((
            char('['),
            many0_count(alt((recognize(quoted_raw), take_till1(|c| matches!(c, '"' | ']'))))),
            char(']'),
        ))
        .parse(input)?;
        return Ok((after, Value::Array(text)));
    }
    let (after, word) = take_till(|c: char| {
        c.is_whitespace() || matches!(c, '"' | '{' | '}' | '[' | ']' | '=' | '\\')
    })
    .parse(input)?;
    Ok((after, Value::Word(word)))
}

/// Parses a JSON string with its quotes, without unescaping it.
fn quoted_raw(input: &str) -> IResult<&str, &str> {
    recognize((
        char('"'),
        many0_count(alt((
            recognize(pair(char('\\'), nom::character::complete::anychar)),
            take_till1(|c| matches!(c, '"' | '\\')),
        ))),
        char('"'),
    ))
    .parse(input)
}

fn json_string(input: &str) -> IResult<&str, Cow<'_, str>> {
    let (after, raw) = quoted_raw(input)?;
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains('\\') && !inner.chars().any(|c| c < ' ') {
        return Ok((after, Cow::Borrowed(inner)));
    }
    match serde_json::from_str::<String>(raw) {
        Ok(text) => Ok((after, Cow::Owned(text))),
        Err(_) => {
            Err(nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::Escaped)))
        }
    }
}

/// Names of the fields seen so far. A set, so that a hostile line does not take quadratic time.
type SeenKeys<'a> = HashSet<Cow<'a, str>>;

fn apply<'a>(
    record: &mut Record<'a>,
    entry: Entry<'a>,
    seen: &mut SeenKeys<'a>,
    problems: &mut Problems,
) {
    let (key, quoted_key, value) = match entry {
        Entry::Version(name, version) => {
            // The `@` distinguishes a version from a field of the same name.
            if seen.insert(Cow::Owned(format!("{name}@"))) {
                record.versions.push((name, version));
            } else {
                problems.duplicate_keys += 1;
            }
            return;
        }
        Entry::Pair { key, quoted_key, value } => (key, quoted_key, value),
    };
    let full = |text: Cow<'a, str>| Some(text).filter(|text| !text.is_empty());
    match key.as_ref() {
        _ if quoted_key => field(record, key, value, seen, problems),
        "flow" => once(&mut record.flow, full(value.text()), problems),
        "span" => once(&mut record.span_id, SpanId::parse(&value.text()).ok(), problems),
        "parent" => once(&mut record.parent_id, SpanId::parse(&value.text()).ok(), problems),
        "clock" => once(&mut record.clock, Clock::parse(&value.text()), problems),
        "target" => once(&mut record.target, full(value.text()), problems),
        "file" => once(&mut record.file, full(value.text()), problems),
        "line" => once(&mut record.line, value.text().parse().ok(), problems),
        "message" => once(&mut record.message, full(value.text()), problems),
        "error" => {
            let (kind, message) = match value.text() {
                Cow::Borrowed(text) => {
                    let (kind, message) = split_type(text).unwrap_or((UNKNOWN, text));
                    (Cow::Borrowed(kind), Cow::Borrowed(message))
                }
                Cow::Owned(text) => {
                    let (kind, message) = split_type(&text).unwrap_or((UNKNOWN, &text));
                    (Cow::Owned(kind.to_owned()), Cow::Owned(message.to_owned()))
                }
            };
            let error = record.error.get_or_insert_with(ErrorInfo::default);
            if error.kind.is_empty() {
                error.kind = kind;
                error.message = message;
            } else {
                problems.duplicate_keys += 1;
            }
        }
        "causes" => {
            let text = value.text();
            match serde_json::from_str::<Vec<String>>(&text) {
                Ok(causes) => {
                    let error = record.error.get_or_insert_with(ErrorInfo::default);
                    if error.causes.is_empty() {
                        error.causes = causes.into_iter().map(Cow::Owned).collect();
                    } else {
                        problems.duplicate_keys += 1;
                    }
                }
                Err(_) => problems.bad_values += 1,
            }
        }
        _ => field(record, key, value, seen, problems),
    }
}

fn once<T>(slot: &mut Option<T>, value: Option<T>, problems: &mut Problems) {
    match (slot.is_some(), value) {
        (true, _) => problems.duplicate_keys += 1,
        (false, None) => problems.bad_values += 1,
        (false, value) => *slot = value,
    }
}

fn field<'a>(
    record: &mut Record<'a>,
    key: Cow<'a, str>,
    value: Value<'a>,
    seen: &mut SeenKeys<'a>,
    problems: &mut Problems,
) {
    if seen.insert(key.clone()) {
        record.fields.push((key, value.scalar()));
    } else {
        problems.duplicate_keys += 1;
    }
}

fn finish<'a>(record: &mut Record<'a>, tail: &'a str, bare: bool) {
    if bare && split_type(tail).is_some() {
        record.event = EventKind::Fail;
    }
    if matches!(record.event, EventKind::Fail | EventKind::Cancel) {
        if tail.is_empty() {
            if let Some(error) = record.error.as_mut().filter(|error| error.kind.is_empty()) {
                error.kind = Cow::Borrowed(UNKNOWN);
            }
            return;
        }
        let (kind, message) = split_type(tail).unwrap_or((UNKNOWN, tail));
        let error = record.error.get_or_insert_with(ErrorInfo::default);
        if error.kind.is_empty() {
            error.kind = Cow::Borrowed(kind);
            error.message = unescape(message);
        }
    } else {
        if let Some(error) = record.error.as_mut().filter(|error| error.kind.is_empty()) {
            error.kind = Cow::Borrowed(UNKNOWN);
        }
        if !tail.is_empty() && record.message.is_none() {
            record.message = Some(unescape(tail));
        }
    }
}

/// Resolves JSON escapes. Invalid escapes are kept as they are.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let mut ahead = chars.clone();
        let plain = match ahead.next() {
            Some('\\') => Some('\\'),
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some('b') => Some('\u{8}'),
            Some('f') => Some('\u{c}'),
            Some('"') => Some('"'),
            Some('/') => Some('/'),
            Some('u') => {
                let digits: String = ahead.by_ref().take(4).collect();
                let code =
                    if digits.len() == 4 { u32::from_str_radix(&digits, 16).ok() } else { None };
                code.and_then(char::from_u32)
            }
            _ => None,
        };
        match plain {
            Some(plain) => {
                out.push(plain);
                chars = ahead;
            }
            None => out.push('\\'),
        }
    }
    Cow::Owned(out)
}

fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let code = (byte == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            Some(code) => {
                out.push(code);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    match String::from_utf8(out) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Record<'_> {
        decode(line.as_bytes()).unwrap().0
    }

    const ID: &str = "019aaaac-a5da-7347-bb80-1089c1876100";

    #[test]
    fn example_line_of_the_contract() {
        let record = read(
            r#"2025-11-22T08:27:15.705274Z ERROR router/router-0 - 019aaaac-a5da-7347-bb80-1089c1876100 - fail select_worker {router@0.7.0 flow=chat_completion span=24b5dddcfdbbee4f parent=8e201852647d2d09 clock=019aaaacb23c001a} Unavailable: no ready worker for model "tiny""#,
        );
        assert_eq!(record.time.unwrap().to_string(), "2025-11-22T08:27:15.705274Z");
        assert_eq!(
            (record.level, record.component.as_ref(), record.instance.as_deref()),
            (Some(Level::Error), "router", Some("router-0"))
        );
        assert_eq!(record.flow_id.unwrap().to_string(), ID);
        assert_eq!(
            (record.event, record.state.as_deref(), record.flow.as_deref()),
            (EventKind::Fail, Some("select_worker"), Some("chat_completion"))
        );
        assert_eq!(record.versions, vec![("router".into(), "0.7.0".into())]);
        assert_eq!(record.span_id.unwrap().to_string(), "24b5dddcfdbbee4f");
        assert_eq!(record.parent_id.unwrap().to_string(), "8e201852647d2d09");
        assert_eq!(record.clock, Clock::parse("019aaaacb23c001a"));
        let error = record.error.unwrap();
        assert_eq!(
            (error.kind.as_ref(), error.message.as_ref()),
            ("Unavailable", "no ready worker for model \"tiny\"")
        );
    }

    #[test]
    fn decoder_accepts_bare_lines() {
        let bare = format!("Router - {ID} - select_worker {{router@0.7.0}} Unavailable: none");
        let record = read(&bare);
        assert_eq!(
            (record.component.as_ref(), record.event, record.state.as_deref()),
            ("router", EventKind::Fail, Some("select_worker"))
        );
        let record = format!("router - {ID} - decode");
        assert_eq!(read(&record).event, EventKind::State);
        let record = format!("router - {ID} - Unavailable: none");
        assert_eq!((read(&record).event, read(&record).state), (EventKind::Fail, None));
        let record = format!(
            "  INFO   router/a%20b   -   {ID}   -   start   -   {{ a@1   }}   hello   there  "
        );
        assert_eq!(
            (read(&record).instance.as_deref(), read(&record).message.as_deref()),
            (Some("a b"), Some("hello   there"))
        );
        let record = format!("router - {ID} - fail x {{}} something broke");
        assert_eq!(read(&record).error.unwrap().kind, "Unknown");
        assert_eq!(read("etcd - - - process up {pid=7}").field("pid"), Some(&Scalar::Int(7)));
    }

    #[test]
    fn invalid_brace_group_is_part_of_the_tail() {
        let record = format!("router - {ID} - state decode {{not a group}} tail");
        assert_eq!(read(&record).message.as_deref(), Some("{not a group} tail"));
        let record = format!("router - {ID} - state decode {{a=1}}tail");
        assert_eq!(read(&record).message.as_deref(), Some("{a=1}tail"));
        let record = format!("router - {ID} - state decode words {{a=1}}");
        assert_eq!(read(&record).message.as_deref(), Some("words {a=1}"));
    }

    #[test]
    fn invalid_records_are_rejected() {
        for line in [
            "",
            "router",
            "router - - - hello",
            "router - 019aaaac - start",
            "9router - - - start",
            "a b - - - start",
            "- - - start",
        ] {
            assert_eq!(decode(line.as_bytes()).err(), Some(NotText), "{line}");
        }
        assert_eq!(decode(b"router - - - start \xff").err(), Some(NotText));
    }

    #[test]
    fn duplicates_are_counted_and_the_first_wins() {
        let line =
            format!("router - {ID} - state x {{a=1 a=2 a@1 a@2 flow=x flow=y span=zz clock=1}}");
        let (record, problems) = decode(line.as_bytes()).unwrap();
        assert_eq!(
            (record.field("a"), record.flow.as_deref(), record.versions.len()),
            (Some(&Scalar::Int(1)), Some("x"), 1)
        );
        assert_eq!(problems, Problems { duplicate_keys: 3, bad_values: 2 });
    }

    #[test]
    fn invalid_escapes_are_kept() {
        assert_eq!(unescape(r"a\nb\q\u12\u0041\\"), "a\nb\\q\\u12A\\");
        assert_eq!(percent_decode("a%20b%zz%"), "a b%zz%");
        assert_eq!(percent_decode("%ff"), "%ff");
    }
}
