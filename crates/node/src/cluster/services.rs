//! Services of the cluster: processes that take calls, found by a name on whichever machine they run.
//!
//! A process that serves keeps a connection to its node, which registers the name with a short lease and
//! renews it, and sends a stream for each caller. Who serves second waits until the name is free. A caller's
//! node looks the name up, opens a connection to the machine that has it, and gives the caller its end; when
//! that machine has gone it tries again, until the name is another's or the caller's time is over.
//!
//! Nothing that a caller and a service say is looked at here. Between machines it is inside the nodes' TLS.
//!
//! Lock: that of the list of services, held while a stream is sent, which never waits.

use super::membership::Cluster;
use crate::transport::{self, Connection};
use banyan_wire::cluster::{ClusterMessage, Member, Order, Refusal};
use banyan_wire::frame;
use banyan_wire::handshake::{Hello, Purpose};
use banyan_wire::ids::JobId;
use banyan_wire::services::{ServiceAnswer, ServiceMessage};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::collections::BTreeMap;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// What the name of a service stands for.
const VALUE: &str = "isolated functions";
/// A service whose machine has gone is another's after this time at the latest.
const LEASE_SECONDS: u32 = 5;
/// How often the lease is renewed, or the name tried for.
const RENEWAL: Duration = Duration::from_secs(1);
/// How often a service is looked for that is on no machine, or on one that does not answer.
const AGAIN: Duration = Duration::from_millis(200);
/// A machine answers whether it has the service within this time.
const OPENING: Duration = Duration::from_secs(2);
/// A name that was free for this long waits for no service that takes it over.
const TAKEOVER: Duration = Duration::from_secs(3);
/// How long to wait for what the cluster has agreed on.
const LOOKING: Duration = Duration::from_secs(2);

/// The services of this machine, by name: the sockets of their processes.
#[derive(Debug, Default)]
pub(crate) struct Services(Mutex<BTreeMap<String, OwnedFd>>);

impl Services {
    /// Gives a stream to the process that serves.
    fn give(&self, name: &str, stream: BorrowedFd<'_>) -> Result<(), String> {
        let served = self.0.lock();
        let process = served.get(name).ok_or_else(|| format!("{name} is served by nobody here"))?;
        // One that takes no more callers must not hold those of others.
        send(process.as_fd(), &ServiceAnswer::Stream, Some(stream), SendFlags::DONTWAIT)
            .map_err(|error| format!("{name} takes no callers: {error}"))
    }
}

/// Sends a packet to a process, and a stream beside it.
fn send(
    process: BorrowedFd<'_>,
    answer: &ServiceAnswer,
    stream: Option<BorrowedFd<'_>>,
    flags: SendFlags,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !stream.as_slice().is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(stream.as_slice())) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let packet = answer.packet();
    rustix::net::sendmsg(process, &[IoSlice::new(&packet)], &mut ancillary, flags | SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Says to a process why it gets nothing.
pub(super) fn refuse(process: &OwnedFd, reason: &str) -> io::Result<()> {
    send(process.as_fd(), &ServiceAnswer::Refused(reason.to_owned()), None, SendFlags::empty())
}

impl Cluster {
    /// Has the process behind a socket serve until it closes it.
    pub(crate) fn serve_as(&self, services: &Services, process: &OwnedFd, name: &str) -> io::Result<()> {
        let answer = |answer| send(process.as_fd(), &answer, None, SendFlags::empty());
        {
            let mut served = services.0.lock();
            if served.contains_key(name) {
                return answer(ServiceAnswer::Refused(format!(
                    "another process of this machine serves {name}"
                )));
            }
            served.insert(name.to_owned(), process.try_clone()?);
        }
        let served = self.keep_service(name, process, &answer);
        services.0.lock().remove(name);
        served
    }

    fn keep_service(
        &self,
        name: &str,
        process: &OwnedFd,
        answer: &impl Fn(ServiceAnswer) -> io::Result<()>,
    ) -> io::Result<()> {
        // As which it is registered, and what the process was told last.
        let (mut revision, mut told) = (None, None);
        loop {
            let kept = match revision {
                Some(revision) => self.renew(name, revision).map(|()| Some(revision)),
                None => self.register(name).map(Some),
            };
            let tells = match kept {
                Ok(kept) => {
                    revision = kept;
                    Some(ServiceAnswer::Serves)
                }
                Err(Refusal::NameHeld(holder)) => {
                    revision = None;
                    Some(ServiceAnswer::Waits { holder: self.name_of(holder) })
                }
                Err(refusal @ Refusal::NameInvalid(_)) => {
                    return answer(ServiceAnswer::Refused(refusal.to_string()));
                }
                // Nobody leads, or it was registered by others meanwhile: the next look tells.
                Err(_) => {
                    revision = None;
                    None
                }
            };
            if let Some(tells) = tells.filter(|tells| told.as_ref() != Some(tells)) {
                answer(tells.clone())?;
                told = Some(tells);
            }
            if has_closed(process, RENEWAL)? {
                break;
            }
        }
        if revision.is_some() {
            // Others need not wait for the lease's end.
            let _ = self.at_leader(&ClusterMessage::Order(Order::Unregister(name.to_owned())));
        }
        Ok(())
    }

    fn register(&self, name: &str) -> Result<u64, Refusal> {
        // Also what a person has registered on this machine, which would be registered anew.
        let agreed = self.company.agreed();
        if let Some(named) = agreed.names.get(name)
            && (named.holder != self.own || named.value != VALUE)
        {
            return Err(Refusal::NameHeld(named.holder));
        }
        let order = Order::Register { name: name.into(), value: VALUE.into(), lease_seconds: LEASE_SECONDS };
        self.at_leader_within(&ClusterMessage::Order(order), LOOKING)?;
        let agreed = self.company.agreed();
        Ok(agreed.names.get(name).map_or(0, |named| named.revision))
    }

    fn renew(&self, name: &str, revision: u64) -> Result<(), Refusal> {
        let order = Order::Renew { name: name.into(), revision };
        self.at_leader_within(&ClusterMessage::Order(order), LOOKING).map(drop)
    }

    /// Gives the process behind a socket a stream to a service, within a time.
    pub(crate) fn reach_service(
        &self,
        services: &Services,
        process: &OwnedFd,
        name: &str,
        wait: Duration,
    ) -> io::Result<()> {
        let deadline = Instant::now() + wait;
        let mut is_current = false;
        let mut free_since = None;
        loop {
            let unopened = match self.open_service(services, name) {
                Ok(stream) => {
                    let stream = Some(stream.as_fd());
                    return send(process.as_fd(), &ServiceAnswer::Stream, stream, SendFlags::empty());
                }
                Err(unopened) => unopened,
            };
            let now = Instant::now();
            let ends = match &unopened {
                Unopened::Free if is_current => {
                    now.duration_since(*free_since.get_or_insert(now)) >= TAKEOVER
                }
                Unopened::Free => false,
                Unopened::Other(_) => true,
                Unopened::Failed(_) => {
                    free_since = None;
                    false
                }
            };
            if ends || now >= deadline {
                let reason = unopened.words(name);
                return send(process.as_fd(), &ServiceAnswer::Refused(reason), None, SendFlags::empty());
            }
            let left = deadline - now;
            if !is_current {
                // This member may be behind.
                is_current = self.catch_up(LOOKING.min(left));
            } else if has_closed(process, AGAIN.min(left))? {
                return Ok(());
            }
        }
    }

    /// A stream to a service.
    fn open_service(&self, services: &Services, name: &str) -> Result<OwnedFd, Unopened> {
        let agreed = self.company.agreed();
        let named = agreed.names.get(name).ok_or(Unopened::Free)?;
        if named.value != VALUE {
            return Err(Unopened::Other(named.value.clone()));
        }
        let failed = |who: &str, error: &dyn std::fmt::Display| Unopened::Failed(format!("{who}: {error}"));
        if named.holder == self.own {
            let (ours, theirs) = UnixStream::pair().map_err(|error| failed("a stream", &error))?;
            services.give(name, theirs.as_fd()).map_err(|error| failed("this machine", &error))?;
            return Ok(ours.into());
        }
        let members = self.members();
        let member = members.get(named.holder);
        let member = member.ok_or_else(|| failed("its machine", &"it has left the cluster"))?;
        self.open_elsewhere(member, name).map_err(|error| failed(&member.name, &error))
    }

    fn open_elsewhere(&self, member: &Member, name: &str) -> io::Result<OwnedFd> {
        let trust = self.trust();
        let connection = trust.dial(&Self::place(member), OPENING)?;
        connection.set_read_timeout(Some(OPENING))?;
        let hello = Hello::new(Purpose::Service, trust.greeting_secret(), JobId(0), 0, 0);
        let open = frame::encode(&ServiceMessage::Open(name.to_owned()));
        (&connection).write_all(&[hello.as_bytes(), &open].concat())?;
        match transport::read_message(&mut &connection)? {
            ServiceMessage::Opened => {
                connection.set_read_timeout(None)?;
                connection.into_descriptor()
            }
            ServiceMessage::Refused(reason) => Err(io::Error::other(reason)),
            ServiceMessage::Open(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Another machine has a caller for a service of this one.
    pub(crate) fn admit_caller(&self, services: &Services, connection: Connection) -> io::Result<()> {
        connection.set_read_timeout(Some(OPENING))?;
        let ServiceMessage::Open(name) = transport::read_message(&mut &connection)? else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let is_here = services.0.lock().contains_key(&name);
        let answer = match is_here {
            true => ServiceMessage::Opened,
            false => ServiceMessage::Refused(format!("{name} is served by nobody there")),
        };
        (&connection).write_all(&frame::encode(&answer))?;
        connection.flush()?;
        if is_here {
            connection.set_read_timeout(None)?;
            let stream = connection.into_descriptor()?;
            // A caller whose stream ends opens another.
            let _ = services.give(&name, stream.as_fd());
        }
        Ok(())
    }
}

/// Why there is no stream to a service.
#[derive(Debug)]
enum Unopened {
    /// Nobody has the name.
    Free,
    /// It stands for this, which is no service.
    Other(String),
    /// Who has it does not answer, or refuses.
    Failed(String),
}

impl Unopened {
    fn words(&self, name: &str) -> String {
        match self {
            Self::Free => format!(
                "no machine of the cluster serves {name}; start it with `banyan call serve --at named:{name} -- PROGRAM`"
            ),
            Self::Other(value) => format!("{name} is the name of something else: {value}"),
            Self::Failed(reason) => format!("{name} is not reached: {reason}"),
        }
    }
}

/// Whether a process has closed its socket, or does within a time. One that says something more is not
/// served: it has nothing to ask.
fn has_closed(process: &OwnedFd, within: Duration) -> io::Result<bool> {
    let mut polled = [PollFd::new(process, PollFlags::IN)];
    let time = Timespec { tv_sec: within.as_secs() as i64, tv_nsec: i64::from(within.subsec_nanos()) };
    Ok(rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&time)))? > 0)
}
