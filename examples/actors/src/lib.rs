//! Programs to begin with, which `banyan actor run` knows by name.
//!
//! - [`bank`]: durable accounts in two branches; a transfer happens exactly once, whatever is killed.
//! - [`ring`]: a message that goes round a ring of actors.
//! - [`zoo`]: bombs, each under a sponsor, beside a neighbour that answers in time.
#![forbid(unsafe_code)]

pub mod bank;
pub mod ring;
pub mod zoo;

use serde::{Deserialize, Serialize};

use banyan_actors::Addr;

/// A line of text for an actor, from a person, and where the answer goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// What was typed.
    pub text: String,
    /// Who wants the answer.
    pub reply: Addr<String>,
}
