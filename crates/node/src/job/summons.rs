//! The other nodes of a job take part: from its start, or from when its program is first spread, so that a
//! program that is never spread pays for none.
//!
//! Lock order: `summoning` is held while the others come up, and taken before everything else.

use super::home::Home;
use super::settings::{JobSettings, Placement};
use super::{Job, JobFacts, START_DEADLINE};
use crate::cluster::local_nodes::Spares;
use crate::transport;
use banyan_wire::control::{ControlMessage, JobPart};
use banyan_wire::frame;
use banyan_wire::handshake::{Hello, Purpose};
use banyan_wire::ids::NodeId;
use parking_lot::{Mutex, MutexGuard};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// A node must answer within this time whether it joins a job, and know a job that another node has joined.
pub(crate) const JOIN_DEADLINE: Duration = Duration::from_secs(4);

/// How the other nodes of a job are asked to take part.
#[derive(Clone, Debug)]
pub(crate) struct Summons {
    facts: JobFacts,
    /// What home itself needs to know, and every other node with its own number.
    part: JobPart,
    /// Those that are not even started.
    spares: Arc<Spares>,
}

impl Summons {
    /// To a job with these settings.
    pub(crate) fn new(facts: &JobFacts, settings: &JobSettings, spares: Arc<Spares>) -> Self {
        Self { facts: facts.clone(), part: facts.part(settings, NodeId::HOME), spares }
    }

    /// Asks all other nodes at once, and waits for their answers.
    ///
    /// # Errors
    /// The first node that does not take part, and why.
    pub(crate) fn call(&self) -> Result<(), String> {
        std::thread::scope(|scope| {
            let ask = |node| scope.spawn(move || self.ask(node));
            let asked: Vec<_> = self.facts.others(NodeId::HOME).map(ask).collect();
            asked.into_iter().try_for_each(|asked| {
                asked.join().unwrap_or_else(|_| Err("a thread that asks a node to join panicked".into()))
            })
        })
    }

    fn ask(&self, node: NodeId) -> Result<(), String> {
        let ask = || -> io::Result<ControlMessage> {
            self.spares.start(node.get().into())?;
            let trust = &self.facts.trust;
            let connection = trust.dial(self.facts.place(node), JOIN_DEADLINE)?;
            connection.set_read_timeout(Some(JOIN_DEADLINE))?;
            let hello = Hello::new(Purpose::Job, trust.greeting_secret(), self.facts.id, 0, 0);
            let message = ControlMessage::Join(JobPart { node: node.get(), ..self.part.clone() });
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

/// When the other nodes take part.
#[derive(Debug)]
pub(crate) enum Start {
    /// They are asked before the program runs.
    AtOnce,
    /// When a thread is first to go there.
    WhenNeeded(Box<Summons>),
}

impl Start {
    /// As the settings of a job want it.
    pub(crate) fn of(settings: &JobSettings, summons: &Summons) -> Self {
        match (settings.placement, settings.move_every) {
            (Placement::Auto, None) => Self::WhenNeeded(Box::new(summons.clone())),
            _ => Self::AtOnce,
        }
    }
}

/// Whether the other nodes of a job take part.
#[derive(Debug)]
pub(super) struct Presence {
    start: Start,
    here: AtomicBool,
    /// Held while they come up. Why they did not, which is not tried twice: what is left of the first attempt
    /// would be taken for a part of the second.
    summoning: Mutex<Option<String>>,
}

impl Presence {
    pub(super) fn new(start: Start) -> Self {
        let here = AtomicBool::new(matches!(start, Start::AtOnce));
        Self { start, here, summoning: Mutex::default() }
    }

    /// Whether they take part. Once they do, they do to the end.
    pub(super) fn is_complete(&self) -> bool {
        self.here.load(Ordering::Acquire)
    }

    /// Waits until nodes that are about to take part do, or could not; or for as long as this.
    pub(super) fn settle(&self, patience: Duration) -> Option<MutexGuard<'_, Option<String>>> {
        self.summoning.try_lock_for(patience)
    }
}

impl Job {
    /// At home: has the other nodes take part, if they do not yet.
    ///
    /// # Errors
    /// Why one cannot; then none does, and the program may go on without them.
    pub(super) fn summon(&self, home: &Home) -> Result<(), String> {
        let presence = &home.presence;
        let mut summoning = presence.summoning.lock();
        let Start::WhenNeeded(summons) = &presence.start else { return Ok(()) };
        if presence.is_complete() {
            return Ok(());
        }
        if let Some(reason) = &*summoning {
            return Err(reason.clone());
        }
        if self.is_ending() {
            return Err("the run is ending".into());
        }
        let come = summons.call().and_then(|()| self.connect());
        let come = come.and_then(|()| home.wait_for_nodes(Instant::now() + START_DEADLINE));
        match &come {
            Ok(()) => {
                presence.here.store(true, Ordering::Release);
                // What was said of its loss before did not count yet.
                if let Some(node) = home.gone() {
                    self.lost(node, "it ended as soon as it was here");
                }
            }
            Err(reason) => {
                *summoning = Some(reason.clone());
                // Those that came see their connections end.
                self.disconnect();
            }
        }
        come
    }
}
