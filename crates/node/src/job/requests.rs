//! What the stub of this node's replica asks, answered one question at a time.
//!
//! At home the memory calls of the whole process are decided here; a remote replica's questions about regions go to
//! home over the control lane.

use crate::job::daemon::{Daemon, Event};
use crate::job::replica;
use crate::pager::PagerError;
use banyan_core::regions::{Effect, Region};
use banyan_wire::address::Access;
use banyan_wire::control::{ControlMessage, RegionFacts};
use banyan_wire::stub::{Action, ActionKind, CommandKind, Record, Refusal, RequestKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A question that another node must answer fails after this time, and with it the run.
const PEER_DEADLINE: Duration = Duration::from_secs(5);
/// The stub's sign that there is more to map before the program starts.
const MORE: i64 = 1;
const EFAULT: i64 = -14;

/// Serves the request socket until the replica ends.
pub(crate) fn serve(daemon: &Daemon, socket: &OwnedFd) {
    loop {
        let (question, file) = match replica::receive_record::<Record>(socket) {
            Ok(Some(received)) => received,
            Ok(None) | Err(_) => {
                daemon.tell(Event::ReplicaEnded);
                return;
            }
        };
        let mut answer = Record::new(question.kind, [0; 8]);
        let connection = match handle(daemon, &question, file, &mut answer) {
            Ok(connection) => connection,
            Err(error) => {
                daemon.tell(Event::Broken(error.to_string()));
                return;
            }
        };
        let files: Vec<BorrowedFd<'_>> = connection.iter().map(AsFd::as_fd).collect();
        // A failure to answer shows as the end of the stream on the next receive.
        let _ = replica::send_record(socket, &answer, &files);
    }
}

fn handle(
    daemon: &Daemon,
    question: &Record,
    file: Option<OwnedFd>,
    answer: &mut Record,
) -> Result<Option<OwnedFd>, PagerError> {
    let [a, b, c, ..] = question.values;
    match RequestKind::from_number(question.kind) {
        Some(RequestKind::Hello) => hello(daemon, question, file, answer),
        Some(RequestKind::Ready) => ready(daemon, answer),
        Some(RequestKind::Memory) => memory_call(daemon, question, answer)?,
        Some(RequestKind::Confirm) => daemon.pager.confirm(a, b)?,
        Some(RequestKind::Discard) => {
            if daemon.is_home() && daemon.pager.is_native(a, b) {
                daemon.pager.memory().punch(a, b).map_err(|error| PagerError::Fatal(error.to_string()))?;
            } else {
                daemon.pager.discard(a, b, PEER_DEADLINE)?;
            }
        }
        Some(RequestKind::Lookup) => lookup(daemon, a, b as u32, answer)?,
        Some(RequestKind::Acquire) => {
            let access = if c != 0 { Access::Write } else { Access::Read };
            daemon.pager.acquire(&[(a, b)], access, PEER_DEADLINE)?;
        }
        Some(RequestKind::Connect) => match daemon.connect_deputy(a as u8, b as u32) {
            Ok(connection) => return Ok(Some(connection)),
            Err(error) => {
                daemon.notice(&format!("a thread stays on the home node: {error}"));
                answer.result = -1;
            }
        },
        Some(RequestKind::Push) => {
            let ranges: Vec<(u64, u64)> =
                question.values.iter().filter(|&&at| at != 0).map(|&at| (at & !4095, 4096)).collect();
            daemon.pager.acquire(&ranges, Access::Write, PEER_DEADLINE)?;
        }
        Some(RequestKind::Exit) => {
            daemon.threads_started.store(b, Ordering::Relaxed);
            daemon.finish();
        }
        Some(RequestKind::ThreadEnd) => {
            daemon.pager.counters.deputy_calls.fetch_add(c, Ordering::Relaxed);
        }
        Some(RequestKind::Refused) => refused(daemon, a, b, c),
        None => answer.result = -38,
    }
    Ok(None)
}

fn hello(daemon: &Daemon, question: &Record, file: Option<OwnedFd>, answer: &mut Record) {
    daemon.replica_id.store(question.values[1] as u32, Ordering::Relaxed);
    match file {
        Some(file) => daemon.pager.set_faults(file),
        None => {
            let error = std::io::Error::from_raw_os_error(-question.result as i32);
            daemon.notice(&format!(
                "this kernel gives no userfaultfd to user {}: {error}; allow it with `chmod 666 /dev/userfaultfd` or \
                 `sysctl vm.unprivileged_userfaultfd=1`, or run as root",
                rustix::process::getuid().as_raw(),
            ));
            answer.result = -1;
        }
    }
    daemon.serve_faults();
}

/// Lists what to map before the program starts, a few regions an answer; then says where it starts.
fn ready(daemon: &Daemon, answer: &mut Record) {
    if !daemon.is_home() {
        daemon.send_home(&ControlMessage::ReplicaReady);
        return;
    }
    let mut state = daemon.home.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let regions: Vec<Region> = state.regions.iter().copied().collect();
    let next = regions.iter().skip(state.mapped_at_start).take(banyan_wire::stub::ACTIONS_MAX / 3);
    let mut count = 0;
    for region in next {
        let length = region.end - region.start;
        let pushed = answer.push(Action::new(ActionKind::Reserve, region.start, length, 0))
            && answer.push(Action::new(ActionKind::Confirm, region.start, length, 0))
            && answer.push(Action::new(
                ActionKind::Protect,
                region.start,
                length,
                u64::from(region.protection),
            ));
        debug_assert!(pushed);
        count += 1;
    }
    state.mapped_at_start += count;
    if count > 0 {
        answer.result = MORE;
        return;
    }
    let start = state.start;
    drop(state);
    match daemon.wait_for_nodes() {
        Ok(()) => {
            answer.values[0] = start.instruction;
            answer.values[1] = start.stack;
            answer.values[2] = start.executable;
        }
        Err(reason) => {
            daemon.notice(&reason);
            answer.result = -1;
        }
    }
}

fn memory_call(daemon: &Daemon, question: &Record, answer: &mut Record) -> Result<(), PagerError> {
    let [number, a, b, c, d, e, f, node] = question.values;
    let effect: Effect = {
        let mut state = daemon.home.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.regions.call(number, [a, b, c, d, e, f], node as u8)
    };
    answer.result = effect.result;
    if let Some(range) = effect.forget {
        daemon.forget_elsewhere(range.start, range.length, PEER_DEADLINE)?;
    }
    for action in &effect.actions {
        let mut action = *action;
        let range = (action.address, action.length);
        if action.kind == ActionKind::Discard as u32 && daemon.pager.is_native(range.0, range.1) {
            action.kind = ActionKind::Punch as u32;
        }
        if action.kind == ActionKind::Unmap as u32 {
            let mut mapped = daemon.pager.mapped.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            mapped.remove(range.0, range.0 + range.1);
        }
        if !answer.push(action) {
            return Err(PagerError::Fatal("a memory call with too many steps".into()));
        }
    }
    Ok(())
}

/// A remote replica learns the region around an address: the part of it that it has not mapped yet.
fn lookup(daemon: &Daemon, address: u64, access: u32, answer: &mut Record) -> Result<(), PagerError> {
    let Some(region) = daemon.lookup_at_home(address, access, PEER_DEADLINE)? else {
        answer.result = EFAULT;
        return Ok(());
    };
    let gap = {
        let mapped = daemon.pager.mapped.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        mapped.gap_around(address, region.start, region.end)
    };
    let rights = u64::from(region.protection);
    let pushed = match gap {
        Some((start, end)) => {
            answer.push(Action::new(ActionKind::Reserve, start, end - start, 0))
                && answer.push(Action::new(ActionKind::Confirm, start, end - start, 0))
                && answer.push(Action::new(ActionKind::Protect, start, end - start, rights))
        }
        // Mapped with rights that have grown since.
        None => {
            let mapped = daemon.pager.mapped.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            let piece = mapped
                .within(region.start, region.end)
                .into_iter()
                .find(|&(from, to)| from <= address && address < to);
            piece.is_none_or(|(from, to)| {
                answer.push(Action::new(ActionKind::Protect, from, to - from, rights))
            })
        }
    };
    debug_assert!(pushed);
    Ok(())
}

/// The region at `address` if it allows `access`; at home.
pub(crate) fn find_region(daemon: &Daemon, address: u64, access: u32) -> Option<RegionFacts> {
    let state = daemon.home.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let region = state.regions.lookup(address).filter(|region| region.protection & access == access)?;
    Some(RegionFacts { start: region.start, end: region.end, protection: region.protection })
}

/// Unmaps a range in this node's replica.
pub(crate) fn forget_here(daemon: &Daemon, start: u64, length: u64) -> std::io::Result<()> {
    if let Some(commands) = daemon.commands.get() {
        let command = Record::new(CommandKind::Forget as u32, [start, length, 0, 0, 0, 0, 0, 0]);
        let _ = commands.command(&command, None)?;
    }
    let mut mapped = daemon.pager.mapped.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    mapped.remove(start, start + length);
    Ok(())
}

fn refused(daemon: &Daemon, number: u64, reason: u64, errno: u64) {
    let name = i64::try_from(number).ok().and_then(banyan_wire::syscalls::find).map_or("?", |row| row.name);
    let text = match Refusal::from_number(reason) {
        Some(Refusal::NotTreated) => {
            let error = std::io::Error::from_raw_os_error(errno as i32);
            format!("the program's call {name} (number {number}) is not served yet; it got: {error}")
        }
        Some(Refusal::SharedFileMapping) => {
            "a shared, writable mapping of a file is not served yet; the program got: No such device".into()
        }
        Some(Refusal::HandlerOnRemoteThread) => {
            format!(
                "signal {number} was meant for a handler on a thread that runs on another node; it was dropped"
            )
        }
        None => return,
    };
    daemon.notice(&text);
}
