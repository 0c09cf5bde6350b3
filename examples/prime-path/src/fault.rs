//! Faults, and the switch that turns one on.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::wire::Failed;

/// Kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every work item fails with an error.
    Error,
    /// No work item finishes.
    Hang,
    /// The process is killed during a work item.
    Kill,
    /// Each work item takes longer than callers wait.
    Slow,
    /// KV blocks are not freed.
    Leak,
}

const NAMES: [(&str, Fault); 5] = [
    ("error", Fault::Error),
    ("hang", Fault::Hang),
    ("kill", Fault::Kill),
    ("slow", Fault::Slow),
    ("leak", Fault::Leak),
];

/// Fault and the instance that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// Kind of fault.
    pub fault: Fault,
    /// Instance that has the fault.
    pub instance: String,
}

impl FromStr for Switch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, instance) = text
            .split_once('@')
            .ok_or("invalid fault: expected FAULT@INSTANCE, such as `error@prefill-1`")?;
        let known = NAMES.iter().find(|(known, _)| *known == name);
        let names = || NAMES.map(|(name, _)| name).join(", ");
        let fault =
            known.ok_or_else(|| format!("unknown fault `{name}`: expected one of {}", names()))?.1;
        if fault == Fault::Leak && !instance.starts_with("kvbm") {
            return Err("only kvbm-0 can leak blocks".to_owned());
        }
        Ok(Self { fault, instance: instance.to_owned() })
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            NAMES.iter().find(|(_, fault)| *fault == self.fault).map_or("", |(name, _)| name);
        write!(f, "{name}@{}", self.instance)
    }
}

/// Number of work items that succeed before the fault takes effect, for comparison.
const HEALTHY_WORK_ITEMS: usize = 4;

/// Fault of a component, if it has one.
#[derive(Debug, Default)]
pub(crate) struct Faulty {
    fault: Option<Fault>,
    worked: AtomicUsize,
}

impl Faulty {
    pub(crate) fn of(switch: Option<&Switch>, instance: &str) -> Self {
        Self {
            fault: switch.filter(|switch| switch.instance == instance).map(|switch| switch.fault),
            worked: AtomicUsize::new(0),
        }
    }

    /// Returns whether blocks that should be freed are kept.
    pub(crate) fn leaks(&self) -> bool {
        self.fault == Some(Fault::Leak)
            && self.worked.fetch_add(1, Ordering::Relaxed) >= HEALTHY_WORK_ITEMS
    }

    /// Applies the fault to a work item.
    pub(crate) async fn strike(&self) -> Result<(), Failed> {
        let Some(fault) = self.fault else { return Ok(()) };
        if fault == Fault::Leak || self.worked.fetch_add(1, Ordering::Relaxed) < HEALTHY_WORK_ITEMS
        {
            return Ok(());
        }
        match fault {
            Fault::Error => {
                Err(Failed::new("Internal", "CUDA error: an illegal memory access was encountered"))
            }
            Fault::Hang => std::future::pending().await,
            Fault::Kill => {
                let _ = rustix::process::kill_process(
                    rustix::process::getpid(),
                    rustix::process::Signal::KILL,
                );
                std::future::pending().await
            }
            Fault::Slow => {
                tokio::time::sleep(Duration::from_secs(4)).await;
                Ok(())
            }
            Fault::Leak => Ok(()),
        }
    }
}
