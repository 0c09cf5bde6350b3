//! Faults, and the switch that turns one on.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::wire::Failed;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every piece of work fails with an error.
    Error,
    /// No piece of work ends.
    Hang,
    /// The process is killed in the middle of one.
    Kill,
    /// Each takes longer than anybody waits.
    Slow,
    /// KV blocks are not given back.
    Leak,
}

const NAMES: [(&str, Fault); 5] = [
    ("error", Fault::Error),
    ("hang", Fault::Hang),
    ("kill", Fault::Kill),
    ("slow", Fault::Slow),
    ("leak", Fault::Leak),
];

/// What goes wrong, and in which instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// What.
    pub fault: Fault,
    /// Where.
    pub instance: String,
}

impl FromStr for Switch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, instance) =
            text.split_once('@').ok_or("a fault and an instance are needed: `error@prefill-1`")?;
        let known = NAMES.iter().find(|(known, _)| *known == name);
        let names = || NAMES.map(|(name, _)| name).join(", ");
        let fault = known.ok_or_else(|| format!("`{name}` is no fault: {}", names()))?.1;
        if fault == Fault::Leak && !instance.starts_with("kvbm") {
            return Err("only kvbm-0 has blocks that leak".to_owned());
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

/// Pieces of work that go well before the fault is felt: so there is something to compare with.
const GO_WELL: usize = 4;

/// A component's fault, if it has one.
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

    /// Whether blocks are kept now that ought to be given back.
    pub(crate) fn leaks(&self) -> bool {
        self.fault == Some(Fault::Leak) && self.worked.fetch_add(1, Ordering::Relaxed) >= GO_WELL
    }

    /// What becomes of a piece of work at the moment.
    pub(crate) async fn strike(&self) -> Result<(), Failed> {
        let Some(fault) = self.fault else { return Ok(()) };
        if fault == Fault::Leak || self.worked.fetch_add(1, Ordering::Relaxed) < GO_WELL {
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
