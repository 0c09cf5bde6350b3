//! Lines of a component in an order that the baseline does not have: work that ended early, or took
//! another way.

use std::collections::BTreeMap;

use compact_str::CompactString;

use super::{Finding, FindingKind};
use crate::profile::{Profile, Sequence, SequenceKey};

/// Score of an order that cannot be chance.
const NEW_ORDER: f64 = 0.66;

/// Minimum number of times that the baseline has the line before.
const MIN_USUAL: u64 = 10;

/// Minimum logarithm of the likelihood ratio: of some thousand orders, some are new by chance.
const MIN_SURPRISE: f64 = 3.0;

/// New orders of a component.
struct NewOrders<'s> {
    found: f64,
    expected: f64,
    most: Option<&'s Sequence>,
}

/// Finds components whose lines follow each other in another order than in the baselines. `when` says
/// in words what these are.
#[expect(clippy::cast_precision_loss, reason = "statistics tolerate rounding")]
pub(super) fn find(
    found: &BTreeMap<SequenceKey, Sequence>,
    baselines: &[Profile],
    when: &str,
) -> Vec<Finding> {
    // What follows a line in the baselines: how often in all, and how many things only once.
    let mut counts: BTreeMap<&SequenceKey, u64> = BTreeMap::new();
    for (key, count) in baselines.iter().flat_map(|profile| &profile.sequences) {
        *counts.entry(key).or_default() += count;
    }
    let mut usual: BTreeMap<(&str, u64), (u64, u64)> = BTreeMap::new();
    for (key, count) in &counts {
        let (all, once) = usual.entry((&key.component, key.from)).or_default();
        *all += count;
        *once += u64::from(*count == 1);
    }
    let mut by_component: BTreeMap<&str, NewOrders<'_>> = BTreeMap::new();
    for (key, sequence) in found {
        let before = usual.get(&(&*key.component, key.from)).filter(|(all, _)| *all >= MIN_USUAL);
        let Some((all, once)) = before else { continue };
        // The chance of something new is about the share of what came once (Good 1953).
        let chance = (*once as f64 + 0.5) / (*all as f64 + 1.0);
        let orders = by_component.entry(&key.component).or_insert(NewOrders {
            found: 0.0,
            expected: 0.0,
            most: None,
        });
        orders.expected += sequence.count as f64 * chance;
        if !counts.contains_key(key) {
            orders.found += sequence.count as f64;
            if orders.most.is_none_or(|most| sequence.count > most.count) {
                orders.most = Some(sequence);
            }
        }
    }
    by_component
        .into_iter()
        .filter_map(|(component, orders)| {
            let NewOrders { found, expected, most } = orders;
            let most = most?;
            let surprise = found * (found / expected).ln() - (found - expected);
            if found < 2.0 || found <= expected || surprise < MIN_SURPRISE {
                return None;
            }
            Some(Finding {
                kind: FindingKind::EndsEarly,
                component: CompactString::from(component),
                instance: None,
                score: NEW_ORDER * (1.0 - (-surprise / 10.0).exp()),
                reason: format!(
                    "its lines for a request end or follow each other as never {when}, {found} \
                     times: work ended early or took another way"
                ),
                template: None,
                root_cause: String::new(),
                count: most.count,
                first: None,
                evidence: vec![most.example],
            })
        })
        .collect()
}
