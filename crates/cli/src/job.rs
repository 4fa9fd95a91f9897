//! `banyan job`: the programs that run from this machine, where their threads are, and moving one.
//!
//! A program is named by the id of its process here. Every node of this user on this machine is asked: the
//! one that is up, and those that are started for one run each.

use crate::terminal;
use anyhow::{Context, bail};
use banyan_node::admin::{AdminAnswer, AdminRequest, JobStatus};
use banyan_node::state::{socket_of, usual_directory};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::fmt::Write;
use std::path::PathBuf;

/// Commands about running programs.
#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// List the programs that run from this machine
    List(ListArguments),
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

/// Arguments of `banyan job list`.
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// One JSON object for each program
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    nodes: Nodes,
}

/// Arguments of `banyan job threads`.
#[derive(Debug, Args)]
pub(crate) struct ThreadsArguments {
    /// The process id of the program
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
    /// The process id of the program
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
        JobCommand::List(ListArguments { json, nodes }) => {
            let jobs: Vec<JobStatus> = nodes.jobs().into_iter().map(|(_, job)| job).collect();
            if json {
                terminal::print_json(&jobs)?;
            } else if jobs.is_empty() {
                eprintln!("No program runs from this machine. To start one:\n  banyan run -n 2 -- PROGRAM");
            } else {
                terminal::print(&table(&jobs));
                eprintln!("\nWhere its threads are:\n  banyan job threads {}", jobs[0].process);
            }
        }
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
                other => bail!("the node answers something else: {other:?}"),
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

fn table(jobs: &[JobStatus]) -> String {
    let mut text =
        format!("{:>8}  {:15}  {:>5}  {:>7}  {:>7}\n", "PROCESS", "PROGRAM", "NODES", "THREADS", "MOVES");
    for job in jobs {
        let _ = writeln!(
            text,
            "{:>8}  {:15}  {:>5}  {:>7}  {:>7}",
            job.process,
            job.program,
            job.nodes,
            job.threads.len(),
            job.moves
        );
    }
    text
}
