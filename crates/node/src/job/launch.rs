//! A run with no cluster up: starts the node daemons on this machine for the length of the run and turns the calling
//! process into the program's home replica.
//!
//! The daemons must not be children of the program, which could wait for them, nor of its session, whose Ctrl-C is
//! meant for the program. So each is started by way of a process that ends at once.

use crate::job::loader::{self, LoadError};
use crate::job::replica;
use banyan_sys::descriptors;
use banyan_wire::stub::Record;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// How threads are distributed over nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placement {
    /// One node after the other.
    Spread,
    /// A node gets as many threads as it has processors before the next one gets any.
    Pack,
}

/// What to print at the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Summary {
    /// Nothing.
    None,
    /// A table for a person.
    Table,
    /// One JSON object on one line.
    Json,
}

/// What a run is.
#[derive(Clone, Debug)]
pub struct Run {
    /// Program and arguments.
    pub words: Vec<OsString>,
    /// Nodes to emulate, 1 or more.
    pub nodes: u8,
    /// Where threads go.
    pub placement: Placement,
    /// What to print at the end.
    pub summary: Summary,
}

/// Why a run did not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The program cannot be run.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The daemons could not be started.
    #[error("starting the node daemons: {0}")]
    Start(#[from] io::Error),
    /// A daemon said why it cannot go on.
    #[error("{0}")]
    Daemon(String),
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

/// What a daemon needs to know, passed to it in a memory file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DaemonConfiguration {
    /// The run's secret.
    pub run: [u8; 16],
    /// This node.
    pub node: u8,
    /// Where the nodes listen, by number.
    pub addresses: Vec<SocketAddr>,
    /// Number of the listening socket that this daemon inherits.
    pub listener: i32,
    /// Number of the request socket that the home daemon inherits.
    pub requests: Option<i32>,
    /// The program: file, arguments, environment, as bytes.
    pub path: Vec<u8>,
    /// Arguments, the zeroth included.
    pub arguments: Vec<Vec<u8>>,
    /// `KEY=VALUE` words.
    pub environment: Vec<Vec<u8>>,
    /// Where threads go.
    pub placement: Placement,
    /// What to print at the end.
    pub summary: Summary,
}

impl DaemonConfiguration {
    /// The program's command.
    #[must_use]
    pub fn command(&self) -> loader::Command {
        loader::Command {
            path: PathBuf::from(OsString::from_vec(self.path.clone())),
            arguments: self.arguments.iter().cloned().map(OsString::from_vec).collect(),
        }
    }
}

/// Starts the daemons and becomes the program. Returns only if that fails.
#[must_use]
pub fn run(run: &Run) -> LaunchError {
    match prepare(run) {
        Ok((arguments, requests)) => match replica::exec_home(&arguments, &requests) {
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

fn prepare(run: &Run) -> Result<(Vec<OsString>, OwnedFd), LaunchError> {
    let command = loader::resolve(&run.words, std::env::var_os("PATH").as_deref())?;
    loader::check(&command)?;
    let mut secret = [0; 16];
    rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty()).map_err(io::Error::from)?;
    let listeners: Vec<TcpListener> =
        (0..run.nodes).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<_>>()?;
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    let (stubs_end, daemons_end) = replica::socket_pair()?;
    let environment = std::env::vars_os().map(|(key, value)| {
        let mut word = key.into_vec();
        word.push(b'=');
        word.extend(value.into_vec());
        word
    });
    let mut configuration = DaemonConfiguration {
        run: secret,
        node: 0,
        addresses,
        listener: 0,
        requests: None,
        path: command.path.as_os_str().as_bytes().to_vec(),
        arguments: command.arguments.iter().map(|word| word.as_bytes().to_vec()).collect(),
        environment: environment.collect(),
        placement: run.placement,
        summary: run.summary,
    };
    for (node, listener) in listeners.iter().enumerate() {
        configuration.node = node as u8;
        configuration.listener = listener.as_raw_fd();
        configuration.requests = (node == 0).then(|| daemons_end.as_raw_fd());
        let inherited = [Some(listener.as_fd()), (node == 0).then(|| daemons_end.as_fd())];
        start_daemon(&configuration, inherited.into_iter().flatten())?;
    }
    drop(daemons_end);
    // The home daemon says that all nodes stand, or why not.
    match replica::receive_record::<Record>(&stubs_end) {
        Ok(Some((record, _))) if record.result == 0 => Ok((command.arguments, stubs_end)),
        Ok(Some(_)) | Ok(None) => Err(LaunchError::Daemon(
            "the home node's daemon did not start; it said why above, or see `banyan doctor`".into(),
        )),
        Err(error) => Err(error.into()),
    }
}

/// Starts one daemon by way of a process that ends.
fn start_daemon<'a>(
    configuration: &DaemonConfiguration,
    inherited: impl Iterator<Item = std::os::fd::BorrowedFd<'a>>,
) -> io::Result<()> {
    let file = rustix::fs::memfd_create("banyan-run", rustix::fs::MemfdFlags::empty())?;
    let mut file = std::fs::File::from(file);
    file.write_all(&serde_json::to_vec(configuration)?)?;
    let inherited: Vec<_> = inherited.collect();
    for descriptor in &inherited {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())?;
    }
    let status = Command::new("/proc/self/exe")
        .arg0("banyan")
        .args(["node", "run", "--detach", "--configuration"])
        .arg(file.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    for descriptor in &inherited {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC)?;
    }
    if status?.success() { Ok(()) } else { Err(io::Error::other("a node daemon could not be started")) }
}

/// In the process that ends at once: starts the daemon proper, in a session of its own.
///
/// # Errors
/// The system's.
pub fn detach(configuration: i32, read: &DaemonConfiguration) -> io::Result<()> {
    // The daemon outlives its caller: it must not keep the caller's pipes open.
    descriptors::close_all_on_exec()?;
    for number in [Some(configuration), Some(read.listener), read.requests].into_iter().flatten() {
        descriptors::keep_on_exec(number)?;
    }
    let node = read.node;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("banyan").args(["node", "run", "--configuration"]).arg(configuration.to_string());
    command.args(["--node", &node.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // The child outlives this process on purpose.
    command.spawn().map(drop)
}

/// Reads the configuration that a daemon inherits.
///
/// # Errors
/// The system's; `InvalidData` if it is none.
pub fn read_configuration(descriptor: i32) -> io::Result<DaemonConfiguration> {
    let bytes = std::fs::read(format!("/proc/self/fd/{descriptor}"))?;
    Ok(serde_json::from_slice(&bytes)?)
}
