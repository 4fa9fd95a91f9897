//! Begins a run: asks a node for the job and turns the calling process into the program's home replica.
//!
//! The node is one that runs already, or the first of some that are started on this machine for the length of
//! the run. Those must not be children of the program, which could wait for them, nor of its session, whose
//! Ctrl-C is meant for the program. So each is started by way of a process that ends at once.

use super::loader::{self, LoadError};
use super::replica;
use super::settings::{JobSettings, NodeCount, Run};
use crate::cluster::ask_for_job;
use crate::cluster::connect_to_node;
use crate::cluster::node::{NodeSettings, random};
use banyan_sys::{children, descriptors};
use banyan_wire::address_space::PROGRAM_MEMORY;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why a run did not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The program cannot be run.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The daemons could not be started.
    #[error("starting the node daemons: {0}")]
    Start(#[from] io::Error),
    /// The node is not there, or does not answer.
    #[error("{}: no node answers there: {source}; start one with `banyan up` or `banyan node run`", path.display())]
    NoNode {
        /// Its socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// All nodes are asked for, and there are none but those that a run starts.
    #[error(
        "`-n all` means the nodes of a cluster, and no node of one is running here; begin with `banyan up`"
    )]
    NoCluster,
    /// The node cannot begin the job.
    #[error("node 0: {0}")]
    Refused(String),
}

impl LaunchError {
    /// The exit status for it: 125 ours, 126 cannot be executed, 127 not found.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::Load(error) => error.status(),
            _ => 125,
        }
    }
}

/// Whether a node has the socket at `path`.
#[must_use]
pub fn is_there(path: &Path) -> bool {
    connect_to_node(path).is_ok()
}

/// Begins a run and becomes its program. Returns only if that fails.
#[must_use]
pub fn run(run: &Run) -> LaunchError {
    if is_in_a_run() {
        return go_on_in_it(run).unwrap_or_else(LaunchError::Load);
    }
    match prepare(run) {
        Ok(job) => match replica::exec_home(&job.arguments, &job.requests) {
            error if error.kind() == io::ErrorKind::ArgumentListTooLong => {
                LaunchError::Load(LoadError::ArgumentsTooLong {
                    path: run.words[0].clone().into(),
                    bytes: run.words.iter().map(|word| word.len() as u64 + 1).sum(),
                    room: 128 << 10,
                })
            }
            error => LaunchError::Start(error),
        },
        Err(error) => error,
    }
}

/// Whether this process is itself the program of a run: the kernel puts no stack where a run has its memory.
fn is_in_a_run() -> bool {
    let on_the_stack = 0_u8;
    PROGRAM_MEMORY.contains(std::ptr::from_ref(&on_the_stack).addr() as u64)
}

/// Executes the program in place of this one, in the run that there is.
fn go_on_in_it(run: &Run) -> Result<LaunchError, LoadError> {
    let command = loader::resolve(&run.words, run.zeroth.as_deref(), std::env::var_os("PATH").as_deref())?;
    loader::check(&command)?;
    eprintln!("banyan: this is a run already: {} goes on in it", command.path.display());
    let mut program = Command::new(&command.path);
    if let Some((zeroth, arguments)) = command.arguments.split_first() {
        program.arg0(zeroth).args(arguments);
    }
    Ok(LaunchError::Start(program.exec()))
}

/// A job that has begun and whose program this process is to become.
struct Prepared {
    arguments: Vec<OsString>,
    /// The request socket of its stub.
    requests: OwnedFd,
    /// To the node, or to each that was started. Closed on exec, after which those end with their jobs.
    _nodes: Vec<OwnedFd>,
}

fn prepare(run: &Run) -> Result<Prepared, LaunchError> {
    let command = loader::resolve(&run.words, run.zeroth.as_deref(), std::env::var_os("PATH").as_deref())?;
    loader::check(&command)?;
    let settings = job_settings(run, &command);
    let (stubs_end, daemons_end) = replica::socket_pair()?;
    let ask = |node: BorrowedFd<'_>| ask_for_job(node, &settings, daemons_end.as_fd(), io::stderr().as_fd());
    let (nodes, answer) = match &run.node {
        Some(path) => {
            let no_node = |source| LaunchError::NoNode { path: path.clone(), source };
            let node = connect_to_node(path).map_err(no_node)?;
            let answer = ask(node.as_fd()).map_err(no_node)?;
            (vec![node], answer)
        }
        None => {
            let NodeCount::Exactly(count) = run.nodes else { return Err(LaunchError::NoCluster) };
            let nodes = start_nodes(count)?;
            let answer = ask(nodes[0].as_fd())?;
            (nodes, answer)
        }
    };
    answer.map_err(LaunchError::Refused)?;
    Ok(Prepared { arguments: command.arguments, requests: stubs_end, _nodes: nodes })
}

/// What the node needs to know: everything that this process would have passed to the program.
fn job_settings(run: &Run, command: &loader::Command) -> JobSettings {
    let environment = std::env::vars_os().map(|(key, value)| {
        let mut word = key.into_vec();
        word.push(b'=');
        word.extend(value.into_vec());
        word
    });
    JobSettings {
        path: command.path.as_os_str().as_bytes().to_vec(),
        arguments: command.arguments.iter().map(|word| word.as_bytes().to_vec()).collect(),
        environment: environment.collect(),
        // One that is gone leaves relative paths as they are.
        directory: std::env::current_dir().unwrap_or_default().into_os_string().into_vec(),
        stack_limit: rustix::process::getrlimit(rustix::process::Resource::Stack).current,
        nodes: run.nodes,
        placement: run.placement,
        move_every: run.move_every,
        summary: run.summary,
        node: run.node.as_ref().map(|path| path.as_os_str().as_bytes().to_vec()),
    }
}

/// Starts nodes on this machine for one run. Returns a socket to each.
fn start_nodes(count: u8) -> io::Result<Vec<OwnedFd>> {
    children::leave_to_kernel()?;
    let secret = random()?;
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<_>>()?;
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    let mut sockets = Vec::new();
    for (number, listener) in listeners.iter().enumerate() {
        let (ours, theirs) = replica::socket_pair()?;
        let others = addresses.iter().enumerate().filter(|(other, _)| *other != number);
        let settings = NodeSettings {
            name: format!("node {number}"),
            secret,
            listener: listener.as_raw_fd(),
            local: theirs.as_raw_fd(),
            peers: others.map(|(_, address)| *address).collect::<Vec<SocketAddr>>(),
        };
        start_node(number, &settings, [listener.as_fd(), theirs.as_fd()])?;
        sockets.push(ours);
    }
    // From now on a node that is gone refuses connections, and none waits in its place.
    Ok(sockets)
}

/// What the process that starts a daemon says when it has.
const STARTED: &[u8] = b"started\n";

/// Starts one node by way of a process that ends. That one is not waited for: it would be a child of the
/// program's whose processor time counts.
fn start_node(number: usize, settings: &NodeSettings, inherited: [BorrowedFd<'_>; 2]) -> io::Result<()> {
    let file = rustix::fs::memfd_create("banyan-node", rustix::fs::MemfdFlags::empty())?;
    let mut file = std::fs::File::from(file);
    file.write_all(&serde_json::to_vec(settings)?)?;
    for descriptor in &inherited {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())?;
    }
    let started = Command::new("/proc/self/exe")
        .arg0("banyan")
        .args(["node", "run", "--detach", "--configuration"])
        .arg(file.as_raw_fd().to_string())
        .args(["--node", &number.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    for descriptor in &inherited {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC)?;
    }
    let mut said = Vec::new();
    if let Some(mut output) = started?.stdout {
        output.read_to_end(&mut said)?;
    }
    if said == STARTED { Ok(()) } else { Err(io::Error::other("a node daemon could not be started")) }
}

/// In the process that ends at once: starts the daemon proper, in a session of its own.
///
/// # Errors
/// The system's.
pub fn detach(configuration: i32, read: &NodeSettings, number: Option<u8>) -> io::Result<()> {
    // The daemon outlives its caller: it must not keep the caller's pipes open.
    descriptors::close_all_on_exec()?;
    for inherited in [configuration, read.listener, read.local] {
        descriptors::keep_on_exec(inherited)?;
    }
    let mut command = Command::new("/proc/self/exe");
    command.arg0("banyan").args(["node", "run", "--configuration"]).arg(configuration.to_string());
    command.args(number.map(|number| format!("--node={number}")));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // The child outlives this process on purpose.
    command.spawn()?;
    io::stdout().write_all(STARTED)
}

/// Reads the settings that a daemon inherits.
///
/// # Errors
/// The system's; `InvalidData` if it is none.
pub fn read_settings(descriptor: i32) -> io::Result<NodeSettings> {
    let bytes = std::fs::read(format!("/proc/self/fd/{descriptor}"))?;
    Ok(serde_json::from_slice(&bytes)?)
}
