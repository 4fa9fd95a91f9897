//! `banyan node`: the daemon in the foreground, and the members of the cluster.

use crate::cluster::MemberCommand;
use anyhow::Context;
use banyan_node::{local_nodes, node, random};
use clap::{Args, Subcommand};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

const AFTER_HELP: &str = "\
Examples:
  banyan node run --socket /tmp/node &
  banyan run --socket /tmp/node -- PROGRAM ARGUMENTS...";

/// Commands about nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Run a node daemon in the foreground; it serves the runs of `banyan run --socket`
    #[command(after_help = AFTER_HELP)]
    Run(NodeArguments),
    #[command(flatten)]
    Member(MemberCommand),
}

/// Arguments of `banyan node run`.
#[derive(Debug, Args)]
pub(crate) struct NodeArguments {
    /// Where to put the socket on which runs begin; only this user can connect to it
    #[arg(long, value_name = "PATH", required_unless_present_any = ["configuration", "state"])]
    socket: Option<PathBuf>,
    /// Run the node of the cluster whose state is in this directory, as `banyan up` does in the background
    #[arg(long, value_name = "DIRECTORY", conflicts_with_all = ["socket", "listen", "peers", "secret"])]
    state: Option<PathBuf>,
    /// Descriptor of the socket on which the node listens for others; given by `banyan up`
    #[arg(long, value_name = "DESCRIPTOR", hide = true, requires = "state")]
    listener: Option<i32>,
    /// With --state: serve a page for browsers at this address; `banyan status` says what to type into them
    #[arg(long, value_name = "ADDRESS", requires = "state")]
    page: Option<SocketAddr>,
    /// Descriptor of the socket of that page; given by `banyan up`
    #[arg(long, value_name = "DESCRIPTOR", hide = true, requires = "state", conflicts_with = "page")]
    page_listener: Option<i32>,
    /// Where to listen for other nodes
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where another node listens that runs of this one may use; once for each
    #[arg(long = "peer", value_name = "ADDRESS")]
    peers: Vec<SocketAddr>,
    /// File of 16 bytes that all nodes share; without one no other node can connect
    #[arg(long, value_name = "FILE")]
    secret: Option<PathBuf>,
    /// Descriptor from which to read what the node is; given by `banyan run`
    #[arg(long, value_name = "DESCRIPTOR", hide = true)]
    configuration: Option<i32>,
    /// The node's number, for people who look at a list of processes
    #[arg(long, value_name = "N", hide = true)]
    node: Option<u8>,
    /// Start the daemon and return, so that it is the child of no process of the run
    #[arg(long, hide = true)]
    detach: bool,
}

/// Carries out a command. Returns the exit status.
pub(crate) fn node(command: NodeCommand) -> anyhow::Result<u8> {
    let arguments = match command {
        NodeCommand::Run(arguments) => arguments,
        NodeCommand::Member(command) => return command.run(),
    };
    if let Some(configuration) = arguments.configuration {
        return serve_run(configuration, &arguments);
    }
    if let Some(state) = arguments.state {
        let page = match (arguments.page_listener, arguments.page) {
            (Some(number), _) => Some(node::inherited_listener(number).context("the socket of the page")?),
            (None, Some(address)) => Some(TcpListener::bind(address).with_context(|| address.to_string())?),
            (None, None) => None,
        };
        match node::serve_member(&state, arguments.listener, page, |name, address| {
            let _ = writeln!(std::io::stdout(), "{name} listens on {address}");
        })? {}
    }
    let socket = arguments.socket.context("--socket is missing")?;
    let secret = secret(arguments.secret.as_deref())?;
    match node::serve_machine(&socket, arguments.listen, secret, arguments.peers, |address| {
        // A closed standard output is no reason to stop.
        let _ = writeln!(std::io::stdout(), "listening on {address}, runs begin at {}", socket.display());
    })? {}
}

fn serve_run(configuration: i32, arguments: &NodeArguments) -> anyhow::Result<u8> {
    let settings = local_nodes::read_settings(configuration).with_context(|| {
        format!("descriptor {configuration} holds no settings; such daemons are started by `banyan run`")
    })?;
    if arguments.detach {
        local_nodes::detach(configuration, &settings, arguments.node).context("starting the node daemon")?;
        return Ok(0);
    }
    let name = settings.name.clone();
    node::serve_run(settings).context(name)?;
    Ok(0)
}

/// The secret in a file, or a random one.
fn secret(file: Option<&Path>) -> anyhow::Result<[u8; 16]> {
    let Some(file) = file else { return Ok(random()?) };
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    let secret = <[u8; 16]>::try_from(bytes.as_slice()).ok();
    secret.with_context(|| {
        format!("{}: {} bytes, 16 are wanted; try `head -c 16 /dev/urandom`", file.display(), bytes.len())
    })
}
