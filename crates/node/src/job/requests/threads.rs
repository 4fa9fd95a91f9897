//! The threads of the program, as the home replica tells of them: one starts, moves, came home, or has ended.
//!
//! Not here: which node a thread gets (`banyan_core::placement`), and having one leave
//! (`crate::job::moving`).

use super::answer::{Answered, DONE, node_of};
use crate::job::Job;
use crate::job::home::Home;
use crate::pager::PagerError;
use crate::transport::ConnectError;
use banyan_core::placement::Placement;
use banyan_wire::ids::NodeId;
use banyan_wire::stub::{Answer, Placed, StoppedThread, TimeElsewhere};
use std::os::fd::OwnedFd;

const AT_HOME: Answer = Answer::Placed(Placed { node: NodeId::HOME.get() as u32 });

/// A new thread, which gets its node.
pub(super) fn start(job: &Job, home: &Home, thread: u32) -> Answered {
    let placed = place(job, home, thread, |placement| Some(placement.start(thread)));
    Ok(placed.unwrap_or_else(|error| {
        job.notice(&format!("a thread stays on the home node: {error}"));
        (AT_HOME, None)
    }))
}

/// A thread stands still at home, to go where it was told to.
pub(super) fn move_on(job: &Job, home: &Home, stopped: &StoppedThread) -> Answered {
    let thread = used_before(home, stopped)?;
    let before = home.placement().node(thread);
    let placed = place(job, home, thread, |placement| placement.destination(thread));
    let now = home.placement().node(thread);
    if let Some(now) = now.filter(|_| now != before) {
        job.note_move(home, thread, now);
    }
    // If the node is lost, that is said where it is noticed.
    Ok(placed.unwrap_or((AT_HOME, None)))
}

/// A thread has come home, and goes on there.
pub(super) fn came_home(job: &Job, home: &Home, stopped: &StoppedThread) -> Answered {
    let thread = used_before(home, stopped)?;
    job.thread_is_on(home, thread, NodeId::HOME);
    Ok((DONE, None))
}

/// A thread has ended.
pub(super) fn ended(home: &Home, thread: u32) {
    home.placement().ended(thread);
    home.placement_changed.notify_all();
    home.used_before.lock().remove(&thread);
}

/// What a thread, or the process, used on other nodes.
pub(super) fn time_elsewhere(job: &Job, home: &Home, of: &TimeElsewhere) -> Answered {
    let node = (of.node != 0).then(|| node_of(job, of.node)).transpose()?;
    Ok((Answer::Used(home.time_elsewhere(node, of.thread)?), None))
}

/// The thread that stands still at home; what it used on nodes that it has left is noted.
fn used_before(home: &Home, &StoppedThread { thread, used }: &StoppedThread) -> Result<u32, PagerError> {
    let thread = u32::try_from(thread)
        .map_err(|_| PagerError::Fatal(format!("the replica named thread {thread}, which cannot be")))?;
    home.used_before.lock().insert(thread, used);
    Ok(thread)
}

/// Chooses the node of a thread that stands still at home, and connects the thread's deputy to it. Without a
/// connection it stays at home.
fn place(
    job: &Job,
    home: &Home,
    thread: u32,
    choose: impl FnOnce(&mut Placement) -> Option<NodeId>,
) -> Result<(Answer, Option<OwnedFd>), ConnectError> {
    let chosen = choose(&mut home.placement());
    let Some(node) = chosen.filter(|&node| node != NodeId::HOME) else { return Ok((AT_HOME, None)) };
    match job.connect_deputy(node, thread) {
        Ok(connection) => Ok((Answer::Placed(Placed { node: node.get().into() }), Some(connection))),
        Err(error) => {
            job.thread_is_on(home, thread, NodeId::HOME);
            Err(error)
        }
    }
}
