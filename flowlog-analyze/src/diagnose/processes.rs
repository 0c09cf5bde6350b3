//! Who spoke: processes, how far their clocks are off, and how long their work takes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use compact_str::CompactString;

use crate::envelope::Speaker;
use crate::flow::{Mark, Party, PeerStats, ProcessFacts, Settled, SkewBounds, Span, Table, Voice};
use crate::names;
use crate::source::Sources;

/// One process of the run.
#[derive(Debug)]
pub struct Process {
    /// What it is.
    pub component: CompactString,
    /// Which one; empty where nothing tells.
    pub instance: CompactString,
    /// Whether a line named the instance.
    pub named: bool,
    /// When it spoke and what it said of itself; times by its own clock.
    pub facts: ProcessFacts,
    /// How far its wall clock is ahead, in nanoseconds.
    pub skew: i64,
}

/// What holds for the whole run.
#[derive(Debug)]
pub struct World {
    /// Every process.
    pub processes: Vec<Process>,
    /// The last moment of the logs, corrected.
    pub end: i64,
    /// Components that a component calls, directly.
    pub calls: BTreeSet<(CompactString, CompactString)>,
    /// Components whose roots seem to hang where only their last line was lost.
    pub lossy: BTreeSet<CompactString>,
    peers: BTreeMap<(CompactString, CompactString), PeerStats>,
    named: HashMap<(CompactString, CompactString), usize>,
    by_voice: HashMap<Voice, usize>,
}

impl World {
    /// Sorts out who is who.
    pub fn new(table: &Table, settled: Settled, sources: &Sources) -> Self {
        let mut world = Self {
            processes: Vec::new(),
            end: i64::MIN,
            calls: BTreeSet::new(),
            lossy: BTreeSet::new(),
            peers: settled.peers,
            named: HashMap::new(),
            by_voice: HashMap::new(),
        };
        for ((component, instance), facts) in &table.processes {
            world.named.insert((component.clone(), instance.clone()), world.processes.len());
            world.processes.push(Process {
                component: component.clone(),
                instance: instance.clone(),
                named: true,
                facts: facts.clone(),
                skew: 0,
            });
        }
        world.add_voices(table, sources);
        world.correct_clocks(&settled.calls);
        let last = |process: &Process| {
            process.facts.activity.last().map(|last| last.saturating_sub(process.skew))
        };
        world.end = world.processes.iter().filter_map(last).max().unwrap_or(i64::MIN);
        world.calls = settled
            .calls
            .keys()
            .map(|(caller, callee)| (world.component_of(caller), world.component_of(callee)))
            .filter(|(caller, callee)| caller != callee)
            .collect();
        world
    }

    /// Finds the process behind every voice: the one that its lines name; else one that its envelopes, or the file's
    /// name, tell of.
    fn add_voices(&mut self, table: &Table, sources: &Sources) {
        let mut pods: BTreeMap<(CompactString, CompactString), usize> = BTreeMap::new();
        for (voice, facts) in &table.voices {
            let instances: BTreeSet<&CompactString> =
                facts.named.iter().map(|(_, instance)| instance).collect();
            let components: BTreeSet<&CompactString> =
                facts.named.iter().map(|(component, _)| component).collect();
            // A voice that names one instance is that process, also where a line does not say so.
            if instances.len() == 1
                && facts.components.iter().all(|component| components.contains(component))
            {
                for name in &facts.named {
                    if let Some(index) = self.named.get(name).copied()
                        && let Some(process) = self.processes.get_mut(index)
                    {
                        process.facts.merge(&facts.all);
                        self.by_voice.insert(*voice, index);
                    }
                }
                continue;
            }
            let file = sources
                .read
                .get(voice.source as usize)
                .map(|source| names::of_file(&source.name))
                .unwrap_or_default();
            let who = facts.name.as_ref();
            let pod = who.map(|who| who.pod.as_str()).filter(|pod| !pod.is_empty());
            let process = who.map(|who| who.process.as_str()).filter(|process| !process.is_empty());
            // A file named after a machine's journal holds many; any other is one's own.
            let of_file = Some(file.instance.as_str())
                .filter(|name| !name.is_empty() && who.is_none_or(|who| who.host.is_empty()));
            let instance = CompactString::from(pod.or(of_file).or(process).unwrap_or_default());
            let told = who.and_then(Speaker::component);
            let component = if facts.components.contains("frontend") {
                CompactString::from("frontend")
            } else if let Some(component) = facts.components.first() {
                component.clone()
            } else if let Some(component) = told.or(file.component) {
                CompactString::from(component)
            } else if let Some(library) =
                ENGINES.iter().find(|engine| facts.libraries.contains(**engine))
            {
                CompactString::from(*library)
            } else if let Some(library) = facts.libraries.first() {
                library.clone()
            } else {
                component_of_stem(&instance)
            };
            // One pod may be in several files.
            let key = (component.clone(), instance.clone());
            if let Some(index) = pods.get(&key).copied().filter(|_| pod.is_some())
                && let Some(process) = self.processes.get_mut(index)
            {
                process.facts.merge(&facts.own);
                self.by_voice.insert(*voice, index);
                continue;
            }
            if pod.is_some() {
                pods.insert(key, self.processes.len());
            }
            self.by_voice.insert(*voice, self.processes.len());
            self.processes.push(Process {
                component,
                instance,
                named: false,
                facts: facts.own.clone(),
                skew: 0,
            });
        }
    }

    /// Walks the calls from process to process and gives each the least skew that its bounds allow.
    fn correct_clocks(&mut self, calls: &BTreeMap<(Party, Party), SkewBounds>) {
        let mut edges: BTreeMap<(usize, usize), SkewBounds> = BTreeMap::new();
        for ((caller, callee), bounds) in calls {
            let (caller, callee) = (self.of_party(caller), self.of_party(callee));
            // A span may be put together of lines that name nobody together.
            let known = |index: usize| index < self.processes.len();
            if caller != callee && known(caller) && known(callee) {
                edges.entry((caller, callee)).or_default().add(bounds.upper, bounds.lower);
            }
        }
        let mut neighbours: BTreeMap<usize, Vec<(usize, i64)>> = BTreeMap::new();
        for ((caller, callee), bounds) in edges {
            let ahead = least_skew(bounds);
            neighbours.entry(caller).or_default().push((callee, ahead));
            neighbours.entry(callee).or_default().push((caller, ahead.saturating_neg()));
        }
        let mut known = vec![false; self.processes.len()];
        for start in 0..self.processes.len() {
            if known.get(start).copied().unwrap_or(true) {
                continue;
            }
            let mut queue = VecDeque::from([start]);
            known[start] = true;
            while let Some(at) = queue.pop_front() {
                let skew = self.processes.get(at).map_or(0, |process| process.skew);
                for (next, ahead) in neighbours.get(&at).into_iter().flatten() {
                    if !known[*next] {
                        known[*next] = true;
                        if let Some(process) = self.processes.get_mut(*next) {
                            process.skew = skew.saturating_add(*ahead);
                        }
                        queue.push_back(*next);
                    }
                }
            }
        }
    }

    /// The process that a span runs in.
    pub fn of_span(&self, span: &Span) -> usize {
        if span.instance.is_empty() {
            return self.by_voice.get(&span.first.place.voice()).copied().unwrap_or(usize::MAX);
        }
        self.named
            .get(&(span.component.clone(), span.instance.clone()))
            .copied()
            .unwrap_or(usize::MAX)
    }

    fn component_of(&self, party: &Party) -> CompactString {
        if party.0.is_empty() {
            self.process(self.of_party(party)).component.clone()
        } else {
            party.0.clone()
        }
    }

    fn of_party(&self, (component, instance, voice): &Party) -> usize {
        let named = self.named.get(&(component.clone(), instance.clone())).copied();
        named.or_else(|| self.by_voice.get(voice).copied()).unwrap_or(usize::MAX)
    }

    /// The process at an index; an empty one where there is none.
    pub fn process(&self, index: usize) -> &Process {
        static NOBODY: Process = Process {
            component: CompactString::const_new("unknown"),
            instance: CompactString::const_new(""),
            named: false,
            facts: ProcessFacts::EMPTY,
            skew: 0,
        };
        self.processes.get(index).unwrap_or(&NOBODY)
    }

    /// The index of the process behind a voice.
    pub fn of_voice(&self, voice: Voice) -> usize {
        self.by_voice.get(&voice).copied().unwrap_or(usize::MAX)
    }

    /// A mark's time by the common clock.
    pub fn time(&self, mark: Mark, process: usize) -> Option<i64> {
        mark.time().map(|time| time.saturating_sub(self.process(process).skew))
    }

    /// The longest complete span of a component in a state, where there are three at least.
    pub fn longest_peer(&self, component: &str, state: &str) -> Option<i64> {
        let stats =
            self.peers.get(&(CompactString::from(component), CompactString::from(state)))?;
        (stats.count >= 3).then_some(stats.longest)
    }

    /// How many complete spans there are.
    pub fn complete(&self) -> u64 {
        self.peers.values().map(|stats| stats.ended).sum()
    }

    /// How many complete spans of a component ended in a state.
    pub fn ended_in(&self, component: &str, state: &str) -> u64 {
        self.peers
            .get(&(CompactString::from(component), CompactString::from(state)))
            .map_or(0, |stats| stats.ended)
    }

    /// Whether a component's spans that come to a state mostly end in it.
    pub fn ends_in(&self, component: &str, state: &str) -> bool {
        let stats = self.peers.get(&(CompactString::from(component), CompactString::from(state)));
        stats.is_some_and(|stats| stats.ended * 2 > stats.count)
    }

    /// The longest complete span of a component, else of any, where there are three at least.
    pub fn longest_of_any(&self, component: &str) -> Option<i64> {
        let longest = |own: bool| {
            let all = self
                .peers
                .iter()
                .filter(|((name, _), _)| !own || name == component)
                .map(|(_, stats)| *stats);
            let (count, longest) = all.fold((0, 0), |(count, longest), stats| {
                (count + stats.count, longest.max(stats.longest))
            });
            (count >= 3).then_some(longest)
        };
        longest(true).or_else(|| longest(false))
    }

    /// When a process that lived at `from` is told to stop or begins to, by the common clock.
    ///
    /// The whole run is stopped within a moment, process by process: one that stops less than
    /// two seconds before this one belongs to the same stop.
    pub fn stop_after(&self, process: usize, from: i64) -> Option<i64> {
        let shutdown = |process: &Process| {
            let after = process
                .facts
                .shutdowns
                .first_after(from.saturating_add(process.skew).saturating_sub(1))?;
            Some(after.saturating_sub(process.skew))
        };
        let own = shutdown(self.process(process))?;
        let earlier = self
            .processes
            .iter()
            .filter_map(shutdown)
            .filter(|stop| (own - STOP_WINDOW..=own).contains(stop));
        earlier.min().or(Some(own))
    }
}

/// How long the stop of a whole run may take to reach every process, in nanoseconds.
const STOP_WINDOW: i64 = 2_000_000_000;

/// Of all skews within the bounds the one nearest to none. Bounds that contradict each other come from children that
/// outlive their parents; then only the openings tell.
fn least_skew(bounds: SkewBounds) -> i64 {
    match (bounds.lower, bounds.upper) {
        (Some(lower), Some(upper)) if lower <= upper => 0.clamp(lower, upper),
        (_, Some(upper)) => upper.min(0),
        (Some(lower), None) => lower.max(0),
        (None, None) => 0,
    }
}

/// Libraries that are a worker's engine, and so tell more of it than any other.
const ENGINES: [&str; 3] = ["vllm", "sglang", "trtllm"];

/// `agent-0` is an agent; names that stand for any log tell nothing.
fn component_of_stem(stem: &str) -> CompactString {
    let name = stem.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '-' | '_' | '.'));
    if name.is_empty() || names::is_generic(name) {
        CompactString::const_new("unknown")
    } else {
        CompactString::from(name).to_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_skew_that_the_bounds_allow() {
        let of = |lower, upper| least_skew(SkewBounds { lower, upper });
        assert_eq!(of(Some(-5), Some(5)), 0);
        assert_eq!(of(Some(380), Some(401)), 380);
        assert_eq!(of(Some(-401), Some(-380)), -380);
        assert_eq!(of(Some(30_000), Some(5)), 0);
        assert_eq!(of(Some(30_000), Some(-5)), -5);
        assert_eq!((of(None, None), of(None, Some(-7)), of(Some(7), None)), (0, -7, 7));
    }

    #[test]
    fn stems_name_components() {
        for (stem, component) in [
            ("worker-0", "worker"),
            ("Frontend", "frontend"),
            ("kvbm", "kvbm"),
            ("0", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(component_of_stem(stem), component, "{stem}");
        }
    }
}
