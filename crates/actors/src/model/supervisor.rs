//! [`Supervisor`]: an actor that answers every failure with the same directive.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::actor::{Actor, Work};
use crate::model::address::Address;
use crate::model::behaviour::Failure;
use crate::model::supervision::{Directive, Failed};

/// How long a failure counts, if nothing else is said.
const WINDOW: Duration = Duration::from_secs(60);

/// A supervisor that always gives the same directive, and escalates when one actor fails too often.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Supervisor {
    directive: Directive,
    failures_max: u32,
    window: Duration,
    /// When actors have failed within the window, in the system's nanoseconds.
    failures: Vec<(Address, Vec<u64>)>,
}

impl Supervisor {
    /// Gives `directive` for up to `failures_max` failures of one actor within a minute, and escalates after
    /// that.
    #[must_use]
    pub fn new(directive: Directive, failures_max: u32) -> Self {
        Self { directive, failures_max, window: WINDOW, failures: Vec::new() }
    }

    /// Failures count for so long.
    #[must_use]
    pub fn within(self, window: Duration) -> Self {
        Self { window, ..self }
    }
}

impl Actor for Supervisor {
    type Message = Failed;

    fn receive(&self, failed: &Failed, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        let now = work.now();
        let window = u64::try_from(self.window.as_nanos()).unwrap_or(u64::MAX);
        let recent = |when: &u64| now.saturating_sub(*when) <= window;
        let mut next = self.clone();
        for (_, failures) in &mut next.failures {
            failures.retain(recent);
        }
        next.failures.retain(|(_, failures)| !failures.is_empty());
        let place = next.failures.iter().position(|(actor, _)| *actor == failed.actor);
        let before = place.map_or(0, |place| next.failures[place].1.len());
        if before >= self.failures_max as usize {
            // It ends, and is of no interest any more.
            place.map(|place| next.failures.swap_remove(place));
            work.direct(&failed.actor, Directive::Escalate);
        } else {
            match place {
                Some(place) => next.failures[place].1.push(now),
                None => next.failures.push((failed.actor.clone(), vec![now])),
            }
            work.direct(&failed.actor, self.directive.clone());
        }
        work.become_next(next);
        Ok(())
    }
}
