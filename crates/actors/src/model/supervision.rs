//! Failures, and what is done about the actors that fail.
//!
//! A failed event leaves nothing behind. Its actor is then held: its events wait while its supervisor, an actor of the
//! same configuration, is told by a message and answers with a [`Directive`] ([`Context::direct`]). [`Supervisor`] is one
//! that always answers alike. An actor without a supervisor gets its configuration's default directive at once, and an
//! escalated failure goes to the configuration's overseer.
//!
//! [`Context::direct`]: crate::Context::direct

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::configuration::Event;
use crate::model::actor::{Actor, Work};
use crate::model::address::{Address, Local};
use crate::model::behaviour::{Behaviour, Failure};

/// Makes a behaviour anew.
pub(crate) type Factory = Box<dyn Fn() -> Box<dyn Behaviour> + Send>;

/// What becomes of an actor whose event has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Directive {
    /// It goes on as it was before the event.
    Resume,
    /// It goes on as it was when it was created; ended, if it was created without a way to make it anew.
    Restart,
    /// It ends.
    Stop,
    /// It ends, and whoever oversees the configuration is told.
    Escalate,
}

/// The message to a supervisor: an event of this actor failed, and it waits for a directive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Who.
    pub actor: Address,
    /// Why.
    pub reason: String,
}

/// How an actor has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// By its own wish.
    Stopped,
    /// By a failure, its own or that of an actor it was linked to.
    Failed(String),
    /// Before anybody asked.
    Unknown,
}

/// The message to whoever monitors an actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Who.
    pub actor: Address,
    /// How.
    pub how: End,
}

/// What few actors have, so that the others are small.
#[derive(Default)]
pub(crate) struct Extras {
    /// Events that wait for the supervisor's decision.
    pub(crate) held: Option<VecDeque<Event>>,
    pub(crate) supervisor: Option<Address>,
    pub(crate) factory: Option<Factory>,
    pub(crate) watchers: Vec<Address>,
    pub(crate) links: Vec<Local>,
    pub(crate) last_failure: String,
}

/// What is done to an actor from outside of it.
#[derive(Debug)]
pub(crate) enum Control {
    /// Somebody wants to know when it ends.
    Monitor(Address),
    /// It ends when the other one fails.
    Link(Local),
    /// What its supervisor has decided.
    Direct(Directive),
    /// It ends.
    End(End),
}

/// A control on its way to another configuration.
#[derive(Debug)]
pub(crate) struct ControlOf {
    pub(crate) at: Local,
    pub(crate) control: Control,
}

/// A supervisor that always gives the same directive, and escalates when there are too many failures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Supervisor {
    directive: Directive,
    failures_left: u32,
}

impl Supervisor {
    /// Gives `directive` for so many failures, and escalates after that.
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
