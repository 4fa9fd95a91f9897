//! Failures, and what is done about the actors that fail.
//!
//! A failed event leaves nothing behind. Its actor is then held: its events wait while its supervisor, an
//! actor of the same configuration, is sent the failure and answers with a [`Directive`]
//! ([`Context::direct`]). [`Supervisor`] is one that always answers alike. An actor without a supervisor gets
//! its configuration's default directive at once, and an escalated failure goes to the configuration's
//! overseer; so does one whose supervisor has ended, or fails at it.
//!
//! Only its supervisor, and the actor that made it supervised, decide about an actor. An address alone is a
//! right to send.
//!
//! [`Context::direct`]: crate::Context::direct
//! [`Supervisor`]: crate::Supervisor

use serde::{Deserialize, Serialize};

use crate::model::address::{Address, ConfigurationNumber, Local, Place};
use crate::mutation::{Mutation, makes};

/// What is done about an actor whose event has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Directive {
    /// It goes on as it was before the event.
    Resume,
    /// It goes on as it was when it was created; ended, if it was created without a way to make it anew.
    Restart,
    /// It ends.
    Stop,
    /// It ends, and the configuration's overseer is sent the failure.
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
    /// Before it was asked, or it never was.
    Unknown,
}

/// The message to those that monitor an actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Who.
    pub actor: Address,
    /// How.
    pub how: End,
}

/// Who wants to know when an actor ends.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) watcher: Address,
    /// The actor that asked for it; `None`: the program did.
    pub(crate) by: Option<Local>,
}

impl Watch {
    /// Whether this one is taken away by that: who asked for it may, and the watcher itself. Others know its
    /// address, which is a right to send to it and no more.
    pub(crate) fn ends_by(&self, other: &Watch) -> bool {
        let itself = |local: Local| matches!(self.watcher.0, Place::Local(watcher) if watcher == local);
        let may = self.by == other.by || other.by.is_some_and(itself) || makes(Mutation::AnyoneUnmonitors);
        self.watcher == other.watcher && may
    }
}

/// What is done to an actor from outside of it.
#[derive(Debug)]
pub(crate) enum Control {
    /// Somebody wants to know when it ends.
    Monitor(Watch),
    /// And does not any more.
    Unmonitor(Watch),
    /// The other one ends when it fails.
    Link(Local),
    /// What this actor has decided about it, if it may.
    Direct(Directive, Local),
    /// The same, from this time on.
    DirectAt(u64, Directive, Local),
    /// It ends, if this actor may decide that.
    EndBy(Local),
    /// It ends.
    End(End),
    /// A configuration has room for what it waits to send.
    Room(ConfigurationNumber),
}

/// A control on its way to another configuration.
#[derive(Debug)]
pub(crate) struct ControlOf {
    pub(crate) at: Local,
    pub(crate) control: Control,
}
