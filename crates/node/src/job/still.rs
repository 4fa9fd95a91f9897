//! All of a program's memory brought home for a copy of its process, while its other replicas stand still:
//! the copy shall have what was there at one moment.
//!
//! A replica that stands still is stopped by SIGSTOP, so no command reaches it. What commands it waits until
//! it goes on; home answers no question of its own replica meanwhile (`requests`), so nothing starts to wait.
//! At home threads wait when they write (`crate::pager`, freezing): a stop would show in the caller's shell.

use super::Job;
use super::end::Event;
use super::home::Home;
use super::questions::Answer;
use banyan_wire::control::ControlMessage;
use banyan_wire::ids::NodeId;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// All nodes must stand still, and all memory be at home, within this time, or the process is not copied. A
/// node that is lost shows earlier, by its connections.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long to sleep between two looks at a replica that stops.
const LOOK_AGAIN: Duration = Duration::from_micros(100);
/// How long a wait for the sign to go on lasts until it looks whether the run has ended.
const PATIENCE: Duration = Duration::from_millis(100);

impl Job {
    /// At home: has all replicas stand still and brings here what the others have of the program's memory.
    /// Returns the stretches of it that there are. After an error too, they go on when [`Self::go_on`] says
    /// so.
    ///
    /// # Errors
    /// Why it could not be done in time.
    pub(super) fn gather(&self, home: &Home) -> Result<Vec<(u64, u64)>, String> {
        home.presence.set_still(true);
        let deadline = Instant::now() + DEADLINE;
        let left = || deadline.saturating_duration_since(Instant::now());
        let ask = |node| (node, home.questions().ask(node, |id| ControlMessage::StandStill { id }));
        let waits: Vec<_> = home.others().map(ask).collect();
        let mut all = Vec::new();
        for (node, wait) in waits {
            match wait.recv_timeout(left()) {
                Ok(Answer::Held(held)) => all.extend(held),
                // It has no memory any more.
                Ok(Answer::Left) => {}
                _ => return Err(format!("{node} did not stand still in time")),
            }
        }
        match self.pager.gather(&all, deadline) {
            Ok(true) if self.pager.stand_still(deadline) => {
                self.pager.freeze().map_err(|error| error.to_string())
            }
            Ok(true) => Err("pages do not cease to come".into()),
            Ok(false) => Err("not all of its memory came home in time".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// At home: all replicas go on.
    pub(super) fn go_on(&self, home: &Home) {
        if let Err(error) = self.pager.thaw() {
            self.emit(Event::Broken(error.to_string()));
        }
        for node in home.others() {
            home.questions().send(node, &ControlMessage::Continue);
        }
        home.presence.set_still(false);
    }

    /// Elsewhere, asked by home: the replica shall stand still until [`Self::told_to_go_on`].
    pub(super) fn told_to_stand_still(&self, id: u64) {
        let (go_on, goes_on) = channel();
        *self.goes_on.lock() = Some(go_on);
        self.thread("still", move |job| job.stand_still(id, &goes_on));
    }

    /// Stops the replica, tells home, and has it go on when home says so or the run ends.
    fn stand_still(&self, id: u64, goes_on: &Receiver<()>) {
        let Some(commands) = self.commands.get() else { return };
        let held = commands.hold();
        if let Err(reason) = self.stop_replica(id) {
            self.emit(Event::Broken(format!("its replica does not stand still: {reason}")));
        }
        self.wait_to_go_on(goes_on);
        if let Err(error) = self.pager.thaw() {
            self.emit(Event::Broken(error.to_string()));
        }
        if let Some(replica) = self.replica_process() {
            let _ = rustix::process::kill_process(replica, Signal::CONT);
        }
        drop(held);
    }

    fn stop_replica(&self, id: u64) -> std::io::Result<()> {
        let replica = self.replica_process().ok_or(std::io::ErrorKind::NotConnected)?;
        let deadline = Instant::now() + DEADLINE;
        rustix::process::kill_process(replica, Signal::STOP)?;
        // It has stopped when its last thread has. Its end is not waited for here.
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while rustix::process::waitid(WaitId::Pid(replica), options)?.is_none() {
            if Instant::now() >= deadline {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        if !self.pager.stand_still(deadline) {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        let held = self.pager.held_here()?;
        self.questions.send(NodeId::HOME, &ControlMessage::StandsStill { id, held });
        Ok(())
    }

    fn wait_to_go_on(&self, goes_on: &Receiver<()>) {
        while !self.is_ending() && goes_on.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {}
    }

    /// From home: the replica goes on.
    pub(super) fn told_to_go_on(&self) {
        if let Some(go_on) = self.goes_on.lock().take() {
            let _ = go_on.send(());
        }
    }

    fn replica_process(&self) -> Option<Pid> {
        i32::try_from(self.replica_id()).ok().and_then(Pid::from_raw)
    }
}
