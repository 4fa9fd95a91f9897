//! Durable configurations.

use crate::behaviour::Behaviour;
use crate::guest::Guest;
use crate::system::System;

/// The most events of one commit.
pub(crate) const BATCH_EVENTS: u32 = 1024;

#[derive(Debug, thiserror::Error)]
#[error("not kept")]
pub(crate) struct CommitFailed;

pub(crate) struct Durability;

impl Durability {
    pub(crate) fn touched(&mut self, _slot: u32) {}
    pub(crate) fn commit(&mut self, _guest: &mut Guest, _system: &System) -> Result<(), CommitFailed> {
        Ok(())
    }
    pub(crate) fn wake(&mut self, guest: &mut Guest, first: Box<dyn Behaviour>) {
        guest.occupy(first);
    }
}
