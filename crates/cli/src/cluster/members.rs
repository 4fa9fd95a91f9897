//! Members of the cluster one by one: `banyan node show`, `drain`, `resume`, `remove`, `rename`.

use super::drain::{self, DrainArguments, ResumeArguments};
use super::{NodeChoice, StatusArguments, print_json};
use anyhow::Context;
use banyan_node::admin::ClusterRequest;
use clap::{Args, Subcommand};

/// Commands about members.
#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// List the members of the cluster
    List(StatusArguments),
    /// Print all that is known of a member, as JSON
    Show(ShowArguments),
    /// Have the programs of other machines leave this one, and wait until they have
    #[command(
        after_help = "Threads move to other nodes, and the memory that is here with them; programs go on. Programs \
                      that were started here stay until they end, and a thread that waits in a call goes when \
                      the call returns. Until `banyan node resume`, or until the node is started again, no \
                      program comes."
    )]
    Drain(DrainArguments),
    /// Let programs come to this machine again
    Resume(ResumeArguments),
    /// Take a member out of the cluster
    #[command(after_help = "A machine takes itself out with `banyan leave`.")]
    Remove(RemoveArguments),
    /// Give a member another name
    Rename(RenameArguments),
}

/// Arguments of `banyan node show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// Its name, or the beginning of its id
    member: String,
    #[command(flatten)]
    node: NodeChoice,
}

/// Arguments of `banyan node remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArguments {
    /// Its name, or the beginning of its id
    member: String,
    #[command(flatten)]
    node: NodeChoice,
}

/// Arguments of `banyan node rename`.
#[derive(Debug, Args)]
pub(crate) struct RenameArguments {
    /// Its name, or the beginning of its id
    member: String,
    /// What it is to be called
    name: String,
    #[command(flatten)]
    node: NodeChoice,
}

impl MemberCommand {
    /// Carries out the command. Returns the exit status.
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        match self {
            Self::List(arguments) => super::list(&arguments),
            Self::Show(ShowArguments { member, node }) => {
                let status = node.status()?;
                let is_meant = |id: &str, name: &str| name == member || id.starts_with(&member);
                let found =
                    status.members.iter().find(|one| is_meant(&one.member.id.to_string(), &one.member.name));
                let found =
                    found.with_context(|| format!("no member is called {member}; see `banyan node list`"))?;
                print_json(found)?;
                Ok(0)
            }
            Self::Drain(arguments) => drain::drain(&arguments),
            Self::Resume(arguments) => drain::resume(&arguments),
            Self::Remove(RemoveArguments { member, node }) => {
                let done = format!("{member} is no longer a member.");
                node.order(&ClusterRequest::Remove(member), &done)
            }
            Self::Rename(RenameArguments { member, name, node }) => {
                let done = format!("{member} is called {name} now.");
                node.order(&ClusterRequest::Rename { member, name }, &done)
            }
        }
    }
}
