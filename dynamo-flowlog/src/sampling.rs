//! Which flows are traced.
//!
//! A sampler decides by the id, so that the id alone tells the decision. OpenTelemetry's ratio sampler looks at the low 64 bits, whose
//! upper ones are the variant in a UUID: at 50 % it takes none of them, at 75 % all. W3C Trace Context (level 2) makes the low 56
//! bits the random ones, and OpenTelemetry's [consistent probability sampling](https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/)
//! compares those with a threshold. So does this.

use flowlog_schema::FlowId;
use flowlog_schema::propagation::TraceFlags;

/// Which flows are traced: a share of those that begin here. What a caller decided stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// The least randomness that is sampled; 2^56 is never reached.
    threshold: u64,
}

/// Values of the low 56 bits.
const VALUES: u64 = 1 << 56;

impl Default for Sampling {
    fn default() -> Self {
        Self::ALL
    }
}

impl Sampling {
    /// All of them.
    pub const ALL: Self = Self { threshold: 0 };
    /// None.
    pub const NONE: Self = Self { threshold: VALUES };

    /// A share, from 0 to 1; what lies outside is taken for the nearer end, and what is no number for all.
    pub fn ratio(share: f64) -> Self {
        if share.is_nan() {
            return Self::ALL;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "from 0 to 2^56, which a float holds"
        )]
        let threshold = ((1.0 - share.clamp(0.0, 1.0)) * VALUES as f64) as u64;
        Self { threshold }
    }

    /// What `OTEL_TRACES_SAMPLER` and its argument ask for.
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

    /// Whether a flow that begins here is traced.
    pub fn samples(self, flow_id: FlowId) -> bool {
        randomness(flow_id) >= self.threshold
    }

    /// What the callees of a flow that begins here are told.
    pub(crate) fn decide(self, flow_id: FlowId) -> TraceFlags {
        // Without the random flag, though most ids are: OpenTelemetry's propagator for Rust, up to the version that Dynamo 1.6.1 is
        // built with (0.31), throws a `traceparent` away whose flags are 03.
        if self.samples(flow_id) { TraceFlags::SAMPLED } else { TraceFlags::default() }
    }
}

/// 56 bits that are as good as random.
fn randomness(flow_id: FlowId) -> u64 {
    let id = flow_id.as_u128();
    let bytes = id.to_be_bytes();
    let [_, _, _, _, _, _, _, _, high @ ..] = bytes;
    let low = u64::from_be_bytes(high);
    match version(flow_id) {
        // They end in the address of a machine; of the last the maker alone knows what it ends in.
        Some(1 | 2 | 6 | 8) => mix(u64::try_from(id >> 64).unwrap_or(0) ^ mix(low)) % VALUES,
        _ => low % VALUES,
    }
}

/// The version of a UUID; `None` where it is none.
fn version(flow_id: FlowId) -> Option<usize> {
    let uuid = uuid::Uuid::from_u128(flow_id.as_u128());
    (uuid.get_variant() == uuid::Variant::RFC4122).then(|| uuid.get_version_num())
}

/// Spreads every bit over all (the finalizer of `SplitMix64`: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
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
            let sampled = f64::from(ids.iter().filter(|id| sampling.samples(**id)).count() as u32)
                / f64::from(IDS);
            assert!((sampled - share).abs() < 0.01, "{what}: {sampled} of {share}");
        }
    }

    #[test]
    fn a_share_is_met_on_ids_of_every_version() {
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
        // A count begins anew with every millisecond.
        let apart = |at: u32| {
            Timestamp::from_unix(
                &counted,
                1_763_800_035 + u64::from(at / 1_000),
                at % 1_000 * 1_000_000,
            )
        };
        // The clock sequence is 0 for all of the first two.
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
    fn what_the_environment_asks_for() {
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
    fn callees_are_told() {
        assert_eq!(
            (
                Sampling::ALL.decide(FlowId::new()).byte(),
                Sampling::NONE.decide(FlowId::new()).byte()
            ),
            (1, 0)
        );
    }
}
