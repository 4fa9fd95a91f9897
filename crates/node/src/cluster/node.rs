//! A node: the life of one daemon on a machine, and the jobs that are on it.
//!
//! It listens in two places: for processes of this machine that want to begin a job, and for the other nodes.
//! A job that a process asks for has its home here; the other nodes are asked to join it.
//!
//! Threads: the main one answers the processes of this machine; one accepts connections from other nodes; one
//! greets each of those; and one follows each job (`crate::job`).

use super::jobs::Jobs;
use super::local::{self, Question};
use crate::job::settings::JobSettings;
use crate::job::{Job, JobFacts};
use crate::report::Report;
use crate::transport::{self, ConnectError, Connection};
use banyan_sys::descriptors;
use banyan_wire::control::{ControlMessage, JobPart};
use banyan_wire::handshake::{Hello, HelloError, Purpose};
use banyan_wire::ids::{JobId, NodeId};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;
use zerocopy::IntoBytes;

/// A node must answer within this time whether it joins a job, and know a job that another node has joined.
const JOIN_DEADLINE: Duration = Duration::from_secs(4);

/// What a node needs to know, passed to a daemon of one run in a memory file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeSettings {
    /// What it calls itself in messages, such as `node 2`.
    pub name: String,
    /// The secret that the nodes share.
    pub secret: [u8; 16],
    /// Number of the TCP socket that it inherits, on which other nodes reach it.
    pub listener: i32,
    /// Number of the socket that it inherits, on which the process that started it asks for a job.
    pub local: i32,
    /// Where other nodes listen, in the order in which they are asked to join a job.
    pub peers: Vec<SocketAddr>,
}

/// Why a node cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A socket of it.
    #[error("{what}: {source}")]
    Socket {
        /// Which.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// Another node has the place.
    #[error("{0}: a node listens there already; choose another path")]
    InUse(String),
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    name: String,
    secret: [u8; 16],
    address: SocketAddr,
    peers: Vec<SocketAddr>,
    jobs: Jobs<Job>,
    report: Report,
    own: Weak<Self>,
}

/// A secret that no other process knows.
///
/// # Errors
/// The system's.
pub fn random_secret() -> io::Result<[u8; 16]> {
    let mut secret = [0; 16];
    rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty())?;
    Ok(secret)
}

/// Serves the one run that a node is started for: until the process that started it has closed its socket, or
/// become the program, and every job has ended.
///
/// # Errors
/// [`NodeError`].
pub fn serve_run(settings: NodeSettings) -> Result<(), NodeError> {
    let take = |number, what: &str| {
        descriptors::take(number).map_err(|source| NodeError::Socket { what: what.into(), source })
    };
    let local = take(settings.local, "the socket to its starter")?;
    let listener = TcpListener::from(take(settings.listener, "its listening socket")?);
    // Another session: the terminal's signals are the program's.
    let _ = rustix::process::setsid();
    let node = Node::start(settings.name, settings.secret, listener, settings.peers)?;
    node.serve_process(&local);
    node.jobs.wait_until_empty();
    Ok(())
}

/// Serves every process of this user that connects to the socket at `path`, and the nodes that share
/// `secret`. Calls `ready` with the address for other nodes when both can be reached.
///
/// # Errors
/// [`NodeError`].
pub fn serve_machine(
    path: &Path,
    listen: SocketAddr,
    secret: [u8; 16],
    peers: Vec<SocketAddr>,
    ready: impl FnOnce(SocketAddr),
) -> Result<std::convert::Infallible, NodeError> {
    let failed = |what: String| move |source| NodeError::Socket { what, source };
    let listener = TcpListener::bind(listen).map_err(failed(listen.to_string()))?;
    let local = listen_at(path)?;
    let node = Node::start("node".into(), secret, listener, peers)?;
    ready(node.address);
    loop {
        let accepted = rustix::net::accept_with(&local, SocketFlags::CLOEXEC).map_err(io::Error::from);
        let process = match accepted {
            Ok(process) => process,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(path.display().to_string())(error)),
        };
        if local::may_ask(process.as_fd()) {
            node.thread("process", move |node| node.serve_process(&process));
        }
    }
}

/// A socket at `path` that only this user can connect to.
fn listen_at(path: &Path) -> Result<OwnedFd, NodeError> {
    let named = || path.display().to_string();
    let failed = |source: rustix::io::Errno| NodeError::Socket { what: named(), source: source.into() };
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    let new_socket = || {
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(failed)
    };
    if rustix::net::connect(&new_socket()?, &address).is_ok() {
        return Err(NodeError::InUse(named()));
    }
    // What a node has left that was killed.
    let _ = std::fs::remove_file(path);
    let socket = new_socket()?;
    rustix::net::bind(&socket, &address).map_err(failed)?;
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::chmod(path, mode).map_err(failed)?;
    rustix::net::listen(&socket, 16).map_err(failed)?;
    Ok(socket)
}

impl Node {
    fn start(
        name: String,
        secret: [u8; 16],
        listener: TcpListener,
        peers: Vec<SocketAddr>,
    ) -> Result<Arc<Self>, NodeError> {
        // A limit on file sizes is meant for the programs' files, not for their memory.
        let files = rustix::process::getrlimit(rustix::process::Resource::Fsize);
        let raised = rustix::process::Rlimit { current: files.maximum, ..files };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Fsize, raised);
        let failed = |what: &str| {
            let what = what.to_owned();
            move |source| NodeError::Socket { what, source }
        };
        let address = listener.local_addr().map_err(failed("its listening socket"))?;
        let report = Report::own().map_err(failed("its standard error"))?;
        let node = Arc::new_cyclic(|own| Self {
            name,
            secret,
            address,
            peers,
            jobs: Jobs::default(),
            report,
            own: Weak::clone(own),
        });
        node.thread("accept", move |node| node.accept(&listener));
        Ok(node)
    }

    fn thread(&self, name: &str, body: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let Some(own) = self.own.upgrade() else { return };
        if let Err(error) = std::thread::Builder::new().name(name.into()).spawn(move || body(&own)) {
            self.report.notice(&format!("{}: a thread could not be started: {error}", self.name));
        }
    }

    /// Begins the jobs that a process of this machine asks for, until it closes its socket.
    fn serve_process(&self, process: &OwnedFd) {
        loop {
            match local::next(process.as_fd()) {
                Ok(Some(question)) => {
                    let answer = self.begin(question);
                    // A process that has gone has closed its request socket too, which ends the job.
                    let _ = local::answer(process.as_fd(), &answer);
                }
                Ok(None) => return,
                Err(error) => {
                    self.report.notice(&format!("{}: a process was not served: {error}", self.name));
                    return;
                }
            }
        }
    }

    /// Begins a job whose home is here: the other nodes join it while its program is loaded.
    fn begin(&self, question: Question) -> Result<(), String> {
        let Question { settings, requests, errors } = question;
        let others = usize::from(settings.nodes.max(1)) - 1;
        let Some(peers) = self.peers.get(..others) else {
            let known = self.peers.len() + 1;
            return Err(format!("{} nodes are asked for, {known} are known here", settings.nodes));
        };
        let mut id = [0; 4];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| error.to_string())?;
        let addresses = std::iter::once(self.address).chain(peers.iter().copied()).collect();
        let facts = JobFacts { id: JobId(u32::from_ne_bytes(id)), secret: self.secret, addresses };
        std::thread::scope(|scope| {
            let join = |node: NodeId| {
                let (facts, settings) = (&facts, &settings);
                scope.spawn(move || ask_to_join(facts, settings, node))
            };
            let joining: Vec<_> = facts.others(NodeId::HOME).map(join).collect();
            let job = Job::at_home(&facts, &settings, Report::new(errors))?;
            if !self.jobs.insert(facts.id, Arc::clone(&job)) {
                return Err(format!("{} is here already", facts.id));
            }
            let joined = joining.into_iter().try_for_each(|join| {
                join.join().unwrap_or_else(|_| Err("a thread that asks a node to join panicked".into()))
            });
            let begun = joined.and_then(|()| job.begin_at_home(requests));
            match begun {
                Ok(()) => {
                    self.follow(&job);
                    Ok(())
                }
                Err(reason) => {
                    job.close();
                    self.jobs.remove(facts.id);
                    Err(reason)
                }
            }
        })
    }

    /// Takes part in a job of another home.
    fn join(&self, id: JobId, part: JobPart) -> Result<(), String> {
        let facts = JobFacts { id, secret: self.secret, addresses: part.addresses.clone() };
        let job = Job::elsewhere(facts, part)?;
        if !self.jobs.insert(id, Arc::clone(&job)) {
            return Err(format!("{id} is here already"));
        }
        self.follow(&job);
        Ok(())
    }

    /// Follows a job in a new thread until it ends.
    fn follow(&self, job: &Arc<Job>) {
        let job = Arc::clone(job);
        let id = job.id();
        self.thread("job", move |node| {
            job.follow();
            job.close();
            node.jobs.remove(id);
        });
    }

    fn accept(&self, listener: &TcpListener) {
        loop {
            let Ok((connection, address)) = Connection::accept(listener) else { continue };
            // Greeting may take as long as a stranger keeps silent: each in a new thread.
            self.thread("greet", move |node| {
                if let Err(error) = node.greet(connection, address) {
                    node.report.notice(&format!("{}: {error}", node.name));
                }
            });
        }
    }

    fn greet(&self, connection: Connection, address: SocketAddr) -> Result<(), ConnectError> {
        let (hello, purpose) = transport::greet(&connection, address, self.secret)?;
        let id = JobId(hello.job);
        let silent = |source| ConnectError::Silent { address, source };
        if purpose == Purpose::Job {
            let ControlMessage::Join(part) = transport::read_control(&mut &connection).map_err(silent)?
            else {
                return Err(silent(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "not a message that asks to join",
                )));
            };
            let answer = ControlMessage::Joined(self.join(id, part));
            return (&connection).write_all(&answer.encode()).map_err(silent);
        }
        let refused = |source| ConnectError::Greeting { address, source };
        let job = self.jobs.find(id, JOIN_DEADLINE).ok_or_else(|| refused(HelloError::Job(id)))?;
        hello.check_member(id, job.node().get(), job.nodes()).map_err(refused)?;
        transport::answer(&connection, address, &hello, job.node())?;
        job.arrived(&hello, purpose, connection);
        Ok(())
    }
}

/// Asks a node to join a job.
fn ask_to_join(facts: &JobFacts, settings: &JobSettings, node: NodeId) -> Result<(), String> {
    let ask = || -> io::Result<ControlMessage> {
        let connection = Connection::dial(facts.addresses[usize::from(node.get())], JOIN_DEADLINE)?;
        connection.set_read_timeout(Some(JOIN_DEADLINE))?;
        let hello = Hello::new(Purpose::Job, facts.secret, facts.id, 0, 0);
        (&connection).write_all(hello.as_bytes())?;
        (&connection).write_all(&ControlMessage::Join(facts.part(settings, node)).encode())?;
        transport::read_control(&mut &connection)
    };
    match ask() {
        Ok(ControlMessage::Joined(answer)) => answer.map_err(|reason| format!("{node}: {reason}")),
        Ok(_) => Err(format!("{node} answers something else")),
        Err(error) => Err(format!("{node} did not come up: {error}")),
    }
}
