//! `banyan node run`: the daemon in the foreground.

use anyhow::Context;
use banyan_node::{daemon, launch};
use clap::Subcommand;

/// Commands about node daemons.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Run a node daemon in the foreground until its run ends; `banyan run` starts them
    Run {
        /// Descriptor from which to read what the run is; given by `banyan run`
        #[arg(long, value_name = "DESCRIPTOR")]
        configuration: i32,
        /// The node's number, for whoever looks at a list of processes
        #[arg(long, value_name = "N")]
        node: Option<u8>,
        /// Start the daemon and return, so that it is nobody's child
        #[arg(long)]
        detach: bool,
    },
}

/// Carries out a command. Returns the exit status.
pub(crate) fn node(command: &NodeCommand) -> anyhow::Result<u8> {
    let NodeCommand::Run { configuration, detach, .. } = command;
    let read = launch::read_configuration(*configuration).with_context(|| {
        format!("descriptor {configuration} holds no configuration; daemons are started by `banyan run`")
    })?;
    if *detach {
        launch::detach(*configuration, &read).context("starting the node daemon")?;
        return Ok(0);
    }
    Ok(daemon::run(read))
}
