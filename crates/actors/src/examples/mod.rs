//! Programs to begin with, which `banyan actor run` knows by name.

pub mod bank;
pub mod ring;
pub mod zoo;

use serde::{Deserialize, Serialize};

use crate::model::address::Addr;

/// A line of text for an actor, from a person, and where the answer goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// What was typed.
    pub text: String,
    /// Who wants the answer.
    pub reply: Addr<String>,
}
