//! Begins a run: asks a node for the job and turns the calling process into the program's home replica.
//!
//! The node is one that runs already, or the first of some that are started on this machine for the length of
//! the run (`cluster::local_nodes`).

use super::loader::{self, LoadError};
use super::replica;
use super::settings::{JobSettings, Nodes, Run};
use crate::cluster::ask_for_job;
use crate::cluster::connect_to_node;
use crate::cluster::local_nodes;
use banyan_wire::address_space::PROGRAM_MEMORY;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

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
        "`-n all` and `--hosts` mean the nodes of a cluster, and no node of one is running here; begin with \
         `banyan up`"
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
    let command = match command_of(run) {
        Ok(command) => command,
        Err(error) => return LaunchError::Load(error),
    };
    match instead(&command) {
        Ok(None) => {}
        Ok(Some(reason)) => {
            eprintln!("banyan: {reason}");
            return become_program(&command);
        }
        Err(error) => return LaunchError::Load(error),
    }
    match prepare(run, command) {
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

/// Why a program that can be loaded is executed as it is, in place of this one: in the run that there is, or
/// natively.
fn instead(command: &loader::Command) -> Result<Option<String>, LoadError> {
    let checked = loader::check(command)?;
    let path = command.path.display();
    if is_in_a_run() {
        return Ok(Some(format!("this is a run already: {path} goes on in it")));
    }
    Ok(checked.native(|name| std::env::var_os(name)).map(|reason| format!("{path}: {reason}")))
}

/// Executes a program as it is. Returns only if that fails.
fn become_program(command: &loader::Command) -> LaunchError {
    let mut program = Command::new(&command.path);
    if let Some((zeroth, arguments)) = command.arguments.split_first() {
        program.arg0(zeroth).args(arguments);
    }
    LaunchError::Start(program.exec())
}

/// What is executed.
fn command_of(run: &Run) -> Result<loader::Command, LoadError> {
    let search = std::env::var_os("PATH");
    match &run.file {
        None => loader::resolve(&run.words, run.zeroth.as_deref(), search.as_deref()),
        Some(file) => loader::resolve_file(&place_of(file), &run.words, run.zeroth.as_deref()),
    }
}

/// Where others, too, find an open file: its path, or this process's descriptor if no path leads to it.
fn place_of(file: &OwnedFd) -> PathBuf {
    let descriptor = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let same = |path: &PathBuf| {
        let (Ok(there), Ok(open)) = (rustix::fs::stat(path), rustix::fs::fstat(file)) else { return false };
        (there.st_dev, there.st_ino) == (open.st_dev, open.st_ino)
    };
    std::fs::read_link(&descriptor).ok().filter(same).unwrap_or_else(|| descriptor.into())
}

/// A job that has begun and whose program this process is to become.
struct Prepared {
    arguments: Vec<OsString>,
    /// The request socket of its stub.
    requests: OwnedFd,
    /// To the node. Closed on exec, after which one that was started for the run ends with its job.
    _node: OwnedFd,
}

fn prepare(run: &Run, command: loader::Command) -> Result<Prepared, LaunchError> {
    let settings = job_settings(run, &command);
    let (stubs_end, daemons_end) = replica::socket_pair()?;
    let ask = |node: BorrowedFd<'_>| ask_for_job(node, &settings, daemons_end.as_fd(), io::stderr().as_fd());
    let (node, answer) = match &run.node {
        Some(path) => {
            let no_node = |source| LaunchError::NoNode { path: path.clone(), source };
            let node = connect_to_node(path).map_err(no_node)?;
            let answer = ask(node.as_fd()).map_err(no_node)?;
            (node, answer)
        }
        None => {
            let fault_device = run.fault_device.as_deref().map(AsFd::as_fd);
            let offers = local_nodes::Offers { page: run.page.as_deref(), fault_device };
            let Nodes::Exactly(count) = run.nodes else { return Err(LaunchError::NoCluster) };
            let (node, starter) = local_nodes::start_first(count, &offers)?;
            let answer = ask(node.as_fd())?;
            starter.gone();
            (node, answer)
        }
    };
    answer.map_err(LaunchError::Refused)?;
    Ok(Prepared { arguments: command.arguments, requests: stubs_end, _node: node })
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
        nodes: run.nodes.clone(),
        placement: run.placement,
        move_every: run.move_every,
        children: run.children,
        summary: run.summary,
        node: run.node.as_ref().map(|path| path.as_os_str().as_bytes().to_vec()),
    }
}
