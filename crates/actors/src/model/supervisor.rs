//! [`Supervisor`]: an actor that answers every failure with the same directive, for each child so often
//! within a while, at once or after a pause that grows.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::actor::{Actor, Work};
use crate::model::address::Address;
use crate::model::behaviour::Failure;
use crate::model::supervision::{Directive, Failed};

/// How long a failure counts, if nothing else is said.
const WINDOW: Duration = Duration::from_secs(60);
/// Failures of a child that are no further apart than this part of the window are remembered as one time and
/// a count, so that what is remembered is bounded, however often it may fail.
const PARTS: u64 = 64;
/// Children of which failures are remembered, before those whose failures are over are looked for.
const CHILDREN: usize = 16;

/// A supervisor that always gives the same directive, and escalates when one actor fails too often.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Supervisor {
    directive: Directive,
    failures_max: u32,
    window: Duration,
    backoff: Option<Backoff>,
    /// Changed as the last thing of an event, which nothing undoes then.
    remembered: RefCell<Remembered>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Backoff {
    first: Duration,
    longest: Duration,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Remembered {
    children: HashMap<Address, VecDeque<Failures>>,
    /// How many children there may be before some are forgotten.
    sweep_at: usize,
}

/// Failures of one child that were close together, in the system's nanoseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Failures {
    first: u64,
    last: u64,
    count: u64,
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Supervisor {
    /// Gives `directive` for up to `failures_max` failures of one actor within a minute, and escalates after
    /// that.
    #[must_use]
    pub fn new(directive: Directive, failures_max: u32) -> Self {
        Self { directive, failures_max, window: WINDOW, backoff: None, remembered: RefCell::default() }
    }

    /// Failures count for so long.
    #[must_use]
    pub fn within(self, window: Duration) -> Self {
        Self { window, ..self }
    }

    /// The directive is given after a pause: `first` after the first failure of a child within the window,
    /// and twice as long each time, up to `longest`. Meanwhile the child's events wait.
    #[must_use]
    pub fn backoff(self, first: Duration, longest: Duration) -> Self {
        Self { backoff: Some(Backoff { first, longest }), ..self }
    }
}

impl Remembered {
    /// Failures of a child within the window.
    fn recent(&mut self, child: &Address, now: u64, window: u64) -> u64 {
        let Some(failures) = self.children.get_mut(child) else { return 0 };
        forget(failures, now, window);
        failures.iter().map(|failures| failures.count).sum()
    }

    fn add(&mut self, child: &Address, now: u64, window: u64) {
        if self.children.len() >= self.sweep_at {
            self.children.retain(|_, failures| {
                forget(failures, now, window);
                !failures.is_empty()
            });
            self.sweep_at = (2 * self.children.len()).max(CHILDREN);
        }
        let failures = self.children.entry(child.clone()).or_default();
        match failures.back_mut() {
            Some(latest) if now.saturating_sub(latest.first) < window / PARTS => {
                latest.last = now;
                latest.count += 1;
            }
            _ => failures.push_back(Failures { first: now, last: now, count: 1 }),
        }
    }
}

fn forget(failures: &mut VecDeque<Failures>, now: u64, window: u64) {
    while failures.front().is_some_and(|oldest| now.saturating_sub(oldest.last) > window) {
        failures.pop_front();
    }
}

impl Actor for Supervisor {
    type Message = Failed;

    fn receive(&self, failed: &Failed, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        let (now, window) = (work.now(), nanoseconds(self.window));
        let before = self.remembered.borrow_mut().recent(&failed.actor, now, window);
        if before >= u64::from(self.failures_max) {
            work.direct(&failed.actor, Directive::Escalate);
            // It ends, and is of no interest any more.
            self.remembered.borrow_mut().children.remove(&failed.actor);
            return Ok(());
        }
        match self.backoff {
            None => work.direct(&failed.actor, self.directive.clone()),
            Some(Backoff { first, longest }) => {
                let doubled =
                    1_u32.checked_shl(u32::try_from(before).unwrap_or(u32::MAX)).unwrap_or(u32::MAX);
                let pause = first.saturating_mul(doubled).min(longest);
                work.direct_after(pause, &failed.actor, self.directive.clone());
            }
        }
        self.remembered.borrow_mut().add(&failed.actor, now, window);
        Ok(())
    }
}
