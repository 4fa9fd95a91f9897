//! A module's instance and its memory without an actor around them, so that a bench can time one step of an
//! event.
//!
//! Not for running guests: nothing here is paid for, sent or kept.

use std::time::{Duration, Instant};

use crate::sys::guest_memory::Image;

use super::engine::Module;
use super::instance::{Instance, Restore};
use super::state::Global;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum BareError {
    /// No memory for the image, or for what an event wrote.
    #[error("no memory for a bare instance")]
    Memory(#[from] std::io::Error),
    /// The instance could not be made, or its code failed.
    #[error("a bare instance failed: {0}")]
    Guest(String),
}

impl From<wasmtime::Error> for BareError {
    fn from(error: wasmtime::Error) -> Self {
        Self::Guest(format!("{error:#}"))
    }
}

/// What an instance is made from, and what it is captured into.
#[derive(Debug)]
pub struct BareState {
    image: Image,
    memory: usize,
    /// `None` before the first capture, when they are as the module has them.
    globals: Option<Vec<Global>>,
}

impl BareState {
    /// The state of an actor that has had no event.
    ///
    /// # Errors
    /// [`BareError::Memory`].
    pub fn new(module: &Module) -> Result<Self, BareError> {
        let mut image = module.0.engine.windows().file().image()?;
        module.0.data.iter().for_each(|(offset, bytes)| image.write(*offset, bytes));
        Ok(Self { image, memory: module.memory_bytes(), globals: None })
    }

    /// Changes the memory that the next instance begins with, whose size is `memory` bytes from now on.
    pub fn write(&mut self, memory: usize, offset: usize, bytes: &[u8]) {
        self.memory = memory;
        self.image.write(offset, bytes);
    }

    /// An instance with this state.
    ///
    /// # Errors
    /// [`BareError::Guest`].
    pub fn instance(&self, module: &Module) -> Result<BareInstance, BareError> {
        let globals = self.globals.as_deref();
        let restore = Restore { image: &self.image, memory: self.memory, globals };
        Ok(BareInstance(Instance::new(module, &restore)?))
    }
}

/// An instance between events.
pub struct BareInstance(Instance);

impl std::fmt::Debug for BareInstance {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("BareInstance").finish_non_exhaustive()
    }
}

impl BareInstance {
    /// Hands it a message of `bytes` bytes without addresses; returns how long the event took.
    ///
    /// # Errors
    /// [`BareError::Guest`].
    pub fn receive(&mut self, behaviour: u32, bytes: u32) -> Result<Duration, BareError> {
        self.0.store.data_mut().fuel = i64::MAX / 4;
        let begun = Instant::now();
        self.0.run(Duration::from_secs(60), |running| running.receive((behaviour, bytes, 0)))?;
        Ok(begun.elapsed())
    }

    /// Copies the globals, and nothing else, to the state.
    pub fn keep_globals(&mut self, state: &mut BareState) {
        self.0.globals_into(state.globals.get_or_insert_default());
    }

    /// Finds what the last event wrote and copies it to the state; returns how many pages that were.
    ///
    /// # Errors
    /// [`BareError::Memory`].
    pub fn capture(&mut self, state: &mut BareState) -> Result<usize, BareError> {
        let mut found = 0;
        self.0.capture(&mut state.image, &mut |_| found += 1)?;
        self.keep_globals(state);
        Ok(found)
    }
}
