//! The header of a line: what a logger puts before the message, in any order.
//!
//! A header is a sequence of elements: timestamps, levels, names with a process ID, loggers,
//! numbers, and groups in brackets, which hold more of the same. It ends at the first word that is
//! none of these. A word before the level or the time may still belong to it (a host, a thread), if
//! a level or a time follows soon.

use flowlog_schema::Level;

use super::super::fields::is_name;
use super::super::plain;
use super::words::{
    Label, group_len, has_extension, is_logger, is_number, is_thread, is_word, level,
    named_before_colon, program, service_and_trace, trace_label,
};
use crate::secrets;
use crate::timestamp::{self, Timestamp};

/// Maximum length of a header in bytes.
pub(in crate::format) const MAX_BYTES: usize = 384;

/// Maximum number of elements of a header.
const MAX_ELEMENTS: usize = 32;

/// Maximum number of words before the time or the level.
const MAX_WORDS: usize = 5;

/// Maximum depth of groups in brackets.
const MAX_DEPTH: u8 = 3;

/// Header of a line.
#[derive(Debug, Clone, Default)]
pub(in crate::format) struct Header<'a> {
    pub time: Option<Timestamp>,
    pub level: Option<Level>,
    /// Logger, module, program or source file; empty if none.
    pub target: &'a str,
    /// Service that the header names beside a trace.
    pub service: Option<&'a str>,
    /// Trace ID, as written.
    pub trace: Option<&'a str>,
    /// Byte offset of the message.
    pub body: usize,
    /// Whether the target was named by its place: before a process ID or a colon.
    is_target_certain: bool,
    /// Whether a program with its process ID, or a source file with its line, was found.
    has_origin: bool,
    /// Whether there is a time of day without a date.
    has_clock: bool,
}

impl<'a> Header<'a> {
    /// Reads the header of a line; `None` if it has neither a time nor a level, nor a source file
    /// with its line.
    pub(in crate::format) fn read(line: &'a str) -> Option<Self> {
        let first = *line.as_bytes().first()?;
        // Continuation lines are indented.
        if first == b'\t' || line.starts_with("   ") {
            return None;
        }
        let mut header = Self::default();
        let mut scan = Scan { line, at: 0, words: 0, pending: None, last_word: "", first_word: "" };
        for _ in 0..MAX_ELEMENTS {
            if !scan.element(&mut header, 0) {
                break;
            }
        }
        header.body = scan.body();
        let rest = line.get(header.body..).unwrap_or_default();
        let separators = [" : ", " - ", " -- ", ": "];
        if let Some(dash) = separators.iter().find(|dash| rest.starts_with(**dash)) {
            header.body += dash.len();
        }
        let is_header = header.time.is_some()
            || header.has_clock && (header.level.is_some() || header.has_origin)
            || header.level.is_some()
                && (header.has_origin || header.is_target_certain || scan.is_level_marked(&header));
        // `DEBUG worker: 2025-11-22 08:27:15,705 [main] ERROR …`: a program passes on the lines of
        // another one, which it names.
        if is_header
            && header.time.is_none()
            && header.is_target_certain
            && let Some(passed_on) = line.get(header.body..).map(str::trim_start)
            && timestamp::any(passed_on.as_bytes()).is_some()
            && let Some(inner) = Self::read(passed_on)
        {
            return Some(Self {
                level: inner.level.or(header.level),
                service: inner.service.or(Some(header.target).filter(|name| is_name(name))),
                body: line.len() - passed_on.len() + inner.body,
                ..inner
            });
        }
        // In `db_password: x`, the name is not a logger: only the name marks the value as a secret.
        if is_header && secrets::is_key(header.target) {
            header.body = line.find(header.target).unwrap_or(header.body);
            header.target = "";
        }
        is_header.then_some(header)
    }

    /// Returns whether the header is one of Java's logging frameworks: it names a class, or a
    /// service with a trace.
    pub(in crate::format) fn is_of_java(&self) -> bool {
        let class = self.target.rsplit(['.', ':', '/']).next().unwrap_or_default();
        self.service.is_some()
            || self.trace.is_some()
            || self.target.contains(['$', '@'])
            || self.target.contains('.')
                && class.starts_with(|c: char| c.is_ascii_uppercase())
                && class.bytes().any(|byte| byte.is_ascii_lowercase())
    }
}

/// Returns whether a word is written as products and modules are, not as prose is: `LMCache`,
/// `kv_router`, `trt-llm`.
fn is_product_name(word: &str) -> bool {
    let behind = word.get(1..).unwrap_or_default();
    let is_shouted = !word.bytes().any(|byte| byte.is_ascii_lowercase());
    !is_shouted
        && behind.bytes().any(|byte| {
            byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
        })
}

/// A scan of a header.
struct Scan<'a> {
    line: &'a str,
    at: usize,
    /// Number of words since the last element that belongs to a header.
    words: usize,
    /// Offset at which the header ends if nothing more of it follows.
    pending: Option<usize>,
    /// Last word that may be the name of the logger.
    last_word: &'a str,
    /// First word without digits before the time.
    first_word: &'a str,
}

impl<'a> Scan<'a> {
    /// Returns the offset of the message.
    fn body(&self) -> usize {
        self.pending.unwrap_or(self.at).min(self.line.len())
    }

    /// Returns whether a header with nothing but a level is one: it is in brackets, or a colon or
    /// dash follows.
    fn is_level_marked(&self, header: &Header<'a>) -> bool {
        let Some(head) = self.line.get(..self.body()) else { return false };
        let rest = self.line.get(self.body()..).unwrap_or_default();
        let in_brackets = head.starts_with('[') || head.starts_with('<');
        let before_dash = self.line.split_once(" - ").is_some_and(|(word, _)| {
            word.bytes().all(|byte| byte.is_ascii_uppercase()) && level(word).is_some()
        });
        header.level.is_some() && (in_brackets || before_dash) && !rest.is_empty()
    }

    fn rest(&self) -> &'a str {
        self.line.get(self.at..).unwrap_or_default()
    }

    /// Accepts an element of a header, which also settles the words before it.
    fn accept(&mut self, len: usize) -> bool {
        self.at += len;
        self.words = 0;
        self.pending = None;
        true
    }

    /// Reads the next element. Returns whether the header may go on.
    fn element(&mut self, header: &mut Header<'a>, depth: u8) -> bool {
        self.skip_separators();
        let rest = self.rest();
        let Some(first) = rest.bytes().next() else { return false };
        if let Some((stamp, len)) = timestamp::any(rest.as_bytes())
            && self.is_boundary(len)
        {
            // `2568643 node-70 action start 1074119817 1 …`: hosts have numbers.
            if header.time.is_none() && header.target.is_empty() && is_name(self.first_word) {
                header.target = self.first_word;
            }
            header.time.get_or_insert(stamp);
            return self.accept(len);
        }
        if let Some(len) = timestamp::time_of_day(rest.as_bytes()) {
            header.has_clock = true;
            return self.accept(len);
        }
        if header.level.is_some()
            && header.time.is_some()
            && let Some(name) = named_before_colon(rest)
        {
            header.target = name;
            header.is_target_certain = true;
            self.accept(name.len());
            return false;
        }
        if matches!(first, b'[' | b'(' | b'<' | b'{') {
            return self.group(header, depth);
        }
        let len = rest
            .find(|c: char| c.is_ascii_whitespace() || matches!(c, '|' | '[' | '(' | ','))
            .unwrap_or(rest.len())
            .max(1);
        let Some(token) = rest.get(..len) else { return false };
        self.token(header, token)
    }

    /// Returns whether the text that ends `len` bytes on is not followed by more of a word.
    fn is_boundary(&self, len: usize) -> bool {
        self.rest().as_bytes().get(len).is_none_or(|byte| !byte.is_ascii_alphanumeric())
    }

    fn skip_separators(&mut self) {
        let bytes = self.line.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            let next = bytes.get(self.at + 1);
            let skipped = match byte {
                b' ' | b'\t' | b'|' | b',' | b';' => true,
                // A dash or colon between blanks, not a sign.
                b'-' | b':' | b'*' | b'#' | b'>' => next.is_none_or(|next| {
                    matches!(next, b' ' | b'\t' | b'-' | b'[')
                        || *byte == b'#' && next.is_ascii_digit()
                        || *byte == b'*' && next.is_ascii_digit()
                }),
                _ => false,
            };
            if !skipped {
                break;
            }
            self.at += 1;
        }
    }

    /// Reads a group in brackets.
    fn group(&mut self, header: &mut Header<'a>, depth: u8) -> bool {
        let rest = self.rest();
        let Some(len) = group_len(rest) else { return self.end_or_word(header, "") };
        let Some(inner) = rest.get(1..len - 1) else { return false };
        let inner = inner.trim();
        let opens = rest.as_bytes().first().copied();
        // Prose in parentheses is part of the message.
        if opens == Some(b'(') && (header.time.is_none() || inner.contains(' ')) {
            return self.end_or_word(header, "");
        }
        if opens == Some(b'{') {
            return self.end_or_word(header, "");
        }
        if let Some(level) = level(inner) {
            header.level.get_or_insert(level);
            return self.accept(len);
        }
        if let Some((service, trace)) = service_and_trace(inner) {
            header.service = service.filter(|name| is_name(name)).or(header.service);
            header.trace = trace.or(header.trace);
            return self.accept(len);
        }
        let known = (header.time.is_some(), header.level.is_some());
        if depth < MAX_DEPTH {
            let mut scan =
                Scan { line: inner, at: 0, words: 0, pending: None, last_word: "", first_word: "" };
            for _ in 0..MAX_ELEMENTS {
                if !scan.element(header, depth + 1) {
                    break;
                }
            }
        }
        if !header.is_target_certain && !inner.contains(' ') && !is_number(inner) {
            let name = inner.rsplit([':', '/']).next().filter(|name| name.contains('@'));
            if let Some(name) = name {
                header.target = name;
                header.is_target_certain = true;
            } else if header.target.is_empty() && is_logger(inner) && !is_thread(inner) {
                header.target = inner;
            }
        }
        let found = known != (header.time.is_some(), header.level.is_some());
        // Before a time or a level, brackets may belong to the message.
        if found || known.0 || known.1 { self.accept(len) } else { self.tentative(len) }
    }

    /// Reads a word.
    fn token(&mut self, header: &mut Header<'a>, token: &'a str) -> bool {
        let bare = token.trim_end_matches([':', ',', ';']);
        let next = self.rest().as_bytes().get(token.len()).copied();
        let is_named_by_colon = token.ends_with(':');
        let after_number = self.is_after_number();
        // Behind other words, `warning` is prose, and `WARNING` a level.
        let is_plain = self.words == 0 || bare.bytes().all(|byte| byte.is_ascii_uppercase());
        let is_whole = bare.len() > 1 || next == Some(b',') || after_number && next == Some(b' ');
        if let Some(level) = level(bare).filter(|_| is_plain && is_whole) {
            let was_known = header.level.is_some();
            header.level.get_or_insert(level);
            let behind = self.rest().get(token.len()..).unwrap_or_default();
            if was_known && !is_named_by_colon && !behind.starts_with(" -") {
                // `ERROR Error in x`: the second is the message's.
                return self.stop();
            }
            if !header.is_target_certain && self.words > 0 && is_name(self.last_word) {
                header.target = self.last_word;
                // `LMCache ERROR: x`: a product's name, not a word of a sentence.
                let is_first = self.line.starts_with(self.last_word) && self.words == 1;
                header.is_target_certain =
                    is_first && is_named_by_colon && is_product_name(self.last_word);
            }
            return self.accept(token.len());
        }
        // `sshd[24200]:`, `crond(pam_unix)[7]:`.
        if let Some((name, len)) = program(self.rest()) {
            header.target = name;
            header.has_origin = true;
            header.is_target_certain = true;
            self.accept(len);
            return !self.line.get(..self.at).unwrap_or_default().ends_with(':');
        }
        if let Some(value) = trace_label(bare) {
            return self.labelled(header, token, value);
        }
        if is_number(bare) {
            if header.time.is_some() || header.level.is_some() || self.words == 0 {
                self.at += token.len();
                return true;
            }
            return self.end_or_word(header, token);
        }
        if plain::is_source_location(bare) && has_extension(bare) {
            header.target = bare;
            header.has_origin = true;
            header.is_target_certain = true;
            self.accept(token.len());
            return !is_named_by_colon;
        }
        if is_logger(bare) {
            let behind = self.rest().get(token.len()..).unwrap_or_default();
            let ends = is_named_by_colon
                || behind.starts_with(" : ")
                || behind.starts_with(" - ")
                || behind.starts_with(" -- ")
                || behind.starts_with("  ")
                || behind.starts_with('|')
                || behind.starts_with(" [")
                || behind.starts_with('\t');
            let settled = header.time.is_some() || header.level.is_some();
            let is_path = bare.contains(['.', '$', '@']) || bare.contains("::");
            if settled && (ends || is_path && header.level.is_some()) {
                if header.is_target_certain {
                    return self.stop();
                }
                header.target = bare;
                header.is_target_certain |= ends;
                self.accept(token.len());
                let is_last = is_named_by_colon
                    || [" : ", " - ", " -- "].iter().any(|dash| behind.starts_with(dash));
                return !(is_last && header.level.is_some());
            }
            if header.target.is_empty() {
                header.target = bare;
            }
            return self.end_or_word(header, token);
        }
        let settled = header.time.is_some() || header.level.is_some();
        // A host may come before the program.
        let is_near = self.words <= usize::from(header.time.is_some());
        if is_named_by_colon && is_word(bare) && settled && is_near && !header.is_target_certain {
            header.target = bare;
            header.is_target_certain = true;
            return self.accept(token.len()) && header.level.is_none() && header.time.is_none();
        }
        // A column: `Info                  CBS    Loaded`, `|Step_LSC|`.
        let behind = self.rest().get(token.len()..).unwrap_or_default();
        let is_column =
            behind.starts_with("  ") || behind.starts_with('|') || behind.starts_with('\t');
        if is_column && is_word(bare) && settled && header.target.is_empty() {
            header.target = bare;
            header.is_target_certain = true;
            return self.accept(token.len());
        }
        self.end_or_word(header, token)
    }

    /// Reads the value of `TraceID: `, `SpanID: ` or `trace_id=`.
    fn labelled(&mut self, header: &mut Header<'a>, token: &'a str, label: Label<'a>) -> bool {
        let (len, value) = match label.value {
            Some(value) => (token.len(), value),
            None => {
                let behind = self.rest().get(token.len()..).unwrap_or_default();
                let gap = behind.len() - behind.trim_start_matches([' ', ':']).len();
                let value = behind.trim_start_matches([' ', ':']);
                let end = value.find([' ', ',', ']', ';']).unwrap_or(value.len());
                (token.len() + gap + end, value.get(..end).unwrap_or_default())
            }
        };
        let is_id = value.len() >= 8
            && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_id {
            return self.end_or_word(header, token);
        }
        if label.is_trace {
            header.trace = Some(value);
        }
        self.accept(len)
    }

    /// Returns whether the element before is a number or a timestamp, so that a single letter is a
    /// level.
    fn is_after_number(&self) -> bool {
        let before = self.line.get(..self.at).unwrap_or_default();
        before.is_empty()
            || before.trim_end().ends_with(|c: char| c.is_ascii_digit() || matches!(c, ']' | '|'))
    }

    /// Ends the header before a word, unless the word may still belong to it.
    fn end_or_word(&mut self, header: &Header<'a>, token: &'a str) -> bool {
        let complete = header.time.is_some() && header.level.is_some();
        if complete || token.is_empty() || self.words >= MAX_WORDS {
            return self.stop();
        }
        self.last_word = token.trim_end_matches(':');
        if self.first_word.is_empty() && !token.bytes().any(|byte| byte.is_ascii_digit()) {
            self.first_word = self.last_word;
        }
        self.tentative(token.len())
    }

    fn tentative(&mut self, len: usize) -> bool {
        self.pending.get_or_insert(self.at);
        self.at += len;
        self.words += 1;
        self.words <= MAX_WORDS
    }

    fn stop(&mut self) -> bool {
        self.pending.get_or_insert(self.at);
        false
    }
}
