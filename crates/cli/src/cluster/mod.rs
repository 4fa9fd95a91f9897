//! Commands about the cluster that this machine is in: beginning and joining one, and looking at it.
//!
//! What they ask, the node of this machine answers over its socket; `up` and `join` start that node.

mod drain;
mod members;
mod names;
mod start;
mod status;
mod token;

pub(crate) use members::MemberCommand;
pub(crate) use names::NameCommand;
pub(crate) use start::{JoinArguments, UpArguments, join, up};
use status::list;
pub(crate) use status::{StatusArguments, status};
pub(crate) use token::{TokenCommand, token};

use crate::terminal;
use banyan_node::admin::{AdminAnswer, AdminRequest, ClusterRequest, Status};
use banyan_node::state::{socket_of, usual_directory};
use clap::Args;
use std::path::PathBuf;

/// Which node of this machine a command means.
#[derive(Debug, Args)]
pub(crate) struct NodeChoice {
    /// Directory of the node's state; BANYAN_STATE says it too. Usually /var/lib/banyan for root, and
    /// ~/.local/state/banyan for others
    #[arg(long, value_name = "DIRECTORY")]
    state: Option<PathBuf>,
}

impl NodeChoice {
    pub(crate) fn directory(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(usual_directory)
    }

    /// Asks the node.
    pub(crate) fn ask(&self, request: &ClusterRequest) -> anyhow::Result<AdminAnswer> {
        Ok(banyan_node::administer(&socket_of(&self.directory()), &AdminRequest::Cluster(request.clone()))?)
    }

    pub(crate) fn status(&self) -> anyhow::Result<Status> {
        match self.ask(&ClusterRequest::Status)? {
            AdminAnswer::Status(status) => Ok(status),
            _ => Err(other_answer()),
        }
    }

    /// Has the node do something, and says that it is done.
    pub(crate) fn order(&self, request: &ClusterRequest, done: &str) -> anyhow::Result<u8> {
        match self.ask(request)? {
            AdminAnswer::Done => {
                eprintln!("{done}");
                Ok(0)
            }
            _ => Err(other_answer()),
        }
    }
}

/// Arguments of `banyan down` and `banyan leave`.
#[derive(Debug, Args)]
pub(crate) struct EndArguments {
    #[command(flatten)]
    node: NodeChoice,
}

/// Stops the node of this machine.
pub(crate) fn down(arguments: &EndArguments) -> anyhow::Result<u8> {
    arguments
        .node
        .order(&ClusterRequest::Stop, "The node is down. It stays a member; to start it again:\n  banyan up")
}

/// Takes this machine out of its cluster.
pub(crate) fn leave(arguments: &EndArguments) -> anyhow::Result<u8> {
    arguments.node.order(
        &ClusterRequest::Leave,
        "This machine has left the cluster, and its keys are gone. To be in one again:\n  banyan join ADDRESS TOKEN",
    )
}

/// Prints a value as one line of JSON.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    terminal::print_json(std::slice::from_ref(value))
}

/// A node answered, and not what it was asked: it understands another request there.
pub(crate) fn other_answer() -> anyhow::Error {
    anyhow::anyhow!(
        "the node does not answer what it was asked: it is of another version than this command. Restart it with the \
         same one: `banyan down`, then `banyan up`"
    )
}
