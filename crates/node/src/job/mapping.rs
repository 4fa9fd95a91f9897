//! What the stub does to have the program's memory mapped before a program, or a copy of its process, runs.
//!
//! With other nodes the memory file itself is mapped, as everywhere. Without them memory is private, so that
//! the kernel can copy the process: what was loaded is mapped from the memory file as from any file, and what
//! is not from a file is read from it.

use crate::pager::memory_file::MemoryFile;
use banyan_core::regions::{Backing, Region, Regions};
use banyan_wire::stub::{ACTIONS_MAX, Action, ActionKind, Steps};
use rustix::mm::ProtFlags;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::SyncSender;

/// What is left to do.
#[derive(Debug, Default)]
pub(crate) struct Mapping {
    actions: VecDeque<Action>,
    /// What they read.
    memory: Option<OwnedFd>,
    /// Dropped when all is done.
    pub(super) done: Option<SyncSender<()>>,
}

impl Mapping {
    /// Of memory that other nodes share.
    pub(super) fn shared(regions: &Regions) -> Self {
        let map = |region: &Region| {
            let (start, length) = (region.start, region.end - region.start);
            [
                Action::new(ActionKind::Reserve, start, length, 0),
                Action::new(ActionKind::Confirm, start, length, 0),
                Action::new(ActionKind::Protect, start, length, region.protection.into()),
            ]
        };
        Self { actions: regions.iter().flat_map(map).collect(), ..Self::default() }
    }

    /// Of private memory with what is in these stretches of the memory file of the process that is copied.
    /// What the kernel maps it has copied itself.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn copied(
        regions: &Regions,
        memory: &MemoryFile,
        stretches: &[(u64, u64)],
    ) -> io::Result<Self> {
        let mut mapping = Self { memory: Some(memory.as_fd().try_clone_to_owned()?), ..Self::default() };
        for region in regions.iter().filter(|region| !matches!(region.backing, Backing::Kernel(_))) {
            mapping.read(region, stretches);
        }
        Ok(mapping)
    }

    /// Of private memory with what a loader wrote into the memory file, which does not change any more.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn private(regions: &Regions, memory: &MemoryFile) -> io::Result<Self> {
        let mut mapping = Self { memory: Some(memory.as_fd().try_clone_to_owned()?), ..Self::default() };
        let stretches = memory.stretches()?;
        for region in regions.iter() {
            let (start, length) = (region.start, region.end - region.start);
            if region.backing == Backing::Image {
                let rights = region.protection.into();
                mapping.actions.push_back(Action::new(ActionKind::MapFile, start, length, start));
                mapping.actions.push_back(Action::new(ActionKind::Protect, start, length, rights));
            } else {
                mapping.read(region, &stretches);
            }
        }
        Ok(mapping)
    }

    /// A region of zeroes, into which is read what these stretches of the memory file have of it.
    fn read(&mut self, region: &Region, stretches: &[(u64, u64)]) {
        let (start, length) = (region.start, region.end - region.start);
        let mut push = |kind, start, length, extra| {
            self.actions.push_back(Action::new(kind, start, length, extra));
        };
        push(ActionKind::Reserve, start, length, 0);
        let first = stretches.partition_point(|&(_, end)| end <= start);
        let within = stretches[first..].iter().take_while(|&&(from, _)| from < region.end);
        let within = within.map(|&(from, to)| (from.max(start), to.min(region.end)));
        for (number, (from, to)) in within.enumerate() {
            if number == 0 {
                let rights = (ProtFlags::READ | ProtFlags::WRITE).bits().into();
                push(ActionKind::Protect, start, length, rights);
            }
            push(ActionKind::ReadFile, from, to - from, from);
        }
        push(ActionKind::Protect, start, length, region.protection.into());
    }

    /// The next steps, at most as many as an answer holds, and what they read. `None` when all is done.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn next(&mut self) -> io::Result<Option<(Steps, Option<OwnedFd>)>> {
        if self.actions.is_empty() {
            *self = Self::default();
            return Ok(None);
        }
        let mut steps = Steps::new(0);
        for action in self.actions.drain(..self.actions.len().min(ACTIONS_MAX)) {
            // There is room for as many.
            let _ = steps.push(action);
        }
        let memory = self.memory.as_ref().map(OwnedFd::try_clone).transpose()?;
        Ok(Some((steps, memory)))
    }
}
