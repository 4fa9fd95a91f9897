//! [`Supervisor`]: an actor that answers every failure with the same directive.

use serde::{Deserialize, Serialize};

use crate::model::actor::{Actor, Work};
use crate::model::behaviour::Failure;
use crate::model::supervision::{Directive, Failed};

/// A supervisor that always gives the same directive, and escalates when there are too many failures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Supervisor {
    directive: Directive,
    failures_left: u32,
}

impl Supervisor {
    /// Gives `directive` for up to `failures_max` failures, and escalates after that.
    #[must_use]
    pub fn new(directive: Directive, failures_max: u32) -> Self {
        Self { directive, failures_left: failures_max }
    }
}

impl Actor for Supervisor {
    type Message = Failed;

    fn receive(&self, failed: &Failed, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        if self.failures_left == 0 {
            work.direct(&failed.actor, Directive::Escalate);
            return Ok(());
        }
        work.direct(&failed.actor, self.directive.clone());
        work.become_next(Self { failures_left: self.failures_left - 1, ..self.clone() });
        Ok(())
    }
}
