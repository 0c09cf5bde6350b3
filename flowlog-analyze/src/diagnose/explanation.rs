//! Why a failure is attributed to a component: the rule that decides, the steps of the reasoning, and
//! the alternatives that were rejected.

use compact_str::CompactString;
use flowlog_schema::Time;
use flowlog_schema::report::FailureKind;

use super::confidence::Basis;
use super::description::describe;
use super::fault::{Fault, FaultKind};
use super::first_failure::{Classification, Outcome, explains};
use super::outage_evidence::{Link, Outage, Rejection};
use super::outages::{Outages, may_follow};
use super::topology::RunModel;
use super::tree::Tree;
use super::{FirstFailure, attempts};
use crate::flow::{LineRef, SpanStatus};

/// Why a failure is attributed to a component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explanation {
    /// Name of the rule that decides.
    pub rule: &'static str,
    /// Steps of the reasoning, in order.
    pub steps: Vec<Step>,
    /// What would have contradicted it; empty if nothing is known.
    pub contradicted_by: &'static str,
    /// Alternatives that were considered and rejected.
    pub rejected: Vec<Alternative>,
}

/// One step of an explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What happened.
    pub text: String,
    /// Line that shows it.
    pub line: Option<LineRef>,
}

/// A component that could have failed first, but did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternative {
    /// Component.
    pub component: CompactString,
    /// Instance of the component, if it is known.
    pub instance: Option<CompactString>,
    /// Why it is not the first failure.
    pub reason: String,
    /// Line that concerns it.
    pub line: Option<LineRef>,
}

/// Maximum number of calls, of consequences and of alternatives in an explanation.
const MAX_PARTS: usize = 8;

impl Explanation {
    /// Explains the outcome of a flow.
    pub(super) fn of_flow(
        tree: &Tree<'_>,
        found: &Classification<'_>,
        outages: &Outages,
        model: &RunModel,
    ) -> Self {
        let Some(first) = found.first else {
            return Self::without_fault(tree, found.outcome, model);
        };
        let fault = &found.faults[first];
        let own = describe(tree, first, &found.faults, model);
        let behind = may_follow(&own).then(|| outages.behind(&own, model)).flatten();
        let mut steps = calls_to(tree, fault.at, model);
        steps.push(fault_step(tree, fault, model));
        let mut basis = own.basis;
        if let Some((outage, link)) = behind {
            basis = link.basis();
            steps.extend(outage_steps(outage, link));
        }
        let mut rejected: Vec<Alternative> = Vec::new();
        // The faults are in order of depth; the deepest consequence came first.
        for other in found.faults.iter().rev().filter(|other| other.at != fault.at) {
            if explains(tree, fault, other, model) {
                if steps.len() < 2 * MAX_PARTS {
                    steps.push(consequence(tree, other, model));
                }
            } else {
                rejected.push(later_fault(tree, other, model));
            }
        }
        if found.outcome == Outcome::Recovered
            && let Some(retry) = attempts::retry_of(tree, fault, model)
        {
            steps.push(Step {
                text: format!("{} took over, and the call succeeded", who(tree, retry, model)),
                line: Some(tree.spans[retry].span.first.line),
            });
        }
        if may_follow(&own) && behind.is_none() {
            rejected.extend(rejected_outages(&own, outages, model));
        }
        rejected.truncate(MAX_PARTS);
        Self { rule: basis.rule(), steps, contradicted_by: basis.contradicted_by(), rejected }
    }

    /// Explains a flow in which nothing failed.
    fn without_fault(tree: &Tree<'_>, outcome: Outcome, model: &RunModel) -> Self {
        let root = tree.root().span;
        let (rule, text, position) = match outcome {
            Outcome::Ok => ("flow_ok", "ended well, and no span failed", root.finished()),
            Outcome::Cancelled { by_signal: true } => (
                "flow_cancelled",
                "was stopped on request while the flow was open",
                root.finished(),
            ),
            Outcome::Cancelled { by_signal: false } => (
                "flow_cancelled",
                "was cancelled by its caller before anything failed",
                root.cancelled,
            ),
            Outcome::Rejected => (
                "flow_rejected",
                "rejected the request, which is the caller's fault",
                root.failed.as_ref().map(|failure| failure.position),
            ),
            Outcome::Unfinished | Outcome::Failed | Outcome::Recovered => (
                "flow_unfinished",
                "has not ended when the logs end, and nothing shows a failure",
                None,
            ),
        };
        let at = tree.root;
        let line = position.unwrap_or(root.last).line;
        let mut steps =
            vec![Step { text: format!("{} {text}", who(tree, at, model)), line: Some(line) }];
        // Who answers a cancellation promptly was alive.
        if matches!(outcome, Outcome::Cancelled { .. }) {
            let answered = (0..tree.spans.len())
                .filter(|other| *other != at && tree.spans[*other].status == SpanStatus::Cancelled);
            steps.extend(answered.take(MAX_PARTS).map(|other| Step {
                text: format!("{} acknowledged the cancellation", who(tree, other, model)),
                line: tree.spans[other].span.finished().map(|position| position.line),
            }));
        }
        Self { rule, steps, ..Self::default() }
    }

    /// Explains a failure that needs no flow.
    pub(super) fn of_run(failure: &FirstFailure, model: &RunModel) -> Self {
        let name = name_of(&failure.component, failure.instance.as_deref());
        let mut steps = vec![Step {
            text: match failure.basis {
                Basis::Pattern => format!("{name}: {}", failure.message),
                _ => format!("a line of {name} matches the rule"),
            },
            line: failure.evidence.first().copied(),
        }];
        let process = model.process(failure.process);
        if let Some(last) = process.activity.last.filter(|_| failure.process.is_some()) {
            steps.push(Step {
                text: format!("{name} logged its last line at {}", clock(last.time().unwrap_or(0))),
                line: Some(last.line),
            });
        }
        for victim in failure.affected.iter().take(MAX_PARTS) {
            steps.push(Step { text: format!("{victim} failed after it"), line: None });
        }
        Self {
            rule: failure.rule(),
            steps,
            contradicted_by: failure.basis.contradicted_by(),
            rejected: Vec::new(),
        }
    }
}

/// Returns the name of a component and its instance.
pub fn name_of(component: &str, instance: Option<&str>) -> String {
    match instance {
        Some(instance) if !instance.is_empty() => format!("{component}/{instance}"),
        _ => component.to_owned(),
    }
}

fn who(tree: &Tree<'_>, at: usize, model: &RunModel) -> String {
    let node = &tree.spans[at];
    name_of(node.component(model), Some(node.instance(model)))
}

/// Formats the time of day, to the millisecond.
fn clock(time: i64) -> String {
    Time(time).to_string().get(11..23).unwrap_or_default().to_owned()
}

/// Returns the calls that lead from the root to a span.
fn calls_to(tree: &Tree<'_>, at: usize, model: &RunModel) -> Vec<Step> {
    let mut path: Vec<usize> = std::iter::once(at).chain(tree.ancestors(at)).collect();
    path.reverse();
    let calls = path.windows(2).filter_map(|pair| {
        let [caller, callee] = pair else { return None };
        // A span of the same component in the same process is no call.
        let of = |at: usize| (tree.spans[at].process, tree.spans[at].component(model));
        if tree.spans[*callee].process.is_some() && of(*callee) == of(*caller) {
            return None;
        }
        Some(Step {
            text: format!("{} called {}", who(tree, *caller, model), who(tree, *callee, model)),
            line: Some(tree.spans[*callee].span.first.line),
        })
    });
    let calls: Vec<Step> = calls.collect();
    let skipped = calls.len().saturating_sub(MAX_PARTS);
    calls.into_iter().skip(skipped).collect()
}

/// Returns what an error says, in one line.
fn error_text(kind: &str, message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    match (kind, line) {
        ("", line) => line.to_owned(),
        (kind, line) if line.is_empty() || line == kind => kind.to_owned(),
        (kind, line) => format!("{kind}: {line}"),
    }
}

/// Describes a fault.
fn fault_step(tree: &Tree<'_>, fault: &Fault<'_>, model: &RunModel) -> Step {
    let name = who(tree, fault.at, model);
    let node = &tree.spans[fault.at];
    let mut line = fault.position.line;
    let text = match fault.kind {
        FaultKind::Reported(failure) => {
            let state = fault.state(node.span);
            let place = if state.is_empty() { String::new() } else { format!(" in state {state}") };
            format!("{name} failed{place}: {}", error_text(&failure.kind, &failure.message))
        }
        FaultKind::Silent(silence) => {
            let process = model.process(node.process);
            let since = clock(silence.since);
            match (silence.kind, silence.whole_process) {
                (FailureKind::Crash, _) => {
                    line = process.activity.kill_position.map_or(line, |kill| kill.line);
                    let down = process.downtime_at(silence.since);
                    match down.filter(|down| down.until != i64::MAX) {
                        Some(down) => format!(
                            "{name} logged nothing after {since} without shutting down, and started \
                             again at {}",
                            clock(down.until)
                        ),
                        None => format!(
                            "{name} logged nothing after {since} without shutting down, while other \
                             processes went on"
                        ),
                    }
                }
                (FailureKind::Hang, true) => {
                    let down = process.downtime_within(silence.since, silence.since);
                    let until = down
                        .filter(|down| down.until != i64::MAX)
                        .map_or_else(|| "the logs end".to_owned(), |down| clock(down.until));
                    format!("{name} logged nothing from {since} until {until}, while others did")
                }
                (FailureKind::Hang, false) => {
                    format!("{name} logged nothing more about this call after {since}")
                }
                (FailureKind::Error | FailureKind::Run | FailureKind::Slow, _) => {
                    format!("the stream of {name} broke and was restarted")
                }
            }
        }
    };
    Step { text, line: Some(line) }
}

/// Describes a fault that followed from the first one.
fn consequence(tree: &Tree<'_>, fault: &Fault<'_>, model: &RunModel) -> Step {
    let step = fault_step(tree, fault, model);
    Step { text: format!("consequence: {}", step.text), ..step }
}

/// Describes a fault that came after the first one, for a reason of its own.
fn later_fault(tree: &Tree<'_>, fault: &Fault<'_>, model: &RunModel) -> Alternative {
    let node = &tree.spans[fault.at];
    let step = fault_step(tree, fault, model);
    Alternative {
        component: node.component(model).clone(),
        instance: Some(node.instance(model).clone()).filter(|instance| !instance.is_empty()),
        reason: format!("came later in the flow: {}", step.text),
        line: step.line,
    }
}

/// Describes the outage that a failure follows from, and the evidence for that.
fn outage_steps(outage: &Outage, link: Link) -> Vec<Step> {
    let other = &outage.failure;
    let name = name_of(&other.component, other.instance.as_deref());
    let line = other.evidence.first().copied();
    let until = match outage.until {
        i64::MAX => "the logs end".to_owned(),
        until => clock(until),
    };
    let down = if other.process.is_none() {
        format!("{name} was unreachable at {}", clock(outage.since))
    } else {
        format!("{name} was down from {} until {until}", clock(outage.since))
    };
    let evidence = match link {
        Link::Named => format!("the failure names {name}"),
        Link::Called => format!("the flow had called {name}, which did not respond"),
        Link::NoneLeft => format!("no instance of {} was available", other.component),
        Link::ConnectionRefused => format!(
            "the connection was refused, and of the processes that the component calls, only \
             {name} was dead"
        ),
        Link::SilentForTheWait => format!(
            "of {}, only {name} was silent for the whole time that the caller waited",
            other.component
        ),
        Link::SharedDependency => "no flow that began at that time ended well".to_owned(),
    };
    vec![Step { text: down, line }, Step { text: evidence, line: None }]
}

/// Describes outages at the time of a failure that do not explain it.
fn rejected_outages(
    failure: &FirstFailure,
    outages: &Outages,
    model: &RunModel,
) -> Vec<Alternative> {
    let mut found = outages.rejected(failure, model);
    found.sort_by_key(|(outage, reason)| (*reason, outage.since));
    found.dedup_by_key(|(outage, _)| {
        (outage.failure.component.clone(), outage.failure.instance.clone())
    });
    let describe = |(outage, rejection): (&Outage, Rejection)| {
        let other = &outage.failure;
        let name = name_of(&other.component, other.instance.as_deref());
        let why = match rejection {
            Rejection::Responded => "it responded to the flow".to_owned(),
            Rejection::OtherInstance => "the flow called another instance".to_owned(),
            Rejection::PeersServed => format!(
                "the flow does not name it, and other instances of {} were available",
                other.component
            ),
            Rejection::NotALoss => "the failure does not report that anything was lost".to_owned(),
            Rejection::OthersServed => "flows that began at that time ended well".to_owned(),
            Rejection::NotCalled => format!("{} does not call it", failure.component),
        };
        Alternative {
            component: other.component.clone(),
            instance: other.instance.clone(),
            reason: format!("{name} was down at that time, but {why}"),
            line: other.evidence.first().copied(),
        }
    };
    found.into_iter().take(MAX_PARTS).map(describe).collect()
}
