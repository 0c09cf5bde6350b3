//! Trace sampling: which flows are traced.
//!
//! The decision depends only on the flow ID, so it can be derived from the ID. OpenTelemetry's
//! ratio sampler uses the low 64 bits, the highest of which are the variant bits of a UUID: at 50 %
//! it samples none of the UUIDs, at 75 % all of them. W3C Trace Context (level 2) defines the low
//! 56 bits as random, and OpenTelemetry's [consistent probability sampling] compares those bits
//! with a threshold. This module does the same.
//!
//! [consistent probability sampling]: https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/

use flowlog_schema::FlowId;
use flowlog_schema::propagation::TraceFlags;

/// Share of flows that are traced. It applies to flows that start here; a caller's decision is
/// kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Smallest randomness that is sampled; 2^56 is never reached.
    threshold: u64,
}

/// Number of values that the low 56 bits can take.
const VALUES: u64 = 1 << 56;

impl Default for Sampling {
    fn default() -> Self {
        Self::ALL
    }
}

impl Sampling {
    /// Traces all flows.
    pub const ALL: Self = Self { threshold: 0 };
    /// Traces no flows.
    pub const NONE: Self = Self { threshold: VALUES };

    /// Traces a share of flows, from 0 to 1. Values outside this range are clamped, and NaN means
    /// all.
    pub fn ratio(share: f64) -> Self {
        if share.is_nan() {
            return Self::ALL;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "the value is between 0 and 2^56, within the range of both types"
        )]
        let threshold = ((1.0 - share.clamp(0.0, 1.0)) * VALUES as f64) as u64;
        Self { threshold }
    }

    /// Parses `OTEL_TRACES_SAMPLER` and its argument.
    pub(crate) fn of(sampler: &str, argument: Option<&str>) -> Option<Self> {
        match sampler.strip_prefix("parentbased_").unwrap_or(sampler) {
            "always_on" => Some(Self::ALL),
            "always_off" => Some(Self::NONE),
            "traceidratio" => {
                Some(Self::ratio(argument.map_or(Some(1.0), |share| share.parse().ok())?))
            }
            _ => None,
        }
    }

    /// Returns whether a flow that starts here is traced.
    pub fn is_sampled(self, flow_id: FlowId) -> bool {
        randomness(flow_id) >= self.threshold
    }

    /// Returns the trace flags that callees of a flow that starts here receive.
    pub(crate) fn decide(self, flow_id: FlowId) -> TraceFlags {
        // The random flag is not set, although most IDs are random: OpenTelemetry's propagator for
        // Rust, up to the version that Dynamo 1.6.1 is built with (0.31), discards a `traceparent`
        // with flags 03.
        if self.is_sampled(flow_id) { TraceFlags::SAMPLED } else { TraceFlags::default() }
    }
}

/// Returns 56 bits that are as good as random.
fn randomness(flow_id: FlowId) -> u64 {
    let id = flow_id.as_u128();
    let bytes = id.to_be_bytes();
    let [_, _, _, _, _, _, _, _, high @ ..] = bytes;
    let low = u64::from_be_bytes(high);
    match version(flow_id) {
        // Versions 1, 2 and 6 end in a machine's address, and the end of version 8 is known only to
        // its creator, so all their bits are mixed.
        Some(1 | 2 | 6 | 8) => mix(u64::try_from(id >> 64).unwrap_or(0) ^ mix(low)) % VALUES,
        _ => low % VALUES,
    }
}

/// Returns the version of a UUID; `None` if the ID is not a UUID.
fn version(flow_id: FlowId) -> Option<usize> {
    let uuid = uuid::Uuid::from_u128(flow_id.as_u128());
    (uuid.get_variant() == uuid::Variant::RFC4122).then(|| uuid.get_version_num())
}

/// Mixes every input bit into all output bits (the finalizer of `SplitMix64`: Steele, Lea, Flood,
/// "Fast Splittable Pseudorandom Number Generators", 2014).
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::{ContextV7, NoContext, Timestamp, Uuid};

    const IDS: u32 = 100_000;

    fn shares(what: &str, id: impl Fn(u32) -> Uuid) {
        let ids: Vec<FlowId> =
            (0..IDS).map(|at| FlowId::from_u128(id(at).as_u128()).unwrap()).collect();
        for share in [0.0, 0.01, 0.1, 0.5, 0.7, 1.0] {
            let sampling = Sampling::ratio(share);
            let sampled =
                f64::from(ids.iter().filter(|id| sampling.is_sampled(**id)).count() as u32)
                    / f64::from(IDS);
            assert!((sampled - share).abs() < 0.01, "{what}: {sampled} of {share}");
        }
    }

    #[test]
    fn ratio_holds_for_ids_of_every_uuid_version() {
        const NODE: [u8; 6] = [2, 66, 172, 17, 0, 2];
        let time = |at: u32| {
            Timestamp::from_unix(
                NoContext,
                1_763_800_035 + u64::from(at / 1_000),
                at % 1_000 * 1_000_000,
            )
        };
        let name = |at: u32| at.to_string().into_bytes();
        let counted = ContextV7::new();
        // The counter restarts with every millisecond.
        let apart = |at: u32| {
            Timestamp::from_unix(
                &counted,
                1_763_800_035 + u64::from(at / 1_000),
                at % 1_000 * 1_000_000,
            )
        };
        // The clock sequence of versions 1 and 6 is always 0 here.
        shares("1", |at| Uuid::new_v1(time(at), &NODE));
        shares("6", |at| Uuid::new_v6(time(at), &NODE));
        shares("3", |at| Uuid::new_v3(&Uuid::NAMESPACE_URL, &name(at)));
        shares("4", |_| Uuid::new_v4());
        shares("5", |at| Uuid::new_v5(&Uuid::NAMESPACE_URL, &name(at)));
        shares("7", |_| Uuid::from_u128(FlowId::new().as_u128()));
        shares("7, counted", |at| Uuid::new_v7(apart(at)));
        shares("8", |at| Uuid::new_v8(u128::from(at).to_be_bytes()));
        shares("none", |_| {
            Uuid::from_u128(u128::from_be_bytes(*Uuid::new_v4().as_bytes()) & !(0b11 << 62))
        });
    }

    #[test]
    fn parses_otel_sampler_variables() {
        for (sampler, argument, expected) in [
            ("always_on", None, Some(Sampling::ALL)),
            ("parentbased_always_off", Some("1"), Some(Sampling::NONE)),
            ("traceidratio", Some("0.5"), Some(Sampling { threshold: 1 << 55 })),
            ("traceidratio", Some("much"), None),
            ("parentbased_traceidratio", None, Some(Sampling::ALL)),
            ("jaeger_remote", None, None),
        ] {
            assert_eq!(Sampling::of(sampler, argument), expected, "{sampler}");
        }
        assert_eq!(
            (Sampling::ratio(-1.0), Sampling::ratio(2.0), Sampling::ratio(f64::NAN)),
            (Sampling::NONE, Sampling::ALL, Sampling::ALL)
        );
    }

    #[test]
    fn decision_sets_the_sampled_flag() {
        assert_eq!(
            (
                Sampling::ALL.decide(FlowId::new()).byte(),
                Sampling::NONE.decide(FlowId::new()).byte()
            ),
            (1, 0)
        );
    }
}
