//! Compiling for an actor, on a thread of the pool: it asks, pays, and hears when the module is there.
//!
//! A module is no message. What the actor hears is its number with the engine, which has the newest
//! [`MODULES`] of those that were compiled so.

use std::collections::VecDeque;
use std::time::Duration;

use banyan_core::sponsors::Resource;
use serde::{Deserialize, Serialize};

use super::engine::{Engine, Module};
use crate::model::actor::{Actor, Work, cut_off};
use crate::model::ask::AskError;
use crate::model::behaviour::Exhausted;

/// Modules that an engine has for those who asked for them.
const MODULES: usize = 64;
/// What a byte of a module costs: nanoseconds of compiling, and bytes of what is compiled. Both are near the
/// worst (`docs/reference/hostile-modules.md`).
pub(super) const CYCLES_PER_BYTE: u64 = 10_000;
pub(super) const MEMORY_PER_BYTE: u64 = 40;

/// A module that was compiled for an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compiled(u64);

/// Why a module was not compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum CompileError {
    /// Something is wrong with it: what, and where.
    #[error("{0}")]
    Refused(String),
    /// It took longer than the deadline.
    #[error("the module was not compiled: {0}")]
    NoAnswer(AskError),
}

/// The newest modules, by their numbers.
#[derive(Default)]
pub(super) struct Modules {
    last: u64,
    newest: VecDeque<(u64, Module)>,
}

impl Modules {
    fn add(&mut self, module: Module) -> Compiled {
        if self.newest.len() == MODULES {
            self.newest.pop_front();
        }
        self.last += 1;
        self.newest.push_back((self.last, module));
        Compiled(self.last)
    }
}

impl Engine {
    /// A module that was compiled for an actor; none if many were since, or it is another engine's.
    #[must_use]
    pub fn module(&self, compiled: Compiled) -> Option<Module> {
        let modules = self.modules().lock();
        let found = modules.newest.iter().find(|(number, _)| *number == compiled.0);
        found.map(|(_, module)| module.clone())
    }

    fn compile_for_actor(&self, bytes: &[u8]) -> Result<Compiled, String> {
        let module = self.compile(bytes).map_err(|error| error.to_string())?;
        Ok(self.modules().lock().add(module))
    }
}

impl<A: Actor> Work<'_, '_, A> {
    /// Checks and compiles a module on a thread of the pool; `then` makes the message that this actor gets,
    /// from the module ([`Engine::module`]) or from why there is none. The sponsor pays for it in advance, by
    /// the byte. Not in a durable configuration, as [`Work::ask`] says.
    pub fn compile(
        &mut self,
        engine: &Engine,
        module: Vec<u8>,
        deadline: Duration,
        then: impl Fn(Result<Compiled, CompileError>) -> A::Message + Send + 'static,
    ) {
        let bytes = module.len() as u64;
        let cycles = bytes.saturating_mul(CYCLES_PER_BYTE);
        if self.cycles_left() < cycles {
            // There may be more than was leased: nothing is taken for what is not done.
            cut_off(Exhausted(Resource::Cycles));
        }
        let memory = self.charge_memory(bytes.saturating_mul(MEMORY_PER_BYTE));
        let paid = memory.and_then(|()| self.charge_cycles(cycles));
        paid.unwrap_or_else(|exhausted| cut_off(exhausted));
        let engine = engine.clone();
        let work = move || engine.compile_for_actor(&module);
        self.ask_pool(deadline, work, move |answer| {
            then(match answer {
                Ok(compiled) => compiled.map_err(CompileError::Refused),
                Err(error) => Err(CompileError::NoAnswer(error)),
            })
        });
    }
}
