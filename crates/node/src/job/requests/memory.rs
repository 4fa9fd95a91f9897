//! Calls about memory, and what a replica has mapped: home decides, and the replica does it in steps.
//!
//! Not here: what a call means for the map of regions (`banyan_core::regions`).

use super::answer::{Answered, FAILED, node_of};
use crate::cluster::authority::MemoryCall;
use crate::job::Job;
use crate::job::home::Home;
use crate::pager::PagerError;
use banyan_core::regions::{Limits, Operation};
use banyan_wire::stub::{ACTIONS_MAX, Action, ActionKind, Answer, Nothing, Steps};
use banyan_wire::{stub, syscalls};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// A memory call of the process.
pub(super) fn call(job: &Job, home: &Home, call: &stub::MemoryCall, file: Option<OwnedFd>) -> Answered {
    let node = node_of(job, call.node)?;
    let Some(kind) = syscalls::memory_call(call.number.into()) else {
        return Ok((Answer::Steps(Steps::new(-i64::from(Errno::NOSYS.raw_os_error()))), None));
    };
    let limits = Limits { address_space: call.address_space, data: call.data, locked: call.locked };
    let arguments = call.arguments;
    let call = MemoryCall { kind, arguments, node, limits, source: call.source, file };
    let effect = job.authority().memory_call(call)?;
    *home.steps_left() = effect.operations.into();
    steps(job, home, effect.result)
}

/// The next steps of the memory call under way, as many as fit into an answer and need one file, which comes
/// beside them.
pub(super) fn steps(job: &Job, home: &Home, result: i64) -> Answered {
    let mut steps = Steps::new(result);
    let mut left = home.steps_left();
    let mut needed = None;
    while let Some(&operation) = left.front() {
        let file = operation.file();
        let another = file.is_some() && needed.is_some() && file != needed;
        if another || (steps.actions().len() + 1 == ACTIONS_MAX && left.len() > 1) {
            push(&mut steps, Action::new(ActionKind::More, 0, 0, 0))?;
            break;
        }
        left.pop_front();
        needed = needed.or(file);
        if let Operation::Unmap(range) = operation {
            let mut mapped = job.pager.mapped.write();
            mapped.remove(range.start, range.start + range.length);
        }
        push(&mut steps, action(job, operation))?;
    }
    let file = needed.map(|number| home.open_file(number)).transpose();
    Ok((Answer::Steps(steps), file.map_err(|error| PagerError::Fatal(error.to_string()))?))
}

/// What the stub does for one operation of the map of regions.
fn action(job: &Job, operation: Operation) -> Action {
    let (kind, range, extra) = match operation {
        Operation::Reserve(range) => (ActionKind::Reserve, range, 0),
        Operation::Confirm(range) => (ActionKind::Confirm, range, 0),
        Operation::Protect(range, protection) => (ActionKind::Protect, range, u64::from(protection)),
        Operation::Unmap(range) => (ActionKind::Unmap, range, 0),
        // No other node has pages of it.
        Operation::Discard(range) if job.pager.is_native(range.start, range.length) => {
            (ActionKind::Punch, range, 0)
        }
        Operation::Discard(range) => (ActionKind::Discard, range, 0),
        Operation::ReadFile { to, offset, .. } => (ActionKind::ReadFile, to, offset),
        Operation::MapFile { at, offset, .. } => (ActionKind::MapFile, at, offset),
        Operation::Copy { to, from } => (ActionKind::Copy, to, from),
        Operation::Call(range) => (ActionKind::Call, range, 0),
        Operation::Move { from, to } => (ActionKind::Move, to, from),
    };
    Action::new(kind, range.start, range.length, extra)
}

/// A remote replica learns the region around an address: the part of it that it has not mapped yet.
pub(super) fn lookup(job: &Job, address: u64, access: u32) -> Result<Answer, PagerError> {
    let Some(region) = job.authority().learn(job.node, address, access)? else {
        return Ok(FAILED);
    };
    if region.protection & access != access {
        return Ok(Answer::AtHome(Nothing {}));
    }
    let rights = u64::from(region.protection);
    let mut steps = Steps::new(0);
    let mapped = job.pager.mapped.read();
    match mapped.gap_around(address, region.start, region.end) {
        Some((start, end)) => map(&mut steps, start, end - start, rights)?,
        // Mapped with rights that have grown since.
        None => {
            let pieces = mapped.within(region.start, region.end);
            let piece = pieces.into_iter().find(|&(from, to)| from <= address && address < to);
            if let Some((from, to)) = piece {
                push(&mut steps, Action::new(ActionKind::Protect, from, to - from, rights))?;
            }
        }
    }
    Ok(Answer::Steps(steps))
}

/// Lists the steps that map a range, in the order in which no thread can touch a page before the daemon has
/// registered what other nodes hold.
fn map(steps: &mut Steps, start: u64, length: u64, rights: u64) -> Result<(), PagerError> {
    push(steps, Action::new(ActionKind::Reserve, start, length, 0))?;
    push(steps, Action::new(ActionKind::Confirm, start, length, 0))?;
    push(steps, Action::new(ActionKind::Protect, start, length, rights))
}

/// One step more. Each list is bounded so that it fits.
fn push(steps: &mut Steps, action: Action) -> Result<(), PagerError> {
    if steps.push(action) { Ok(()) } else { Err(PagerError::Fatal("an answer with too many steps".into())) }
}
