//! Copies of a program's process (`fork`): each stays at home, as a process without another node, and belongs
//! to the job, which lasts as long as one of them does.
//!
//! To this daemon a copy is a `Job` of one node that is in no table: it has a map of regions, and the thread
//! that serves its request socket. Nobody follows its events.
//!
//! Lock order: `Copies` is taken alone.

use super::end::Event;
use super::home::Home;
use super::invitation::Presence;
use super::mapping::Mapping;
use super::places::{Growth, Places};
use super::replica;
use super::{Job, JobFacts, Role, requests};
use crate::pager::memory_file::MemoryFile;
use banyan_core::placement::{Placement, Policy};
use banyan_wire::control::JobPart;
use banyan_wire::ids::NodeId;
use parking_lot::{Condvar, Mutex};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

/// The copies of a job that have not ended.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    count: Mutex<u64>,
    ended: Condvar,
}

impl Copies {
    /// Waits until there is none.
    pub(crate) fn wait_until_ended(&self) {
        let mut count = self.count.lock();
        self.ended.wait_while(&mut count, |count| *count > 0);
    }
}

/// One of them, counted until this is dropped.
struct Counted(Arc<Copies>);

impl Counted {
    fn new(copies: &Arc<Copies>) -> Self {
        *copies.count.lock() += 1;
        Self(Arc::clone(copies))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        *self.0.count.lock() -= 1;
        self.0.ended.notify_all();
    }
}

/// The program's process is about to be copied: prepares for the copy. Returns the copy's request socket.
///
/// Until [`finish`] other nodes, if there are any, stand still.
///
/// # Errors
/// Why there can be none.
pub(super) fn fork(job: &Job, home: &Home) -> Result<OwnedFd, String> {
    let prepared = prepare(job, home);
    if prepared.is_err() && !job.facts.places.is_alone() {
        job.go_on(home);
    }
    prepared
}

/// Waits until the copy that was made last has its memory, or has ended, and lets the other nodes go on.
pub(super) fn finish(job: &Job, home: &Home) {
    let Some(copied) = home.copied.lock().take() else { return };
    let _ = copied.recv();
    if !job.facts.places.is_alone() {
        job.go_on(home);
    }
}

fn prepare(job: &Job, home: &Home) -> Result<OwnedFd, String> {
    let failed = |what: &str, error: std::io::Error| format!("{what}: {error}");
    let mut mapping = Mapping::default();
    if !job.facts.places.is_alone() {
        let stretches = job.gather(home)?;
        let made = home.mapping_of_copy(job.pager.memory(), &stretches);
        mapping = made.map_err(|error| failed("its memory", error))?;
    }
    let (done, is_done) = sync_channel(0);
    mapping.done = Some(done);
    let program = home.program(mapping).map_err(|error| failed("its files", error))?;
    let memory = MemoryFile::create().map_err(|error| failed("its memory file", error))?;
    let places = vec![job.facts.places.get(NodeId::HOME)];
    let part = JobPart { places: places.clone(), ..job.part.clone() };
    let facts = JobFacts { places: Arc::new(Places::new(places, Growth::Fixed)), ..job.facts.clone() };
    let copy = Job::new(facts, part, NodeId::HOME, memory, Arc::clone(&job.copies), |questions| {
        let placement = Placement::new(Policy::Spread, 1);
        let report = Arc::clone(home.report());
        let wishes = home.wishes.of_copy();
        Role::Home(Box::new(Home::new(program, wishes, placement, Presence::alone(), questions, report)))
    })?;
    let (ours, theirs) = replica::socket_pair().map_err(|error| failed("its socket", error))?;
    let counted = Counted::new(&job.copies);
    let serve = move || {
        requests::serve(&copy, &ours);
        copy.close();
        for event in copy.inbox.lock().try_iter() {
            if let Event::Broken(reason) = event {
                copy.notice(&reason);
            }
        }
        drop(counted);
    };
    let thread = std::thread::Builder::new().name("copy".into()).spawn(serve);
    thread.map_err(|error| failed("its thread", error))?;
    *home.copied.lock() = Some(is_done);
    Ok(theirs)
}
