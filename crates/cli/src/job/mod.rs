//! `banyan job`: the programs that run from this machine, where their threads are, and moving one; and those
//! that run detached from who began them.
//!
//! A program is named by the id of its process here, or by the name of a detached run. Every node of this
//! user on this machine is asked: the one that is up, and those that are started for one run each.

mod detached;
mod list;

pub(crate) use detached::{KeepArguments, WaitArguments, begin, keep, wait};
pub(crate) use list::{ListArguments, list};

use crate::cluster::other_answer;
use crate::terminal;
use anyhow::Context;
use banyan_node::admin::{AdminAnswer, AdminRequest, JobStatus};
use banyan_node::state::{socket_of, usual_directory};
use clap::{Args, Subcommand};
use detached::{LogsArguments, RemoveArguments, ShowArguments, StopArguments};
use serde::Serialize;
use std::fmt::Write;
use std::path::PathBuf;

/// Commands about running programs.
#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// List the programs that run from this machine
    List(ListArguments),
    /// Say what is known of a detached run
    Show(ShowArguments),
    /// Print what a detached run has printed
    Logs(LogsArguments),
    /// Wait for the end of a detached run, and end as it did
    Wait(WaitArguments),
    /// End detached runs
    Stop(StopArguments),
    /// Remove what is kept of detached runs that have ended
    Remove(RemoveArguments),
    /// Say on which node each thread of a program is
    Threads(ThreadsArguments),
    /// Have a thread go to another node, while it runs
    #[command(after_help = "\
A thread that waits in a call goes when the call has ended. What the program sees of a move is nothing.

Examples:
  banyan job list
  banyan job threads 4711
  banyan job move 4711 4713 2")]
    Move(MoveArguments),
}

/// Which nodes of this machine are asked.
#[derive(Debug, Args)]
pub(crate) struct Nodes {
    /// Directory of the state of the node to ask; BANYAN_STATE says it too. Without it, all of this machine
    #[arg(long, value_name = "DIRECTORY")]
    state: Option<PathBuf>,
}

/// Arguments of `banyan job threads`.
#[derive(Debug, Args)]
pub(crate) struct ThreadsArguments {
    /// The process id of the program, or the name of its detached run
    #[arg(value_name = "PROCESS", value_parser = detached::process)]
    process: u32,
    /// One JSON object for each thread
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    nodes: Nodes,
}

/// Arguments of `banyan job move`.
#[derive(Debug, Args)]
pub(crate) struct MoveArguments {
    /// The process id of the program, or the name of its detached run
    #[arg(value_name = "PROCESS", value_parser = detached::process)]
    process: u32,
    /// The thread's id, as the program has it
    thread: u32,
    /// The number of the node in the run
    node: u8,
    #[command(flatten)]
    nodes: Nodes,
}

/// A thread, as `--json` prints it.
#[derive(Debug, Serialize)]
struct ThreadLine {
    thread: u32,
    node: u8,
}

/// Carries out the command. Returns the exit status.
pub(crate) fn job(command: JobCommand) -> anyhow::Result<u8> {
    match command {
        JobCommand::List(arguments) => return list(&arguments),
        JobCommand::Show(arguments) => return detached::show(&arguments),
        JobCommand::Logs(arguments) => return detached::logs(&arguments),
        JobCommand::Wait(arguments) => return wait(&arguments),
        JobCommand::Stop(arguments) => return detached::stop(&arguments),
        JobCommand::Remove(arguments) => return detached::remove(&arguments),
        JobCommand::Threads(ThreadsArguments { process, json, nodes }) => {
            let (_, job) = nodes.find(process)?;
            if json {
                let line = |&(thread, node): &(u32, u8)| ThreadLine { thread, node };
                terminal::print_json(&job.threads.iter().map(line).collect::<Vec<_>>())?;
            } else {
                let mut text = format!("{:>8}  NODE\n", "THREAD");
                for (thread, node) in &job.threads {
                    let _ = writeln!(text, "{thread:>8}  {node}");
                }
                terminal::print(&text);
                if let Some((thread, node)) = job.threads.last().filter(|_| job.nodes > 1) {
                    let next = (node + 1) % job.nodes;
                    eprintln!("\nTo move one:\n  banyan job move {process} {thread} {next}");
                }
            }
        }
        JobCommand::Move(MoveArguments { process, thread, node, nodes }) => {
            let (socket, _) = nodes.find(process)?;
            match banyan_node::administer(&socket, &AdminRequest::Move { process, thread, node })? {
                AdminAnswer::Done => eprintln!("Thread {thread} is on node {node}."),
                AdminAnswer::Waiting => eprintln!(
                    "Thread {thread} waits in a call; when that has ended it goes to node {node}. To see where it is:\n  \
                     banyan job threads {process}"
                ),
                _ => return Err(other_answer()),
            }
        }
    }
    Ok(0)
}

impl Nodes {
    /// The jobs of all nodes that answer, with the sockets of their nodes.
    fn jobs(&self) -> Vec<(PathBuf, JobStatus)> {
        let sockets = match &self.state {
            Some(directory) => vec![socket_of(directory)],
            None => [socket_of(&usual_directory())].into_iter().chain(banyan_node::run_sockets()).collect(),
        };
        let mut jobs = Vec::new();
        for socket in sockets {
            // One that does not answer has ended, or is another user's.
            if let Ok(AdminAnswer::Jobs(of_node)) = banyan_node::administer(&socket, &AdminRequest::Jobs) {
                jobs.extend(of_node.into_iter().map(|job| (socket.clone(), job)));
            }
        }
        jobs.sort_by_key(|(_, job)| job.process);
        jobs
    }

    fn find(&self, process: u32) -> anyhow::Result<(PathBuf, JobStatus)> {
        let found = self.jobs().into_iter().find(|(_, job)| job.process == process);
        found.with_context(|| {
            format!("no program of this user with process id {process} runs from this machine; see `banyan job list`")
        })
    }
}
