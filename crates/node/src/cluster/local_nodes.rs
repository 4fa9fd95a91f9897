//! Nodes that live on this machine for the length of one run: how its launcher starts the first, and how that
//! one starts the others, when they are needed.
//!
//! They must not be children of the program, which could wait for them, nor in its process group, whose
//! Ctrl-C is meant for the program. So each is started by way of a process that ends at once. All places to
//! listen are made at the beginning, so that every node has its address before it is there.

use crate::job::replica::socket_pair;
use crate::observe::page::address::{PageOffer, PageSettings};
use crate::random::random;
use crate::sys::{children, descriptors};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

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
    /// Numbers of the sockets that it inherits for those of them that it starts itself: all, or none.
    #[serde(default)]
    pub spares: Vec<i32>,
    /// The page that it is to serve.
    #[serde(default)]
    pub page: Option<PageSettings>,
    /// Number of the device that it inherits, by which replicas have their page faults served that may not
    /// ask the kernel.
    #[serde(default)]
    pub fault_device: Option<i32>,
}

impl NodeSettings {
    /// Numbers of all that the node inherits, but for its settings.
    fn inherited(&self) -> impl Iterator<Item = i32> + '_ {
        let page = self.page.as_ref().map(|page| page.listener);
        [self.listener, self.local]
            .into_iter()
            .chain(self.spares.iter().copied())
            .chain(page)
            .chain(self.fault_device)
    }
}

/// What the process that starts a daemon says when it has.
const STARTED: &[u8] = b"started\n";

/// Nodes of a run that are started when they are needed.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    secret: [u8; 16],
    /// Where each node of the run listens, by number.
    addresses: Vec<SocketAddr>,
    fault_device: Option<Arc<OwnedFd>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Those that are not started yet: number and listening socket.
    waiting: Vec<(usize, OwnedFd)>,
    /// A socket to each that is: when it is closed, the node ends with its jobs.
    started: Vec<OwnedFd>,
}

impl Spares {
    /// Of a node with these settings, which is the first; `listeners` are those of the others.
    pub(super) fn new(
        settings: &NodeSettings,
        own: SocketAddr,
        listeners: Vec<OwnedFd>,
        fault_device: Option<OwnedFd>,
    ) -> Self {
        let addresses = std::iter::once(own).chain(settings.peers.iter().copied()).collect();
        let waiting = listeners.into_iter().enumerate().map(|(at, listener)| (at + 1, listener)).collect();
        let state = Mutex::new(State { waiting, started: Vec::new() });
        Self { secret: settings.secret, addresses, fault_device: fault_device.map(Arc::new), state }
    }

    /// What this node inherited for its run: see [`NodeSettings::fault_device`].
    pub(super) fn fault_device(&self) -> Option<Arc<OwnedFd>> {
        self.fault_device.clone()
    }

    /// Whether some are not started yet, and would not answer.
    pub(crate) fn are_waiting(&self) -> bool {
        !self.state.lock().waiting.is_empty()
    }

    /// Starts the node with this number, if it is one that is not started yet.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn start(&self, number: usize) -> io::Result<()> {
        let found = {
            let waiting = &mut self.state.lock().waiting;
            let at = waiting.iter().position(|(waiting, _)| *waiting == number);
            at.map(|at| waiting.swap_remove(at))
        };
        if let Some((number, listener)) = found {
            // Of its own: another may be started now, and each is marked to be inherited only meanwhile.
            let device = self.fault_device.as_ref().map(|device| device.try_clone()).transpose()?;
            let offers = Offers { page: None, fault_device: device.as_ref().map(AsFd::as_fd) };
            let (started, mut starter) =
                start(number, self.secret, &self.addresses, &listener, &[], &offers)?;
            starter.wait()?;
            self.state.lock().started.push(started);
        }
        Ok(())
    }
}

/// Starts the first of `count` nodes, with what is offered to it. Returns a socket to it,
/// and what started it: see [`Starter`].
///
/// # Errors
/// The system's.
pub(crate) fn start_first(count: u8, offers: &Offers<'_>) -> io::Result<(OwnedFd, Starter)> {
    let listeners: Vec<TcpListener> =
        (0..count.max(1)).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<_>>()?;
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    let others: Vec<BorrowedFd<'_>> = listeners[1..].iter().map(AsFd::as_fd).collect();
    // What a node that is started inherits is closed here at exec: from then on one that is gone refuses
    // connections, and none waits in its place.
    children::leave_to_kernel()?;
    start(0, random()?, &addresses, &listeners[0], &others, offers)
        .map(|(node, starter)| (node, Starter(starter)))
}

/// What a node gets besides its sockets.
pub(crate) struct Offers<'a> {
    /// The page that it is to serve.
    pub(crate) page: Option<&'a PageOffer>,
    /// See [`NodeSettings::fault_device`].
    pub(crate) fault_device: Option<BorrowedFd<'a>>,
}

/// The process that has started a node for the launcher, and ends. It must be gone before the launcher
/// becomes the program, which else would find a child that it has not made.
#[derive(Debug)]
pub(crate) struct Starter(Child);

impl Starter {
    /// Waits until it is gone.
    pub(crate) fn gone(mut self) {
        // The kernel takes it away, so there is nobody to wait for in the end: what it used must not count as
        // used by the program's children.
        let _ = self.0.wait();
    }
}

/// Starts the node with this number. Returns a socket to it, and the process that started it and ends.
fn start(
    number: usize,
    secret: [u8; 16],
    addresses: &[SocketAddr],
    listener: &impl AsFd,
    spares: &[BorrowedFd<'_>],
    offers: &Offers<'_>,
) -> io::Result<(OwnedFd, Child)> {
    let Offers { page, fault_device } = *offers;
    let (ours, theirs) = socket_pair()?;
    let others = addresses.iter().enumerate().filter(|(other, _)| *other != number);
    let settings = NodeSettings {
        name: format!("node {number}"),
        secret,
        listener: listener.as_fd().as_raw_fd(),
        local: theirs.as_raw_fd(),
        peers: others.map(|(_, address)| *address).collect(),
        spares: spares.iter().map(AsRawFd::as_raw_fd).collect(),
        page: page.map(PageOffer::settings),
        fault_device: fault_device.as_ref().map(AsRawFd::as_raw_fd),
    };
    let file = rustix::fs::memfd_create("banyan-node", rustix::fs::MemfdFlags::empty())?;
    let mut file = std::fs::File::from(file);
    file.write_all(&serde_json::to_vec(&settings)?)?;
    let page = page.map(AsFd::as_fd);
    let own = [listener.as_fd(), theirs.as_fd()];
    let inherited = || own.into_iter().chain(spares.iter().copied()).chain(page).chain(fault_device);
    for descriptor in inherited() {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())?;
    }
    let starter = Command::new("/proc/self/exe")
        .arg0("banyan")
        .args(["node", "run", "--detach", "--configuration"])
        .arg(file.as_raw_fd().to_string())
        .args(["--node", &number.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    for descriptor in inherited() {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC)?;
    }
    let mut starter = starter?;
    let mut said = Vec::new();
    if let Some(mut output) = starter.stdout.take() {
        output.read_to_end(&mut said)?;
    }
    if said == STARTED {
        Ok((ours, starter))
    } else {
        Err(io::Error::other("a node daemon could not be started"))
    }
}

/// In the process that ends at once: starts the daemon proper, in a session of its own.
///
/// # Errors
/// The system's.
pub fn detach(configuration: i32, read: &NodeSettings, number: Option<u8>) -> io::Result<()> {
    // The daemon outlives its caller: it must not keep the caller's pipes open.
    descriptors::close_all_on_exec()?;
    for inherited in read.inherited().chain([configuration]) {
        descriptors::keep_on_exec(inherited)?;
    }
    let mut command = Command::new("/proc/self/exe");
    command.arg0("banyan").args(["node", "run", "--configuration"]).arg(configuration.to_string());
    command.args(number.map(|number| format!("--node={number}")));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // The child outlives this process on purpose.
    command.spawn()?;
    match io::stdout().write_all(STARTED) {
        // Who wanted the node was killed meanwhile: the node finds its socket closed, and ends.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        told => told,
    }
}

/// Reads the settings that a daemon inherits.
///
/// # Errors
/// The system's; `InvalidData` if it is none.
pub fn read_settings(descriptor: i32) -> io::Result<NodeSettings> {
    let bytes = std::fs::read(format!("/proc/self/fd/{descriptor}"))?;
    Ok(serde_json::from_slice(&bytes)?)
}
