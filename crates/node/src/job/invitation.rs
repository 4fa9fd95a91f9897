//! The other nodes of a job take part: from its start, or from when its program is first spread, so that a
//! program that is never spread pays for none. Which nodes take part, home knows: those with the lowest
//! numbers.
//!
//! Not here: nodes that come while the program runs (`growing`).
//!
//! Lock order: `inviting` is held while others come up, and taken before everything else; `here` is taken
//! alone.

use super::home::Home;
use super::settings::{JobSettings, Placement};
use super::{Job, JobFacts, START_DEADLINE};
use crate::cluster::local_nodes::Spares;
use crate::transport;
use banyan_wire::control::{ControlMessage, JobPart};
use banyan_wire::frame;
use banyan_wire::handshake::{Hello, Purpose};
use banyan_wire::ids::{NodeId, NodeSet};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// A node must answer within this time whether it joins a job, and know a job that another node has joined.
pub(crate) const JOIN_DEADLINE: Duration = Duration::from_secs(4);

/// How the other nodes of a job are asked to take part.
#[derive(Clone, Debug)]
pub(crate) struct Invitation {
    facts: JobFacts,
    settings: Arc<JobSettings>,
    /// Those that are not even started.
    spares: Arc<Spares>,
}

impl Invitation {
    /// To a job with these settings.
    pub(crate) fn new(facts: &JobFacts, settings: &JobSettings, spares: Arc<Spares>) -> Self {
        Self { facts: facts.clone(), settings: Arc::new(settings.clone()), spares }
    }

    /// Asks all other nodes at once, and waits for their answers. `pools` says which get their pool.
    ///
    /// # Errors
    /// The first node that does not take part, and why.
    pub(crate) fn call(&self, pools: Pools<'_>) -> Result<(), String> {
        std::thread::scope(|scope| {
            let ask = |node| scope.spawn(move || self.ask(node, pools));
            let asked: Vec<_> = self.facts.places.others(NodeId::HOME).map(ask).collect();
            asked.into_iter().try_for_each(|asked| {
                asked.join().unwrap_or_else(|_| Err("a thread that asks a node to join panicked".into()))
            })
        })
    }

    /// Asks a node, and waits for its answer.
    ///
    /// # Errors
    /// Why it does not take part.
    pub(super) fn ask(&self, node: NodeId, pools: Pools<'_>) -> Result<(), String> {
        let has_pool = match pools {
            Pools::All => true,
            Pools::Of(nodes) => nodes.contains(&node),
        };
        let part = JobPart { has_pool, ..self.facts.part(&self.settings, node) };
        let ask = || -> io::Result<ControlMessage> {
            self.spares.start(node.get().into())?;
            let trust = &self.facts.trust;
            let connection = trust.dial(&self.facts.places.get(node), JOIN_DEADLINE)?;
            connection.set_read_timeout(Some(JOIN_DEADLINE))?;
            let hello = Hello::new(Purpose::Job, trust.greeting_secret(), self.facts.id, 0, 0);
            let message = ControlMessage::Join(part);
            (&connection).write_all(&[hello.as_bytes(), &frame::encode(&message)].concat())?;
            transport::read_message(&mut &connection)
        };
        match ask() {
            Ok(ControlMessage::Joined(answer)) => answer.map_err(|reason| format!("{node}: {reason}")),
            Ok(_) => Err(format!("{node} answers something else")),
            Err(error) => Err(format!("{node} did not come up: {error}")),
        }
    }
}

/// Which of the nodes that are asked get the pool of their number as their memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pools<'a> {
    /// All: the program has no memory yet.
    All,
    /// These. The others' pools have memory of the program, and stay home's.
    Of(&'a [NodeId]),
}

/// When the other nodes take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// They are asked before the program runs.
    AtOnce,
    /// When a thread is first to go there.
    WhenNeeded,
}

impl Start {
    /// As the settings of a job want it.
    pub(crate) fn of(settings: &JobSettings) -> Self {
        match (settings.placement, settings.move_every) {
            (Placement::Auto, None) => Self::WhenNeeded,
            _ => Self::AtOnce,
        }
    }
}

/// Which other nodes of a job take part.
#[derive(Debug)]
pub(crate) struct Presence {
    /// Nobody, if the job is alone for good.
    pub(super) invitation: Option<Invitation>,
    here: Mutex<Here>,
    /// The memory of the program's process stands still no longer.
    goes_on: Condvar,
    /// Held while others come up. Why they did not, which is not tried twice: what is left of the first
    /// attempt would be taken for a part of the second.
    inviting: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Here {
    /// Nodes that take part, from home on, but for those that have left.
    nodes: u8,
    /// Nodes that want to leave, or have.
    leaving: NodeSet,
    /// Nodes that were lost before they took part, and how.
    lost: BTreeMap<NodeId, String>,
    /// The memory of the program's process stands still; who takes part now was told.
    still: bool,
    /// A node is about to part from the others: nothing stands still meanwhile.
    changing: bool,
}

impl Presence {
    /// Of a job that begins with `nodes`.
    pub(crate) fn new(start: Start, nodes: u8, invitation: Invitation) -> Self {
        let nodes = if start == Start::AtOnce { nodes } else { 1 };
        Self { invitation: Some(invitation), ..Self::of(nodes) }
    }

    /// Of a job with one node.
    pub(super) fn alone() -> Self {
        Self::of(1)
    }

    fn of(nodes: u8) -> Self {
        let here =
            Here { nodes, leaving: NodeSet::EMPTY, lost: BTreeMap::new(), still: false, changing: false };
        Self { invitation: None, here: Mutex::new(here), goes_on: Condvar::new(), inviting: Mutex::default() }
    }

    /// How many nodes take part, home and those that have left included.
    pub(super) fn nodes(&self) -> u8 {
        self.here.lock().nodes
    }

    /// The nodes that take part, home included.
    pub(super) fn present(&self) -> Vec<NodeId> {
        (0..self.nodes()).filter_map(NodeId::new).filter(|&node| !self.has_left(node)).collect()
    }

    fn has_left(&self, node: NodeId) -> bool {
        self.invitation.as_ref().is_some_and(|invitation| invitation.facts.places.has_left(node))
    }

    /// A node wants to leave. False if that is known, or if it does not take part.
    pub(super) fn begins_to_leave(&self, node: NodeId) -> bool {
        let mut here = self.here.lock();
        let is_new = node != NodeId::HOME && node.get() < here.nodes && !here.leaving.contains(node);
        if is_new {
            here.leaving = here.leaving.with(node);
        }
        is_new
    }

    /// A node is about to part from the others: waits until the memory of the process does not stand still,
    /// and keeps it from that.
    ///
    /// # Errors
    /// It stood still for all of this time.
    pub(super) fn begin_change(&self, timeout: Duration) -> Result<(), String> {
        let mut here = self.here.lock();
        if self.goes_on.wait_while_for(&mut here, |here| here.still, timeout).timed_out() {
            return Err("the program was being copied for too long".into());
        }
        here.changing = true;
        Ok(())
    }

    /// It has parted, or could not.
    pub(super) fn end_change(&self) {
        self.here.lock().changing = false;
        self.goes_on.notify_all();
    }

    /// Who may bring other nodes: waits until nobody does.
    pub(super) fn inviting(&self) -> MutexGuard<'_, Option<String>> {
        self.inviting.lock()
    }

    /// Waits until nodes that are about to take part do, or could not; or for as long as this.
    pub(super) fn settle(&self, timeout: Duration) -> Option<MutexGuard<'_, Option<String>>> {
        self.inviting.try_lock_for(timeout)
    }

    /// From now on so many nodes take part, once the memory of the process does not stand still. Says which
    /// of them was lost before, and how; it takes part no less.
    ///
    /// # Errors
    /// It stood still for all of this time.
    pub(super) fn take_part(&self, nodes: u8, deadline: Instant) -> Result<Option<(NodeId, String)>, String> {
        let mut here = self.here.lock();
        let left = deadline.saturating_duration_since(Instant::now());
        if self.goes_on.wait_while_for(&mut here, |here| here.still, left).timed_out() {
            return Err("the program was being copied for too long".into());
        }
        here.nodes = nodes;
        Ok(here.lost.pop_first())
    }

    /// A node was lost. Says whether it takes part; if not, that is remembered for when it would.
    pub(super) fn is_loss(&self, node: NodeId, reason: &str) -> bool {
        let mut here = self.here.lock();
        if node.get() >= here.nodes {
            here.lost.insert(node, reason.into());
        }
        node.get() < here.nodes && !self.has_left(node)
    }

    /// Nodes that are not here begin anew: what was lost of them before says nothing.
    pub(super) fn forgive(&self) {
        self.here.lock().lost.clear();
    }

    /// The memory of the program's process stands still, or no longer: meanwhile no node begins to take part.
    pub(super) fn set_still(&self, still: bool) {
        let mut here = self.here.lock();
        // Each question to those that take part has a deadline.
        self.goes_on.wait_while(&mut here, |here| here.changing);
        here.still = still;
        self.goes_on.notify_all();
    }
}

impl Job {
    /// At home: has the other nodes take part, if they do not yet.
    ///
    /// # Errors
    /// Why one cannot; then none does, and the program may go on without them.
    pub(super) fn invite(&self, home: &Home) -> Result<(), String> {
        let presence = &home.presence;
        let mut inviting = presence.inviting();
        let Some(invitation) = &presence.invitation else { return Ok(()) };
        if presence.nodes() > 1 || self.nodes() == 1 {
            return Ok(());
        }
        if let Some(reason) = &*inviting {
            return Err(reason.clone());
        }
        if self.is_ending() {
            return Err("the run is ending".into());
        }
        let deadline = Instant::now() + START_DEADLINE;
        let others = self.facts.places.others(NodeId::HOME);
        let pools = home.with_free_pools(&self.pager, others);
        let come = invitation.call(Pools::Of(&pools)).and_then(|()| self.connect());
        let come = come.and_then(|()| home.wait_for_nodes(self.nodes(), deadline));
        let come = come.and_then(|()| home.give_pools(&self.pager, &pools));
        match come.and_then(|()| presence.take_part(self.nodes(), deadline)) {
            Ok(lost) => {
                if let Some((node, _)) = lost {
                    self.lost(node, "it ended as soon as it was here");
                }
                Ok(())
            }
            Err(reason) => {
                *inviting = Some(reason.clone());
                self.pager.take_pools_back(&pools);
                // Those that came see their connections end.
                self.disconnect();
                Err(reason)
            }
        }
    }
}
