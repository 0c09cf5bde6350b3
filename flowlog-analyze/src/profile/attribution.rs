//! Which component a message pattern belongs to.

use std::collections::HashMap;

use compact_str::CompactString;
use foldhash::fast::FixedState;

use crate::component_names;
use crate::diagnose::RunModel;
use crate::flow::{LineRef, ProducerId};
use crate::format::ownership;
use crate::patterns::{PatternKey, PatternStats, Patterns};

/// A message pattern and the component that logs it.
#[derive(Debug, Clone)]
pub struct RunPattern<'a> {
    /// Identity.
    pub key: PatternKey,
    /// Component.
    pub component: CompactString,
    /// Instance of the component, if known.
    pub instance: Option<CompactString>,
    /// Lines of the pattern.
    pub stats: &'a PatternStats,
}

/// All message patterns of a run, with their components.
#[derive(Debug)]
pub struct RunPatterns<'a> {
    patterns: Vec<RunPattern<'a>>,
    by_key: HashMap<PatternKey, usize, FixedState>,
}

impl<'a> RunPatterns<'a> {
    /// Attributes every pattern.
    pub fn new(patterns: &'a Patterns, model: &RunModel) -> Self {
        // One log may be that of many programs. If there are several logs, each is one program's.
        let mut sources: Vec<u32> = patterns.iter().map(|(key, _)| key.0.source).collect();
        sources.dedup();
        let is_single = sources.len() <= 1;
        let patterns: Vec<RunPattern<'a>> = patterns
            .iter()
            .filter(|(_, stats)| stats.count > 0)
            .map(|(key, stats)| {
                let (component, instance) = attribute(key.0, stats, model, is_single);
                RunPattern { key: *key, component, instance, stats }
            })
            .collect();
        let by_key = patterns.iter().enumerate().map(|(at, pattern)| (pattern.key, at)).collect();
        Self { patterns, by_key }
    }

    /// Iterates over all patterns in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &RunPattern<'a>> {
        self.patterns.iter()
    }

    /// Returns the pattern of a line.
    pub fn of_line(&self, line: LineRef, pattern: u64) -> Option<&RunPattern<'a>> {
        self.by_key.get(&(line.producer_id(), pattern)).and_then(|at| self.patterns.get(*at))
    }
}

/// Returns the component and the instance of a pattern: what its lines name as their own, the
/// process, the logger's owner, the logger, and the file's name last.
fn attribute(
    producer: ProducerId,
    stats: &PatternStats,
    model: &RunModel,
    is_single: bool,
) -> (CompactString, Option<CompactString>) {
    let process = model.process(model.of_producer(producer));
    let instance = Some(stats.instance.clone())
        .filter(|name| !name.is_empty())
        .or_else(|| Some(process.instance.clone()).filter(|name| !name.is_empty()));
    if !stats.component.is_empty() {
        return (stats.component.clone(), instance);
    }
    let is_known = process.component != "unknown" && !process.is_named_by_file;
    if is_known {
        return (process.component.clone(), instance);
    }
    let owner = ownership::of_module(&stats.target)
        .or_else(|| ownership::of_message(&stats.first.1))
        .or_else(|| Some(stats.code_owner.as_str()).filter(|owner| !owner.is_empty()))
        .or_else(|| {
            component_names::component_in(&stats.target)
                .filter(|name| component_names::is_of_inference(name))
        });
    if let Some(owner) = owner {
        return (CompactString::from(owner), instance);
    }
    let logger = component_names::of_logger(&stats.target)
        .or_else(|| component_names::of_frames(&stats.first.1))
        .map(CompactString::from);
    // `billing-gateway.log` says more than its logger `Billing`.
    let is_refined =
        logger.as_ref().is_some_and(|logger| component_names::refines(&process.component, logger));
    if (process.component == "unknown" || is_single) && !is_refined {
        return (logger.unwrap_or_else(|| process.component.clone()), instance);
    }
    (process.component.clone(), instance)
}
