//! Which node of this machine answers what a person asks about live structures: the one that is up, else the
//! first of those that a program has for the length of its run.

use anyhow::bail;
use banyan_node::admin::{AdminAnswer, AdminRequest};
use banyan_node::state::{socket_of, usual_directory};
use clap::Args;
use std::path::{Path, PathBuf};

/// The node to ask.
#[derive(Debug, Args)]
pub(crate) struct WhichNode {
    /// Directory of the state of the node to ask; BANYAN_STATE says it too. Without it, the node of this
    /// machine, or those of a program that runs
    #[arg(long, value_name = "DIRECTORY")]
    state: Option<PathBuf>,
    /// Socket of the node to ask
    #[arg(long, value_name = "PATH", conflicts_with = "state")]
    socket: Option<PathBuf>,
}

impl WhichNode {
    /// Its socket. `command` is what the person has typed, for the advice if there are several.
    pub(crate) fn socket(&self, command: &str) -> anyhow::Result<PathBuf> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let usual = socket_of(&self.state.clone().unwrap_or_else(usual_directory));
        if self.state.is_some() || jobs_of(&usual).is_some() {
            return Ok(usual);
        }
        // Of the nodes that were started for a run, the first knows the others.
        let homes: Vec<PathBuf> =
            banyan_node::run_sockets().into_iter().filter(|socket| jobs_of(socket) > Some(0)).collect();
        match homes.as_slice() {
            [home] => Ok(home.clone()),
            [] => bail!(
                "no node of this user is on this machine. To make it one:\n  banyan up\nor start a program, which has \
                 nodes of its own while it runs:\n  banyan run -n 2 -- PROGRAM"
            ),
            several => {
                let lines: String = several
                    .iter()
                    .map(|socket| format!("\n  {command} --socket {}", socket.display()))
                    .collect();
                bail!(
                    "{} programs run here, each with nodes of its own. To ask those of one:{lines}",
                    several.len()
                )
            }
        }
    }
}

/// How many programs have their home on the node with this socket, if one answers.
fn jobs_of(socket: &Path) -> Option<usize> {
    match banyan_node::administer(socket, &AdminRequest::Jobs) {
        Ok(AdminAnswer::Jobs(jobs)) => Some(jobs.len()),
        _ => None,
    }
}
