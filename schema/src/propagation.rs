//! Propagation between processes: the two headers of W3C Trace Context.
//!
//! See <https://www.w3.org/TR/trace-context-2/>. `traceparent` holds the flow, the caller's span
//! and two flags. `tracestate` is a list of vendors' members; ours is `flowlog`, which holds the
//! caller's clock. A child process gets the same values in its environment, as `TRACEPARENT` and
//! `TRACESTATE`.

use std::fmt;

use crate::hex::hex16;
use crate::{Clock, FlowId, SpanId};

/// Name of the header that holds the flow.
pub const TRACEPARENT: &str = "traceparent";

/// Name of the header that holds the clock, next to the members of other vendors.
pub const TRACESTATE: &str = "tracestate";

/// Key of our member in `tracestate`.
const OWN_KEY: &str = "flowlog";

/// Maximum number of members in a list. The rightmost are dropped first.
const MAX_TRACESTATE_MEMBERS: usize = 32;

/// Maximum size of a propagated list, in bytes, without our member. The specification requires at
/// least 512.
const MAX_TRACESTATE_BYTES: usize = 2048;

/// Length above which a member is dropped before others, as the specification recommends.
const LONG_MEMBER_BYTES: usize = 128;

/// Flags that the specification defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TraceFlags(u8);

impl TraceFlags {
    /// The caller may have recorded its span.
    pub const SAMPLED: Self = Self(1);
    /// The rightmost seven bytes of the flow ID are random.
    pub const RANDOM: Self = Self(2);

    /// Keeps the flags that the specification defines. All others must be zero and are cleared.
    pub fn from_byte(byte: u8) -> Self {
        Self(byte & 3)
    }

    /// Returns whether the caller may have recorded its span.
    pub fn is_sampled(self) -> bool {
        self.0 & 1 != 0
    }

    /// Returns whether the rightmost seven bytes of the flow ID are random.
    pub fn is_random(self) -> bool {
        self.0 & 2 != 0
    }

    /// Returns the flags as a byte.
    pub fn byte(self) -> u8 {
        self.0
    }
}

/// Value of `traceparent`. Its `Display` output is the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// Flow ID, which is the trace ID.
    pub flow_id: FlowId,
    /// Id of the caller's span.
    pub span_id: SpanId,
    /// Flags of the flow ID and of the caller's span.
    pub flags: TraceFlags,
}

impl TraceParent {
    /// Parses a header of version 00, or the part of a later version that is compatible with it.
    ///
    /// Surrounding whitespace is ignored. Returns `None` if the header is malformed; the rules are
    /// strict: hex digits are lower-case, and no ID is all zeros.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii();
        let (head, tail) = text.split_at_checked(55)?;
        let version = hex2(head.get(..2)?)?;
        let is_whole = if version == 0 {
            tail.is_empty()
        } else {
            tail.first().is_none_or(|byte| *byte == b'-')
        };
        if version == 0xff || !is_whole || [2, 35, 52].iter().any(|at| head.get(*at) != Some(&b'-'))
        {
            return None;
        }
        let [high, low, span] = [3, 19, 36].map(|at| lower_hex16(head, at));
        let flow_id = FlowId::from_u128(u128::from(high?) << 64 | u128::from(low?)).ok()?;
        let span_id = SpanId::from_u64(span?).ok()?;
        Some(Self { flow_id, span_id, flags: TraceFlags::from_byte(hex2(head.get(53..)?)?) })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.flow_id.trace_id(), self.span_id, self.flags.byte())
    }
}

/// Parses two lower-case hex digits.
fn hex2(text: &[u8]) -> Option<u8> {
    let is_lower = text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let text = std::str::from_utf8(text).ok().filter(|text| is_lower && text.len() == 2)?;
    u8::from_str_radix(text, 16).ok()
}

/// Parses sixteen lower-case hex digits.
fn lower_hex16(text: &[u8], at: usize) -> Option<u64> {
    let digits: [u8; 16] = text.get(at..at + 16)?.try_into().ok()?;
    if digits.iter().any(u8::is_ascii_uppercase) { None } else { hex16(digits) }
}

/// Parsed value of `tracestate`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TraceState {
    /// Clock of the caller.
    pub clock: Option<Clock>,
    /// Other members, in order and separated by commas; empty if there are none.
    pub others: String,
}

impl TraceState {
    /// Parses a header, and returns the number of malformed parts with it.
    ///
    /// Multiple headers of this name must be joined with commas first. A list with a malformed
    /// member is discarded as a whole, as the specification requires. If our own member does not
    /// hold a clock, it alone counts as malformed and the others are kept.
    pub fn parse(text: &[u8]) -> (Self, u64) {
        Self::read(text).unwrap_or((Self::default(), 1))
    }

    fn read(text: &[u8]) -> Option<(Self, u64)> {
        let text = std::str::from_utf8(text).ok()?;
        let (mut clock, mut malformed) = (None, 0);
        let mut others: Vec<&str> = Vec::new();
        let members = text
            .split(',')
            .map(|member| member.trim_matches([' ', '\t']))
            .filter(|member| !member.is_empty());
        for member in members {
            let (key, value) = member.split_once('=')?;
            if !is_key(key) || !is_value(value) {
                return None;
            }
            if key != OWN_KEY {
                others.push(member);
            } else if clock.is_none() {
                clock = Clock::parse(value);
                malformed = u64::from(clock.is_none());
            }
        }
        // One place is for our member.
        others.truncate(MAX_TRACESTATE_MEMBERS - 1);
        let mut bytes: usize = others.iter().map(|member| member.len() + 1).sum();
        others.retain(|member| {
            let stays = bytes <= MAX_TRACESTATE_BYTES || member.len() <= LONG_MEMBER_BYTES;
            bytes -= if stays { 0 } else { member.len() + 1 };
            stays
        });
        while bytes > MAX_TRACESTATE_BYTES
            && let Some(last) = others.pop()
        {
            bytes -= last.len() + 1;
        }
        Some((Self { clock, others: others.join(",") }, malformed))
    }

    /// Returns the header; empty if there is nothing to propagate. Our member comes first, because
    /// it was changed last.
    pub fn to_header(&self) -> String {
        let own = self.clock.map(|clock| format!("{OWN_KEY}={clock}")).unwrap_or_default();
        let comma = if own.is_empty() || self.others.is_empty() { "" } else { "," };
        format!("{own}{comma}{}", self.others)
    }
}

/// Matches `[a-z0-9][a-z0-9_\-*/@]{0,255}`, which covers both key formats of the specification.
fn is_key(key: &str) -> bool {
    let is_first = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_next = |byte: &u8| is_first(byte) || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@');
    key.len() <= 256
        && key.as_bytes().first().is_some_and(is_first)
        && key.as_bytes().iter().all(is_next)
}

/// Matches printable ASCII without `,` and `=`.
fn is_value(value: &str) -> bool {
    (1..=256).contains(&value.len())
        && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-019aaaaca5da7347bb801089c1876100-24b5dddcfdbbee4f-03";

    #[test]
    fn traceparent_round_trips() {
        let parent = TraceParent::parse(PARENT.as_bytes()).unwrap();
        assert_eq!(parent.to_string(), PARENT);
        assert_eq!(parent.flow_id.to_string(), "019aaaac-a5da-7347-bb80-1089c1876100");
        assert!(parent.flags.is_sampled() && parent.flags.is_random());
        let flags =
            |text: &str| TraceParent::parse(text.as_bytes()).map(|parent| parent.flags.byte());
        assert_eq!(
            flags(&PARENT.replace("-03", "-ff")),
            Some(3),
            "unknown flags are not propagated"
        );
        assert_eq!(flags(&format!(" {PARENT}\t")), Some(3));
        assert_eq!(flags(&PARENT.replacen("00", "cc", 1)), Some(3));
        assert_eq!(
            flags(&format!("{}-more", PARENT.replacen("00", "cc", 1))),
            Some(3),
            "of a later version"
        );
    }

    #[test]
    fn malformed_traceparent_is_rejected() {
        let broken = [
            String::new(),
            PARENT.replacen("00", "ff", 1),
            PARENT.replacen("00", "0", 1),
            format!("{PARENT}-more"),
            format!("{}more", PARENT.replacen("00", "cc", 1)),
            PARENT.to_uppercase(),
            PARENT.replace("24b5dddcfdbbee4f", "24B5dddcfdbbee4f"),
            PARENT.replace("24b5dddcfdbbee4f", "0000000000000000"),
            PARENT.replace("019aaaaca5da7347bb801089c1876100", "00000000000000000000000000000000"),
            PARENT.replace("-03", "-0x"),
            PARENT.replace("-03", "_03"),
            PARENT.replace('-', "\u{e9}"),
        ];
        for text in broken {
            assert_eq!(TraceParent::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn tracestate_keeps_other_members_and_puts_ours_first() {
        for (text, clock, written) in [
            ("", None, ""),
            ("congo=t61rcWkgMzE", None, "congo=t61rcWkgMzE"),
            (
                "rojo=1 ,\t flowlog=019aaaacb23c001a,, a@b=c d",
                Some(0x019a_aaac_b23c_001a),
                "flowlog=019aaaacb23c001a,rojo=1,a@b=c d",
            ),
            ("flowlog=019aaaacb23c001a", Some(0x019a_aaac_b23c_001a), "flowlog=019aaaacb23c001a"),
            (
                "flowlog=000000000000001a,flowlog=000000000000001b",
                Some(0x1a),
                "flowlog=000000000000001a",
            ),
        ] {
            let (state, malformed) = TraceState::parse(text.as_bytes());
            assert_eq!(
                (state.clock, state.to_header().as_str(), malformed),
                (clock.map(Clock), written, 0),
                "{text}"
            );
        }
        let nothing = (TraceState::default(), 1);
        for text in ["congo", "=1", "a=", "A=1", "a=\u{e9}", "a=1=2", "a=\u{7f}", "a b=1"] {
            assert_eq!(TraceState::parse(text.as_bytes()), nothing, "{text}");
        }
        assert_eq!(TraceState::parse(b"a=\xff"), nothing);
        let (kept, malformed) = TraceState::parse(b"flowlog=soon,rojo=1");
        assert_eq!((kept.clock, kept.others.as_str(), malformed), (None, "rojo=1", 1));
    }

    #[test]
    fn tracestate_is_bounded() {
        let many: Vec<String> = (0..100).map(|at| format!("k{at}={at}")).collect();
        let kept = TraceState::parse(many.join(",").as_bytes()).0;
        assert_eq!(kept.others, many[..31].join(","));
        let long = format!(
            "short=1,long={},{}",
            "x".repeat(256),
            (0..20).map(|at| format!("m{at}={}", "y".repeat(100))).collect::<Vec<_>>().join(",")
        );
        let kept = TraceState::parse(long.as_bytes()).0.others;
        assert!(
            kept.len() <= MAX_TRACESTATE_BYTES
                && !kept.contains("long=")
                && kept.starts_with("short=1,m0="),
            "{}",
            kept.len()
        );
        assert!(kept.ends_with(&"y".repeat(100)));
    }
}
