//! Flow context that is propagated between processes.

use flowlog_schema::propagation::{TRACEPARENT, TRACESTATE, TraceFlags, TraceParent, TraceState};
use flowlog_schema::{Clock, FlowId, SpanId};

use crate::carrier::{Extract, Inject};

/// Header in which a caller without trace support may name the flow.
const FLOW_ID: &str = "x-flow-id";

/// Headers in which callers name their request.
const REQUEST_IDS: [&str; 2] = ["x-request-id", "request-id"];

/// Maximum length of an external request ID, in bytes; longer ones are rejected.
const MAX_ID_BYTES: usize = 128;

/// Flow context that is propagated between processes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context {
    /// Flow ID; a new one if the caller sent none.
    pub flow_id: FlowId,
    /// Caller's span, if there is one.
    pub span_id: Option<SpanId>,
    /// Caller's clock, if it sent one.
    pub clock: Option<Clock>,
    /// Trace flags from the caller: whether the trace is sampled and whether its ID is random.
    /// `None` if no decision has been made yet.
    pub flags: Option<TraceFlags>,
    /// `tracestate` members of other vendors, propagated unchanged.
    pub tracestate: String,
    /// Caller's request ID, if it differs from the flow ID.
    pub request_id: Option<String>,
}

impl From<FlowId> for Context {
    fn from(flow_id: FlowId) -> Self {
        Self {
            flow_id,
            span_id: None,
            clock: None,
            flags: None,
            tracestate: String::new(),
            request_id: None,
        }
    }
}

impl Context {
    /// Reads the context that a caller sent.
    ///
    /// Also returns the number of malformed headers, which are otherwise ignored.
    ///
    /// The flow ID comes from `traceparent`; else from `x-flow-id`; else from `x-request-id` or
    /// `request-id` if it holds a UUID; else a new one is generated.
    pub fn extract<C: Extract + ?Sized>(carrier: &C) -> (Self, u64) {
        let mut malformed = 0;
        let values = |name: &str| {
            let mut values: Vec<Vec<u8>> = Vec::new();
            carrier.values(name, &mut |value| values.push(value.to_vec()));
            values
        };
        let parents = values(TRACEPARENT);
        // If two values differ, there is no way to know which one is right.
        let parent = parents
            .first()
            .filter(|first| parents.iter().all(|other| other == *first))
            .and_then(|text| TraceParent::parse(text));
        malformed += u64::from(!parents.is_empty() && parent.is_none());

        // `tracestate` is meaningless without a valid `traceparent`.
        let state = parent.map(|_| values(TRACESTATE).join(&b',')).unwrap_or_default();
        let (state, in_state) = TraceState::parse(&state);
        malformed += in_state;

        let named = values(FLOW_ID).first().map(|text| flow_id_of(text));
        malformed += u64::from(named == Some(None));

        let requests: Vec<Option<String>> = REQUEST_IDS
            .iter()
            .filter_map(|name| values(name).first().map(|text| foreign_id(text)))
            .collect();
        malformed += requests.iter().filter(|id| id.is_none()).count() as u64;
        let requests: Vec<String> = requests.into_iter().flatten().collect();

        let adopted =
            named.flatten().or_else(|| requests.iter().find_map(|id| flow_id_of(id.as_bytes())));
        let flow_id = parent.map(|parent| parent.flow_id).or(adopted).unwrap_or_default();
        let request_id = requests.into_iter().find(|id| flow_id_of(id.as_bytes()) != Some(flow_id));
        let context = Self {
            flow_id,
            span_id: parent.map(|parent| parent.span_id),
            clock: state.clock,
            flags: parent.map(|parent| parent.flags),
            tracestate: state.others,
            request_id,
        };
        (context, malformed)
    }

    /// Writes `traceparent` and `tracestate` for a callee.
    ///
    /// If the context has no span, a random span ID is generated that no record describes; the
    /// callee is the root span then.
    pub fn inject<C: Inject + ?Sized>(&self, carrier: &mut C) {
        let made_up = || SpanId::from_u64(uuid::Uuid::new_v4().as_u64_pair().1).ok();
        let Some(span_id) = self.span_id.or_else(made_up) else { return };
        let flags = self.flags.unwrap_or(TraceFlags::SAMPLED);
        carrier
            .set(TRACEPARENT, &TraceParent { flow_id: self.flow_id, span_id, flags }.to_string());
        let state = TraceState { clock: self.clock, others: self.tracestate.clone() }.to_header();
        if !state.is_empty() {
            carrier.set(TRACESTATE, &state);
        }
    }

    /// Returns the clock in a response's `tracestate`, if it has one.
    pub fn clock_of<C: Extract + ?Sized>(answer: &C) -> Option<Clock> {
        let mut clock = None;
        answer.values(TRACESTATE, &mut |value| {
            clock = clock.or_else(|| TraceState::parse(value).0.clock);
        });
        clock
    }

    /// Writes the clock into a response's `tracestate`, so that later records of the caller are
    /// ordered after it.
    pub fn inject_response<C: Inject + ?Sized>(&self, carrier: &mut C) {
        carrier
            .set(TRACESTATE, &TraceState { clock: self.clock, others: String::new() }.to_header());
    }
}

fn flow_id_of(text: &[u8]) -> Option<FlowId> {
    FlowId::parse(std::str::from_utf8(text).ok()?.trim()).ok()
}

/// Parses an external request ID, which must be printable and not too long.
fn foreign_id(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let is_id = (1..=MAX_ID_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
    is_id.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-019aaaaca5da7347bb801089c1876100-24b5dddcfdbbee4f-02";
    const FLOW: &str = "019aaaac-a5da-7347-bb80-1089c1876100";
    const OTHER: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";

    #[test]
    fn precedence_of_flow_id_headers() {
        for (headers, flow, span, request_id, malformed) in [
            (
                &[("Traceparent", PARENT), ("x-flow-id", OTHER), ("x-request-id", "r-7")][..],
                Some(FLOW),
                true,
                Some("r-7"),
                0,
            ),
            (&[("traceparent", PARENT), ("traceparent", PARENT)], Some(FLOW), true, None, 0),
            (&[("traceparent", PARENT), ("traceparent", "00-1")], None, false, None, 1),
            (&[("traceparent", "gone"), ("X-Flow-Id", OTHER)], Some(OTHER), false, None, 1),
            (&[("x-flow-id", "mine"), ("x-request-id", OTHER)], Some(OTHER), false, None, 1),
            (&[("x-request-id", "r-7"), ("request-id", OTHER)], Some(OTHER), false, Some("r-7"), 0),
            (&[("request-id", OTHER)], Some(OTHER), false, None, 0),
            (&[("x-request-id", "r-7")], None, false, Some("r-7"), 0),
            (&[("x-request-id", "\u{1b}[2J")], None, false, None, 1),
            (&[("traceparent", PARENT), ("x-request-id", OTHER)], Some(FLOW), true, Some(OTHER), 0),
            (&[("traceparent", PARENT), ("tracestate", "what")], Some(FLOW), true, None, 1),
            (&[("tracestate", "what")], None, false, None, 0),
            (&[], None, false, None, 0),
        ] {
            let (context, found) = Context::extract(headers);
            assert_eq!(found, malformed, "{headers:?}");
            assert_eq!(
                (context.span_id.is_some(), context.request_id.as_deref()),
                (span, request_id),
                "{headers:?}"
            );
            match flow {
                Some(flow) => assert_eq!(context.flow_id.to_string(), flow, "{headers:?}"),
                None => assert!(
                    ![FLOW, OTHER].contains(&context.flow_id.to_string().as_str()),
                    "{headers:?}"
                ),
            }
        }
    }

    /// Sends a context through a carrier that already holds headers of other senders.
    fn crosses<C: Extract + Inject>(mut carrier: C, sent: &Context) {
        carrier.set("tracestate", "old=1");
        sent.inject(&mut carrier);
        assert_eq!(Context::extract(&carrier), (sent.clone(), 0));
        let mut answer = carrier;
        answer.set("traceparent", "");
        sent.inject_response(&mut answer);
        assert_eq!(Context::clock_of(&answer), sent.clock);
    }

    #[test]
    fn every_carrier_propagates_the_whole_context() {
        let headers = [
            ("traceparent", PARENT),
            ("tracestate", "rojo=1"),
            ("tracestate", "flowlog=019aaaacb23c001a,congo=2"),
        ];
        let (sent, _) = Context::extract(headers.as_slice());
        assert_eq!(
            (sent.tracestate.as_str(), sent.clock, sent.flags),
            ("rojo=1,congo=2", Some(Clock(0x019a_aaac_b23c_001a)), Some(TraceFlags::RANDOM))
        );
        crosses(HashMap::from([("TraceParent".to_owned(), "old".to_owned())]), &sent);
        crosses(BTreeMap::from([("TRACEPARENT".to_owned(), "old".to_owned())]), &sent);
        crosses(vec![("TraceParent".to_owned(), "old".to_owned())], &sent);
        #[cfg(feature = "http")]
        crosses(http::HeaderMap::new(), &sent);
        #[cfg(feature = "tonic")]
        crosses(tonic::metadata::MetadataMap::new(), &sent);
        #[cfg(feature = "nats")]
        {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("TraceParent", "old");
            crosses(headers, &sent);
        }
        let mut command = Command::new("true");
        sent.inject(&mut command);
        let environment: Vec<(String, String)> = command
            .get_envs()
            .filter_map(|(name, value)| {
                Some((name.to_str()?.to_owned(), value?.to_str()?.to_owned()))
            })
            .collect();
        assert_eq!(environment[0].0, "TRACEPARENT");
        assert_eq!(Context::extract(&environment), (sent, 0));
    }

    #[test]
    fn context_without_a_span_is_propagated() {
        let mut headers = HashMap::new();
        let sent = Context::from(FlowId::parse(OTHER).unwrap());
        headers.insert("TraceParent".to_owned(), PARENT.to_owned());
        sent.inject(&mut headers);
        let (received, malformed) = Context::extract(&headers);
        assert_eq!(
            (received.flow_id, received.span_id.is_some(), malformed),
            (sent.flow_id, true, 0)
        );
    }

    proptest! {
        /// Any headers yield a flow that can be propagated and that the receiver can read.
        #[test]
        fn any_headers_yield_a_context(headers in prop::collection::vec((0..5usize, prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            "00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}".prop_map(String::into_bytes),
            "[a-z0-9@=,]{0,40}(,flowlog=[0-9a-f]{16})?".prop_map(String::into_bytes),
        ]), 0..8)) {
            const NAMES: [&str; 5] = [TRACEPARENT, TRACESTATE, FLOW_ID, "x-request-id", "request-id"];
            let headers: Vec<(&str, Vec<u8>)> = headers.into_iter().map(|(name, value)| (NAMES[name], value)).collect();
            let (context, malformed) = Context::extract(&headers);
            prop_assert!(malformed <= 5);
            let mut sent: HashMap<String, String> = HashMap::new();
            context.inject(&mut sent);
            let (received, malformed) = Context::extract(&sent);
            prop_assert_eq!(malformed, 0);
            prop_assert_eq!(received.flow_id, context.flow_id);
            prop_assert!(context.span_id.is_none() || received.span_id == context.span_id);
        }
    }
}
